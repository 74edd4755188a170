//! Answers taken apart: what was thought, what is said, and which tools are called.

use kinglet::{Form, ToolCall};
use serde_json::{Value, json};

use super::generation::new_id;

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";
/// Longest text that is held back because it may be a call without marks.
const LONGEST_BARE: usize = 64 << 10;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Thought(String),
    Said(String),
    Call(ToolCall),
}

/// Where a reader of an answer stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// Before the first visible character.
    Start,
    Thought,
    Text,
    /// Within the marks of a call.
    Call,
    /// In what may be a call without marks.
    Bare,
}

/// Takes an answer apart as it comes.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    place: Place,
    held: String,
    /// Whether calls are looked for.
    tools: bool,
    /// Whether white space that comes next belongs to a mark before it.
    after_mark: bool,
}

impl Reader {
    /// Of the answer to a prompt that ends with `prompt`.
    pub(super) fn new(prompt: &str, tools: bool) -> Self {
        let place = match prompt.trim_end().ends_with(THINK) {
            true => Place::Thought,
            false => Place::Start,
        };
        Self { place, held: String::new(), tools, after_mark: place == Place::Thought }
    }

    /// What is certain with this text.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.advance(&mut pieces) {}
        pieces
    }

    /// What was held back at the end.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Thought => push_text(&mut pieces, held, Piece::Thought),
            Place::Bare => match calls_in(&held) {
                Some(calls) => pieces.extend(calls.into_iter().map(Piece::Call)),
                None => push_text(&mut pieces, held, Piece::Said),
            },
            // Some models leave the last mark out.
            Place::Call => match calls_in(&held) {
                Some(calls) => pieces.extend(calls.into_iter().map(Piece::Call)),
                None => push_text(&mut pieces, format!("{CALL}{held}"), Piece::Said),
            },
            Place::Start | Place::Text => push_text(&mut pieces, held, Piece::Said),
        }
        pieces
    }

    /// Takes the next part off what is held; `false` if more text must come first.
    fn advance(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.after_mark {
            let blank = self.held.len() - self.held.trim_start().len();
            self.held.drain(..blank);
            if self.held.is_empty() {
                return false;
            }
            self.after_mark = false;
        }
        match self.place {
            Place::Start => {
                let seen = self.held.trim_start();
                if seen.is_empty() || may_begin(seen, THINK) && seen.len() < THINK.len() {
                    return false;
                }
                if let Some(rest) = seen.strip_prefix(THINK) {
                    (self.place, self.held) = (Place::Thought, rest.to_owned());
                    self.after_mark = true;
                } else if self.tools && (seen.starts_with('{') || seen.starts_with("[{")) {
                    self.place = Place::Bare;
                } else if self.tools && seen == "[" {
                    return false;
                } else {
                    self.place = Place::Text;
                }
                true
            }
            Place::Thought => {
                let Some(at) = self.held.find(THINK_END) else {
                    let certain = certain(&self.held, THINK_END);
                    let thought = self.held.drain(..certain).collect();
                    push_text(pieces, thought, Piece::Thought);
                    return false;
                };
                let rest = self.held.split_off(at + THINK_END.len());
                self.held.truncate(at);
                let thought = std::mem::replace(&mut self.held, rest);
                push_text(pieces, thought, Piece::Thought);
                (self.place, self.after_mark) = (Place::Start, true);
                true
            }
            Place::Text => {
                if !self.tools {
                    push_text(pieces, std::mem::take(&mut self.held), Piece::Said);
                    return false;
                }
                let Some(at) = self.held.find(CALL) else {
                    // The break before a mark belongs to it.
                    let certain = certain(&self.held, CALL);
                    let certain = self.held[..certain].trim_end().len();
                    let said = self.held.drain(..certain).collect();
                    push_text(pieces, said, Piece::Said);
                    return false;
                };
                let rest = self.held.split_off(at + CALL.len());
                self.held.truncate(at);
                let said = std::mem::replace(&mut self.held, rest);
                push_text(pieces, said.trim_end().to_owned(), Piece::Said);
                self.place = Place::Call;
                true
            }
            Place::Call => {
                let Some(at) = self.held.find(CALL_END) else { return false };
                let rest = self.held.split_off(at + CALL_END.len());
                self.held.truncate(at);
                let inner = std::mem::replace(&mut self.held, rest);
                match calls_in(&inner) {
                    Some(calls) => pieces.extend(calls.into_iter().map(Piece::Call)),
                    // Not what a call looks like: what was written is said.
                    None => push_text(pieces, format!("{CALL}{inner}{CALL_END}"), Piece::Said),
                }
                (self.place, self.after_mark) = (Place::Text, true);
                true
            }
            Place::Bare => {
                if self.held.len() > LONGEST_BARE {
                    self.place = Place::Text;
                    return true;
                }
                false
            }
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: String, kind: impl FnOnce(String) -> Piece) {
    if !text.is_empty() {
        pieces.push(kind(text));
    }
}

/// The form of an answer that calls one of `tools`, as a model writes calls whose template marks them,
/// or does not.
pub(super) fn call_form(tools: &[Value], name: Option<&str>, marked: bool) -> Form {
    let of = |tool: &Value| {
        let function = tool.get("function")?;
        let own = function.get("name")?.as_str()?;
        if name.is_some_and(|name| name != own) {
            return None;
        }
        let parameters = function.get("parameters").cloned();
        let parameters = parameters.unwrap_or_else(|| json!({"type": "object"}));
        // Llama's word, where nothing marks a call.
        let key = if marked { "arguments" } else { "parameters" };
        Some(json!({
            "type": "object",
            "properties": {"name": {"const": own}, key: parameters},
            "required": ["name", key],
            "additionalProperties": false,
        }))
    };
    let calls: Vec<Value> = tools.iter().filter_map(of).collect();
    let schema = Form::tidy(json!({"anyOf": calls}));
    match marked {
        true => Form::Lark(format!(
            "start: \"{CALL}\\n\" call \"\\n{CALL_END}\"\ncall: %json {schema}\n"
        )),
        false => Form::JsonSchema(schema),
    }
}

/// Whether one is the start of the other.
fn may_begin(text: &str, mark: &str) -> bool {
    text.starts_with(mark) || mark.starts_with(text)
}

/// Bytes of `text` that cannot be the beginning of `mark`.
fn certain(text: &str, mark: &str) -> usize {
    let most = text.len().min(mark.len() - 1);
    let held = (1..=most).rev().find(|&n| text.as_bytes().ends_with(&mark.as_bytes()[..n]));
    text.len() - held.unwrap_or(0)
}

/// The calls that a text of JSON makes, if it is nothing else: `{"name": …, "arguments": …}`, with
/// `parameters` for arguments in Llama's form, or an array of them.
fn calls_in(text: &str) -> Option<Vec<ToolCall>> {
    let values: Vec<Value> = serde_json::Deserializer::from_str(text.trim())
        .into_iter()
        .collect::<Result<_, _>>()
        .ok()?;
    let mut calls = Vec::new();
    for value in values {
        match value {
            Value::Array(all) => {
                for value in all {
                    calls.push(call(value)?);
                }
            }
            value => calls.push(call(value)?),
        }
    }
    (!calls.is_empty()).then_some(calls)
}

fn call(value: Value) -> Option<ToolCall> {
    let Value::Object(mut map) = value else { return None };
    let Value::String(name) = map.remove("name")? else { return None };
    let arguments = map.remove("arguments").or_else(|| map.remove("parameters"));
    let arguments = arguments.unwrap_or_else(|| Value::Object(Default::default()));
    Some(ToolCall { id: new_id("call"), name, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a text, however it is cut.
    fn read(prompt: &str, tools: bool, text: &str) -> Vec<Piece> {
        let whole = pieces(prompt, tools, &[text]);
        for n in 1..6 {
            let chars: Vec<char> = text.chars().collect();
            let parts: Vec<String> = chars.chunks(n).map(|part| part.iter().collect()).collect();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            assert_eq!(pieces(prompt, tools, &parts), whole, "in pieces of {n}");
        }
        whole
    }

    fn pieces(prompt: &str, tools: bool, parts: &[&str]) -> Vec<Piece> {
        let mut reader = Reader::new(prompt, tools);
        let mut all: Vec<Piece> = parts.iter().flat_map(|part| reader.push(part)).collect();
        all.extend(reader.finish());
        let mut joined: Vec<Piece> = Vec::new();
        for piece in all {
            match (joined.last_mut(), piece) {
                (Some(Piece::Said(text)), Piece::Said(more)) => text.push_str(&more),
                (Some(Piece::Thought(text)), Piece::Thought(more)) => text.push_str(&more),
                (_, Piece::Call(call)) => {
                    joined.push(Piece::Call(ToolCall { id: String::new(), ..call }));
                }
                (_, piece) => joined.push(piece),
            }
        }
        joined
    }

    fn said(text: &str) -> Piece {
        Piece::Said(text.to_owned())
    }

    fn called(name: &str, arguments: Value) -> Piece {
        Piece::Call(ToolCall { id: String::new(), name: name.to_owned(), arguments })
    }

    #[test]
    fn thoughts_are_apart() {
        let thought = |text: &str| Piece::Thought(text.to_owned());
        let text = "<think>\nWhy?\n</think>\n\nBecause.";
        assert_eq!(read("…", false, text), [thought("Why?\n"), said("Because.")]);
        let text = "Why?</think>Because </think>";
        assert_eq!(read("<think>\n", false, text), [thought("Why?"), said("Because </think>")]);
        assert_eq!(read("…", false, "a < b <thin"), [said("a < b <thin")]);
        assert_eq!(read("…", false, "<think>On and on"), [thought("On and on")]);
    }

    #[test]
    fn calls_are_found_in_every_form() {
        let call = || called("weather", serde_json::json!({"city": "Bern"}));
        let json = r#"{"name": "weather", "arguments": {"city": "Bern"}}"#;
        let llama = r#"{"name": "weather", "parameters": {"city": "Bern"}}"#;
        let marked = format!(
            "Let me see.\n<tool_call>\n{json}\n</tool_call>\n<tool_call>{json}</tool_call>"
        );
        assert_eq!(read("", true, &marked), [said("Let me see."), call(), call()]);
        assert_eq!(read("", true, llama), [call()]);
        assert_eq!(read("", true, &format!("[{json}, {json}]")), [call(), call()]);
        assert_eq!(read("", true, &format!("<tool_call>{json}")), [call()]);
        // Without tools nothing is looked for, and what only looks like a call is said.
        assert_eq!(read("", false, json), [said(json)]);
        for text in [
            "{\"a\": 1}",
            "[1, 2]",
            "{ no json",
            "<tool_call>no json</tool_call>",
            "[",
            "<tool_call>x",
        ] {
            assert_eq!(read("", true, text), [said(text)], "{text}");
        }
    }
}
