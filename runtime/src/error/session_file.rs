//! What can go wrong with a saved session.

/// Version of saved sessions; changes with the layout of keys and values.
pub(crate) const SESSION_VERSION: u32 = 1;

/// Why a saved session could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionFileError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The bytes do not begin as a saved session does.
    #[error("this is no saved session")]
    Foreign,
    /// Another version of Kinglet wrote it.
    #[error(
        "the session was saved in version {found}, this Kinglet reads {SESSION_VERSION}; compute it again"
    )]
    Version {
        /// Version of the file.
        found: u32,
    },
    /// It belongs to another model.
    #[error("the session was saved with another model, or another conversion of it")]
    OtherModel,
    /// The KV type is none that is known.
    #[error("the session has keys and values of unknown type {found}")]
    KvType {
        /// Number of the type.
        found: u32,
    },
    /// Numbers that do not fit together, or ids outside the vocabulary.
    #[error("the saved session is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
}
