//! One file per verb: its arguments, and what it does with them.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod demo;
pub(crate) mod embed;
pub(crate) mod models;
pub(crate) mod perplexity;
pub(crate) mod quantize;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod tokenize;
pub(crate) mod verify;
