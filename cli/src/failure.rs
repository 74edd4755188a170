//! How a command fails: one line for people, an exit code for scripts.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a command ended without a result.
#[derive(Debug)]
pub enum Failure {
    /// What went wrong and what to do about it.
    Message(String),
    /// The command line was wrong.
    Usage(Box<clap::Error>),
    /// Ctrl-C.
    Interrupted,
    /// Whoever read the output has left.
    BrokenPipe,
}

impl Failure {
    /// A failure in plain words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// A misuse that clap cannot see.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        let error = clap::Error::raw(
            clap::error::ErrorKind::MissingRequiredArgument,
            format!("{message}\n\nFor more information, try '--help'.\n"),
        );
        Self::Usage(Box::new(error))
    }

    /// The same failure after words that say what was being done.
    pub(crate) fn during(self, what: impl fmt::Display) -> Self {
        match self {
            Self::Message(message) => Self::Message(format!("{what}: {message}")),
            other => other,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Usage(error) => error.fmt(f),
            Self::Interrupted => f.write_str("interrupted"),
            Self::BrokenPipe => f.write_str("broken pipe"),
        }
    }
}

/// What to say about a full disk: what it has no room for, and the variable that names another one.
pub(crate) fn disk_full(needed: &str, variable: &str) -> String {
    format!(
        "the disk is full: {needed}; free some space or set {variable} to a folder on another disk"
    )
}

/// The whole chain of causes in one line; causes that a message already tells are left out.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        if let Some(error) = (&error as &dyn Error).downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return Self::BrokenPipe;
        }
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        Self::Message(message.replace(['\n', '\r'], " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("model.kinglet")
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_come_in_one_line() {
        let failure = Failure::from(Outer(io::Error::other("two\nlines")));
        assert_eq!(failure.to_string(), "model.kinglet: two lines");
    }

    #[test]
    fn a_reader_that_left_is_no_error_of_ours() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::BrokenPipe));
    }
}
