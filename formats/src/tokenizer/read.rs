//! Reads a tokenizer section: checks it once, then borrows its tables.

use std::ops::Range;

use super::{
    Automaton, Charsmap, ClassMap, Decoder, FormatError, MAX_ADDED_LEN, MAX_PIECE_LEN, MAX_PIECES,
    MAX_SPEC_LEN, MergeOrder, Model, Normalizer, PreTokenizer, Tables, TemplateItem, TokenizerSpec,
    VERSION, words::U32s,
};

/// Kinds of parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Part {
    Spec = 1,
    PieceOffsets = 2,
    PieceBytes = 3,
    PieceFlags = 4,
    PieceIndex = 5,
    Merges = 6,
    Ranks = 7,
    Scores = 8,
    PrefixFilter = 9,
    AddedOffsets = 10,
    AddedBytes = 11,
    AddedIds = 12,
    AddedFlags = 13,
    Classes = 14,
    GivenIds = 15,
    Automaton = 16,
    Charsmap = 17,
}

/// The parts that occur at most once, by `kind - 1`.
const SINGLE: [(Part, &str); 15] = [
    (Part::Spec, "spec"),
    (Part::PieceOffsets, "piece offsets"),
    (Part::PieceBytes, "piece bytes"),
    (Part::PieceFlags, "piece flags"),
    (Part::PieceIndex, "piece index"),
    (Part::Merges, "merges"),
    (Part::Ranks, "ranks"),
    (Part::Scores, "scores"),
    (Part::PrefixFilter, "prefix filter"),
    (Part::AddedOffsets, "added offsets"),
    (Part::AddedBytes, "added bytes"),
    (Part::AddedIds, "added ids"),
    (Part::AddedFlags, "added flags"),
    (Part::Classes, "character classes"),
    (Part::GivenIds, "given ids"),
];

const HEADER: usize = 16;
const RECORD: usize = 24;

/// Where the parts of a checked section lie. Holds no reference, so that whoever owns the bytes
/// can keep it beside them and ask for [`Tables`] when needed.
#[derive(Clone, Debug)]
pub struct Layout {
    single: [Range<usize>; SINGLE.len()],
    automata: Vec<Range<usize>>,
    charsmaps: Vec<Range<usize>>,
    len: usize,
    max_piece_len: usize,
}

impl Layout {
    /// Reads and checks a section.
    pub fn read(section: &[u8]) -> Result<(Layout, TokenizerSpec), FormatError> {
        let mut layout = Layout::locate(section)?;
        let spec = layout.part(section, Part::Spec);
        if spec.len() > MAX_SPEC_LEN {
            let (what, count) = ("bytes of spec", spec.len());
            return Err(FormatError::TooMany { what, count, limit: MAX_SPEC_LEN });
        }
        let spec: TokenizerSpec = serde_json::from_slice(spec)
            .map_err(|e| FormatError::BadSpec { reason: e.to_string() })?;
        layout.check_pieces(section)?;
        layout.check_added(section)?;
        for range in &layout.automata {
            Automaton::read(&section[range.clone()])?;
        }
        for range in &layout.charsmaps {
            Charsmap::read(&section[range.clone()])?;
        }
        if !layout.part(section, Part::Classes).is_empty() {
            ClassMap::read(layout.part(section, Part::Classes))?;
        }
        layout.check_spec(section, &spec)?;
        Ok((layout, spec))
    }

    /// The tables of the section this layout was read from. Over any other bytes the tables are
    /// empty or meaningless, but safe to use.
    pub fn tables<'a>(&self, section: &'a [u8]) -> Tables<'a> {
        let part = |part| self.part(section, part);
        Tables {
            piece_offsets: U32s::new(part(Part::PieceOffsets)),
            piece_bytes: part(Part::PieceBytes),
            piece_flags: part(Part::PieceFlags),
            piece_index: part(Part::PieceIndex).as_chunks().0,
            merges: part(Part::Merges).as_chunks().0,
            ranks: U32s::new(part(Part::Ranks)),
            scores: part(Part::Scores).as_chunks().0,
            prefix_filter: part(Part::PrefixFilter),
            given_ids: U32s::new(part(Part::GivenIds)),
            added_offsets: U32s::new(part(Part::AddedOffsets)),
            added_bytes: part(Part::AddedBytes),
            added_ids: U32s::new(part(Part::AddedIds)),
            added_flags: part(Part::AddedFlags),
            max_piece_len: self.max_piece_len,
        }
    }

    /// The automaton with this index.
    pub fn automaton<'a>(&self, section: &'a [u8], index: u32) -> Option<Automaton<'a>> {
        let range = self.automata.get(index as usize)?;
        Automaton::borrow(section.get(range.clone())?)
    }

    /// The character map with this index.
    pub fn charsmap<'a>(&self, section: &'a [u8], index: u32) -> Option<Charsmap<'a>> {
        let range = self.charsmaps.get(index as usize)?;
        Charsmap::read(section.get(range.clone())?).ok()
    }

    /// The character classes, if the section has them.
    pub fn classes<'a>(&self, section: &'a [u8]) -> Option<ClassMap<'a>> {
        ClassMap::borrow(self.part(section, Part::Classes))
    }

    fn part<'a>(&self, section: &'a [u8], part: Part) -> &'a [u8] {
        let range = self.single.get(part as usize - 1).cloned().unwrap_or(0..0);
        section.get(range).unwrap_or_default()
    }

    fn locate(section: &[u8]) -> Result<Layout, FormatError> {
        let short = |expected| FormatError::WrongLength { expected, found: section.len() as u64 };
        if !section.starts_with(b"KTOK") {
            return Err(FormatError::NotATokenizer);
        }
        let header: &[u8; HEADER] = section.first_chunk().ok_or(short(HEADER as u64))?;
        let version = u16::from_le_bytes([header[4], header[5]]);
        let n_parts = u16::from_le_bytes([header[6], header[7]]) as usize;
        let len = u64_at(header, 8);
        if !(1..=VERSION).contains(&version) {
            return Err(FormatError::UnknownVersion { found: version });
        }
        if len != section.len() as u64 {
            return Err(short(len));
        }
        let mut free_from = HEADER + n_parts * RECORD;
        let records = section.get(HEADER..free_from).ok_or(short(free_from as u64))?;

        let mut layout = Layout {
            single: std::array::from_fn(|_| 0..0),
            automata: Vec::new(),
            charsmaps: Vec::new(),
            len: section.len(),
            max_piece_len: 0,
        };
        let mut seen = [false; SINGLE.len()];
        for record in records.chunks_exact(RECORD) {
            let kind = U32s::new(record).at(0);
            let name = match kind {
                16 => "automaton",
                17 => "character map",
                _ => match SINGLE.get((kind as usize).wrapping_sub(1)) {
                    Some(&(_, name)) => name,
                    None => return Err(FormatError::UnknownPart { kind }),
                },
            };
            let range = layout
                .range(u64_at(record, 8), u64_at(record, 16), free_from)
                .ok_or(FormatError::MisplacedPart { part: name })?;
            free_from = range.end;
            match kind {
                16 => layout.automata.push(range),
                17 => layout.charsmaps.push(range),
                _ => {
                    let index = kind as usize - 1;
                    if seen[index] {
                        return Err(FormatError::RepeatedPart { part: name });
                    }
                    seen[index] = true;
                    layout.single[index] = range;
                }
            }
        }
        Ok(layout)
    }

    /// The range of a part that must begin at the first multiple of 8 that is free.
    fn range(&self, offset: u64, len: u64, free_from: usize) -> Option<Range<usize>> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(usize::try_from(len).ok()?)?;
        (offset == free_from.next_multiple_of(8) && end <= self.len).then_some(offset..end)
    }

    fn expect_len(&self, section: &[u8], part: Part, expected: usize) -> Result<(), FormatError> {
        let found = self.part(section, part).len();
        if found == expected {
            return Ok(());
        }
        Err(FormatError::WrongPartLength { part: SINGLE[part as usize - 1].1, expected, found })
    }

    fn check_pieces(&mut self, section: &[u8]) -> Result<(), FormatError> {
        let n = self.n_pieces(section);
        if n > MAX_PIECES {
            return Err(FormatError::TooMany { what: "pieces", count: n, limit: MAX_PIECES });
        }
        self.expect_len(section, Part::PieceOffsets, (n + 1) * 4)?;
        self.expect_len(section, Part::PieceFlags, n)?;
        let index_len = self.part(section, Part::PieceIndex).len();
        self.expect_len(section, Part::PieceIndex, index_len / 8 * 8)?;
        let given = self.part(section, Part::GivenIds);
        if !given.is_empty() {
            self.expect_len(section, Part::GivenIds, n * 4)?;
            if let Some(entry) = U32s::new(given).iter().position(|id| id as usize >= n) {
                return Err(FormatError::BadEntry { part: "given ids", entry });
            }
        }
        let merges_len = self.part(section, Part::Merges).len();
        self.expect_len(section, Part::Merges, merges_len / 16 * 16)?;
        self.max_piece_len = check_offsets(
            "piece offsets",
            self.part(section, Part::PieceOffsets),
            self.part(section, Part::PieceBytes).len(),
            MAX_PIECE_LEN,
        )?;
        Ok(())
    }

    fn check_added(&self, section: &[u8]) -> Result<(), FormatError> {
        let n = self.part(section, Part::AddedFlags).len();
        self.expect_len(section, Part::AddedOffsets, (n + 1) * 4)?;
        self.expect_len(section, Part::AddedIds, n * 4)?;
        let bytes = self.part(section, Part::AddedBytes);
        let offsets = self.part(section, Part::AddedOffsets);
        check_offsets("added offsets", offsets, bytes.len(), MAX_ADDED_LEN)?;
        let tables = self.tables(section);
        let mut previous = "";
        for entry in 0..n {
            // Ascending order also rules out empty contents and contents that occur twice.
            let sound = tables.added(entry).is_some_and(|token| {
                let sound = previous < token.content && (token.id as usize) < tables.n_pieces();
                previous = token.content;
                sound
            });
            if !sound {
                return Err(FormatError::BadEntry { part: "added tokens", entry });
            }
        }
        Ok(())
    }

    fn n_pieces(&self, section: &[u8]) -> usize {
        (self.part(section, Part::PieceOffsets).len() / 4).saturating_sub(1)
    }

    fn check_spec(&self, section: &[u8], spec: &TokenizerSpec) -> Result<(), FormatError> {
        let n = self.n_pieces(section);
        let dangling = |what, index, count| FormatError::DanglingIndex { what, index, count };
        let token = |id: u32| {
            if (id as usize) < n { Ok(()) } else { Err(dangling("token", id, n)) }
        };
        let automaton = |index: u32| {
            let count = self.automata.len();
            if (index as usize) < count { Ok(()) } else { Err(dangling("automaton", index, count)) }
        };
        for normalizer in &spec.normalizers {
            match *normalizer {
                Normalizer::Replace { automaton: index, .. } => automaton(index)?,
                Normalizer::Charsmap { charsmap }
                | Normalizer::SentencePiece { charsmap: Some(charsmap), .. }
                    if charsmap as usize >= self.charsmaps.len() =>
                {
                    return Err(dangling("character map", charsmap, self.charsmaps.len()));
                }
                Normalizer::Bert { .. } if self.classes(section).is_none() => {
                    return Err(FormatError::MissingPart { part: "character classes" });
                }
                _ => {}
            }
        }
        for step in &spec.pre_tokenizers {
            match *step {
                PreTokenizer::Split { automaton: index, .. } => automaton(index)?,
                PreTokenizer::FixedLength { length: 0 } => {
                    return Err(FormatError::BadSpec { reason: "pieces of length 0".into() });
                }
                _ => {}
            }
        }
        for step in &spec.decoders {
            match *step {
                Decoder::Replace { automaton: index, .. } => automaton(index)?,
                Decoder::SentencePiece { .. } if spec.decoders.len() > 1 => {
                    let reason = "SentencePiece's decoding beside other steps".into();
                    return Err(FormatError::BadSpec { reason });
                }
                _ => {}
            }
        }
        match &spec.model {
            Model::Bpe(bpe) => {
                bpe.unk.map_or(Ok(()), token)?;
                if bpe.merges == MergeOrder::PieceRank {
                    self.expect_len(section, Part::Ranks, n * 4)?;
                }
            }
            Model::Unigram { unk, .. } => {
                unk.map_or(Ok(()), token)?;
                self.expect_len(section, Part::Scores, n * 8)?;
            }
            Model::WordPiece { unk, .. } => token(*unk)?,
            Model::WordLevel { unk } => unk.map_or(Ok(()), token)?,
        }
        let template = spec.template.iter().flat_map(|t| t.single.iter().chain(&t.pair));
        for item in template {
            if let TemplateItem::Token { id, .. } = *item {
                token(id)?;
            }
        }
        let roles = [spec.roles.bos, spec.roles.eos, spec.roles.unk, spec.roles.pad];
        roles.into_iter().flatten().try_for_each(token)
    }
}

/// Checks that offsets ascend from 0 to `len`, and gives the longest entry.
fn check_offsets(
    part: &'static str,
    offsets: &[u8],
    len: usize,
    longest: usize,
) -> Result<usize, FormatError> {
    let (mut previous, mut max) = (0u32, 0u32);
    for (entry, offset) in U32s::new(offsets).iter().enumerate() {
        if offset < previous || (entry == 0 && offset != 0) {
            return Err(FormatError::BadEntry { part, entry });
        }
        max = max.max(offset - previous);
        previous = offset;
    }
    if previous as usize != len || max as usize > longest {
        return Err(FormatError::BadEntry { part, entry: offsets.len() / 4 });
    }
    Ok(max as usize)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}
