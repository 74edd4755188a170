//! Texts that are answered by texts: translations, summaries and the like.

use js_sys::{Array, Error, Object};
use kinglet::{SearchOptions, Task, TextToTextAnswer, TranslateOptions, Translated};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::tasks::{JsTexts, with_length};
use crate::{Model, error, object, options};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** A translation; the score is the mean log-probability of its sentences' tokens. */
export interface Translation { text: string; score: number }
/** An answer; the score is its log-probability over its length. */
export interface TextToText { text: string; score: number; tokens: number; truncated: boolean }

/** Codes of languages, and how many beams are followed. */
export interface TranslateOptions { from?: string; to?: string; beams?: number }
export interface TextToTextOptions { beams?: number; maxTokens?: number }
"#;

#[wasm_bindgen]
extern "C" {
    /// `TranslateOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "TranslateOptions | undefined | null")]
    pub type JsTranslateOptions;
    /// `TextToTextOptions` or `undefined`.
    #[wasm_bindgen(typescript_type = "TextToTextOptions | undefined | null")]
    pub type JsTextToTextOptions;
}

#[wasm_bindgen]
impl Model {
    /// Each text in another language, in order.
    #[wasm_bindgen(unchecked_return_type = "Translation[]")]
    pub fn translate(&self, texts: JsTexts, options: JsTranslateOptions) -> Result<Array, Error> {
        self.check(Task::Translate)?;
        let texts = options::list(&texts, "texts")?;
        options::check(&options)?;
        let mut how = TranslateOptions::default();
        how.from = options::text(&options, "from")?;
        how.to = options::text(&options, "to")?;
        how.search.beams = options::size(&options, "beams")?;
        let translated = self.runtime().translate(&texts, &how).map_err(error::from)?;
        let object = |Translated { text, score, .. }: Translated| {
            object::of([("text", text.into()), ("score", score.into())])
        };
        Ok(translated.into_iter().map(object).collect())
    }

    /// An answer to each text, in order.
    #[wasm_bindgen(js_name = textToText, unchecked_return_type = "TextToText[]")]
    pub fn text_to_text(
        &self,
        texts: JsTexts,
        options: JsTextToTextOptions,
    ) -> Result<Array, Error> {
        self.check_call("textToText")?;
        let texts = options::list(&texts, "texts")?;
        options::check(&options)?;
        let mut how = SearchOptions::default();
        how.beams = options::size(&options, "beams")?;
        how.max_tokens = options::count(&options, "maxTokens")?;
        let answers = self.runtime().text_to_text(&texts, &how).map_err(error::from)?;
        let object = |TextToTextAnswer { text, score, length, .. }: TextToTextAnswer| {
            let answer = object::of([("text", text.into()), ("score", score.into())]);
            with_length(answer, length)
        };
        Ok(answers.into_iter().map(object).collect())
    }
}

/// The languages that a model reads or hears, and those that it translates to: codes.
pub(crate) fn languages(model: &kinglet::Model) -> Option<Object> {
    let codes = |codes: Vec<&str>| -> JsValue {
        codes.into_iter().map(JsValue::from).collect::<Array>().into()
    };
    let (from, to) = if let Some(languages) = model.languages() {
        let [from, to] = [languages.from, languages.to]
            .map(|side| side.iter().map(|language| language.code.as_str()).collect::<Vec<_>>());
        (from, to)
    } else {
        let speech = model.meta().speech.as_ref()?;
        let known: Vec<&str> = speech.languages.iter().map(|each| each.code.as_str()).collect();
        let from = if known.is_empty() { vec!["en"] } else { known };
        (from, speech.translate.iter().map(|_| "en").collect())
    };
    Some(object::of([("from", codes(from)), ("to", codes(to))]))
}
