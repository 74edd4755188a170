//! Labels that no model has learned, as one of natural language inference reads them.

use super::Task;
use super::classify::{BARE, Classification, Cut, TextLength, softmax, sorted};
use crate::error::Error;
use crate::model::Model;

/// How a text is classified by labels that the model has not learned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ZeroShotOptions {
    /// A statement about the text, in which `{}` stands for the label.
    pub template: String,
    /// Whether several labels may be right, each for itself; otherwise their scores sum to one.
    pub multi: bool,
}

impl Default for ZeroShotOptions {
    fn default() -> Self {
        Self { template: "This example is {}.".to_owned(), multi: false }
    }
}

impl ZeroShotOptions {
    /// For images: the statement is `This is a photo of {}.`
    pub fn for_images() -> Self {
        Self::default().template("This is a photo of {}.")
    }

    /// Sets the statement.
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.template = template.into();
        self
    }

    /// Sets whether several labels may be right.
    pub fn multi(mut self, yes: bool) -> Self {
        self.multi = yes;
        self
    }
}

impl ZeroShotOptions {
    /// The labels, and the statement of each.
    pub(super) fn statements<L: AsRef<str>>(
        &self,
        labels: &[L],
    ) -> Result<(Vec<String>, Vec<String>), Error> {
        if labels.is_empty() {
            return Err(Error::Empty { what: "the list of labels" });
        }
        if !self.template.contains("{}") {
            return Err(Error::InvalidOption {
                name: "the template",
                value: format!("{:?}", self.template),
                range: "a statement with {} where the label goes",
            });
        }
        let labels: Vec<String> = labels.iter().map(|label| label.as_ref().to_owned()).collect();
        let statements = labels.iter().map(|label| self.template.replacen("{}", label, 1));
        let statements = statements.collect();
        Ok((labels, statements))
    }
}

impl Model {
    /// Scores of any labels for each text, by a model that tells whether a text entails a statement
    /// (its labels are such as "entailment" and "contradiction"): how far the statement that the
    /// options make of a label follows from the text.
    ///
    /// # Errors
    /// As [`Model::classify`], or if the model has no label that begins with "entail", there are no
    /// labels, or the template has no `{}`.
    pub fn classify_zero_shot<T: AsRef<str>, L: AsRef<str>>(
        &self,
        texts: &[T],
        labels: &[L],
        options: &ZeroShotOptions,
    ) -> Result<Vec<Classification>, Error> {
        let head = self.head_for(Task::Classify)?;
        let is_entailment = |label: &String| label.to_lowercase().starts_with("entail");
        let own = self.labels();
        let Some(entailment) = own.iter().position(is_entailment).filter(|_| own.len() > 1) else {
            let reason = format!(
                "none of its labels is \"entailment\", they are {}; take a model of natural language \
                 inference",
                own[..own.len().min(8)].join(", ")
            );
            return Err(Error::WrongTask { task: "classify by labels that are given", reason });
        };
        // As the reference has it: the first label that is not entailment's, or the last.
        let contradiction = if entailment == 0 { own.len() - 1 } else { 0 };
        let (labels, statements) = options.statements(labels)?;
        let ids = |text: &str| self.tokenizer().encode(text, BARE);
        let statements: Vec<Vec<u32>> = statements.iter().map(|text| ids(text)).collect();
        let mut read = Vec::with_capacity(texts.len() * labels.len());
        for text in texts {
            let text = ids(text.as_ref());
            let pair = |statement: &Vec<u32>| self.framed_pair(&text, statement, Cut::First);
            read.extend(statements.iter().map(pair));
        }
        let logits = self.label_logits(head, &read)?;
        let per_text = logits.chunks_exact(labels.len()).zip(read.chunks_exact(labels.len()));
        let scored = per_text.map(|(logits, read)| {
            let scores = if options.multi || labels.len() == 1 {
                let pair =
                    |logits: &Vec<f32>| softmax(&[logits[contradiction], logits[entailment]])[1];
                logits.iter().map(pair).collect()
            } else {
                let entailed: Vec<f32> = logits.iter().map(|logits| logits[entailment]).collect();
                softmax(&entailed)
            };
            let longest = read.iter().map(|(_, length)| *length).max_by_key(|length| length.tokens);
            let length = longest.unwrap_or(TextLength { tokens: 0, truncated: false });
            Classification { scores: sorted(&labels, scores), length }
        });
        Ok(scored.collect())
    }
}
