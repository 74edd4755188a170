//! An answer in the making, which owns a share of its session.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Error;
use kinglet::{AnswerState, FinishReason, GenerationState, Session};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error;

/// An answer in the making: call `prefill` until it gives 0 and `next` until it gives `undefined`,
/// then `free`. Beginning another one in the same chat, or with the same model, ends it.
#[wasm_bindgen]
pub struct Generation(Source);

enum Source {
    Text { session: Rc<RefCell<Session>>, state: GenerationState },
    Chat { chat: Rc<RefCell<kinglet::Chat>>, answer: AnswerState },
}

impl Generation {
    pub(crate) fn of_text(session: Rc<RefCell<Session>>, state: GenerationState) -> Self {
        Self(Source::Text { session, state })
    }

    pub(crate) fn of_chat(chat: Rc<RefCell<kinglet::Chat>>, answer: AnswerState) -> Self {
        Self(Source::Chat { chat, answer })
    }

    fn state(&self) -> &GenerationState {
        match &self.0 {
            Source::Text { state, .. } => state,
            Source::Chat { answer, .. } => answer.generation(),
        }
    }
}

#[wasm_bindgen]
impl Generation {
    /// Computes the next batch of the prompt and gives the number of its tokens that are still
    /// due. Call it until that is 0, and look for messages in between.
    pub fn prefill(&mut self) -> Result<usize, Error> {
        let due = match &mut self.0 {
            Source::Text { session, state } => state.prefill(&mut session.borrow_mut()),
            Source::Chat { chat, answer } => answer.prefill(&mut chat.borrow_mut()),
        };
        due.map_err(error::from)
    }

    /// The next piece of text, `undefined` at the end. Computes what is due of the prompt. Pieces
    /// are empty while a character or a stop text is incomplete.
    #[allow(clippy::should_implement_trait, reason = "the name is JavaScript's")]
    pub fn next(&mut self) -> Result<Option<String>, Error> {
        let piece = match &mut self.0 {
            Source::Text { session, state } => state.advance(&mut session.borrow_mut()),
            Source::Chat { chat, answer } => {
                let chat = &mut chat.borrow_mut();
                let piece = answer.advance(chat).map(|piece| piece.map(str::to_owned));
                if !matches!(piece, Ok(Some(_))) {
                    chat.end(answer);
                }
                return piece.map_err(error::from);
            }
        };
        piece.map(|piece| piece.map(str::to_owned)).map_err(error::from)
    }

    /// Why it ended: `eos`, `stop`, `max-tokens`, `context-full` or `cancelled`.
    #[wasm_bindgen(getter, js_name = finishReason)]
    pub fn finish_reason(&self) -> Option<String> {
        let reason = match self.state().finish_reason()? {
            FinishReason::Eos => "eos",
            FinishReason::Stop => "stop",
            FinishReason::MaxTokens => "max-tokens",
            FinishReason::ContextFull => "context-full",
            _ => "cancelled",
        };
        Some(reason.to_owned())
    }

    /// Tokens of the prompt that were not computed before.
    #[wasm_bindgen(getter, js_name = promptTokens)]
    pub fn prompt_tokens(&self) -> usize {
        self.state().prompt_tokens()
    }

    /// Tokens generated so far.
    #[wasm_bindgen(getter, js_name = generatedTokens)]
    pub fn generated_tokens(&self) -> usize {
        self.state().generated_tokens()
    }
}

impl Drop for Generation {
    /// What was said of an unfinished answer becomes part of its conversation.
    fn drop(&mut self) {
        if let Source::Chat { chat, answer } = &mut self.0 {
            chat.borrow_mut().end(answer);
        }
    }
}
