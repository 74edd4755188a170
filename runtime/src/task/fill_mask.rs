//! Tokens for the gaps of a text.

use super::Task;
use super::classify::softmax;
use super::pass::Sequence;
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::Encoding;

/// A token for a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// The token as text.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// Its probability.
    pub score: f32,
    /// The text with this token in the gap, as the tokenizer writes texts; other gaps stay.
    pub text: String,
}

/// A text with gaps, as tokens.
struct Gapped {
    /// The text's own tokens.
    ids: Vec<u32>,
    encoding: Encoding,
    /// Rows of the gaps.
    rows: Vec<usize>,
}

impl Model {
    /// The `k` likeliest tokens for each mask of a text, the likeliest first. A mask is spelled as
    /// [`Model::mask`] says.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("bert.kinglet")?;
    /// let fills = &model.fill_mask("The capital of France is [MASK].", 3)?[0];
    /// println!("{}", fills[0].token);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model fills no masks, the text has none or is longer than the model takes, `k` is 0 or
    /// memory runs out.
    pub fn fill_mask(&self, text: &str, k: usize) -> Result<Vec<Vec<Fill>>, Error> {
        Ok(self.fill_masks(&[text], k)?.pop().unwrap_or_default())
    }

    /// The same for several texts.
    ///
    /// # Errors
    /// As [`Model::fill_mask`], or if there are no texts.
    pub fn fill_masks<T: AsRef<str>>(
        &self,
        texts: &[T],
        k: usize,
    ) -> Result<Vec<Vec<Vec<Fill>>>, Error> {
        let head = self.head_for(Task::FillMask)?;
        if texts.is_empty() {
            return Err(Error::Empty { what: "the list of texts" });
        }
        if k == 0 {
            let (name, range) = ("the number of tokens for a mask", "1 or more");
            return Err(Error::InvalidOption { name, value: "0".to_owned(), range });
        }
        let gapped: Vec<Gapped> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| self.gapped(i, text.as_ref()))
            .collect::<Result<_, _>>()?;
        let sequences: Vec<Sequence<'_>> =
            gapped.iter().map(|one| Sequence::of(&one.encoding)).collect();
        let mut filled: Vec<Vec<Vec<Fill>>> = vec![Vec::new(); texts.len()];
        let rows_of = |text: usize| gapped[text].rows.clone();
        self.pass_all(head, &sequences, &rows_of, &mut |text, row, logits| {
            filled[text].push(self.best_fills(&gapped[text], row, logits, k));
        })?;
        Ok(filled)
    }

    /// How a mask is spelled in a text; `None` where the vocabulary has no such token.
    pub fn mask(&self) -> Option<String> {
        let tokenizer = self.tokenizer();
        tokenizer.token(tokenizer.mask()?).map(std::borrow::Cow::into_owned)
    }

    fn gapped(&self, number: usize, text: &str) -> Result<Gapped, Error> {
        let tokenizer = self.tokenizer();
        let Some(mask) = tokenizer.mask() else {
            let reason = "its tokenizer has no token for a mask".to_owned();
            return Err(Error::WrongTask { task: "fill masks", reason });
        };
        let ids = tokenizer.encode_with(text, mask);
        let encoding = tokenizer.frame(&ids, None);
        let first = encoding.texts[0].start;
        let gaps = ids.iter().enumerate().filter(|(_, id)| **id == mask);
        let rows: Vec<usize> = gaps.map(|(i, _)| first + i).collect();
        if rows.is_empty() {
            let mask = self.mask().unwrap_or_default();
            return Err(Error::NoMask { text: number + 1, mask });
        }
        let (tokens, limit) = (encoding.ids.len(), self.text_tokens());
        if tokens > limit {
            let what = format!("text {}", number + 1);
            return Err(Error::TextTooLong { what, tokens, limit });
        }
        Ok(Gapped { ids, encoding, rows })
    }

    fn best_fills(&self, gapped: &Gapped, row: usize, logits: &[f32], k: usize) -> Vec<Fill> {
        let tokenizer = self.tokenizer();
        let scores = softmax(logits);
        let gap = row - gapped.encoding.texts[0].start;
        let mut ids = gapped.ids.clone();
        let fill = |id: usize| {
            let (id, score) = (id as u32, scores[id]);
            ids[gap] = id;
            let text = tokenizer.decode(&ids, false);
            Fill { token: tokenizer.decode(&[id], false), id, score, text }
        };
        largest(&scores, k).into_iter().map(fill).collect()
    }
}

/// Numbers of the `k` largest scores, the largest first; of equals the one that comes first.
fn largest(scores: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let by_score = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    if k < order.len() {
        order.select_nth_unstable_by(k, by_score);
        order.truncate(k);
    }
    order.sort_unstable_by(by_score);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let scores = [0.1, 0.4, 0.2, 0.4, 0.0];
        assert_eq!(largest(&scores, 3), [1, 3, 2]);
        assert_eq!(largest(&scores, 9), [1, 3, 2, 0, 4]);
    }
}
