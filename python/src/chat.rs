//! A conversation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinglet::{AnswerState, Message};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arguments::generate_options;
use crate::errors;
use crate::generation::word;

/// A conversation, whose turns are computed once.
#[pyclass(module = "kinglet", frozen)]
pub(crate) struct Chat(Arc<Mutex<kinglet::Chat>>);

/// Pieces of an answer as they are made: an iterator. What has been said of it becomes part of the
/// conversation when it ends, or is dropped.
#[pyclass(module = "kinglet", frozen)]
pub(crate) struct Answer {
    chat: Arc<Mutex<kinglet::Chat>>,
    state: Mutex<AnswerState>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chat {
    pub(crate) fn new(chat: kinglet::Chat) -> Self {
        Self(Arc::new(Mutex::new(chat)))
    }
}

#[pymethods]
impl Chat {
    /// Says something; the answer comes as it is iterated over.
    #[pyo3(signature = (text, **options))]
    fn say(
        &self,
        py: Python<'_>,
        text: String,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Answer> {
        let options = generate_options(options)?;
        let state = py.detach(|| lock(&self.0).begin(text, &options)).map_err(errors::of)?;
        Ok(Answer { chat: self.0.clone(), state: Mutex::new(state) })
    }

    /// Adds a message without asking for an answer.
    fn push(&self, role: String, content: String) {
        lock(&self.0).push(Message::new(role, content));
    }

    /// Starts over.
    fn reset(&self) {
        lock(&self.0).reset();
    }

    /// The messages so far, as pairs of role and text.
    #[getter]
    fn messages(&self) -> Vec<(String, String)> {
        let chat = lock(&self.0);
        let pair = |message: &Message| (message.role.clone(), message.content.clone());
        chat.messages().iter().map(pair).collect()
    }
}

#[pymethods]
impl Answer {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        loop {
            py.check_signals()?;
            let piece = py.detach(|| {
                let (mut chat, mut state) = (lock(&self.chat), lock(&self.state));
                let piece = state.advance(&mut chat).map(|piece| piece.map(str::to_owned));
                if !matches!(piece, Ok(Some(_))) {
                    chat.end(&mut state);
                }
                piece
            });
            match piece.map_err(errors::of)? {
                Some(piece) if piece.is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }

    /// The whole answer.
    fn text(&self, py: Python<'_>) -> PyResult<String> {
        while self.__next__(py)?.is_some() {}
        Ok(lock(&self.state).text().to_owned())
    }

    #[getter]
    fn prompt_tokens(&self) -> usize {
        lock(&self.state).generation().prompt_tokens()
    }

    #[getter]
    fn generated_tokens(&self) -> usize {
        lock(&self.state).generation().generated_tokens()
    }

    #[getter]
    fn finish_reason(&self) -> Option<&'static str> {
        lock(&self.state).generation().finish_reason().map(word)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        lock(&self.chat).end(&mut lock(&self.state));
    }
}
