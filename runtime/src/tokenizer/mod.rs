//! Text to token ids and back.
//!
//! A [`Tokenizer`] runs the compiled form described in [`kinglet_formats::tokenizer`]: it borrows
//! its tables from the file and is cheap to open, to clone and to share between threads. Encoding
//! takes time linear in the text (`n log n` inside one very long word), whatever the text.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kinglet::tokenizer::{EncodeOptions, Tokenizer};
//!
//! let tokenizer = Tokenizer::from_bytes(&std::fs::read("tokenizer.section")?)?;
//! let ids = tokenizer.encode("Why is the sky blue?", EncodeOptions::default());
//! let mut stream = tokenizer.decode_stream(true);
//! let mut text = String::new();
//! for id in ids {
//!     text.push_str(stream.push(id)); // whole characters only
//! }
//! text.push_str(stream.finish());
//! # Ok(())
//! # }
//! ```

mod added;
mod bpe;
mod decode;
mod model;
mod normalize;
mod pretokenize;
mod unigram;
mod wordpiece;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use kinglet_formats::tokenizer::{
    FormatError, Layout, Normalizer, Tables, TemplateItem, TokenizerSpec, added_flags, flags,
};
use thiserror::Error;

use added::{AddedSet, Found};
pub use decode::DecodeStream;
use decode::Stage;
use model::{Lookup, Scratch};

/// Why a tokenizer cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenizerError {
    /// The section is damaged.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The section lies outside the bytes it is said to be in.
    #[error("tokenizer section {from}..{to} lies outside the file of {len} bytes")]
    OutOfRange {
        /// Where it begins.
        from: usize,
        /// Where it ends.
        to: usize,
        /// How many bytes there are.
        len: usize,
    },
    /// More steps than the runtime is willing to chain.
    #[error("tokenizer has {count} steps, at most {limit} are run")]
    TooManySteps {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

/// Bytes that stay where they are while a tokenizer uses them, such as a mapped file.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Surround the text with the tokens the model expects (BOS, `[CLS]`…).
    pub add_special: bool,
    /// Read the spelling of a special token inside the text as that token. Leave it off for text
    /// that comes from a user.
    pub parse_special: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions { add_special: true, parse_special: false }
    }
}

/// Ids with the segment each belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment of each id.
    pub type_ids: Vec<u32>,
}

/// A tokenizer, ready to use. Clones share everything.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

struct Inner {
    bytes: SharedBytes,
    section: Range<usize>,
    layout: Layout,
    spec: TokenizerSpec,
    /// Added tokens found in the text as it comes.
    added: AddedSet,
    /// Added tokens found in the normalized text.
    added_normalized: AddedSet,
    lookup: Lookup,
    stages: Vec<Stage>,
    /// Working memory of past calls, for the next ones.
    scratch: Mutex<Vec<Scratch>>,
}

/// Most steps of one kind.
const MAX_STEPS: usize = 64;

/// Working memory kept for later calls.
const MAX_IDLE_SCRATCH: usize = 16;

impl Tokenizer {
    /// Opens a section, keeping a copy of its bytes.
    pub fn from_bytes(section: &[u8]) -> Result<Tokenizer, TokenizerError> {
        let bytes: Arc<[u8]> = section.into();
        Tokenizer::from_shared(Arc::new(bytes), 0..section.len())
    }

    /// Opens the section that lies at `section` of `bytes`, without copying it.
    pub fn from_shared(
        bytes: SharedBytes,
        section: Range<usize>,
    ) -> Result<Tokenizer, TokenizerError> {
        let all = (*bytes).as_ref();
        let part = all.get(section.clone()).ok_or(TokenizerError::OutOfRange {
            from: section.start,
            to: section.end,
            len: all.len(),
        })?;
        let (layout, spec) = Layout::read(part)?;
        let steps = [spec.normalizers.len(), spec.pre_tokenizers.len(), spec.decoders.len()];
        if let Some(&count) = steps.iter().find(|&&count| count > MAX_STEPS) {
            return Err(TokenizerError::TooManySteps { count, limit: MAX_STEPS });
        }
        let tables = layout.tables(part);
        let (normalized, plain): (Vec<_>, Vec<_>) = (0..tables.n_added())
            .filter_map(|index| tables.added(index))
            .partition(|token| token.flags & added_flags::NORMALIZED != 0);
        let plain = plain.into_iter().map(|t| (Cow::Borrowed(t.content), t.id, t.flags));
        let normalized = normalized.into_iter().map(|t| {
            let content = normalize::normalize(&spec.normalizers, &layout, part, t.content);
            (content, t.id, t.flags)
        });
        let inner = Inner {
            added: AddedSet::new(plain),
            added_normalized: AddedSet::new(normalized),
            lookup: Lookup::new(&spec.model, &tables),
            stages: decode::stages(&spec.decoders),
            scratch: Mutex::new(Vec::new()),
            section,
            layout,
            spec,
            bytes: Arc::clone(&bytes),
        };
        Ok(Tokenizer { inner: Arc::new(inner) })
    }

    /// Token ids of a text.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Vec<u32> {
        let mut ids = Vec::new();
        self.encode_into(text, options, &mut ids);
        ids
    }

    /// Appends the token ids of a text to `ids`.
    pub fn encode_into(&self, text: &str, options: EncodeOptions, ids: &mut Vec<u32>) {
        let template = self.inner.spec.template.as_ref().filter(|_| options.add_special);
        let single = template.map_or(&[TemplateItem::First { type_id: 0 }][..], |t| &t.single);
        for item in single {
            match *item {
                TemplateItem::Token { id, .. } => ids.push(id),
                TemplateItem::First { .. } => {
                    self.inner.encode_text(text, options.parse_special, ids);
                }
                TemplateItem::Second { .. } => {}
            }
        }
    }

    /// Token ids of a text, of which the end is cut off where there would be more than
    /// `max_tokens`, special tokens included.
    pub fn encode_truncated(
        &self,
        text: &str,
        options: EncodeOptions,
        max_tokens: usize,
    ) -> Vec<u32> {
        let body = EncodeOptions { add_special: false, ..options };
        let n_special = self.encode("", options).len();
        let mut text_ids = self.encode(text, body);
        text_ids.truncate(max_tokens.saturating_sub(n_special));
        let template = self.inner.spec.template.as_ref().filter(|_| options.add_special);
        let Some(template) = template else { return text_ids };
        let mut ids = Vec::with_capacity(text_ids.len() + n_special);
        for item in &template.single {
            match *item {
                TemplateItem::Token { id, .. } => ids.push(id),
                TemplateItem::First { .. } => ids.extend_from_slice(&text_ids),
                TemplateItem::Second { .. } => {}
            }
        }
        ids
    }

    /// Token and segment ids of a pair of texts, such as a question and a passage.
    pub fn encode_pair(&self, first: &str, second: &str, options: EncodeOptions) -> Encoding {
        let template = self.inner.spec.template.as_ref().filter(|_| options.add_special);
        let plain = [TemplateItem::First { type_id: 0 }, TemplateItem::Second { type_id: 1 }];
        let mut encoding = Encoding::default();
        for item in template.map_or(&plain[..], |template| &template.pair) {
            let (text, segment) = match *item {
                TemplateItem::Token { id, type_id } => {
                    encoding.ids.push(id);
                    (None, type_id)
                }
                TemplateItem::First { type_id } => (Some(first), type_id),
                TemplateItem::Second { type_id } => (Some(second), type_id),
            };
            if let Some(text) = text {
                self.inner.encode_text(text, options.parse_special, &mut encoding.ids);
            }
            encoding.type_ids.resize(encoding.ids.len(), segment);
        }
        encoding
    }

    /// The text of token ids. Bytes that are no UTF-8 become U+FFFD; unknown ids are left out, and
    /// so are special tokens if `skip_special` is set.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = self.decode_stream(skip_special);
        let mut text = String::new();
        for &id in ids {
            text.push_str(stream.push(id));
        }
        text.push_str(stream.finish());
        text
    }

    /// Decodes one token after the other.
    pub fn decode_stream(&self, skip_special: bool) -> DecodeStream {
        DecodeStream::new(self.clone(), skip_special)
    }

    /// How a token is shown: its piece as stored, bytes that are no UTF-8 as U+FFFD.
    pub fn token(&self, id: u32) -> Option<Cow<'_, str>> {
        self.inner.tables().piece(id).map(String::from_utf8_lossy)
    }

    /// The id of an added token or a piece, as [`Tokenizer::token`] shows it.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        let tables = self.inner.tables();
        let added = (0..tables.n_added()).collect::<Vec<_>>();
        let found = added.binary_search_by(|&index| {
            tables.added(index).map_or("", |added| added.content).cmp(token)
        });
        match found {
            Ok(index) => tables.added(index).map(|added| added.id),
            Err(_) => tables.find(token.as_bytes()),
        }
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.inner.spec.roles.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.inner.spec.roles.eos
    }

    /// The token that stands for what the vocabulary cannot say.
    pub fn unk(&self) -> Option<u32> {
        self.inner.spec.roles.unk
    }

    /// The token that fills a batch.
    pub fn pad(&self) -> Option<u32> {
        self.inner.spec.roles.pad
    }

    /// Number of ids.
    pub fn vocab_size(&self) -> usize {
        self.inner.tables().n_pieces()
    }

    /// The special tokens that are found in a text with [`EncodeOptions::parse_special`].
    pub fn special_tokens(&self) -> impl Iterator<Item = (u32, Cow<'_, str>)> {
        (0..self.vocab_size() as u32)
            .filter(|&id| self.is_special(id))
            .filter_map(|id| Some((id, self.token(id)?)))
    }

    /// Whether a token is left out when special tokens are skipped.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner.tables().flags(id) & flags::SPECIAL != 0
    }
}

impl Inner {
    fn section(&self) -> &[u8] {
        (*self.bytes).as_ref().get(self.section.clone()).unwrap_or_default()
    }

    fn tables(&self) -> Tables<'_> {
        self.layout.tables(self.section())
    }

    fn encode_text(&self, text: &str, parse_special: bool, ids: &mut Vec<u32>) {
        let section = self.section();
        let words = Words {
            inner: self,
            section,
            tables: self.layout.tables(section),
            classes: self.layout.classes(section),
            parse_special,
        };
        let mut scratch = self.take_scratch();
        words.encode(text, &mut scratch, ids);
        self.keep_scratch(scratch);
    }

    fn take_scratch(&self) -> Scratch {
        let idle = self.scratch.lock().ok().and_then(|mut idle| idle.pop());
        idle.unwrap_or_default()
    }

    fn keep_scratch(&self, scratch: Scratch) {
        if let Ok(mut idle) = self.scratch.lock()
            && idle.len() < MAX_IDLE_SCRATCH
            && scratch.is_small()
        {
            idle.push(scratch);
        }
    }
}

/// One call's view of the tokenizer.
struct Words<'a> {
    inner: &'a Inner,
    section: &'a [u8],
    tables: Tables<'a>,
    classes: Option<kinglet_formats::tokenizer::ClassMap<'a>>,
    parse_special: bool,
}

impl Words<'_> {
    /// Added tokens are split off the text, the rest is normalized, the added tokens of normalized
    /// text are split off, and what remains is cut into words for the model.
    fn encode(&self, text: &str, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let normalizers: &[Normalizer] = &self.inner.spec.normalizers;
        for (found, at) in self.inner.added.split(text, self.parse_special, self.classes) {
            let raw = match found {
                Found::Token(id) => {
                    ids.push(id);
                    continue;
                }
                Found::Text(raw) => raw,
            };
            let normalized =
                normalize::normalize(normalizers, &self.inner.layout, self.section, raw);
            let parts =
                self.inner.added_normalized.split(&normalized, self.parse_special, self.classes);
            for (found, offset) in parts {
                match found {
                    Found::Token(id) => ids.push(id),
                    Found::Text(part) => {
                        self.encode_words(part, at == 0 && offset == 0, scratch, ids);
                    }
                }
            }
        }
    }

    fn encode_words(&self, text: &str, at_start: bool, scratch: &mut Scratch, ids: &mut Vec<u32>) {
        let mut pieces = std::mem::take(&mut scratch.pieces);
        let steps = &self.inner.spec.pre_tokenizers;
        let text = pieces.cut(steps, &self.inner.layout, self.section, text, at_start);
        for &(from, to) in pieces.spans() {
            if let Some(word) = text.get(from..to) {
                let model = &self.inner.spec.model;
                self.inner.lookup.encode_word(model, &self.tables, word, scratch, ids);
            }
        }
        drop(text);
        scratch.pieces = pieces;
    }
}
