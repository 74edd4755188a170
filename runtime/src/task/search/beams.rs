//! Search by beams, as transformers does it for one text.

use kinglet_formats::kinglet::EarlyStopping;

use super::rules::Rules;
use super::scores;

/// An unfinished or finished answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hypothesis {
    /// Its tokens, the start included.
    pub(super) tokens: Vec<u32>,
    /// Sum of log-probabilities; of finished ones divided by the length to the power of the penalty.
    pub(super) score: f32,
}

/// How the next beams come from the present ones: the present one's number and the token.
pub(super) type Step = (usize, u32);

/// The beams of one text.
#[derive(Debug)]
pub(super) struct Beams {
    n_beams: usize,
    length_penalty: f32,
    early_stopping: EarlyStopping,
    pub(super) running: Vec<Hypothesis>,
    finished: Vec<Hypothesis>,
    /// Whether unfinished answers may still become better than finished ones.
    open: bool,
    candidates: Vec<(f32, usize, u32)>,
}

impl Beams {
    pub(super) fn new(
        start: u32,
        n_beams: usize,
        length_penalty: f32,
        early_stopping: EarlyStopping,
    ) -> Self {
        Self {
            n_beams,
            length_penalty,
            early_stopping,
            running: vec![Hypothesis { tokens: vec![start], score: 0.0 }],
            finished: Vec::new(),
            open: true,
            candidates: Vec::new(),
        }
    }

    /// The best answer, which is unfinished only where none has ended.
    pub(super) fn best(mut self) -> Option<Hypothesis> {
        match self.finished.is_empty() {
            true => self.running.into_iter().next(),
            false => Some(self.finished.swap_remove(0)),
        }
    }

    /// Goes on by one token. `log_probs` `[running][tokens]`, of all tokens or those that are given, have
    /// been changed by the rules. Gives where each of the new beams comes from; none at the end.
    pub(super) fn advance(
        &mut self,
        rules: &Rules,
        log_probs: &[f32],
        tokens: Option<&[u32]>,
    ) -> Vec<Step> {
        let vocab = log_probs.len() / self.running.len();
        // So many that enough unfinished ones are among them.
        let keep = (1 + rules.n_ends()).max(2) * self.n_beams;
        self.candidates.clear();
        for (beam, (row, from)) in log_probs.chunks_exact(vocab).zip(&self.running).enumerate() {
            best_of(row, beam, from.score, keep, &mut self.candidates);
        }
        for (.., token) in &mut self.candidates {
            *token = scores::token(tokens, *token as usize);
        }
        let length = self.running[0].tokens.len() + 1;
        let over = |token| rules.ends(token, length);
        let full =
            self.early_stopping == EarlyStopping::Full && self.finished.len() == self.n_beams;
        // Of those that end, only the best count.
        for i in 0..self.candidates.len().min(self.n_beams) {
            let (score, beam, token) = self.candidates[i];
            if over(token) && self.open && !full {
                let mut tokens = self.running[beam].tokens.clone();
                tokens.push(token);
                let score = score / ((length - 1) as f32).powf(self.length_penalty);
                self.finish(Hypothesis { tokens, score });
            }
        }
        let going_on = self.candidates.iter().filter(|(.., token)| !over(*token));
        let next: Vec<(f32, usize, u32)> = going_on.take(self.n_beams).copied().collect();
        let running = next.iter().map(|&(score, beam, token)| {
            let mut tokens = self.running[beam].tokens.clone();
            tokens.push(token);
            Hypothesis { tokens, score }
        });
        let running: Vec<_> = running.collect();
        if running.is_empty() {
            return Vec::new();
        }
        self.running = running;
        self.open &= self.could_improve(rules, length);
        let full =
            self.early_stopping == EarlyStopping::Full && self.finished.len() == self.n_beams;
        if !self.open || full {
            return Vec::new();
        }
        next.into_iter().map(|(_, beam, token)| (beam, token)).collect()
    }

    /// Adds a finished answer behind those that are as good, and keeps the best.
    fn finish(&mut self, hypothesis: Hypothesis) {
        let at = self.finished.partition_point(|other| other.score >= hypothesis.score);
        self.finished.insert(at, hypothesis);
        self.finished.truncate(self.n_beams);
    }

    fn could_improve(&self, rules: &Rules, length: usize) -> bool {
        let Some(worst) = self.finished.get(self.n_beams - 1) else { return true };
        let longest = match self.early_stopping {
            EarlyStopping::Never if self.length_penalty > 0.0 => rules.max_length - 1,
            _ => length - 1,
        };
        self.running[0].score / (longest as f32).powf(self.length_penalty) > worst.score
    }
}

/// Adds the best `keep` of a row, by their places in it, to those that there are, which are in order, and keeps as many.
fn best_of(row: &[f32], beam: usize, before: f32, keep: usize, best: &mut Vec<(f32, usize, u32)>) {
    let mut least = match best.get(keep - 1) {
        Some(&(score, ..)) => score,
        None => f32::NEG_INFINITY,
    };
    for (token, &log_prob) in row.iter().enumerate() {
        let score = before + log_prob;
        // Of equal ones the first stays.
        if score > least {
            let at = best.partition_point(|&(other, ..)| other >= score);
            best.insert(at, (score, beam, token as u32));
            best.truncate(keep);
            if best.len() == keep {
                least = best[keep - 1].0;
            }
        }
    }
}
