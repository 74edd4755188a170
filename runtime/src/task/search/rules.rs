//! What an answer may go on with: rules on the scores of the next token, in the order in which
//! transformers applies its logits processors.

use kinglet_formats::kinglet::TextToText;

use super::scores::Scores;
use super::{SearchOptions, Source};

/// Tokens of an answer at most, unless the source is long or the model says more.
const DEFAULT_LENGTH: usize = 256;

/// The rules of a search.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) start: u32,
    forced_first: Option<u32>,
    forced_last: Option<u32>,
    suppressed: Vec<u32>,
    ends: Vec<u32>,
    repeat_penalty: f32,
    no_repeat_ngram: usize,
    min_length: usize,
    /// Tokens of an answer with its start, at most.
    pub(super) max_length: usize,
}

impl Rules {
    /// Those of a model that ends answers with `ends`, for an answer that begins with `forced_first`
    /// and has at most `longest` tokens.
    pub(super) fn new(
        own: &TextToText,
        ends: &[u32],
        repeat_penalty: Option<f32>,
        options: &SearchOptions,
        source: &Source,
        longest: usize,
    ) -> Self {
        // Where nothing is said, an answer that repeats itself must end.
        let usual = DEFAULT_LENGTH.max(3 * source.tokens.len());
        let of_model = own.max_length.map_or(usual, |n| n as usize);
        let wanted = options.max_tokens.map_or(of_model, |n| n.saturating_add(1));
        Self {
            start: own.start,
            forced_first: source.forced_first.or(own.forced_first),
            forced_last: own.forced_last,
            suppressed: own.suppressed.clone(),
            ends: ends.to_vec(),
            repeat_penalty: repeat_penalty.unwrap_or(1.0),
            no_repeat_ngram: own.no_repeat_ngram as usize,
            min_length: own.min_length as usize,
            max_length: wanted.min(longest).max(2),
        }
    }

    /// Whether an answer that has become `length` tokens long with `token` is over.
    pub(super) fn ends(&self, token: u32, length: usize) -> bool {
        self.is_end(token) || length >= self.max_length
    }

    /// The tokens that an answer may have to have.
    pub(super) fn needed(&self) -> impl Iterator<Item = u32> {
        let forced = [self.forced_first, self.forced_last].into_iter().flatten();
        self.ends.iter().copied().chain(forced)
    }

    /// Whether `token` is one that ends answers.
    pub(super) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// Number of tokens that end an answer.
    pub(super) fn n_ends(&self) -> usize {
        self.ends.len()
    }

    /// Changes the scores of the tokens that could follow `answer`, its start included.
    pub(super) fn apply(&self, answer: &[u32], scores: &mut Scores<'_>) {
        self.penalise(answer, scores);
        if self.no_repeat_ngram > 0 {
            let context = answer.len().saturating_sub(self.no_repeat_ngram - 1);
            let (_, suffix) = answer.split_at(context);
            if suffix.len() == self.no_repeat_ngram - 1 {
                for run in answer.windows(self.no_repeat_ngram) {
                    if run.starts_with(suffix) {
                        forbid(scores, run[self.no_repeat_ngram - 1]);
                    }
                }
            }
        }
        self.suppressed.iter().for_each(|&token| forbid(scores, token));
        if answer.len() < self.min_length {
            self.ends.iter().for_each(|&token| forbid(scores, token));
        }
        let forced = match answer.len() {
            1 => self.forced_first,
            _ => None,
        };
        let last = self.forced_last.filter(|_| answer.len() + 1 == self.max_length);
        for token in [forced, last].into_iter().flatten() {
            scores.values.fill(f32::NEG_INFINITY);
            if let Some(score) = scores.of(token) {
                *score = 0.0;
            }
        }
    }

    /// Tokens that there are already become less likely, each once.
    fn penalise(&self, answer: &[u32], scores: &mut Scores<'_>) {
        if self.repeat_penalty == 1.0 {
            return;
        }
        for (i, &token) in answer.iter().enumerate() {
            if let Some(score) = scores.of(token).filter(|_| !answer[..i].contains(&token)) {
                let penalty = self.repeat_penalty;
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
    }
}

fn forbid(scores: &mut Scores<'_>, token: u32) {
    if let Some(score) = scores.of(token) {
        *score = f32::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut TextToText)) -> Rules {
        let mut own = TextToText::greedy(0);
        change(&mut own);
        let source = Source { tokens: vec![1], forced_first: None };
        Rules::new(&own, &[1], None, &SearchOptions::default(), &source, 10)
    }

    fn applied(rules: &Rules, answer: &[u32]) -> Vec<f32> {
        let mut scores = vec![-1.0; 6];
        rules.apply(answer, &mut Scores { values: &mut scores, tokens: None });
        scores
    }

    fn forbidden(rules: &Rules, answer: &[u32]) -> Vec<usize> {
        let scores = applied(rules, answer);
        (0..scores.len()).filter(|&i| scores[i] == f32::NEG_INFINITY).collect()
    }

    #[test]
    fn runs_do_not_occur_twice() {
        let twice = rules(|own| own.no_repeat_ngram = 2);
        assert_eq!(forbidden(&twice, &[0, 3, 4, 3]), [4]);
        assert_eq!(forbidden(&twice, &[0]), [0usize; 0]);
        let three = rules(|own| own.no_repeat_ngram = 3);
        assert_eq!(forbidden(&three, &[0, 3, 4, 5, 3, 4]), [5]);
        assert_eq!(forbidden(&three, &[0, 3]), [0usize; 0]);
        let one = rules(|own| own.no_repeat_ngram = 1);
        assert_eq!(forbidden(&one, &[0, 3, 4]), [0, 3, 4]);
    }

    #[test]
    fn ends_wait_and_are_forced() {
        let short = rules(|own| own.min_length = 3);
        assert_eq!(forbidden(&short, &[0, 2]), [1]);
        assert_eq!(forbidden(&short, &[0, 2, 2]), [0usize; 0]);
        let last = rules(|own| (own.forced_last, own.max_length) = (Some(1), Some(4)));
        assert_eq!(forbidden(&last, &[0, 2]), [0usize; 0]);
        assert_eq!(forbidden(&last, &[0, 2, 2]), [0, 2, 3, 4, 5]);
        assert_eq!(applied(&last, &[0, 2, 2])[1], 0.0);
        let first = rules(|own| own.forced_first = Some(5));
        assert_eq!(forbidden(&first, &[0]), [0, 1, 2, 3, 4]);
        assert_eq!(forbidden(&first, &[0, 5]), [0usize; 0]);
    }

    #[test]
    fn repetition_is_penalised_once() {
        let mut penal = rules(|_| ());
        penal.repeat_penalty = 2.0;
        let mut scores = [-1.0, 3.0, -1.0];
        penal.apply(&[0, 1, 0, 1, 9], &mut Scores { values: &mut scores, tokens: None });
        assert_eq!(scores, [-2.0, 1.5, -1.0]);
    }
}
