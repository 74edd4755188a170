//! Errors as JavaScript `Error` objects with a `code`.

use kinglet::Error;
use kinglet_formats::kinglet::KingletError;
use kinglet_formats::map::MapError;

use crate::object;

/// An error of this code and message.
pub(crate) fn new(code: &str, message: &str) -> js_sys::Error {
    let error = js_sys::Error::new(message);
    object::set(&error, "code", code);
    error
}

/// The runtime's error, with its code.
pub(crate) fn from(error: impl Into<Error>) -> js_sys::Error {
    let error = error.into();
    new(code(&error), &error.to_string())
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::File(error) => file_code(error),
        Error::Tokenizer(_) | Error::MissingTensor { .. } | Error::WrongTensor { .. } => "corrupt",
        Error::Kernels(_) | Error::Unsupported { .. } | Error::WrongTask { .. } => "unsupported",
        Error::SegmentOutOfRange { .. } => "corrupt",
        Error::ContextFull { .. } | Error::TextTooLong { .. } => "context-full",
        Error::TokenOutOfRange { .. }
        | Error::Empty { .. }
        | Error::InvalidOption { .. }
        | Error::UnknownPrompt { .. }
        | Error::UnknownLanguage { .. }
        | Error::LanguageMissing { .. }
        | Error::NotANumber { .. }
        | Error::NoMask { .. } => "invalid-option",
        Error::Template { .. } => "template",
        Error::OutOfMemory { .. } => "out-of-memory",
        Error::NotFinite { .. } => "not-finite",
        _ => "internal",
    }
}

fn file_code(error: &KingletError) -> &'static str {
    match error {
        KingletError::OtherFormat { .. } | KingletError::NotKinglet { .. } => "not-kinglet",
        KingletError::Version { .. } | KingletError::Features { .. } | KingletError::BigEndian => {
            "unsupported"
        }
        KingletError::TooShort { .. } | KingletError::Truncated { .. } => "truncated",
        KingletError::OutOfMemory { .. }
        | KingletError::Map(MapError::OutOfMemory { .. } | MapError::TooLarge { .. }) => {
            "out-of-memory"
        }
        _ => "corrupt",
    }
}
