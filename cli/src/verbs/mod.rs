//! One file per verb: its arguments, and what it does with them.

pub(crate) mod answer;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod classify;
pub(crate) mod complete;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod embed;
pub(crate) mod fill_mask;
pub(crate) mod fit;
pub(crate) mod models;
pub(crate) mod perplexity;
pub(crate) mod quantize;
pub(crate) mod rerank;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod tag;
pub(crate) mod tokenize;
pub(crate) mod transcribe;
pub(crate) mod translate;
pub(crate) mod verify;
