//! Labels of texts, by a classifier that has learned them.

use kinglet_formats::spec::Scores;

use super::Task;
use super::pass::Sequence;
use crate::error::Error;
use crate::model::Model;
use crate::network::{BoundHead, BoundOutput};
use crate::tokenizer::{EncodeOptions, Encoding};

/// A label and how well it fits.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelScore {
    /// The label.
    pub label: String,
    /// A probability, or the bare logit for a model of quantities.
    pub score: f32,
}

/// How long a text is, and whether all of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLength {
    /// Tokens of the whole text, special ones included.
    pub tokens: usize,
    /// Whether the end was cut off, as the model takes no more.
    pub truncated: bool,
}

/// What a classifier says of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// Every label, the best first.
    pub scores: Vec<LabelScore>,
    /// Of the text, or of the longest pair that it was part of.
    pub length: TextLength,
}

/// What is cut off a pair that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The longer text first.
    Longer,
    /// The first text only.
    First,
}

impl Model {
    /// The names of a classifier's labels, in the order of its outputs; empty for other models.
    pub fn labels(&self) -> &[String] {
        &self.meta().labels
    }

    /// Scores of the model's labels for each text, in order. Texts longer than
    /// [`Model::text_tokens`] are cut, which the result says.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("sentiment.kinglet")?;
    /// let best = &model.classify(&["a delight from start to end"])?[0].scores[0];
    /// println!("{} {:.3}", best.label, best.score);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model classifies no texts, there are none, or memory runs out.
    pub fn classify<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<Classification>, Error> {
        let head = self.head_for(Task::Classify)?;
        let read: Vec<_> = texts.iter().map(|text| self.read_text(text.as_ref())).collect();
        self.classified(head, read)
    }

    /// The same for pairs of texts that belong together, such as a premise and a hypothesis.
    ///
    /// # Errors
    /// As [`Model::classify`].
    pub fn classify_pairs<A: AsRef<str>, B: AsRef<str>>(
        &self,
        pairs: &[(A, B)],
    ) -> Result<Vec<Classification>, Error> {
        let head = self.head_for(Task::Classify)?;
        let ids = |text: &str| self.tokenizer().encode(text, BARE);
        let read = pairs
            .iter()
            .map(|(a, b)| self.framed_pair(&ids(a.as_ref()), &ids(b.as_ref()), Cut::Longer));
        self.classified(head, read.collect())
    }

    fn classified(
        &self,
        head: &BoundHead,
        read: Vec<(Encoding, TextLength)>,
    ) -> Result<Vec<Classification>, Error> {
        let logits = self.label_logits(head, &read)?;
        let scored = logits.into_iter().zip(read).map(|(logits, (_, length))| {
            let scores = scores_of(head, &logits);
            Classification { scores: sorted(self.labels(), scores), length }
        });
        Ok(scored.collect())
    }

    /// The `[labels]` logits of each sequence.
    pub(super) fn label_logits(
        &self,
        head: &BoundHead,
        read: &[(Encoding, TextLength)],
    ) -> Result<Vec<Vec<f32>>, Error> {
        if read.is_empty() {
            return Err(Error::Empty { what: "the list of texts" });
        }
        let sequences: Vec<Sequence<'_>> =
            read.iter().map(|(encoding, _)| Sequence::of(encoding)).collect();
        let mut logits = vec![Vec::new(); sequences.len()];
        self.pass_all(head, &sequences, &|_| Vec::new(), &mut |text, _, row| {
            logits[text] = row.to_vec();
        })?;
        Ok(logits)
    }

    /// A text's tokens, cut to what the model takes.
    pub(super) fn read_text(&self, text: &str) -> (Encoding, TextLength) {
        let (tokenizer, limit) = (self.tokenizer(), self.text_tokens());
        let mut ids = tokenizer.encode(text, BARE);
        let room = limit.saturating_sub(tokenizer.frame_len(false));
        let tokens = ids.len() + tokenizer.frame_len(false);
        let truncated = ids.len() > room;
        ids.truncate(room);
        (tokenizer.frame(&ids, None), TextLength { tokens, truncated })
    }

    /// The tokens of a pair of texts, cut to what the model takes, with those around them.
    pub(super) fn framed_pair(&self, a: &[u32], b: &[u32], cut: Cut) -> (Encoding, TextLength) {
        let (tokenizer, limit) = (self.tokenizer(), self.text_tokens());
        let (mut a, mut b) = (a, b);
        let around = tokenizer.frame_len(true);
        let (tokens, room) = (a.len() + b.len() + around, limit.saturating_sub(around));
        let truncated = a.len() + b.len() > room;
        if truncated {
            let (n_a, n_b) = match cut {
                Cut::First => (room.saturating_sub(b.len()), room.min(b.len())),
                Cut::Longer => shares(a.len(), b.len(), room),
            };
            (a, b) = (&a[..n_a.min(a.len())], &b[..n_b.min(b.len())]);
        }
        (tokenizer.frame(a, Some(b)), TextLength { tokens, truncated })
    }
}

/// A text without the tokens that belong around it.
pub(super) const BARE: EncodeOptions = EncodeOptions { add_special: false, parse_special: false };

impl<'a> Sequence<'a> {
    pub(super) fn of(encoding: &'a Encoding) -> Self {
        Self { ids: &encoding.ids, type_ids: &encoding.type_ids, unpooled: 0 }
    }
}

/// Of two texts of `a` and `b` tokens, together more than `room`: what is kept of each. The longer one
/// is cut first, then both alike.
fn shares(a: usize, b: usize, room: usize) -> (usize, usize) {
    let (short, long) = (a.min(b), a.max(b));
    let half = room / 2;
    let (short, long) =
        if short > half { (half, room - half) } else { (short, (room - short).min(long)) };
    if a <= b { (short, long) } else { (long, short) }
}

/// What the logits of a classifier mean.
pub(super) fn scores_of(head: &BoundHead, logits: &[f32]) -> Vec<f32> {
    match head.output {
        BoundOutput::Labels { scores } => scored(scores, logits),
        _ => logits.to_vec(),
    }
}

/// What logits mean.
pub(super) fn scored(scores: Scores, logits: &[f32]) -> Vec<f32> {
    match scores {
        Scores::Softmax => softmax(logits),
        Scores::Sigmoid => {
            logits.iter().map(|&x| (1.0 / (1.0 + f64::from(-x).exp())) as f32).collect()
        }
        Scores::Raw => logits.to_vec(),
    }
}

/// `exp(x_i) / sum of exp(x)`.
pub(super) fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - max).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}

/// Labels with their scores, the best first; of equals the one that comes first.
pub(super) fn sorted(labels: &[String], scores: Vec<f32>) -> Vec<LabelScore> {
    let mut all: Vec<LabelScore> = labels
        .iter()
        .zip(scores)
        .map(|(label, score)| LabelScore { label: label.clone(), score })
        .collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_pair() {
        // As the reference's `longest_first`.
        assert_eq!(shares(3, 50, 20), (3, 17));
        assert_eq!(shares(50, 3, 20), (17, 3));
        assert_eq!(shares(50, 40, 21), (11, 10));
        assert_eq!(shares(40, 50, 21), (10, 11));
        assert_eq!(shares(10, 11, 20), (10, 10));
        assert_eq!(shares(5, 5, 0), (0, 0));
    }

    #[test]
    fn softmax_of_large_logits() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(softmax(&[-1000.0, 1000.0]), [0.0, 1.0]);
    }
}
