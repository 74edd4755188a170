//! Generations begun in a session.

use super::Session;
use crate::error::Error;
use crate::task::generate::{GenerateOptions, Generation, GenerationState};
use crate::tokenizer::EncodeOptions;

impl Session {
    /// Continues the session with `prompt` and generates text.
    ///
    /// The prompt is plain text: markers of special tokens in it are not special. At the start of
    /// a session the model's leading token (BOS) is added, where it has one. A model that answers a
    /// source reads the prompt as that, and begins its answer anew.
    ///
    /// # Errors
    /// If an option is out of range or the prompt does not fit the context.
    pub fn generate(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
    ) -> Result<Generation<'_>, Error> {
        let tokens = match self.read_text(prompt)? {
            Some(start) => start,
            None => self.encode(prompt, self.tokens.is_empty()),
        };
        self.generate_from(tokens, options)
    }

    /// Continues the session with prompt tokens and generates text.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn generate_from(
        &mut self,
        prompt: Vec<u32>,
        options: &GenerateOptions,
    ) -> Result<Generation<'_>, Error> {
        let state = self.begin(&prompt, options)?;
        Ok(Generation::new(self, state))
    }

    /// As [`Session::generate_from`], by the state alone, for owners who keep both side by side or
    /// drive several: see [`Session::compute_all`] and [`GenerationState::draw`].
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn begin_from(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<GenerationState, Error> {
        self.begin(prompt, options)
    }

    /// Starts over with `prompt` and generates text, by the state alone. What the session holds of
    /// the prompt already is not computed again.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn restart(
        &mut self,
        prompt: &str,
        options: &GenerateOptions,
    ) -> Result<GenerationState, Error> {
        if let Some(start) = self.read_text(prompt)? {
            return self.begin(&start, options);
        }
        let tokens = self.encode(prompt, true);
        let keep = self.keep_prefix(&tokens)?;
        self.begin(&tokens[keep..], options)
    }

    /// Appends `prompt` and begins a generation.
    pub(crate) fn begin(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<GenerationState, Error> {
        self.cancel.clear();
        GenerationState::new(self, prompt, options)
    }

    /// Truncates the session to the longest start that it has computed of `tokens`, but for the
    /// last of them, which is always fed, for its logits. Gives the number of tokens kept. The
    /// session is unchanged if `tokens` do not fit the context.
    pub(crate) fn keep_prefix(&mut self, tokens: &[u32]) -> Result<usize, Error> {
        let same = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let keep = same.min(self.computed).min(tokens.len().saturating_sub(1));
        let (wanted, context_length) = (tokens.len() - keep, self.context_length);
        if wanted > context_length - keep {
            return Err(Error::ContextFull { used: keep, wanted, context_length });
        }
        self.truncate(keep);
        Ok(keep)
    }

    /// The number of the last generation begun in this session.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Ends all earlier generations of this session.
    pub(crate) fn new_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn encode(&self, prompt: &str, add_special: bool) -> Vec<u32> {
        let options = EncodeOptions { add_special, parse_special: false };
        self.model.tokenizer().encode(prompt, options)
    }
}
