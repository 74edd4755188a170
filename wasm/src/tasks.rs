//! What encoders make of texts. Places are counted in UTF-16 code units, so that
//! `text.slice(start, end)` is the part.

use js_sys::{Array, Error, Float32Array, Object};
use kinglet::{
    AnswerOptions, Classification, EmbedOptions, Embedding, Entity, Fill, LabelScore, Ranked,
    TagOptions, Tagged, Task, TextAnswer, TextLength, ZeroShotOptions,
};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::place::Utf16Counter;
use crate::{Model, error, object, options};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A text's vector; `truncated` where it is that of the text's beginning alone. */
export interface Embedding { vector: Float32Array; tokens: number; truncated: boolean }
/** Labels of a text, the best first. */
export interface Classification {
  results: { label: string; score: number }[];
  tokens: number;
  truncated: boolean;
}
/** A part of a text. */
export interface Entity { label: string; score: number; text: string; start: number; end: number }
/** A token for a mask, and the text with it. */
export interface Fill { token: string; id: number; score: number; text: string }
/** A part of a text that answers. */
export interface TextAnswer { text: string; score: number; start: number; end: number }
/** A document's place. */
export interface Ranked { index: number; score: number; tokens: number; truncated: boolean }

/** Labels are the model's own, those of each text with another one, or any that are given. */
export interface ClassifyOptions {
  pairs?: string[];
  labels?: string[];
  multi?: boolean;
  template?: string;
  top?: number;
}
export interface TagOptions {
  aggregation?: "none" | "simple" | "first" | "average" | "max";
  stride?: number;
}
/** Tokens for each mask; 5. */
export interface FillMaskOptions { k?: number }
export interface AnswerOptions {
  top?: number;
  noAnswer?: boolean;
  maxTokens?: number;
  window?: number;
  stride?: number;
}
/** The name of the model's prompt that goes before the texts, or `false`. */
export interface EmbedOptions { prompt?: string | false }
"#;

#[wasm_bindgen]
extern "C" {
    /// `ClassifyOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "ClassifyOptions | undefined | null")]
    pub type JsClassifyOptions;
    /// `TagOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "TagOptions | undefined | null")]
    pub type JsTagOptions;
    /// `FillMaskOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "FillMaskOptions | undefined | null")]
    pub type JsFillMaskOptions;
    /// `AnswerOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "AnswerOptions | undefined | null")]
    pub type JsAnswerOptions;
    /// `EmbedOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "EmbedOptions | undefined | null")]
    pub type JsEmbedOptions;
    /// Strings.
    #[wasm_bindgen(typescript_type = "string[]")]
    pub type JsTexts;
}

/// Tokens for a mask, unless another number is asked for.
const FILLS: usize = 5;

/// The names of the calls that `model` is for, in the order of its heads; a task may have none here.
pub(crate) fn calls(model: &kinglet::Model) -> Vec<&'static str> {
    let mut calls: Vec<&str> = model.tasks().into_iter().filter_map(call).collect();
    // What answers a whole text can also be watched as it does.
    if model.meta().text_to_text.is_some() && calls.contains(&"generate") {
        calls.push("textToText");
    }
    calls
}

fn call(task: Task) -> Option<&'static str> {
    Some(match task {
        Task::Generate => "generate",
        Task::Embed => "embed",
        Task::Classify => "classify",
        Task::Rerank => "rerank",
        Task::Tag => "tag",
        Task::FillMask => "fillMask",
        Task::Answer => "answer",
        Task::Translate => "translate",
        Task::Transcribe => "transcribe",
        _ => return None,
    })
}

impl Model {
    /// An error that names the calls that fit, unless `task`'s does.
    pub(crate) fn check(&self, task: Task) -> Result<(), Error> {
        call(task).map_or(Ok(()), |name| self.check_call(name))
    }

    /// The same for a call by its name.
    pub(crate) fn check_call(&self, name: &str) -> Result<(), Error> {
        let fitting = calls(self.runtime());
        // Of a model without any, the runtime tells why.
        if fitting.is_empty() || fitting.contains(&name) {
            return Ok(());
        }
        let message = format!("`{name}` is not for this model: call `{}`", fitting.join("` or `"));
        Err(error::new("unsupported", &message))
    }
}

#[wasm_bindgen]
impl Model {
    /// One vector per text, in order.
    #[wasm_bindgen(unchecked_return_type = "Embedding[]")]
    pub fn embed(&self, texts: JsTexts, options: JsEmbedOptions) -> Result<Array, Error> {
        self.check(Task::Embed)?;
        let texts = options::list(&texts, "texts")?;
        options::check(&options)?;
        let usual = EmbedOptions::default();
        let prompt = match object::get(&options, "prompt") {
            None => usual,
            Some(prompt) if prompt == false => usual.without_prompt(),
            Some(prompt) => {
                let name = prompt.as_string();
                usual.prompt(name.ok_or_else(|| options::invalid("prompt", "a name or false"))?)
            }
        };
        let embeddings = self.runtime().embed_with(&texts, &prompt).map_err(error::from)?;
        let made = embeddings.iter().map(|Embedding { vector, length, .. }| {
            let vector = Float32Array::from(&vector[..]);
            with_length(object::of([("vector", vector.into())]), *length)
        });
        Ok(made.collect())
    }

    /// The labels of each text, in order.
    #[wasm_bindgen(unchecked_return_type = "Classification[]")]
    pub fn classify(&self, texts: JsTexts, options: JsClassifyOptions) -> Result<Array, Error> {
        self.check(Task::Classify)?;
        let texts = options::list(&texts, "texts")?;
        options::check(&options)?;
        let pairs = options::texts(&options, "pairs")?;
        let labels = options::texts(&options, "labels")?;
        let multi = options::flag(&options, "multi");
        let template = options::text(&options, "template")?;
        let top = options::count(&options, "top")?.unwrap_or(usize::MAX);
        if labels.is_none() && (multi || template.is_some()) {
            return Err(error::new("invalid-option", "multi and template are for labels"));
        }
        let model = self.runtime();
        let found = match (pairs, labels) {
            (None, None) => model.classify(&texts),
            (Some(pairs), None) => {
                if pairs.len() != texts.len() {
                    return Err(options::invalid("pairs", "as many as the texts"));
                }
                let pairs: Vec<(&String, &String)> = texts.iter().zip(&pairs).collect();
                model.classify_pairs(&pairs)
            }
            (None, Some(labels)) => {
                let mut options = ZeroShotOptions::default().multi(multi);
                options.template = template.unwrap_or(options.template);
                model.classify_zero_shot(&texts, &labels, &options)
            }
            (Some(_), Some(_)) => {
                let message = "pairs are for the model's own labels: leave labels away";
                return Err(error::new("invalid-option", message));
            }
        };
        let found = found.map_err(error::from)?;
        Ok(found.into_iter().map(|found| classification(found, top)).collect())
    }

    /// The labelled parts of each text, in order.
    #[wasm_bindgen(unchecked_return_type = "Entity[][]")]
    pub fn tag(&self, texts: JsTexts, options: JsTagOptions) -> Result<Array, Error> {
        self.check(Task::Tag)?;
        let texts = options::list(&texts, "texts")?;
        options::check(&options)?;
        let mut how = TagOptions::default();
        if let Some(name) = options::text(&options, "aggregation")? {
            how.aggregation = name.parse().map_err(|e: kinglet::Error| error::from(e))?;
        }
        how.stride = options::size(&options, "stride")?;
        let tagged = self.runtime().tag(&texts, &how).map_err(error::from)?;
        let entities = |(text, Tagged { entities, .. }): (&String, Tagged)| -> Array {
            let mut counter = Utf16Counter::new(text);
            let entity = |Entity { label, score, text, start, end, .. }: Entity| {
                let object = object::of([("label", label.into()), ("score", score.into())]);
                with_part(object, &text, counter.place(start), counter.place(end))
            };
            entities.into_iter().map(entity).collect()
        };
        Ok(texts.iter().zip(tagged).map(entities).collect())
    }

    /// The likeliest tokens for each mask of a text.
    #[wasm_bindgen(js_name = fillMask, unchecked_return_type = "Fill[][]")]
    pub fn fill_mask(&self, text: &str, options: JsFillMaskOptions) -> Result<Array, Error> {
        self.check(Task::FillMask)?;
        options::check(&options)?;
        let k = options::count(&options, "k")?.unwrap_or(FILLS);
        let masks = self.runtime().fill_mask(text, k).map_err(error::from)?;
        let fill = |Fill { token, id, score, text, .. }: Fill| {
            object::of([
                ("token", token.into()),
                ("id", id.into()),
                ("score", score.into()),
                ("text", text.into()),
            ])
        };
        let mask = |fills: Vec<Fill>| -> Array { fills.into_iter().map(fill).collect() };
        Ok(masks.into_iter().map(mask).collect())
    }

    /// The parts of `context` that answer `question`, the best first.
    #[wasm_bindgen(unchecked_return_type = "TextAnswer[]")]
    pub fn answer(
        &self,
        question: &str,
        context: &str,
        options: JsAnswerOptions,
    ) -> Result<Array, Error> {
        self.check(Task::Answer)?;
        options::check(&options)?;
        let mut how = AnswerOptions::default().no_answer(options::flag(&options, "noAnswer"));
        how.top = options::count(&options, "top")?.unwrap_or(how.top);
        how.max_tokens = options::count(&options, "maxTokens")?.unwrap_or(how.max_tokens);
        how.window = options::count(&options, "window")?.unwrap_or(how.window);
        how.stride = options::size(&options, "stride")?;
        let answers = self.runtime().answer(question, context, &how).map_err(error::from)?;
        let mut counter = Utf16Counter::new(context);
        let answer = |TextAnswer { text, score, start, end, .. }: TextAnswer| {
            let object = object::of([("score", score.into())]);
            with_part(object, &text, counter.place(start), counter.place(end))
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    /// The documents' scores for the query, the best first.
    #[wasm_bindgen(unchecked_return_type = "Ranked[]")]
    pub fn rerank(&self, query: &str, documents: JsTexts) -> Result<Array, Error> {
        self.check(Task::Rerank)?;
        let documents = options::list(&documents, "docs")?;
        let ranked = self.runtime().rerank(query, &documents).map_err(error::from)?;
        let document = |Ranked { index, score, length, .. }: Ranked| {
            let index = object::count(index);
            with_length(object::of([("index", index), ("score", score.into())]), length)
        };
        Ok(ranked.into_iter().map(document).collect())
    }
}

fn classification(Classification { scores, length, .. }: Classification, top: usize) -> Object {
    let label = |LabelScore { label, score, .. }: LabelScore| {
        object::of([("label", label.into()), ("score", score.into())])
    };
    let results: Array = scores.into_iter().take(top).map(label).collect();
    with_length(object::of([("results", results.into())]), length)
}

/// Tells of a text how long it is and whether it was cut.
pub(crate) fn with_length(
    object: Object,
    TextLength { tokens, truncated, .. }: TextLength,
) -> Object {
    object::set(&object, "tokens", object::count(tokens));
    object::set(&object, "truncated", truncated);
    object
}

/// Tells of a part of a text what it is and where.
fn with_part(object: Object, text: &str, start: usize, end: usize) -> Object {
    object::set(&object, "text", text);
    object::set(&object, "start", object::count(start));
    object::set(&object, "end", object::count(end));
    object
}
