//! Code completion: what belongs between two texts (arXiv:2207.14255).

use super::generate::{GenerateOptions, Generation, GenerationState};
use super::look_alikes::{BREAK, break_specials};
use super::session::Session;
use crate::error::Error;
use crate::model::Model;
use crate::tokenizer::{EncodeOptions, Place};

impl Model {
    /// Whether the model was trained to fill gaps: see [`Session::infill`].
    pub fn can_infill(&self) -> bool {
        self.is_generative() && self.meta().infill.is_some()
    }

    /// The prompt that asks for what belongs between `prefix` and `suffix`, and the tokens that end the
    /// answer besides the model's own: what [`Session::infill`] uses, for those who schedule requests.
    ///
    /// # Errors
    /// If the model has no tokens for it.
    pub fn infill_prompt(&self, prefix: &str, suffix: &str) -> Result<(Vec<u32>, Vec<u32>), Error> {
        let tokenizer = self.tokenizer();
        let infill = self.meta().infill.as_ref().ok_or_else(|| Error::WrongTask {
            task: "fill a gap in a text",
            reason: "its vocabulary has no fill-in-the-middle tokens".to_owned(),
        })?;
        let own = [infill.prefix, infill.suffix, infill.middle].into_iter();
        let own = own.chain(infill.ends.iter().copied()).filter_map(|id| tokenizer.token(id));
        let specials = tokenizer.special_tokens().map(|(_, text)| text);
        let specials: Vec<String> = own.chain(specials).map(|text| text.into_owned()).collect();
        let encode = |text: &str| {
            tokenizer.encode_marked(&break_specials(&specials, text), Place::Text, BREAK)
        };
        // What begins every text of the model, where something does.
        let mut prompt = tokenizer.encode("", EncodeOptions::default());
        prompt.retain(|&id| Some(id) == tokenizer.bos());
        prompt.push(infill.prefix);
        prompt.extend(encode(prefix));
        prompt.push(infill.suffix);
        prompt.extend(encode(suffix));
        prompt.push(infill.middle);
        Ok((prompt, infill.ends.clone()))
    }
}

impl Session {
    /// Starts over and writes what belongs between `prefix` and `suffix`, until the model says that
    /// the gap is filled. Either may be empty. What the session holds of the same texts already is
    /// not computed again.
    ///
    /// The texts are plain: markers of special tokens in them are not special.
    ///
    /// # Errors
    /// If the model has no tokens for it, an option is out of range, or the texts do not fit the
    /// context.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kinglet::Error> {
    /// let model = kinglet::Model::open("qwen2.5-coder.kinglet")?;
    /// let mut session = model.session()?;
    /// let (prefix, suffix) = ("fn mean(x: &[f32]) -> f32 {\n    ", "\n}\n");
    /// for piece in session.infill(prefix, suffix, &kinglet::GenerateOptions::greedy())? {
    ///     print!("{}", piece?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn infill(
        &mut self,
        prefix: &str,
        suffix: &str,
        options: &GenerateOptions,
    ) -> Result<Generation<'_>, Error> {
        let state = self.begin_infill(prefix, suffix, options)?;
        Ok(Generation::new(self, state))
    }

    /// As [`Session::infill`], by the state alone, for owners who keep both side by side.
    ///
    /// # Errors
    /// As [`Session::infill`].
    pub fn begin_infill(
        &mut self,
        prefix: &str,
        suffix: &str,
        options: &GenerateOptions,
    ) -> Result<GenerationState, Error> {
        let (prompt, ends) = self.model().infill_prompt(prefix, suffix)?;
        let keep = self.keep_prefix(&prompt)?;
        Ok(self.begin(&prompt[keep..], options)?.ending_at(&ends))
    }
}
