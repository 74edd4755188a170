//! Steps of several answers at once.

use std::collections::VecDeque;

use super::beams::{Beams, Hypothesis};
use super::rules::Rules;
use super::scores::{self, Scores};
use super::shortlist;
use super::{Search, Source, TokenAnswer};
use crate::error::Error;
use crate::kernels::Kernels;
use crate::kv::{KvSequence, KvType};
use crate::memory::Room;
use crate::ops::{ChosenRows, Ops};
use crate::step::{Batch, Other};
use crate::task::argmax;

/// Most beams in one step.
const MAX_ROWS: usize = 64;
/// Logits of one step, at most, unless one text has more.
const MAX_LOGITS: usize = 4 << 20;
/// Tokens of sources that are read together, unless one has more.
const SOURCE_TOKENS: usize = 512;

/// A text that is being answered.
struct Text {
    /// Its number among the sources.
    index: usize,
    rules: Rules,
    beams: Beams,
    /// Keys and values of each running beam.
    kv: Vec<KvSequence>,
    /// Keys and values of the source, and its number of tokens.
    source: KvSequence,
    n_source: usize,
    /// The tokens that may answer it, where not all may.
    chosen: Option<ChosenRows>,
}

impl Text {
    /// Tokens of its answers that have been computed, in every beam.
    fn n_past(&self) -> usize {
        self.beams.running[0].tokens.len() - 1
    }

    /// Tokens that may come next, of `vocab`.
    fn n_tokens(&self, vocab: usize) -> usize {
        self.chosen.as_ref().map_or(vocab, |chosen| chosen.rows().len())
    }

    /// Logits of a step.
    fn n_logits(&self, vocab: usize) -> usize {
        self.kv.len() * self.n_tokens(vocab)
    }
}

impl Search<'_> {
    pub(super) fn run(
        &self,
        sources: &[Source],
        keep_going: &dyn Fn() -> bool,
        each: &mut dyn FnMut(usize, TokenAnswer) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        self.check(sources)?;
        let runner = self.model.runner();
        let vocab = self.model.vocab_size();
        let max_rows = MAX_ROWS.min(MAX_LOGITS / vocab).max(self.n_beams);
        let longest = sources.iter().map(|source| source.tokens.len()).max().unwrap_or(0);
        runner.prepare(max_rows.max(SOURCE_TOKENS).max(longest))?;
        // Texts of about one length are read together, and their answers end at about one time.
        let mut order: Vec<usize> = (0..sources.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(sources[i].tokens.len()));
        let mut waiting = VecDeque::from(order);
        let mut active: Vec<Text> = Vec::new();
        let mut logits: Vec<f32> = Vec::new();
        let mut scratch: Vec<f32> = Vec::new();
        loop {
            let free = max_rows / self.n_beams - active.len();
            if free > 0
                && !waiting.is_empty()
                && !self.read(sources, &mut waiting, free, keep_going, &mut active)?
            {
                return Ok(false);
            }
            if active.is_empty() {
                return Ok(true);
            }
            let n_logits = active.iter().map(|text| text.n_logits(vocab)).sum();
            if logits.len() < n_logits {
                // Beams and texts come and go: so that it does not grow each time.
                let ample = n_logits.next_power_of_two();
                drop(std::mem::take(&mut logits));
                logits = Room::real().zeroed(ample)?;
            }
            let logits = &mut logits[..n_logits];
            if !self.step(&mut active, keep_going, logits)? {
                return Ok(false);
            }
            let mut logits = logits;
            let mut going_on = Vec::with_capacity(active.len());
            for mut text in active {
                let (own, rest) = logits.split_at_mut(text.n_logits(vocab));
                logits = rest;
                match self.advance(&mut text, own, &mut scratch)? {
                    None => going_on.push(text),
                    Some(found) => each(text.index, found)?,
                }
            }
            active = going_on;
        }
    }

    fn check(&self, sources: &[Source]) -> Result<(), Error> {
        let network = &self.model.runner().network;
        let context_length = network.stacks[self.encoder].max_positions;
        for Source { tokens, .. } in sources {
            if tokens.is_empty() {
                return Err(Error::Empty { what: "a source text" });
            }
            if tokens.len() > context_length {
                return Err(Error::ContextFull { used: 0, wanted: tokens.len(), context_length });
            }
        }
        Ok(())
    }

    /// Reads the next sources, at most `free`, in one pass of the encoder. `false` if given up.
    fn read(
        &self,
        sources: &[Source],
        waiting: &mut VecDeque<usize>,
        free: usize,
        keep_going: &dyn Fn() -> bool,
        active: &mut Vec<Text>,
    ) -> Result<bool, Error> {
        let runner = self.model.runner();
        let reader = &runner.network.stacks[self.decoder];
        let (mut now, mut n_rows) = (Vec::new(), 0);
        while let Some(&i) = waiting.front().filter(|_| now.len() < free) {
            let n = sources[i].tokens.len();
            if n_rows > 0 && n_rows + n > SOURCE_TOKENS {
                break;
            }
            n_rows += n;
            now.push(i);
            waiting.pop_front();
        }
        let layout = runner.other_layout(self.decoder, KvType::F16);
        let mut memories = Vec::with_capacity(now.len());
        for &i in &now {
            let mut memory = KvSequence::new(layout.clone());
            memory.reserve(runner.kernels, 0, sources[i].tokens.len())?;
            memories.push(memory);
        }
        let fill = |batch: &mut Batch| {
            now.iter().for_each(|&i| batch.push_passing(&sources[i].tokens, &[]));
        };
        let done = runner.pass(self.encoder, n_rows, fill, keep_going, |rows| {
            rows.store_for(reader, &mut memories);
            Ok(())
        })?;
        if done.is_none() {
            return Ok(false);
        }
        let moments = runner.moments.as_ref();
        let ops = Ops { kernels: runner.kernels, file: &runner.file, moments };
        for (&index, source) in now.iter().zip(memories) {
            let rules = self.rules(&sources[index]);
            let chosen = match runner.network.logits() {
                Some(head) => shortlist::choose(ops, head, &sources[index].tokens, rules.needed())?,
                None => None,
            };
            active.push(Text {
                index,
                rules,
                chosen,
                beams: self.beams(),
                kv: vec![KvSequence::new(runner.own_layout(self.decoder, KvType::F16))],
                source,
                n_source: sources[index].tokens.len(),
            });
        }
        Ok(true)
    }

    /// Computes the last token of every beam, and the logits after it. `false` if given up.
    fn step(
        &self,
        active: &mut [Text],
        keep_going: &dyn Fn() -> bool,
        logits: &mut [f32],
    ) -> Result<bool, Error> {
        let runner = self.model.runner();
        let Some(head) = runner.network.logits() else {
            return Err(Error::Empty { what: "the head" });
        };
        let limit = self.model.context_length();
        let (mut memories, mut chosen, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        // Token, tokens before it, memory, source.
        let mut rows = Vec::new();
        for text in active.iter_mut() {
            let n_past = text.n_past();
            let source = memories.len();
            memories.push(&mut text.source);
            if let Some(rows_of) = &text.chosen {
                chosen.push((rows.len(), rows_of));
                ends.push(ends.last().unwrap_or(&0) + text.kv.len() * rows_of.rows().len());
            }
            for (kv, beam) in text.kv.iter_mut().zip(&text.beams.running) {
                kv.reserve(runner.kernels, n_past, n_past + 1)?;
                let other = Other { memory: source, slots: 0..text.n_source };
                rows.push((beam.tokens[n_past], n_past, memories.len(), other));
                memories.push(kv);
            }
        }
        let fill = |batch: &mut Batch| {
            for (token, n_past, memory, other) in &rows {
                batch.push_tokens(&[*token], *n_past, limit, *memory, Some(other.clone()));
            }
        };
        let done =
            runner.step(self.decoder, rows.len(), &mut memories, fill, keep_going, |out| {
                let chosen = (!chosen.is_empty()).then_some((&chosen[..], &ends[..]));
                out.chosen(head, 0..rows.len(), chosen, logits)
            })?;
        active.iter_mut().flat_map(|text| &mut text.kv).for_each(KvSequence::commit);
        Ok(done.is_some())
    }

    /// Goes on by one token; gives the answer if that was the last.
    fn advance(
        &self,
        text: &mut Text,
        logits: &mut [f32],
        scratch: &mut Vec<f32>,
    ) -> Result<Option<TokenAnswer>, Error> {
        let kernels = self.model.runner().kernels;
        let n = logits.len() / text.kv.len();
        let tokens = text.chosen.as_ref().map(ChosenRows::rows);
        if self.n_beams == 1 {
            return Ok(greedy(kernels, self.length_penalty, text, logits, scratch));
        }
        for (row, beam) in logits.chunks_exact_mut(n).zip(&text.beams.running) {
            let total = log_sum_exp(kernels, row, scratch);
            row.iter_mut().for_each(|x| *x -= total);
            text.rules.apply(&beam.tokens, &mut Scores { values: row, tokens });
        }
        let n_past = text.n_past() + 1;
        let steps = text.beams.advance(&text.rules, logits, tokens);
        if steps.is_empty() {
            let beams = std::mem::replace(&mut text.beams, self.beams());
            return Ok(beams.best().map(|best| found(&text.rules, best)));
        }
        text.kv = next_memories(kernels, std::mem::take(&mut text.kv), &steps, n_past)?;
        Ok(None)
    }
}

/// The likeliest token goes on.
fn greedy(
    kernels: &Kernels,
    length_penalty: f32,
    text: &mut Text,
    logits: &mut [f32],
    scratch: &mut Vec<f32>,
) -> Option<TokenAnswer> {
    let total = log_sum_exp(kernels, logits, scratch);
    let tokens = text.chosen.as_ref().map(ChosenRows::rows);
    let beam = &mut text.beams.running[0];
    text.rules.apply(&beam.tokens, &mut Scores { values: logits, tokens });
    let best = argmax(logits) as usize;
    let token = scores::token(tokens, best);
    beam.score += logits[best] - total;
    beam.tokens.push(token);
    let length = beam.tokens.len();
    if !text.rules.ends(token, length) {
        return None;
    }
    let tokens = std::mem::take(&mut beam.tokens);
    let score = beam.score / ((length - 1) as f32).powf(length_penalty);
    Some(found(&text.rules, Hypothesis { tokens, score }))
}

fn found(rules: &Rules, hypothesis: Hypothesis) -> TokenAnswer {
    let Hypothesis { mut tokens, score } = hypothesis;
    let ended = tokens.last().is_some_and(|&token| rules.is_end(token));
    if ended {
        tokens.pop();
    }
    tokens.remove(0);
    TokenAnswer { tokens, score, ended }
}

/// `ln(sum of exp(x))`; `scratch` is overwritten.
fn log_sum_exp(kernels: &Kernels, x: &[f32], scratch: &mut Vec<f32>) -> f32 {
    scratch.clear();
    scratch.extend_from_slice(x);
    let (max, sum) = (kernels.softmax_exp)(scratch);
    max + sum.ln()
}

/// Each new beam's keys and values: those of the beam that it comes from, which the last to ask for
/// them gets, and the others a fork of them.
fn next_memories(
    kernels: &Kernels,
    now: Vec<KvSequence>,
    steps: &[(usize, u32)],
    n_positions: usize,
) -> Result<Vec<KvSequence>, Error> {
    let mut now: Vec<Option<KvSequence>> = now.into_iter().map(Some).collect();
    let mut next = Vec::with_capacity(steps.len());
    for (i, &(from, _)) in steps.iter().enumerate() {
        let last = steps[i + 1..].iter().all(|&(other, _)| other != from);
        let memory = match (last, &mut now[from]) {
            (true, memory) => memory.take(),
            (false, Some(memory)) => Some(memory.fork(kernels, n_positions)?),
            (false, None) => None,
        };
        next.extend(memory);
    }
    Ok(next)
}
