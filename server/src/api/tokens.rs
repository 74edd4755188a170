//! `/tokenize`, `/detokenize` and `/apply-template`, in llama.cpp's form.

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::response::Response;
use kinglet::tokenizer::EncodeOptions;
use serde_json::{Value, json};

use super::generation::token_text;
use super::messages;
use crate::State;
use crate::error::ApiError;
use crate::reading::{fields, json};

pub(super) async fn tokenize(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let name: Option<String> = fields.optional("model")?;
    let content: String = fields.required("content")?;
    let options = EncodeOptions {
        add_special: fields.optional("add_special")?.unwrap_or(false),
        parse_special: fields.optional("parse_special")?.unwrap_or(true),
    };
    let with_pieces: bool = fields.optional("with_pieces")?.unwrap_or(false);
    fields.end()?;
    let (_, opened) = state.models.open(name.as_deref()).await?;
    let ids = opened.model.tokenizer().encode(&content, options);
    let tokens: Vec<Value> = match with_pieces {
        false => ids.iter().map(|&id| Value::from(id)).collect(),
        true => ids
            .iter()
            .map(|&id| json!({"id": id, "piece": token_text(&opened.model, id)}))
            .collect(),
    };
    Ok(json(&json!({"tokens": tokens})))
}

pub(super) async fn detokenize(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let name: Option<String> = fields.optional("model")?;
    let tokens: Vec<u32> = fields.required("tokens")?;
    fields.end()?;
    let (_, opened) = state.models.open(name.as_deref()).await?;
    let content = opened.model.tokenizer().decode(&tokens, false);
    Ok(json(&json!({"content": content})))
}

pub(super) async fn apply_template(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let name: Option<String> = fields.optional("model")?;
    let messages = messages::messages(&mut fields)?;
    let mut options = messages::prompt_options(&mut fields)?;
    messages::tool_choice(&mut fields, &mut options)?;
    fields.end()?;
    let (_, opened) = state.models.open(name.as_deref()).await?;
    let format = opened.format.as_ref();
    let format = format.ok_or_else(|| ApiError::invalid("the model has no chat template"))?;
    let prompt = format.prompt(&messages, &options)?;
    Ok(json(&json!({"prompt": prompt.text, "n_tokens": prompt.tokens.len()})))
}
