//! Documents in the order in which they answer a query, by a model that reads both together.

use super::Task;
use super::classify::{BARE, Cut, TextLength, scores_of};
use crate::error::Error;
use crate::model::Model;

/// A document's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// Its number in the list that was given, from 0.
    pub index: usize,
    /// How well it answers the query, as the model's makers score.
    pub score: f32,
    /// The bare output that the score was made of.
    pub logit: f32,
    /// Of query and document together.
    pub length: TextLength,
}

impl Model {
    /// Scores every document for the query, the best first. Pairs longer than [`Model::text_tokens`]
    /// are cut, the longer text first, which the result says.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("reranker.kinglet")?;
    /// let best = model.rerank("a small bird", &["The wren is tiny.", "Ships are large."])?[0];
    /// println!("{} {:.3}", best.index, best.score);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// If the model is no reranker, the query is empty, there are no documents, or memory runs out.
    pub fn rerank<T: AsRef<str>>(
        &self,
        query: &str,
        documents: &[T],
    ) -> Result<Vec<Ranked>, Error> {
        let head = self.head_for(Task::Rerank)?;
        if query.trim().is_empty() {
            return Err(Error::Empty { what: "the query" });
        }
        if documents.is_empty() {
            return Err(Error::Empty { what: "the list of documents" });
        }
        let query = self.tokenizer().encode(query, BARE);
        let read: Vec<_> = documents
            .iter()
            .map(|document| self.tokenizer().encode(document.as_ref(), BARE))
            .map(|document| self.framed_pair(&query, &document, Cut::Longer))
            .collect();
        let logits = self.label_logits(head, &read)?;
        let ranked = logits.iter().zip(&read).enumerate().map(|(index, (logits, (_, length)))| {
            Ranked { index, score: scores_of(head, logits)[0], logit: logits[0], length: *length }
        });
        let mut ranked: Vec<Ranked> = ranked.collect();
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(ranked)
    }
}
