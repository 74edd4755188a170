//! Sessions to and from files.

use std::io::{Read, Write};

use super::{Session, SessionOptions};
use crate::error::Error;
use crate::model::Model;
use crate::task::session_file::{self, Expected};

impl Session {
    /// Writes the tokens, keys and values, to be read by [`Session::load`]. Whoever reads the file
    /// can read the conversation.
    ///
    /// # Errors
    /// If writing fails.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::{BufReader, BufWriter, Write};
    ///
    /// let model = kinglet::Model::open("smollm2.kinglet")?;
    /// let mut session = model.session()?;
    /// session.feed(&[1, 2, 3])?;
    /// let mut file = BufWriter::new(std::fs::File::create("birds.session")?);
    /// session.save(&mut file)?;
    /// file.flush()?;
    ///
    /// let mut file = BufReader::new(std::fs::File::open("birds.session")?);
    /// let session = kinglet::Session::load(&model, &mut file)?;
    /// assert_eq!(session.tokens(), [1, 2, 3]);
    /// # Ok(()) }
    /// ```
    pub fn save(&self, out: &mut dyn Write) -> Result<(), Error> {
        if self.source.is_some() {
            return Err(Error::Unsupported {
                what: "saved sessions with a source text".to_owned(),
            });
        }
        let (kernels, model) = (self.model.runner().kernels, self.model.file().hash());
        // A session that is loaded has the model's context length. Keys whose rotations would be
        // others there are computed again.
        let longest = self.model.context_length();
        let mut ropes = self.model.runner().network.ropes.iter();
        let same = ropes.all(|rope| rope.is_long(self.context_length) == rope.is_long(longest));
        let computed = if same && self.kv.rewinds() { self.computed } else { 0 };
        session_file::write(out, kernels, model, &self.tokens, computed, &self.kv)
    }

    /// Reads a session saved with the same model, on this machine or another one. It has the
    /// model's context length, and keeps keys and values as they were kept.
    ///
    /// # Errors
    /// If reading fails, the bytes are no sound saved session or that of another model, or memory
    /// runs out.
    pub fn load(model: &Model, input: &mut dyn Read) -> Result<Self, Error> {
        let mut session = Self::new(model.clone(), &SessionOptions::default())?;
        let expected = Expected {
            model: model.file().hash(),
            vocab_size: model.vocab_size(),
            context_length: session.context_length,
        };
        let runner = model.runner();
        let layout = |kind| runner.own_layout(session.stack, kind);
        let saved = session_file::read(input, &expected, layout, runner.kernels)?;
        session.kv = saved.kv;
        // The last token is computed again, for its logits.
        session.computed = saved.computed.min(saved.tokens.len().saturating_sub(1));
        session.tokens = saved.tokens;
        Ok(session)
    }
}
