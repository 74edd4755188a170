//! The source of models that generate from one: a text, or sound.

use super::Session;
use crate::error::Error;
use crate::kv::KvSequence;
use crate::network::BoundInput;
use crate::step::Batch;

impl Session {
    /// Reads `text` as the source, if the model reads one, and gives the tokens that its answer begins
    /// with.
    pub(super) fn read_text(&mut self, text: &str) -> Result<Option<Vec<u32>>, Error> {
        let model = self.model.clone();
        let Some(most) = model.source_tokens() else {
            // What it reads is no text.
            let reads = model.runner().network.stacks[self.stack].memory.is_some();
            return if reads { Err(model.wrong_task("answer a text")) } else { Ok(None) };
        };
        let own = model.text_to_text_use()?;
        let (tokens, length) = model.source(text, most);
        if length.truncated {
            let (wanted, context_length) = (length.tokens, most);
            return Err(Error::ContextFull { used: 0, wanted, context_length });
        }
        self.set_source(&tokens)?;
        Ok(Some(std::iter::once(own.start).chain(own.forced_first).collect()))
    }

    /// Reads a source text, for models that generate from one (translation, summaries): computes
    /// what the session will attend to, and forgets its tokens. What is fed next are the tokens of
    /// the answer, from the model's starting token on.
    ///
    /// A cancelled call returns `false`; the session has no source then.
    ///
    /// # Errors
    /// If the model reads no source text, the tokens do not fit its context, or memory runs out.
    pub fn set_source(&mut self, tokens: &[u32]) -> Result<bool, Error> {
        let encoder = self.encoder("read a source text")?;
        let stack = &self.model.runner().network.stacks[encoder];
        if !matches!(stack.input, BoundInput::Tokens(_)) {
            return Err(Error::WrongTask {
                task: "read a source text",
                reason: "it hears sound; see `Session::set_spectrogram` and `set_samples`"
                    .to_owned(),
            });
        }
        if tokens.is_empty() {
            return Err(Error::Empty { what: "the source text" });
        }
        let context_length = stack.max_positions;
        if tokens.len() > context_length {
            return Err(Error::ContextFull { used: 0, wanted: tokens.len(), context_length });
        }
        self.cancel.clear();
        self.read_source(encoder, tokens.len(), |batch| batch.push_passing(tokens, &[]))
    }

    /// The same with a log-mel spectrogram `[frames][n_mels]`, for models that write speech down: see
    /// [`LogMel`](crate::LogMel). One of fewer frames than the model's is read without what would follow,
    /// which takes less time; the model has been trained on whole ones.
    ///
    /// # Errors
    /// If the model hears nothing, the spectrogram has another size than the model's or holds what is
    /// no number, or memory runs out.
    pub fn set_spectrogram(&mut self, frames: &[f32]) -> Result<bool, Error> {
        self.cancel.clear();
        self.hear(frames)
    }

    /// [`Session::set_spectrogram`], also if the session has been cancelled before.
    pub(in crate::task) fn hear(&mut self, frames: &[f32]) -> Result<bool, Error> {
        const TASK: &str = "read a spectrogram";
        let encoder = self.encoder(TASK)?;
        let stack = &self.model.runner().network.stacks[encoder];
        let BoundInput::Spectrogram(input) = &stack.input else {
            let reason = match &stack.input {
                BoundInput::Samples(_) => "it reads samples; see `Session::set_samples`",
                _ => "it reads text",
            };
            return Err(Error::WrongTask { task: TASK, reason: reason.to_owned() });
        };
        let wrong = |reason| Error::WrongTask { task: TASK, reason };
        let n_rows = input.n_rows(frames.len()).map_err(wrong)?;
        if let Some(at) = frames.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotANumber { what: "a spectrogram", at });
        }
        self.read_source(encoder, n_rows, |batch| batch.push_spectrogram(frames, n_rows))
    }

    /// The same with samples of sound, mono, at the model's rate, for models that write speech down without
    /// spectrograms.
    ///
    /// # Errors
    /// If the model hears no samples, fewer or more are given than it takes or one is no number, or memory
    /// runs out.
    pub fn set_samples(&mut self, samples: &[f32]) -> Result<bool, Error> {
        self.cancel.clear();
        self.listen(samples)
    }

    /// [`Session::set_samples`], also if the session has been cancelled before.
    pub(in crate::task) fn listen(&mut self, samples: &[f32]) -> Result<bool, Error> {
        const TASK: &str = "read samples of sound";
        let encoder = self.encoder(TASK)?;
        let stack = &self.model.runner().network.stacks[encoder];
        let wrong = |reason| Error::WrongTask { task: TASK, reason };
        let BoundInput::Samples(input) = &stack.input else {
            return Err(wrong("it reads something else".to_owned()));
        };
        let n_rows = input.n_rows(samples.len()).map_err(wrong)?;
        if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(Error::NotANumber { what: "the sound", at });
        }
        self.read_source(encoder, n_rows, |batch| batch.push_samples(samples, n_rows))
    }

    /// Heads of each layer's attention to the source.
    pub(in crate::task) fn heads_on_source(&self) -> Vec<usize> {
        let stack = &self.model.runner().network.stacks[self.stack];
        stack.attentions().filter(|a| a.crosses()).map(|a| a.spec.n_heads).collect()
    }

    /// The number of the stack that reads the source.
    fn encoder(&self, task: &'static str) -> Result<usize, Error> {
        let reader = &self.model.runner().network.stacks[self.stack];
        let reason = || "it only continues text".to_owned();
        reader.memory.ok_or_else(|| Error::WrongTask { task, reason: reason() })
    }

    /// Runs the `n_rows` rows that `fill` puts into a batch through the encoder and keeps what is made of
    /// them; the session begins anew. `false` if cancelled.
    fn read_source(
        &mut self,
        encoder: usize,
        n_rows: usize,
        fill: impl FnOnce(&mut Batch),
    ) -> Result<bool, Error> {
        let model = self.model.clone();
        let runner = model.runner();
        let reader = &runner.network.stacks[self.stack];
        self.reset();
        self.source = None;
        let mut kv = KvSequence::new(runner.other_layout(self.stack, self.kv.kind()));
        kv.reserve(runner.kernels, 0, n_rows)?;
        let cancel = &self.cancel;
        let done = runner.pass(encoder, n_rows, fill, &|| !cancel.is_cancelled(), |rows| {
            rows.store_for(reader, std::slice::from_mut(&mut kv));
            Ok(())
        })?;
        self.source = done.map(|()| (kv, n_rows));
        Ok(self.source.is_some())
    }
}
