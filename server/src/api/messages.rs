//! Messages of a chat, from OpenAI's form to templates'.

use kinglet::{Message, PromptOptions, ToolCall};
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, shown};

/// Most messages of a conversation.
const MOST: usize = 4096;

/// The messages of a request.
pub(super) fn messages(fields: &mut Fields) -> Result<Vec<Message>, ApiError> {
    let values: Vec<Value> = fields.required("messages")?;
    if values.is_empty() || values.len() > MOST {
        let why = format!("has {} messages, but must have from 1 to {MOST}", values.len());
        return Err(fields.wrong("messages", why));
    }
    let numbered = values.into_iter().enumerate();
    numbered.map(|(i, value)| message(value, &format!("messages[{i}]"))).collect()
}

fn message(value: Value, at: &str) -> Result<Message, ApiError> {
    let mut fields = Fields::of(value, at)?;
    let role: String = fields.required("role")?;
    let role = match role.as_str() {
        "system" | "user" | "assistant" | "tool" => role,
        // Newer clients' word for it.
        "developer" => "system".to_owned(),
        _ => {
            let why =
                format!("is {role:?}, but must be system, developer, user, assistant or tool");
            return Err(fields.wrong("role", why));
        }
    };
    let content = match fields.value("content") {
        None => None,
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => Some(text_of(parts, &fields.path("content"))?),
        Some(other) => {
            let why = format!("is {}, not a text or parts", shown(&other));
            return Err(fields.wrong("content", why));
        }
    };
    let mut message = Message::new(&*role, content.clone().unwrap_or_default());
    message.name = fields.optional("name")?;
    if role == "assistant" {
        message.reasoning = fields.optional("reasoning_content")?;
        message.tool_calls = calls(&mut fields)?;
        fields.ignore(&["refusal", "audio", "annotations", "function_call"]);
    }
    if role == "tool" {
        message.tool_call_id = fields.optional("tool_call_id")?;
    }
    if content.is_none() && message.tool_calls.is_empty() {
        return Err(fields.wrong("content", "is missing"));
    }
    fields.end()?;
    Ok(message)
}

/// The texts of a message's parts, one after another.
fn text_of(parts: Vec<Value>, at: &str) -> Result<String, ApiError> {
    let mut all = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let mut part = Fields::of(part, &format!("{at}[{i}]"))?;
        let kind: String = part.required("type")?;
        if kind != "text" && kind != "refusal" {
            let why = format!("is {kind:?}, which this model does not take: send text");
            return Err(part.wrong("type", why));
        }
        let text: String = part.required(&kind)?;
        part.ignore(&["cache_control", "annotations"]);
        part.end()?;
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(&text);
    }
    Ok(all)
}

/// Calls of tools that an assistant's message makes.
fn calls(fields: &mut Fields) -> Result<Vec<ToolCall>, ApiError> {
    let values: Vec<Value> = fields.optional("tool_calls")?.unwrap_or_default();
    let at = fields.path("tool_calls");
    let call = |(i, value)| {
        let mut call = Fields::of(value, &format!("{at}[{i}]"))?;
        call.ignore(&["type", "index"]);
        let id = call.optional("id")?.unwrap_or_default();
        let function: Value = call.required("function")?;
        let path = call.path("function");
        call.end()?;
        let mut function = Fields::of(function, &path)?;
        let name = function.required("name")?;
        let arguments = match function.value("arguments") {
            None => Value::Object(Default::default()),
            // A text of JSON, as OpenAI sends it; templates want what it says.
            Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Some(value) => value,
        };
        function.end()?;
        Ok(ToolCall { id, name, arguments })
    };
    values.into_iter().enumerate().map(call).collect()
}

/// Which tool must be called.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Choice {
    /// The model decides.
    Auto,
    /// Any of them.
    Required,
    /// This one.
    Named(String),
}

/// Which tool a request wants called; takes the tools away where none may be.
pub(super) fn tool_choice(
    fields: &mut Fields,
    options: &mut PromptOptions,
) -> Result<Choice, ApiError> {
    let choice = match fields.value("tool_choice") {
        None => Choice::Auto,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Choice::Auto,
            "required" => Choice::Required,
            "none" => {
                options.tools.clear();
                Choice::Auto
            }
            _ => {
                let why = format!("is {word:?}, but must be auto, required, none or a function");
                return Err(fields.wrong("tool_choice", why));
            }
        },
        Some(value) => match value.pointer("/function/name").and_then(Value::as_str) {
            Some(name) => Choice::Named(name.to_owned()),
            None => {
                let why = format!("is {}, which names no function", shown(&value));
                return Err(fields.wrong("tool_choice", why));
            }
        },
    };
    let is_there = |name: &str| {
        options.tools.iter().any(|tool| tool.pointer("/function/name") == Some(&name.into()))
    };
    match &choice {
        Choice::Required if options.tools.is_empty() => {
            Err(fields.wrong("tool_choice", "needs `tools`"))
        }
        Choice::Named(name) if !is_there(name) => {
            Err(fields.wrong("tool_choice", format_args!("names {name:?}, which is no tool here")))
        }
        _ => Ok(choice),
    }
}

/// Tools, thinking, and what else a prompt is written with.
pub(super) fn prompt_options(fields: &mut Fields) -> Result<PromptOptions, ApiError> {
    let mut options = PromptOptions::default();
    options.tools = fields.optional("tools")?.unwrap_or_default();
    for (i, tool) in options.tools.iter().enumerate() {
        let is_function = tool.get("type").and_then(Value::as_str) == Some("function")
            && tool.pointer("/function/name").is_some_and(Value::is_string);
        if !is_function {
            let at = format!("tools[{i}]");
            let why = "must be {\"type\": \"function\", \"function\": {\"name\": …}}";
            return Err(ApiError::field(&*at, format!("{at} {why}")));
        }
    }
    let as_many = "this server passes on as many calls as the model makes";
    fields.refuse("parallel_tool_calls", &[Value::Bool(true)], as_many)?;
    if let Some(value) = fields.value("chat_template_kwargs") {
        let Value::Object(values) = value else {
            return Err(fields.wrong("chat_template_kwargs", "is not an object"));
        };
        options.values = values;
    }
    options.thinking = fields.optional("enable_thinking")?;
    if let Some(yes) = options.values.remove("enable_thinking") {
        options.thinking = options.thinking.or(yes.as_bool());
    }
    // OpenAI's word: how much, of which a template knows whether.
    if let Some(effort) = fields.optional::<String>("reasoning_effort")? {
        options.thinking = options.thinking.or(Some(effort != "none" && effort != "minimal"));
    }
    options.continues = fields.optional("continue_final_message")?.unwrap_or(false);
    fields.ignore(&["add_generation_prompt"]);
    Ok(options)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail and tell")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Message>, ApiError> {
        messages(&mut Fields::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn parts_roles_and_calls() {
        let found = read(
            r#"{"messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
                {"role": "tool", "tool_call_id": "1", "content": "2"}]}"#,
        )
        .unwrap();
        assert_eq!(found[0].role, "system");
        assert_eq!(found[1].content, "a\nb");
        assert_eq!(found[2].tool_calls[0].arguments["x"], 1);
        assert_eq!(found[3].tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (message, name) in [
            (r#"{"role": "robot", "content": "x"}"#, "messages[0].role"),
            (r#"{"role": "user"}"#, "messages[0].content is missing"),
            (r#"{"role": "user", "content": 7}"#, "messages[0].content is 7"),
            (r#"{"role": "user", "content": "x", "mood": 1}"#, "messages[0].mood is not known"),
            (
                r#"{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}"#,
                "messages[0].content[0].type is \"image_url\"",
            ),
            ("[]", "messages[0] is []"),
        ] {
            let error = read(&format!("{{\"messages\": [{message}]}}")).unwrap_err();
            assert!(error.message.contains(name), "{}", error.message);
        }
        assert!(read(r#"{"messages": []}"#).is_err());
        assert!(read("{}").unwrap_err().message.contains("messages is missing"));
    }
}
