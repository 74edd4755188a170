//! Whole sequences through an encoder and one of its heads: long ones first, packed into batches
//! without padding.

use crate::error::Error;
use crate::model::Model;
use crate::network::{BoundHead, BoundInput, BoundPool};
use crate::step::{Batch, pool};

/// Tokens that go through the network together, where no text is longer.
pub(super) const BATCH_TOKENS: usize = 512;

/// Numbers that a head gives at once, for a few rows of a large vocabulary.
const HEAD_NUMBERS: usize = 1 << 20;

/// The tokens of a text or a pair of texts, special ones included.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    pub(super) ids: &'a [u32],
    /// Segment of each token; of those beyond its end, 0.
    pub(super) type_ids: &'a [u32],
    /// Rows at the beginning that are left out when rows become one; of short ones, all but the last.
    pub(super) unpooled: usize,
}

impl Model {
    /// Gives `each` what `head` makes of every sequence: its number, a row's number in it and
    /// `[width]` numbers. A head that pools has one row, number 0, for each sequence; another one has
    /// those that `rows_of` the sequence's number names.
    ///
    /// # Errors
    /// If a sequence is empty, longer than the context or of unknown segments, or memory runs out.
    pub(super) fn pass_all(
        &self,
        head: &BoundHead,
        sequences: &[Sequence<'_>],
        rows_of: &dyn Fn(usize) -> Vec<usize>,
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error> {
        let type_ids = self.check(head, sequences)?;
        // Long ones first: what they need is allocated once, and batches fill up well.
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(sequences[i].ids.len()));
        let longest = order.first().map_or(0, |&longest| sequences[longest].ids.len());
        let capacity = longest.max(BATCH_TOKENS);

        let mut rest = &order[..];
        while !rest.is_empty() {
            let (mut n, mut n_rows) = (0, 0);
            while n < rest.len() && n_rows + sequences[rest[n]].ids.len() <= capacity {
                n_rows += sequences[rest[n]].ids.len();
                n += 1;
            }
            let (now, later) = rest.split_at(n);
            let fill = |to: &mut Batch| {
                for &i in now {
                    let Sequence { ids, type_ids: own, .. } = sequences[i];
                    to.push_passing(ids, if type_ids { own } else { &[] });
                }
            };
            let unpooled = |i: usize| sequences[now[i]].unpooled;
            match &head.pool {
                Some(pool) => {
                    self.pass_pooled((head, pool), capacity, now, fill, &unpooled, each)?;
                }
                None => self.pass_rows(head, capacity, now, fill, rows_of, each)?,
            }
            rest = later;
        }
        Ok(())
    }

    /// Sequences numbered `batch`, which fit a step of `capacity` rows, to one row each.
    pub(super) fn pass_pooled(
        &self,
        (head, pooling): (&BoundHead, &BoundPool),
        capacity: usize,
        batch: &[usize],
        fill: impl FnOnce(&mut Batch),
        unpooled: &dyn Fn(usize) -> usize,
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error> {
        let runner = self.runner();
        let hidden = runner.network.stacks[head.stack].hidden_size;
        let mut pooled = vec![0.0; batch.len() * pooling.width];
        runner.pass(head.stack, capacity, fill, &|| true, |rows| {
            let segments = &rows.batch().segments;
            let outs = segments.iter().zip(pooled.chunks_exact_mut(pooling.width));
            for (i, (segment, out)) in outs.enumerate() {
                let own = &rows.hidden()[segment.rows.start * hidden..segment.rows.end * hidden];
                let skipped = unpooled(i).min(segment.rows.len() - 1);
                pool(rows.ops(), pooling, own, hidden, skipped, out);
            }
            Ok(())
        })?;
        let mut out = vec![0.0; batch.len() * head.width];
        runner.head(head, &pooled, batch.len(), &mut out)?;
        let made = batch.iter().zip(out.chunks_exact(head.width));
        made.for_each(|(&sequence, row)| each(sequence, 0, row));
        Ok(())
    }

    /// The same to the rows that are asked for.
    fn pass_rows(
        &self,
        head: &BoundHead,
        capacity: usize,
        batch: &[usize],
        fill: impl FnOnce(&mut Batch),
        rows_of: &dyn Fn(usize) -> Vec<usize>,
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error> {
        self.runner().pass(head.stack, capacity, fill, &|| true, |rows| {
            // Sequence, row in it, row in the batch.
            let mut wanted: Vec<(usize, usize, usize)> = Vec::new();
            for (segment, &sequence) in rows.batch().segments.iter().zip(batch) {
                let rows = rows_of(sequence).into_iter().filter(|row| *row < segment.rows.len());
                wanted.extend(rows.map(|row| (sequence, row, segment.rows.start + row)));
            }
            let at_once = (HEAD_NUMBERS / head.width).clamp(1, capacity);
            let mut out = vec![0.0; at_once.min(wanted.len()) * head.width];
            for some in wanted.chunks(at_once) {
                let out = &mut out[..some.len() * head.width];
                rows.head(head, some.iter().map(|&(.., row)| row), out)?;
                for (&(sequence, row, _), out) in some.iter().zip(out.chunks_exact(head.width)) {
                    each(sequence, row, out);
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Whether segments matter to the stack that `head` reads; an error if it cannot take a sequence.
    fn check(&self, head: &BoundHead, sequences: &[Sequence<'_>]) -> Result<bool, Error> {
        let stack = &self.runner().network.stacks[head.stack];
        let n_segments = match &stack.input {
            BoundInput::Tokens(tokens) => tokens.segments.map_or(0, |(_, rows)| rows),
            BoundInput::Patches(_) | BoundInput::Spectrogram(_) | BoundInput::Samples(_) => 0,
        };
        let context_length = stack.max_positions;
        for Sequence { ids, type_ids, .. } in sequences {
            if ids.is_empty() {
                return Err(Error::Empty { what: "a text" });
            }
            if ids.len() > context_length {
                return Err(Error::ContextFull { used: 0, wanted: ids.len(), context_length });
            }
            let largest = type_ids.iter().copied().max().unwrap_or(0);
            // Where there is one segment, texts of all are of it.
            if n_segments > 1 && largest as usize >= n_segments {
                return Err(Error::SegmentOutOfRange { segment: largest, n_segments });
            }
        }
        Ok(n_segments > 1)
    }
}
