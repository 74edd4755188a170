//! A text that is being gone on with.

use std::sync::{Mutex, PoisonError};

use kinglet::{FinishReason, GenerationState, Session};
use pyo3::prelude::*;

use crate::errors;

/// The word for the end of an answer.
pub(crate) fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Eos => "eos",
        FinishReason::Stop => "stop",
        FinishReason::MaxTokens => "max_tokens",
        FinishReason::ContextFull => "context_full",
        _ => "cancelled",
    }
}

/// Pieces of text as they are made: an iterator.
#[pyclass(module = "kinglet", frozen)]
pub(crate) struct Generation(Mutex<(Session, GenerationState)>);

impl Generation {
    pub(crate) fn new(session: Session, state: GenerationState) -> Self {
        Self(Mutex::new((session, state)))
    }

    fn state<R>(&self, of: impl FnOnce(&GenerationState) -> R) -> R {
        of(&self.0.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}

#[pymethods]
impl Generation {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// The next piece; Ctrl-C is heeded between two of them.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        loop {
            py.check_signals()?;
            let piece = py.detach(|| {
                let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let (session, state) = &mut *both;
                state.advance(session).map(|piece| piece.map(str::to_owned))
            });
            match piece.map_err(errors::of)? {
                Some(piece) if piece.is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }

    /// The rest of the text at once.
    fn text(&self, py: Python<'_>) -> PyResult<String> {
        let mut text = String::new();
        while let Some(piece) = self.__next__(py)? {
            text.push_str(&piece);
        }
        Ok(text)
    }

    #[getter]
    fn prompt_tokens(&self) -> usize {
        self.state(GenerationState::prompt_tokens)
    }

    #[getter]
    fn generated_tokens(&self) -> usize {
        self.state(GenerationState::generated_tokens)
    }

    #[getter]
    fn finish_reason(&self) -> Option<&'static str> {
        self.state(GenerationState::finish_reason).map(word)
    }
}
