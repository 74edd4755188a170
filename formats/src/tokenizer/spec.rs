//! The small part of a compiled tokenizer: the steps a text goes through, as data.
//!
//! Stored as JSON. Every type is closed and flat (a sequence of steps is a list, never a nested
//! step), so reading it takes no recursion and an unknown step is an error.

use serde::{Deserialize, Serialize};

/// Everything about a tokenizer that is not a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSpec {
    /// Rewrites of the text, in order, applied between the added tokens.
    #[serde(default)]
    pub normalizers: Vec<Normalizer>,
    /// Cuts of the normalized text into words, in order.
    #[serde(default)]
    pub pre_tokenizers: Vec<PreTokenizer>,
    /// How a word becomes token ids.
    pub model: Model,
    /// What surrounds an encoded text when special tokens are asked for.
    #[serde(default)]
    pub template: Option<Template>,
    /// Steps from pieces back to text, in order. Empty: pieces joined by a space.
    #[serde(default)]
    pub decoders: Vec<Decoder>,
    /// Roles of single tokens.
    #[serde(default)]
    pub roles: Roles,
}

/// Token ids with a role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Begins a text.
    #[serde(default)]
    pub bos: Option<u32>,
    /// Ends a text.
    #[serde(default)]
    pub eos: Option<u32>,
    /// Stands for what the vocabulary cannot say.
    #[serde(default)]
    pub unk: Option<u32>,
    /// Fills a batch.
    #[serde(default)]
    pub pad: Option<u32>,
    /// Stands for a gap in a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
}

/// A rewrite of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalizer {
    /// Unicode canonical composition.
    Nfc,
    /// Unicode canonical decomposition.
    Nfd,
    /// Unicode compatibility composition.
    Nfkc,
    /// Unicode compatibility decomposition.
    Nfkd,
    /// Lower case, character by character.
    Lowercase,
    /// Drops every combining mark.
    StripAccents,
    /// BERT's cleaning; the character classes are in the class table.
    Bert {
        /// Drop control characters, make every white space a plain space.
        clean_text: bool,
        /// Spaces around CJK ideographs.
        handle_chinese_chars: bool,
        /// Decompose and drop non-spacing marks.
        strip_accents: bool,
        /// Lower case.
        lowercase: bool,
    },
    /// Drops white space at the ends.
    Strip {
        /// At the beginning.
        left: bool,
        /// At the end.
        right: bool,
    },
    /// Puts `text` before a text that is not empty.
    Prepend {
        /// What to prepend.
        text: String,
    },
    /// Replaces every match of an automaton.
    Replace {
        /// Index of the automaton.
        automaton: u32,
        /// What a match becomes.
        content: String,
    },
    /// SentencePiece's precompiled character map.
    Charsmap {
        /// Index of the character map.
        charsmap: u32,
    },
    /// Every byte becomes its character of the GPT-2 byte alphabet.
    ByteAlphabet,
    /// All of SentencePiece's normalizer. Pieces that are found whole are left as they are.
    SentencePiece {
        /// Index of the character map, of which the longest matches count.
        charsmap: Option<u32>,
        /// Spaces at the ends are dropped, several become one.
        trim: bool,
        /// Which texts get a space of their own.
        prepend: PrependScheme,
        /// That space goes behind the text.
        behind: bool,
        /// What spaces are written as.
        mark: char,
    },
}

/// A cut of the text, applied to every piece the step before left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PreTokenizer {
    /// Cuts at the matches of an automaton.
    Split {
        /// Index of the automaton.
        automaton: u32,
        /// What happens to the matches.
        behavior: SplitBehavior,
        /// Swap matches and what lies between them.
        invert: bool,
    },
    /// A space before every piece that does not begin with one.
    PrefixSpace,
    /// Every byte becomes its character of the GPT-2 byte alphabet.
    ByteAlphabet,
    /// Spaces become `replacement`, which then marks the beginning of a word.
    Metaspace {
        /// The visible stand-in for a space.
        replacement: char,
        /// When it is put before a piece that does not begin with it.
        prepend: PrependScheme,
        /// Cut before every `replacement`.
        split: bool,
    },
    /// Pieces of a fixed number of characters.
    FixedLength {
        /// Characters in a piece, at least one.
        length: u32,
    },
}

/// What a split does with its matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBehavior {
    /// Dropped.
    Removed,
    /// A piece each.
    Isolated,
    /// Joined to the piece before.
    MergedWithPrevious,
    /// Joined to the piece after.
    MergedWithNext,
    /// Neighbouring matches are one piece.
    Contiguous,
}

/// When a word mark is prepended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrependScheme {
    /// To the piece at the beginning of the text.
    First,
    /// Never.
    Never,
    /// To every piece.
    Always,
}

/// How a word becomes ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Model {
    /// Byte-pair encoding.
    Bpe(Bpe),
    /// Unigram language model: the path with the best sum of scores.
    Unigram {
        /// Id of an unknown character.
        unk: Option<u32>,
        /// Score of an unknown character.
        unk_score: f64,
        /// Unknown characters are spelled in byte tokens where these exist.
        byte_fallback: bool,
        /// Sums are rounded as SentencePiece rounds them: to single precision.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        single: bool,
    },
    /// Greedy longest match first.
    WordPiece {
        /// Id of a word that cannot be spelled.
        unk: u32,
        /// Prefix of pieces inside a word.
        prefix: String,
        /// Longer words are unknown.
        max_chars: u32,
    },
    /// A word is a token or unknown.
    WordLevel {
        /// Id of every other word; without it such a word disappears.
        unk: Option<u32>,
    },
}

/// Options of byte-pair encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bpe {
    /// Symbols are bytes and pieces are stored as raw bytes; otherwise symbols are characters.
    #[serde(default)]
    pub byte_level: bool,
    /// Where the rank of a merge comes from.
    #[serde(default)]
    pub merges: MergeOrder,
    /// Unknown characters are spelled in byte tokens where these exist.
    #[serde(default)]
    pub byte_fallback: bool,
    /// A word that is a token stays whole, whatever the merges say.
    #[serde(default)]
    pub ignore_merges: bool,
    /// Id of an unknown character; without it such a character disappears.
    #[serde(default)]
    pub unk: Option<u32>,
    /// Neighbouring unknown characters are one token.
    #[serde(default)]
    pub fuse_unk: bool,
    /// Put before every symbol but the first when its id is looked up.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Put after the last symbol when its id is looked up.
    #[serde(default)]
    pub suffix: Option<String>,
    /// No piece holds this character after a different one, so a word may be cut before it
    /// without changing the result.
    #[serde(default)]
    pub word_mark: Option<char>,
}

/// Where the rank of a merge comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeOrder {
    /// The table of merges.
    #[default]
    Table,
    /// Any two neighbours that together are a piece merge, in the order of the pieces' ranks
    /// (SentencePiece).
    PieceRank,
}

/// What surrounds the encoded text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Around one text.
    pub single: Vec<TemplateItem>,
    /// Around a pair of texts.
    #[serde(default)]
    pub pair: Vec<TemplateItem>,
}

/// One member of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TemplateItem {
    /// A token.
    Token {
        /// Its id.
        id: u32,
        /// Its segment.
        type_id: u32,
    },
    /// The first text.
    First {
        /// Its segment.
        type_id: u32,
    },
    /// The second text.
    Second {
        /// Its segment.
        type_id: u32,
    },
}

/// A step from pieces back to text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoder {
    /// Pieces are bytes; all of them together are UTF-8, errors become U+FFFD. `alphabet`: the
    /// pieces are still spelled in the byte alphabet.
    ByteLevel {
        /// Whether each piece must first be translated from the byte alphabet.
        alphabet: bool,
    },
    /// Word marks become spaces, those of the first piece disappear.
    Metaspace {
        /// The word mark.
        replacement: char,
        /// Whether the first piece's word marks disappear.
        strip_first: bool,
    },
    /// Pieces inside a word lose their prefix, the others gain a space.
    WordPiece {
        /// Prefix of pieces inside a word.
        prefix: String,
        /// Undo the spaces before English punctuation and contractions.
        cleanup: bool,
    },
    /// A run of byte tokens becomes the text it spells, or one U+FFFD a token.
    ByteFallback,
    /// All pieces become one.
    Fuse,
    /// Drops up to so many `content` characters at the ends of a piece.
    Strip {
        /// The character to drop.
        content: char,
        /// How many at the beginning.
        start: u32,
        /// How many at the end.
        stop: u32,
    },
    /// Replaces every match of an automaton inside a piece.
    Replace {
        /// Index of the automaton.
        automaton: u32,
        /// What a match becomes.
        content: String,
    },
    /// The suffix becomes a space, or nothing in the last piece.
    Suffix {
        /// The suffix.
        suffix: String,
    },
    /// All of SentencePiece's decoding; the only step. Runs of byte tokens become the characters
    /// they spell and a U+FFFD for every other byte, word marks become spaces.
    SentencePiece {
        /// The first word mark disappears, if it stands at the beginning.
        strip_first: bool,
        /// All of those at the beginning do.
        strip_all: bool,
        /// What the unknown token becomes.
        unknown: String,
    },
}
