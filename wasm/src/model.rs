//! Opened models.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Error, Object};
use kinglet::{Session, SessionOptions, Task};
use kinglet_formats::kinglet::Prompt;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::options::{self, JsOptions};
use crate::{Chat, Generation, error, object, tasks, texts};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What a model is and how it is run. */
export interface ModelInfo {
  name: string;
  licence?: string;
  /** The calls that the model is for: `generate`, `embed`, `classify` and the like. */
  tasks: string[];
  /** Of a classifier, in the order of its outputs; else empty. */
  labels: string[];
  /** How a mask is spelled; only where the model fills them. */
  mask?: string;
  /** Texts that may go before those to embed. */
  prompts: { name: string; text: string }[];
  /** The prompt that does if none is named. */
  defaultPrompt?: string;
  /** Codes of what it reads or hears, and of what it translates to; only where it knows. */
  languages?: { from: string[]; to: string[] };
  generative: boolean;
  chatTemplate: boolean;
  layers: number;
  hiddenSize: number;
  vocabSize: number;
  /** Most tokens of a session. */
  contextLength: number;
  /** How sessions keep keys and values; only where there are any. */
  kv?: "f16" | "int8";
  /** Tokens of a text, or a pair of texts, that an encoder takes in whole. */
  embeddingTokens: number;
  fileBytes: number;
  /** Weight bytes read for each generated token. */
  bytesPerToken: number;
  kernelSet: string;
  threads: number;
}
"#;

/// A model in the module's memory. `free` gives its memory back once its chats and generations
/// are freed too.
#[wasm_bindgen]
pub struct Model {
    model: kinglet::Model,
    /// How sessions begin.
    sessions: SessionOptions,
    /// The session of `generate`, made when it is first used.
    session: Option<Rc<RefCell<Session>>>,
}

impl Model {
    pub(crate) fn new(model: kinglet::Model, sessions: SessionOptions) -> Self {
        Self { model, sessions, session: None }
    }

    /// The runtime's own.
    pub(crate) fn runtime(&self) -> &kinglet::Model {
        &self.model
    }

    /// Most tokens of a session.
    fn context_length(&self) -> usize {
        let longest = self.model.context_length();
        self.sessions.context_length.map_or(longest, |n| n.min(longest))
    }
}

#[wasm_bindgen]
impl Model {
    /// What the model is and how it is run.
    #[wasm_bindgen(unchecked_return_type = "ModelInfo")]
    pub fn info(&self) -> Object {
        let model = &self.model;
        let (general, spec) = (&model.meta().general, &model.meta().spec);
        let info = Object::new();
        let set = |name: &str, value: JsValue| object::set(&info, name, value);
        let count = object::count;
        set("name", general.name.as_str().into());
        if let Some(licence) = &general.license {
            set("licence", licence.as_str().into());
        }
        let calls = tasks::calls(model);
        set("tasks", calls.into_iter().map(JsValue::from).collect::<Array>().into());
        set("labels", model.labels().iter().map(JsValue::from).collect::<Array>().into());
        if let Some(mask) = model.mask().filter(|_| model.tasks().contains(&Task::FillMask)) {
            set("mask", mask.into());
        }
        let prompt = |prompt: &Prompt| {
            let (name, text) = (prompt.name.as_str(), prompt.text.as_str());
            object::of([("name", name.into()), ("text", text.into())])
        };
        set("prompts", model.prompts().iter().map(prompt).collect::<Array>().into());
        let embedding = model.meta().embedding.as_ref();
        if let Some(name) = embedding.and_then(|e| e.default_prompt.as_deref()) {
            set("defaultPrompt", name.into());
        }
        if let Some(languages) = texts::languages(model) {
            set("languages", languages.into());
        }
        set("generative", model.tasks().contains(&Task::Generate).into());
        set("chatTemplate", model.has_chat_template().into());
        set("layers", count(spec.stacks.iter().map(|stack| stack.layers.len()).sum()));
        set("hiddenSize", count(spec.stacks.first().map_or(0, |stack| stack.hidden_size)));
        set("vocabSize", count(model.vocab_size()));
        set("contextLength", count(self.context_length()));
        if model.is_generative() {
            set("kv", self.sessions.kv.to_string().into());
        }
        set("embeddingTokens", count(model.text_tokens()));
        set("fileBytes", JsValue::from(model.file().file_len() as f64));
        set("bytesPerToken", count(model.bytes_per_token()));
        set("kernelSet", model.kernel_set().into());
        set("threads", count(model.n_threads()));
        info
    }

    /// Continues `prompt`. What the call before has computed of the same beginning is kept.
    pub fn generate(&mut self, prompt: &str, options: JsOptions) -> Result<Generation, Error> {
        self.check(Task::Generate)?;
        let options = options::read(&options)?;
        let session = match &self.session {
            Some(session) => Rc::clone(session),
            None => {
                let session = self.model.session_with(&self.sessions).map_err(error::from)?;
                Rc::new(RefCell::new(session))
            }
        };
        let state = session.borrow_mut().restart(prompt, &options).map_err(error::from)?;
        self.session = Some(Rc::clone(&session));
        Ok(Generation::of_text(session, state))
    }

    /// A conversation of at most `context_length` tokens, and no more than the model was loaded
    /// for.
    pub fn chat(&self, context_length: Option<usize>) -> Result<Chat, Error> {
        self.check(Task::Generate)?;
        let longest = self.context_length();
        let context_length = context_length.map_or(longest, |n| n.min(longest));
        let options = self.sessions.clone().context_length(context_length);
        let session = self.model.session_with(&options).map_err(error::from)?;
        Ok(Chat::new(kinglet::Chat::new(session).map_err(error::from)?))
    }
}
