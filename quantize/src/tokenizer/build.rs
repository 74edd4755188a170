//! Brings steps, vocabulary and merges together into a section.

use std::collections::{HashMap, HashSet};

use kinglet_formats::tokenizer::{
    AddedToken, Bpe, Charsmap, Contents, Decoder, MAX_PIECES, Merge, MergeOrder, Model, Normalizer,
    Piece, PreTokenizer, Roles, Template, TokenizerSpec, added_flags, flags, letter_byte, write,
};

use super::{CompileError, chars, pattern};

/// The word mark of SentencePiece.
pub(super) const WORD_MARK: char = '\u{2581}';

/// GPT-2's rule for cutting text into words.
pub(super) const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A tokenizer on its way from a source to a section.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) normalizers: Vec<Normalizer>,
    pub(super) pre_tokenizers: Vec<PreTokenizer>,
    pub(super) decoders: Vec<Decoder>,
    pub(super) template: Option<Template>,
    pub(super) model: Model,
    pub(super) roles: Roles,
    /// Pieces of the model by id.
    pub(super) vocab: Vec<Option<String>>,
    /// Merges as pairs of pieces, most important first.
    pub(super) merges: Vec<(String, String)>,
    pub(super) ranks: Vec<u32>,
    pub(super) scores: Vec<f64>,
    pub(super) added: Vec<AddedToken>,
    /// Flags of pieces beyond what their tokens say.
    pub(super) flags: HashMap<u32, u8>,
    /// Pieces that no text has, whatever it spells.
    pub(super) hidden: HashSet<u32>,
    /// Ids that texts get for pieces, where they are others.
    pub(super) given: HashMap<u32, u32>,
    automata: Vec<Vec<u8>>,
    pub(super) charsmaps: Vec<Vec<u8>>,
}

impl Builder {
    pub(super) fn new(model: Model) -> Builder {
        Builder {
            normalizers: Vec::new(),
            pre_tokenizers: Vec::new(),
            decoders: Vec::new(),
            template: None,
            model,
            roles: Roles::default(),
            vocab: Vec::new(),
            merges: Vec::new(),
            ranks: Vec::new(),
            scores: Vec::new(),
            added: Vec::new(),
            flags: HashMap::new(),
            hidden: HashSet::new(),
            given: HashMap::new(),
            automata: Vec::new(),
            charsmaps: Vec::new(),
        }
    }

    /// Gives the model's piece `id` its text.
    pub(super) fn set_piece(&mut self, id: u64, piece: String) -> Result<(), CompileError> {
        let index = id as usize;
        if id >= MAX_PIECES as u64 {
            return Err(CompileError::IdTooLarge { id, limit: MAX_PIECES });
        }
        if self.vocab.len() <= index {
            self.vocab.resize(index + 1, None);
        }
        self.vocab[index] = Some(piece);
        Ok(())
    }

    /// Index of the automaton for a regular expression.
    pub(super) fn regex(&mut self, regex: &str) -> Result<u32, CompileError> {
        let bytes = pattern::compile(regex)?;
        Ok(self.automaton(bytes))
    }

    /// Index of the automaton for a literal text.
    pub(super) fn literal(&mut self, text: &str) -> Result<u32, CompileError> {
        let bytes = pattern::compile_literal(text)?;
        Ok(self.automaton(bytes))
    }

    /// Index of the automaton for one character of a kind.
    pub(super) fn class(&mut self, is_member: impl Fn(char) -> bool) -> Result<u32, CompileError> {
        let bytes = pattern::compile_class(is_member)?;
        Ok(self.automaton(bytes))
    }

    fn automaton(&mut self, bytes: Vec<u8>) -> u32 {
        let known = self.automata.iter().position(|known| *known == bytes);
        known.unwrap_or_else(|| {
            self.automata.push(bytes);
            self.automata.len() - 1
        }) as u32
    }

    /// Ids of the model's pieces. Of equal pieces the last counts.
    pub(super) fn ids(&self) -> HashMap<&str, u32> {
        let pieces = self.vocab.iter().zip(0..);
        pieces.filter_map(|(piece, id)| Some((piece.as_deref()?, id))).collect()
    }

    /// The id of an added token or a piece.
    pub(super) fn find(&self, token: &str) -> Option<u32> {
        let added = self.added.iter().find(|added| added.content == token).map(|added| added.id);
        let piece = || self.vocab.iter().rposition(|piece| piece.as_deref() == Some(token));
        added.or_else(|| piece().map(|id| id as u32))
    }

    /// Spellings of special tokens. Hugging Face goes by the spelling when it skips special tokens:
    /// a second piece spelled like one is special as well.
    fn special(&self) -> HashSet<&str> {
        let special = |token: &&AddedToken| token.flags & added_flags::SPECIAL != 0;
        self.added.iter().filter(special).map(|token| token.content.as_str()).collect()
    }

    /// The bytes of the finished section.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, CompileError> {
        if self.vocab.iter().all(Option::is_none) {
            return Err(CompileError::EmptyVocabulary);
        }
        for charsmap in &self.charsmaps {
            Charsmap::read(charsmap)?;
        }
        let merges = self.merge_ids()?;
        let byte_level = self.use_raw_bytes();
        self.find_word_mark();
        let pieces = self.pieces(byte_level);
        let needs_classes = self.normalizers.iter().any(|n| matches!(n, Normalizer::Bert { .. }))
            || self.added.iter().any(|token| token.flags & added_flags::SINGLE_WORD != 0);
        let contents = Contents {
            spec: TokenizerSpec {
                normalizers: self.normalizers,
                pre_tokenizers: self.pre_tokenizers,
                model: self.model,
                template: self.template,
                decoders: self.decoders,
                roles: self.roles,
            },
            ranks: resized(self.ranks, pieces.len(), u32::MAX),
            scores: resized(self.scores, pieces.len(), 0.0),
            given: match self.given.is_empty() {
                true => Vec::new(),
                false => {
                    let own = 0..pieces.len() as u32;
                    own.map(|id| self.given.get(&id).copied().unwrap_or(id)).collect()
                }
            },
            pieces,
            merges,
            added: self.added,
            classes: if needs_classes { chars::class_table() } else { Vec::new() },
            automata: self.automata,
            charsmaps: self.charsmaps,
        };
        Ok(write(&contents)?)
    }

    fn merge_ids(&self) -> Result<Vec<Merge>, CompileError> {
        let (ids, special) = (self.ids(), self.special());
        let id = |piece: &str| {
            ids.get(piece).copied().ok_or_else(|| CompileError::UnknownToken {
                role: "the merge part",
                token: piece.to_owned(),
            })
        };
        let prefix = match &self.model {
            Model::Bpe(Bpe { prefix: Some(prefix), .. }) => prefix.as_str(),
            _ => "",
        };
        let mut merges: HashMap<(u32, u32), Merge> = HashMap::with_capacity(self.merges.len());
        for (rank, (left, right)) in (0..).zip(&self.merges) {
            // The right piece loses the mark of a piece inside a word.
            let tail = right.get(prefix.len()..).unwrap_or_default();
            let merged = format!("{left}{tail}");
            if special.contains(merged.as_str()) && is_marker(&merged) {
                continue;
            }
            let merged = id(&merged)?;
            let (left, right) = (id(left)?, id(right)?);
            merges.insert((left, right), Merge { left, right, rank, merged });
        }
        let mut merges: Vec<Merge> = merges.into_values().collect();
        merges.sort_unstable_by_key(|merge| merge.rank);
        Ok(merges)
    }

    /// Where the byte alphabet is only a detour (every word is spelled in it right before the
    /// model and read back right behind), the model can work on bytes.
    fn use_raw_bytes(&mut self) -> bool {
        let Model::Bpe(bpe) = &mut self.model else { return false };
        let is_alphabet = |step: &PreTokenizer| *step == PreTokenizer::ByteAlphabet;
        let ascii = |text: &Option<String>| text.as_ref().is_none_or(|text| text.is_ascii());
        let fits = self.pre_tokenizers.iter().position(is_alphabet)
            == self.pre_tokenizers.len().checked_sub(1)
            && !self.pre_tokenizers.is_empty()
            && !self.normalizers.contains(&Normalizer::ByteAlphabet)
            && self.decoders == [Decoder::ByteLevel { alphabet: true }]
            && !bpe.byte_fallback
            && ascii(&bpe.prefix)
            && ascii(&bpe.suffix);
        if fits {
            self.pre_tokenizers.pop();
            self.decoders = vec![Decoder::ByteLevel { alphabet: false }];
            bpe.byte_level = true;
        }
        fits
    }

    fn find_word_mark(&mut self) {
        let cuts_inside = |piece: &str| {
            let mut chars = piece.chars().peekable();
            std::iter::from_fn(|| Some((chars.next()?, *chars.peek()?)))
                .any(|(c, next)| c != WORD_MARK && next == WORD_MARK)
        };
        let Model::Bpe(bpe) = &mut self.model else { return };
        let plain = !bpe.byte_level && bpe.prefix.is_none() && bpe.suffix.is_none();
        let mark = WORD_MARK.to_string();
        let is_name = |id: &u32| self.flags.get(id).is_some_and(|piece| piece & flags::NAME != 0);
        let pieces = self.vocab.iter().zip(0..).filter(|(_, id)| !is_name(id));
        let has_mark = pieces.filter_map(|(piece, _)| piece.as_ref()).any(|piece| *piece == mark);
        // How an unused piece is taken apart depends on the whole text.
        let unused = self.flags.values().any(|piece| piece & flags::UNUSED != 0);
        if plain
            && has_mark
            && !unused
            && !self.vocab.iter().flatten().any(|piece| cuts_inside(piece))
        {
            bpe.word_mark = Some(WORD_MARK);
        }
    }

    fn pieces(&mut self, byte_level: bool) -> Vec<Piece> {
        let last_added = self.added.iter().map(|token| token.id as usize + 1).max();
        let n = self.vocab.len().max(last_added.unwrap_or(0));
        let mut pieces: Vec<Piece> = vec![Piece { flags: flags::ABSENT, ..Piece::default() }; n];
        let spelled = |text: &str| text.chars().map(letter_byte).collect::<Option<Vec<u8>>>();
        let stored = |text: &str| match byte_level.then(|| spelled(text)).flatten() {
            Some(bytes) => (bytes, true),
            None => (text.as_bytes().to_vec(), !byte_level),
        };
        let ids = self.ids();
        let special = self.special();
        for (id, text) in self.vocab.iter().enumerate() {
            let Some(text) = text else { continue };
            let (bytes, findable) = stored(text);
            let indexed =
                findable && !text.is_empty() && ids.get(text.as_str()) == Some(&(id as u32));
            let is_special = special.contains(text.as_str());
            let hidden = (is_special && is_marker(text)) || self.hidden.contains(&(id as u32));
            let indexed = indexed && !hidden;
            let own = self.flags.get(&(id as u32)).copied().unwrap_or_default();
            let flags = own | if is_special { flags::SPECIAL } else { 0 };
            pieces[id] = Piece { bytes, flags, indexed };
        }
        for token in &self.added {
            let piece = &mut pieces[token.id as usize];
            let in_model = piece.flags & flags::ABSENT == 0;
            // Decoding shows the added content.
            piece.bytes = stored(&token.content).0;
            let own = self.flags.get(&token.id).copied().unwrap_or_default();
            piece.flags = if in_model { own } else { flags::ADDED };
            if token.flags & added_flags::SPECIAL != 0 {
                piece.flags |= flags::SPECIAL;
            }
        }
        pieces
    }

    /// Any two neighbours that together are one of these pieces merge, best score first; equal
    /// scores are equal ranks.
    pub(super) fn merge_by_score(&mut self, mut pieces: Vec<(u32, f32)>) {
        if let Model::Bpe(bpe) = &mut self.model {
            bpe.merges = MergeOrder::PieceRank;
        }
        pieces.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        self.ranks = vec![u32::MAX; self.vocab.len()];
        let (mut rank, mut previous) = (0, None);
        for (id, score) in pieces {
            let is_new = previous.replace(score).is_some_and(|last| score.total_cmp(&last).is_ne());
            rank += u32::from(is_new);
            self.ranks[id as usize] = rank;
        }
    }
}

/// Whether a special token must not come out of the model: text that spells it is text unless the
/// caller asks for special tokens, and then they are cut out before. Single characters and the
/// names of bytes stay, since the model needs them for ordinary text.
fn is_marker(special: &str) -> bool {
    special.chars().nth(1).is_some() && !special.starts_with("<0x")
}

fn resized<T: Clone>(mut values: Vec<T>, len: usize, fill: T) -> Vec<T> {
    if !values.is_empty() {
        values.resize(len, fill);
    }
    values
}
