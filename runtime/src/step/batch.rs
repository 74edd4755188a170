//! The rows of one step: segments of one sequence or of several, where they stand and what they see.

use std::ops::Range;

use super::Watch;
use crate::limits::SPAN;
use crate::team::RowRuns;

/// Query rows handled by one attention item.
pub(crate) const QUERY_ROWS: usize = 32;

/// Consecutive rows of one sequence.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Its rows in the batch.
    pub(crate) rows: Range<usize>,
    /// Number of the memory that keeps its keys and values, among those handed to the step.
    pub(crate) memory: usize,
    /// Slots of the memory that belong to its sequence, the rows of this segment last.
    pub(crate) slots: Range<usize>,
    /// Most positions its sequence may reach, on which rotations can depend.
    pub(crate) limit: usize,
    /// What it reads of another stack, if its stack reads one.
    pub(crate) other: Option<Other>,
}

/// Keys and values of another stack's rows.
#[derive(Clone, Debug)]
pub(crate) struct Other {
    /// Number of the memory among those handed to the step.
    pub(crate) memory: usize,
    /// Slots that the segment sees, all of them.
    pub(crate) slots: Range<usize>,
}

/// Rows that go into one span of one memory.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) memory: usize,
    pub(crate) span: usize,
    pub(crate) rows: Range<usize>,
}

/// Rows of one step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// `[m]` token ids; empty where something else is fed.
    pub(crate) tokens: Vec<u32>,
    /// `[m]` rows of the segment table, below its size; empty where no tokens are fed.
    pub(crate) type_ids: Vec<u32>,
    /// `[images][patches][patch_len]` values of patches; empty where something else is fed.
    pub(crate) patches: Vec<f32>,
    /// `[spectrograms][frames][n_mels]`, or the samples of one sound; empty where something else is fed.
    pub(crate) frames: Vec<f32>,
    /// `[m]` positions within their sequences.
    pub(crate) positions: Vec<u32>,
    /// `[m]` places in their memories.
    pub(crate) slots: Vec<u32>,
    /// Segments in the order of their rows.
    pub(crate) segments: Vec<Segment>,
    /// Runs of rows of one segment of several rows, at most [`QUERY_ROWS`] long. Others are cut by
    /// positions: which of the two a segment is never depends on who is beside it.
    pub(crate) query_blocks: RowRuns,
    /// Where keys and values go.
    pub(crate) writes: Vec<Write>,
    /// Heads whose scores are wanted.
    pub(crate) watch: Option<Watch>,
}

impl Batch {
    /// An empty batch with room for `m` rows.
    pub(crate) fn with_capacity(m: usize) -> Self {
        Self {
            tokens: Vec::with_capacity(m),
            type_ids: Vec::with_capacity(m),
            patches: Vec::new(),
            frames: Vec::new(),
            positions: Vec::with_capacity(m),
            slots: Vec::with_capacity(m),
            segments: Vec::with_capacity(4),
            query_blocks: RowRuns::with_capacity(m / QUERY_ROWS + 64),
            writes: Vec::with_capacity(m / SPAN + 4),
            watch: None,
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Removes all rows.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.type_ids.clear();
        self.patches.clear();
        self.frames.clear();
        self.positions.clear();
        self.slots.clear();
        self.segments.clear();
        self.query_blocks.clear();
        self.writes.clear();
        self.watch = None;
    }

    /// Adds tokens of a sequence of at most `limit`, of which `n_past` are stored in memory number
    /// `memory`.
    pub(crate) fn push_tokens(
        &mut self,
        tokens: &[u32],
        n_past: usize,
        limit: usize,
        memory: usize,
        other: Option<Other>,
    ) {
        self.tokens.extend_from_slice(tokens);
        self.type_ids.resize(self.tokens.len(), 0);
        let slots = 0..n_past + tokens.len();
        self.push_rows(tokens.len(), Segment { rows: 0..0, memory, slots, limit, other });
    }

    /// Adds a whole new sequence of tokens to the passing memory number 0, after those before it.
    /// Within a span it stands as it would stand alone, so that its results are the same. Rows
    /// beyond `type_ids` are of segment 0.
    pub(crate) fn push_passing(&mut self, tokens: &[u32], type_ids: &[u32]) {
        let base = self.passing_base(tokens.len());
        self.tokens.extend_from_slice(tokens);
        self.type_ids.extend_from_slice(type_ids);
        self.type_ids.resize(self.tokens.len(), 0);
        self.push_whole(tokens.len(), base);
    }

    /// The same for an image of `n_rows` rows, of which `patches` are the last.
    pub(crate) fn push_image(&mut self, patches: &[f32], n_rows: usize) {
        let base = self.passing_base(n_rows);
        self.patches.extend_from_slice(patches);
        self.push_whole(n_rows, base);
    }

    /// The same for a spectrogram of which `n_rows` rows are made.
    pub(crate) fn push_spectrogram(&mut self, frames: &[f32], n_rows: usize) {
        let base = self.passing_base(n_rows);
        self.frames.extend_from_slice(frames);
        self.push_whole(n_rows, base);
    }

    /// The same for the samples of a sound, the only one of its batch, of which `n_rows` rows are made.
    pub(crate) fn push_samples(&mut self, samples: &[f32], n_rows: usize) {
        let base = self.passing_base(n_rows);
        self.frames.extend_from_slice(samples);
        self.push_whole(n_rows, base);
    }

    /// Slots in use of the passing memory when the batch has been stored.
    pub(crate) fn passing_slots(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.slots.end)
    }

    /// First slot of a sequence of `n`: a panel of its own, and no span's end within it unless it
    /// begins with a span.
    fn passing_base(&self, n: usize) -> usize {
        let next = self.passing_slots().next_multiple_of(8);
        if next % SPAN + n <= SPAN { next } else { next.next_multiple_of(SPAN) }
    }

    /// Adds a sequence of `n` rows, all there will be, from slot `base` of memory 0 on.
    fn push_whole(&mut self, n: usize, base: usize) {
        let segment =
            Segment { rows: 0..0, memory: 0, slots: base..base + n, limit: n, other: None };
        self.push_rows(n, segment);
    }

    /// Adds `n` rows that take the last of the segment's slots.
    fn push_rows(&mut self, n: usize, mut segment: Segment) {
        let (first_row, memory) = (self.len(), segment.memory);
        for slot in segment.slots.end - n..segment.slots.end {
            let row = self.len();
            self.positions.push((slot - segment.slots.start) as u32);
            self.slots.push(slot as u32);
            match self.writes.last_mut() {
                Some(last) if (last.memory, last.span) == (memory, slot / SPAN) => {
                    last.rows.end = row + 1;
                }
                _ => self.writes.push(Write { memory, span: slot / SPAN, rows: row..row + 1 }),
            }
        }
        segment.rows = first_row..self.len();
        self.query_blocks.skip_to(first_row);
        if n > 1 {
            self.query_blocks.extend(n, QUERY_ROWS);
        }
        self.segments.push(segment);
    }

    /// The segment that row `row` belongs to.
    pub(crate) fn segment_of(&self, row: usize) -> &Segment {
        &self.segments[self.segments.partition_point(|segment| segment.rows.end <= row)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_sequences_stand_in_spans_as_alone() {
        let mut batch = Batch::default();
        for n in [5, 16, 100, 128, 129, 3, 300] {
            batch.push_passing(&vec![0; n], &[]);
        }
        let slots: Vec<_> = batch.segments.iter().map(|s| (s.slots.start, s.slots.end)).collect();
        let expected = [(0, 5), (8, 24), (24, 124), (128, 256), (256, 385), (392, 395), (512, 812)];
        assert_eq!(slots, expected);
        for (row, slot) in batch.slots.iter().enumerate() {
            let write = batch.writes.iter().find(|write| write.rows.contains(&row)).unwrap();
            assert_eq!(write.span, *slot as usize / SPAN);
            assert!(batch.segment_of(row).slots.contains(&(*slot as usize)));
        }
    }

    #[test]
    fn single_rows_are_not_among_the_blocks() {
        let mut batch = Batch::default();
        batch.push_tokens(&[1], 7, 64, 0, None);
        batch.push_tokens(&[1; 40], 3, 64, 1, None);
        batch.push_tokens(&[1], 0, 64, 2, None);
        assert_eq!(batch.query_blocks.iter().cloned().collect::<Vec<_>>(), [1..33, 33..41]);
        let writes: Vec<_> = batch.writes.iter().map(|w| (w.memory, w.rows.clone())).collect();
        assert_eq!(writes, [(0, 0..1), (1, 1..41), (2, 41..42)]);
    }
}
