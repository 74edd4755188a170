//! What templates written for Python's Jinja expect beyond the engine's own: methods of strings and
//! maps, JSON as Python writes it, and the date.

use std::fmt::Write;

use chrono::Local;
use minijinja::{Environment, Error};

use super::cost::invalid;
use super::{filters, json, methods, percent};

/// Longest form of a date.
const MAX_DATE_FORMAT: usize = 256;

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter("tojson", json::to_json);
    filters::install(environment);
    percent::install(environment);
    environment.add_function("strftime_now", strftime_now);
}

/// The template without the meaning of `{% generation %}…{% endgeneration %}`, by which the
/// reference marks what a model is trained on. The tags stay tags, as white space depends on them.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
        let instead = match &word[..end] {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        out.push_str(before);
        out.push_str("{%");
        rest = tag;
        if let Some(instead) = instead {
            out.push_str(&tag[..tag.len() - word.len()]);
            out.push_str(instead);
            rest = &word[end..];
        }
    }
    out.push_str(rest);
    out
}

/// `datetime.now().strftime(format)`: the local time, in English.
fn strftime_now(format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let is_short = format.len() <= MAX_DATE_FORMAT;
    if is_short && write!(out, "{}", Local::now().format(format)).is_ok() {
        return Ok(out);
    }
    Err(invalid(format!("{:?} is no form of a date", format.chars().take(32).collect::<String>())))
}
