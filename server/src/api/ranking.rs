//! `/v1/rerank` and `/classify`

use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::response::Response;
use serde_json::{Value, json};

use super::generation::new_id;
use crate::State;
use crate::error::ApiError;
use crate::models::compute;
use crate::reading::{fields, json};

/// Most texts of a request.
const MOST_TEXTS: usize = 2048;

/// In Jina's and Cohere's form.
pub(super) async fn rerank(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let name: Option<String> = fields.optional("model")?;
    let query: String = fields.required("query")?;
    let values: Vec<Value> = fields.required("documents")?;
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        // Documents may be objects with a text.
        Value::Object(mut map) => match map.remove("text") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    };
    let documents: Option<Vec<String>> = values.into_iter().map(text).collect();
    let documents = documents.filter(|all| !all.is_empty() && all.len() <= MOST_TEXTS);
    let why = format!("must be from 1 to {MOST_TEXTS} texts, or objects with a `text`");
    let documents = documents.ok_or_else(|| fields.wrong("documents", why))?;
    let top = fields.count("top_n", 1..=usize::MAX)?.unwrap_or(usize::MAX);
    let with_documents: bool = fields.optional("return_documents")?.unwrap_or(false);
    fields.ignore(&["max_chunks_per_doc", "user"]);
    fields.end()?;
    let (entry, opened) = state.models.open(name.as_deref()).await?;
    let (ranked, documents) =
        compute(opened, move |model| Ok((model.rerank(&query, &documents)?, documents))).await?;
    let n_tokens: usize = ranked.iter().map(|one| one.length.tokens).sum();
    let results = ranked.iter().take(top).map(|one| {
        let mut result = json!({"index": one.index, "relevance_score": one.score});
        if with_documents {
            result["document"] = json!({"text": documents[one.index]});
        }
        result
    });
    let results: Vec<Value> = results.collect();
    Ok(json(&json!({
        "id": new_id("rerank"),
        "object": "list",
        "model": entry.served.name,
        "results": results,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    })))
}

/// Labels of texts, the best first.
pub(super) async fn classify(
    Shared(state): Shared<Arc<State>>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut fields = fields(&state, request).await?;
    let name: Option<String> = fields.optional("model")?;
    let texts = fields.texts("input")?;
    if texts.is_empty() || texts.len() > MOST_TEXTS {
        return Err(fields.wrong("input", format_args!("must be from 1 to {MOST_TEXTS} texts")));
    }
    let top = fields.count("top_n", 1..=usize::MAX)?.unwrap_or(usize::MAX);
    fields.end()?;
    let (entry, opened) = state.models.open(name.as_deref()).await?;
    let classified = compute(opened, move |model| model.classify(&texts)).await?;
    let n_tokens: usize = classified.iter().map(|one| one.length.tokens).sum();
    let data = classified.iter().enumerate().map(|(index, one)| {
        let best = one.scores.iter().take(top);
        let labels = best.map(|label| json!({"label": label.label, "score": label.score}));
        json!({"index": index, "labels": labels.collect::<Vec<_>>()})
    });
    let data: Vec<Value> = data.collect();
    Ok(json(&json!({
        "object": "list",
        "model": entry.served.name,
        "data": data,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    })))
}
