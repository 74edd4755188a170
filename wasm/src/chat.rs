//! Conversations.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Error, Object};
use kinglet::Message;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::options::{self, JsOptions};
use crate::{Generation, error, object};

/// A conversation through the model's chat template. What earlier turns computed is kept.
#[wasm_bindgen]
pub struct Chat(Rc<RefCell<kinglet::Chat>>);

impl Chat {
    pub(crate) fn new(chat: kinglet::Chat) -> Self {
        Self(Rc::new(RefCell::new(chat)))
    }
}

#[wasm_bindgen]
impl Chat {
    /// Adds the user's words and answers them.
    pub fn say(&mut self, text: String, options: JsOptions) -> Result<Generation, Error> {
        let options = options::read(&options)?;
        let answer = self.0.borrow_mut().begin(text, &options).map_err(error::from)?;
        Ok(Generation::of_chat(Rc::clone(&self.0), answer))
    }

    /// Puts a system message in the first place, instead of one that is there; an empty text
    /// takes it away.
    #[wasm_bindgen(js_name = setSystem)]
    pub fn set_system(&mut self, text: String) {
        self.0.borrow_mut().set_system(text);
    }

    /// Adds a message without asking for an answer, for instance to restore a history.
    pub fn push(&mut self, role: String, content: String) {
        self.0.borrow_mut().push(Message::new(role, content));
    }

    /// The messages so far, each with `role` and `content`.
    #[wasm_bindgen(unchecked_return_type = "{ role: string, content: string }[]")]
    pub fn messages(&self) -> Array {
        let chat = self.0.borrow();
        chat.messages()
            .iter()
            .map(|message| {
                let entry = Object::new();
                object::set(&entry, "role", &message.role);
                object::set(&entry, "content", &message.content);
                entry
            })
            .collect()
    }

    /// Tokens held.
    #[wasm_bindgen(getter)]
    pub fn position(&self) -> usize {
        self.0.borrow().session().position()
    }

    /// Starts over.
    pub fn reset(&mut self) {
        self.0.borrow_mut().reset();
    }
}
