//! How a model is used: its template, labels, prompts and defaults.

use kinglet_formats::kinglet::{Meta, Preprocessing, Resize, ResizeTo};

use crate::units;

/// Labels that the overview names.
const SHOWN_LABELS: usize = 12;

/// How the model is used.
pub(super) fn of(meta: &Meta) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some(template) = &meta.chat_template {
        rows.push(("chat template", units::bytes(template.len() as u64)));
    }
    if !meta.labels.is_empty() {
        let first: Vec<&str> = meta.labels.iter().take(SHOWN_LABELS).map(String::as_str).collect();
        let rest = meta.labels.len() - first.len();
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        rows.push(("labels", format!("{}{rest}", first.join(", "))));
    }
    if let Some(recipe) = &meta.preprocessing {
        rows.push(("images are", prepared(recipe)));
    }
    if let Some(embedding) = &meta.embedding {
        rows.push(("texts cut at", format!("{} tokens", embedding.max_tokens)));
        for prompt in &embedding.prompts {
            let is_default = embedding.default_prompt.as_ref() == Some(&prompt.name);
            let note = if is_default { " (default)" } else { "" };
            rows.push(("prompt", format!("{}{note}: {:?}", prompt.name, prompt.text)));
        }
    }
    let generation = &meta.generation;
    let mut defaults = Vec::new();
    let settings = [
        ("temp", generation.temperature),
        ("top-k", generation.top_k.map(|k| k as f32)),
        ("top-p", generation.top_p),
        ("min-p", generation.min_p),
        ("repeat-penalty", generation.repeat_penalty),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            defaults.push(format!("{name} {value}"));
        }
    }
    if !generation.eos.is_empty() {
        defaults.push(format!("ends at tokens {:?}", generation.eos));
    }
    if !defaults.is_empty() {
        rows.push(("generation", defaults.join(", ")));
    }
    rows
}

/// How images are prepared, in words.
fn prepared(recipe: &Preprocessing) -> String {
    let mut steps = Vec::new();
    if let Some(Resize { to, filter }) = recipe.resize {
        let size = match to {
            ResizeTo::ShortestEdge(side) => format!("their shorter side {side}"),
            ResizeTo::Exactly([height, width]) => format!("{width} x {height}"),
        };
        let filter = format!("{filter:?}").to_lowercase();
        steps.push(format!("resized to {size} ({filter})"));
    }
    if let Some([height, width]) = recipe.crop {
        steps.push(format!("cut to the middle {width} x {height}"));
    }
    steps.join(", ")
}
