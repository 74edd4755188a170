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
mod empty;
mod found;
mod frame;
mod lookup;
mod model;
mod normalize;
mod pretokenize;
mod sentencepiece;
mod token_bytes;
mod traced;
mod unigram;
mod utf8;
mod wordpiece;
mod words;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use kinglet_formats::tokenizer::{
    FormatError, Layout, Model, Tables, TemplateItem, TokenizerSpec, added_flags, flags,
};
use thiserror::Error;

use added::{AddedSet, Specials};
pub use decode::DecodeStream;
use decode::Stage;
use lookup::Lookup;
use model::Scratch;
pub use traced::TextToken;
pub(crate) use words::Place;
use words::Words;

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
    /// Where the ids of the first and of the second text stand.
    pub texts: [Range<usize>; 2],
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
        let lookup = Lookup::new(&spec.model, &tables);
        let context = normalize::Context { layout: &layout, section: part, whole: &lookup.whole };
        let steps = &spec.normalizers;
        let normalized = normalized.into_iter().map(|t| {
            let content = normalize::normalize_at(Place::Start, steps, context, t.content);
            (content, t.id, t.flags)
        });
        let (added, added_normalized) = (AddedSet::new(plain), AddedSet::new(normalized));
        let inner = Inner {
            added,
            added_normalized,
            lookup,
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
                    let place = (Place::Start, None);
                    self.inner.encode_text(text, options.parse_special.into(), place, ids);
                }
                TemplateItem::Second { .. } => {}
            }
        }
    }

    /// Token ids of a text that stands at `place`, special tokens parsed but not added. Where
    /// `mark` stands in the text, no token is found across it; the marks themselves are no text.
    pub(crate) fn encode_marked(&self, text: &str, place: Place, mark: char) -> Vec<u32> {
        let mut ids = Vec::new();
        self.inner.encode_text(text, Specials::All, (place, Some(mark)), &mut ids);
        ids
    }

    /// Token ids of a text, without those around it, in which the special token `special` is found
    /// and no other.
    pub(crate) fn encode_with(&self, text: &str, special: u32) -> Vec<u32> {
        let mut ids = Vec::new();
        self.inner.encode_text(text, Specials::One(special), (Place::Start, None), &mut ids);
        ids
    }

    /// Whether a token is one of those that are found whole in a text.
    pub(crate) fn is_added(&self, id: u32) -> bool {
        let tables = self.inner.tables();
        (0..tables.n_added()).any(|index| tables.added(index).is_some_and(|added| added.id == id))
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

    /// The bytes that a token stands for within a text; none for an unknown one.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        token_bytes::bytes_of(self, id)
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
        let of_model = match &self.inner.spec.model {
            Model::WordPiece { unk, .. } => Some(*unk),
            Model::Bpe(bpe) => bpe.unk,
            Model::Unigram { unk, .. } | Model::WordLevel { unk } => *unk,
        };
        self.inner.spec.roles.unk.or(of_model)
    }

    /// The token that stands for a gap in a text.
    pub fn mask(&self) -> Option<u32> {
        self.inner.spec.roles.mask
    }

    /// Whether tokens inside of words are spelled with a prefix.
    pub(crate) fn marks_inside_of_words(&self) -> bool {
        match &self.inner.spec.model {
            Model::WordPiece { prefix, .. } => !prefix.is_empty(),
            Model::Bpe(bpe) => bpe.prefix.as_deref().is_some_and(|prefix| !prefix.is_empty()),
            _ => false,
        }
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

    fn normalizing(&self) -> normalize::Context<'_> {
        let (layout, section) = (&self.layout, self.section());
        normalize::Context { layout, section, whole: &self.lookup.whole }
    }

    fn tables(&self) -> Tables<'_> {
        self.layout.tables(self.section())
    }

    fn encode_text(
        &self,
        text: &str,
        specials: Specials,
        (place, mark): (Place, Option<char>),
        ids: &mut Vec<u32>,
    ) {
        let context = self.normalizing();
        let words = Words {
            inner: self,
            context,
            tables: self.layout.tables(context.section),
            classes: self.layout.classes(context.section),
            specials,
            place,
            mark,
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
