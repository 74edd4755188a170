//! A hierarchy of exceptions: all of them are `KingletError`.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;

create_exception!(kinglet, KingletError, PyException, "Whatever goes wrong in Kinglet.");
create_exception!(
    kinglet,
    FileError,
    KingletError,
    "A file is missing, damaged, or of another kind."
);
create_exception!(kinglet, OptionError, KingletError, "An option is out of its range.");
create_exception!(kinglet, TaskError, KingletError, "The model is not made for what is asked.");
create_exception!(kinglet, ContextError, KingletError, "A text does not fit the model's context.");
create_exception!(kinglet, FormError, KingletError, "The form of an answer cannot be kept to.");

pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("KingletError", py.get_type::<KingletError>())?;
    module.add("FileError", py.get_type::<FileError>())?;
    module.add("OptionError", py.get_type::<OptionError>())?;
    module.add("TaskError", py.get_type::<TaskError>())?;
    module.add("ContextError", py.get_type::<ContextError>())?;
    module.add("FormError", py.get_type::<FormError>())
}

/// An error of the runtime as Python's.
pub(crate) fn of(error: kinglet::Error) -> PyErr {
    use kinglet::Error as E;
    let text = error.to_string();
    match error {
        E::File(_)
        | E::Tokenizer(_)
        | E::SessionFile(_)
        | E::Unsupported { .. }
        | E::MissingTensor { .. }
        | E::WrongTensor { .. }
        | E::NotFinite { .. } => FileError::new_err(text),
        E::InvalidOption { .. }
        | E::UnknownPrompt { .. }
        | E::UnknownLanguage { .. }
        | E::LanguageMissing { .. }
        | E::TokenOutOfRange { .. }
        | E::Empty { .. }
        | E::NotANumber { .. }
        | E::NoMask { .. } => OptionError::new_err(text),
        E::WrongTask { .. } | E::Template { .. } => TaskError::new_err(text),
        E::ContextFull { .. } | E::TextTooLong { .. } => ContextError::new_err(text),
        E::Form { .. } => FormError::new_err(text),
        _ => KingletError::new_err(text),
    }
}

/// An error of a conversion.
pub(crate) fn of_conversion(error: &dyn std::error::Error) -> PyErr {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    FileError::new_err(text)
}

/// A path that is none.
pub(crate) fn missing(path: &std::path::Path) -> PyErr {
    PyOSError::new_err(format!("{}: no such file", path.display()))
}
