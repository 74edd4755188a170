//! The tokenizer of models that read no text.

use kinglet_formats::tokenizer::{Contents, Model, Roles, TokenizerSpec, write};

use super::{Tokenizer, TokenizerError};

impl Tokenizer {
    /// One without a vocabulary, for models that read no text.
    pub(crate) fn none() -> Result<Tokenizer, TokenizerError> {
        let spec = TokenizerSpec {
            normalizers: Vec::new(),
            pre_tokenizers: Vec::new(),
            model: Model::WordLevel { unk: None },
            template: None,
            decoders: Vec::new(),
            roles: Roles::default(),
        };
        let contents = Contents {
            spec,
            pieces: Vec::new(),
            merges: Vec::new(),
            ranks: Vec::new(),
            scores: Vec::new(),
            added: Vec::new(),
            classes: Vec::new(),
            automata: Vec::new(),
            charsmaps: Vec::new(),
            given: Vec::new(),
        };
        Self::from_bytes(&write(&contents)?)
    }
}
