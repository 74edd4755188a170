//! Compiles tokenizers into the binary form of a `.kinglet` file.
//!
//! Sources are a Hugging Face `tokenizer.json` ([`compile_json`]), a model of SentencePiece
//! ([`compile_sentencepiece`]), Mistral's `tekken.json` ([`compile_tekken`]) and the vocabulary of a GGUF file ([`compile_gguf`]). All are brought into one list of steps and tables; all patterns become
//! automata here, so that the runtime needs neither a regex engine nor Unicode property tables.

mod base64;
mod build;
mod chars;
mod gguf;
mod json;
mod json_steps;
mod oniguruma;
mod pattern;
mod sentencepiece;
mod tekken;
mod whisper;

pub use gguf::{GgufTokenType, GgufVocab, compile_gguf};
pub use json::{ExtraToken, RoleNames, compile_json};
pub use sentencepiece::{
    NamedIds, SentencePieceClass, SentencePieceOptions, compile_named_sentencepiece,
    compile_sentencepiece,
};
pub use tekken::compile_tekken;
pub(crate) use whisper::{WhisperVocabulary, compile_whisper};

use kinglet_formats::sentencepiece::SentencePieceError;
use kinglet_formats::tokenizer::FormatError;
use thiserror::Error;

/// Why a tokenizer cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompileError {
    /// The file is no JSON.
    #[error("tokenizer.json cannot be read: {reason}")]
    Json {
        /// What the JSON reader said.
        reason: String,
    },
    /// A field is missing or of the wrong type.
    #[error("tokenizer.json: `{path}` is missing or not {expected}")]
    Field {
        /// Where in the file.
        path: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A component that is not supported.
    #[error("tokenizer.json: the {kind} `{name}` is not supported")]
    UnsupportedComponent {
        /// Normalizer, pre-tokenizer, model, post-processor or decoder.
        kind: &'static str,
        /// Its name in the file.
        name: String,
    },
    /// GGUF metadata that cannot be read.
    #[error("the tokenizer's metadata cannot be read: {reason}")]
    GgufMetadata {
        /// What the reader said.
        reason: String,
    },
    /// A GGUF tokenizer of an unknown kind.
    #[error("`{key}` is `{value}`, which is not supported")]
    UnsupportedGguf {
        /// Metadata key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Something without which a GGUF vocabulary would be read wrongly.
    #[error("`{key}` is missing; {why}: convert the model again, or take a newer GGUF file of it")]
    GgufMissing {
        /// Metadata key.
        key: String,
        /// What it is needed for.
        why: &'static str,
    },
    /// GGUF arrays of different lengths.
    #[error("`{key}` has {found} entries for {expected} tokens")]
    GgufLength {
        /// Metadata key.
        key: &'static str,
        /// Number of tokens.
        expected: usize,
        /// Number of entries.
        found: usize,
    },
    /// A vocabulary of Whisper's whose numbers do not fit.
    #[error(
        "{n_pieces} pieces of text and {n_vocab} tokens are no vocabulary of Whisper's; fetch the model \
         again"
    )]
    Whisper {
        /// Pieces of text.
        n_pieces: usize,
        /// All tokens.
        n_vocab: usize,
    },
    /// A pattern that cannot be compiled.
    #[error("the pattern `{pattern}` cannot be compiled: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A vocabulary without a single piece.
    #[error("the vocabulary is empty; fetch the tokenizer again")]
    EmptyVocabulary,
    /// A token that is named but not in the vocabulary.
    #[error("{role} `{token}` is not in the vocabulary")]
    UnknownToken {
        /// What names it.
        role: &'static str,
        /// The token.
        token: String,
    },
    /// A merge that is not two tokens.
    #[error("merge {number} `{merge}` is not two tokens separated by a space")]
    BadMerge {
        /// Its number.
        number: usize,
        /// The merge.
        merge: String,
    },
    /// Token ids too large for a vocabulary.
    #[error("token id {id} is beyond the largest vocabulary of {limit}")]
    IdTooLarge {
        /// The id.
        id: u64,
        /// Largest number of tokens.
        limit: usize,
    },
    /// A file that is no model of SentencePiece.
    #[error("no SentencePiece model: {0}")]
    SentencePiece(#[from] SentencePieceError),
    /// A `tekken.json` that cannot be read.
    #[error("tekken.json cannot be read: {reason}")]
    Tekken {
        /// What is wrong.
        reason: String,
    },
    /// A vocabulary with a setting that is not supported.
    #[error(
        "{setting} is not supported without a tokenizer.json; \
         `AutoTokenizer.from_pretrained(…).save_pretrained(…)` may write one"
    )]
    UnsupportedVocabulary {
        /// The setting.
        setting: String,
    },
    /// The result does not fit the file format.
    #[error(transparent)]
    Format(#[from] FormatError),
}
