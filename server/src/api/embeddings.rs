//! `/v1/embeddings`

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::response::Response;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::State;
use crate::error::ApiError;
use crate::fields::{Fields, shown};
use crate::models::compute;
use crate::reading::{fields, json};

/// Most texts of a request; OpenAI's limit.
const MOST_TEXTS: usize = 2048;

/// What is to be embedded.
enum Input {
    Texts(Vec<String>),
    Tokens(Vec<Vec<u32>>),
}

pub(super) async fn answer(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let name: Option<String> = fields.optional("model")?;
    let input = input(&mut fields)?;
    let dimensions = fields.count("dimensions", 1..=usize::MAX)?;
    let format: Option<String> = fields.optional("encoding_format")?;
    let base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let why = format!("is {other:?}, but must be \"float\" or \"base64\"");
            return Err(fields.wrong("encoding_format", why));
        }
    };
    fields.ignore(&["user"]);
    fields.end()?;
    let (entry, opened) = state.models.open(name.as_deref()).await?;
    let (mut vectors, n_tokens) = compute(opened, move |model| match input {
        Input::Texts(texts) => {
            let encoded = model.embed_with(&texts, &Default::default())?;
            let n_tokens: usize = encoded.iter().map(|one| one.length.tokens).sum();
            Ok((encoded.into_iter().map(|one| one.vector).collect::<Vec<_>>(), n_tokens))
        }
        Input::Tokens(tokens) => {
            Ok((model.embed_tokens(&tokens)?, tokens.iter().map(Vec::len).sum()))
        }
    })
    .await?;
    if let Some(dimensions) = dimensions {
        let size = vectors.first().map_or(0, Vec::len);
        if dimensions > size {
            let why = format!("dimensions is {dimensions}, but the model's vectors have {size}");
            return Err(ApiError::field("dimensions", why));
        }
        vectors.iter_mut().for_each(|vector| shorten(vector, dimensions));
    }
    let data = vectors.iter().enumerate().map(|(index, vector)| {
        let embedding = match base64 {
            true => Value::from(in_base64(vector)),
            false => json!(vector),
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let data: Vec<Value> = data.collect();
    Ok(json(&json!({
        "object": "list",
        "data": data,
        "model": entry.served.name,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    })))
}

fn input(fields: &mut Fields) -> Result<Input, ApiError> {
    let value = fields.value("input").ok_or_else(|| fields.wrong("input", "is missing"))?;
    let told = shown(&value);
    let is_numbers = |value: &Value| {
        value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_number))
    };
    let input = match value {
        Value::String(text) => Some(Input::Texts(vec![text])),
        value if is_numbers(&value) => {
            serde_json::from_value(value).ok().map(|tokens| Input::Tokens(vec![tokens]))
        }
        Value::Array(all) if all.first().is_some_and(Value::is_array) => {
            serde_json::from_value(Value::Array(all)).ok().map(Input::Tokens)
        }
        value => serde_json::from_value(value).ok().map(Input::Texts),
    };
    let why = format!("is {told}, not a text, texts, tokens or lists of tokens");
    let input = input.ok_or_else(|| fields.wrong("input", why))?;
    let n = match &input {
        Input::Texts(texts) => texts.len(),
        Input::Tokens(lists) => lists.len(),
    };
    if n == 0 || n > MOST_TEXTS {
        let why = format!("has {n} texts, but must have from 1 to {MOST_TEXTS}");
        return Err(fields.wrong("input", why));
    }
    Ok(input)
}

/// Keeps the first values, and makes the vector as long as one again.
fn shorten(vector: &mut Vec<f32>, dimensions: usize) {
    vector.truncate(dimensions);
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

/// Little-endian floats in base64.
fn in_base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_in_base64() {
        // Python: base64.b64encode(struct.pack("<2f", 1.0, -0.5))
        assert_eq!(in_base64(&[1.0, -0.5]), "AACAPwAAAL8=");
        assert_eq!(in_base64(&[1.0]), "AACAPw==");
        assert_eq!(in_base64(&[1.0, 2.0, 3.0]), "AACAPwAAAEAAAEBA");
    }

    #[test]
    fn short_vectors_have_length_one() {
        let mut vector = vec![3.0, 4.0, 12.0];
        shorten(&mut vector, 2);
        assert_eq!(vector, [0.6, 0.8]);
    }
}
