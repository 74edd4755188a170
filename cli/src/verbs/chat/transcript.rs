//! Conversations as files: Markdown that people can read and edit, or JSON.

use std::path::Path;

use kinglet::Message;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Who can be speaking. Only their names make a line the beginning of a message.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// A message in JSON, as chat services write it.
#[derive(Serialize, Deserialize)]
struct JsonMessage {
    role: String,
    content: String,
}

/// Writes a conversation: JSON under a name that ends so, Markdown under any other.
pub(super) fn save(path: &Path, messages: &[Message]) -> Result<(), Failure> {
    let text = match path.extension().is_some_and(|extension| extension == "json") {
        true => to_json(messages)?,
        false => to_markdown(messages),
    };
    Ok(std::fs::write(path, text)?)
}

/// Reads what [`save`] has written.
pub(super) fn load(path: &Path) -> Result<Vec<Message>, Failure> {
    let text = std::fs::read_to_string(path)?;
    let messages = match text.trim_start().starts_with('[') {
        true => from_json(&text)?,
        false => from_markdown(&text),
    };
    if messages.is_empty() {
        return Err(Failure::new("there is no message in it; messages begin with **user**: "));
    }
    Ok(messages)
}

fn to_json(messages: &[Message]) -> Result<String, Failure> {
    let messages: Vec<JsonMessage> = messages
        .iter()
        .map(|message| JsonMessage { role: message.role.clone(), content: message.content.clone() })
        .collect();
    Ok(serde_json::to_string_pretty(&messages)? + "\n")
}

fn from_json(text: &str) -> Result<Vec<Message>, Failure> {
    let messages: Vec<JsonMessage> = serde_json::from_str(text)?;
    Ok(messages.into_iter().map(|m| Message::new(m.role, m.content)).collect())
}

/// `**role**: content`, with an empty line after each. A line of a message that looks like the
/// beginning of one gets a backslash before it.
fn to_markdown(messages: &[Message]) -> String {
    let escaped = |line: &str| match begins_message(line.trim_start_matches('\\')) {
        Some(_) => format!("\\{line}"),
        None => line.to_owned(),
    };
    let mut text = String::new();
    for message in messages {
        let mut lines = message.content.split('\n');
        let first = lines.next().unwrap_or_default();
        text += &format!("**{}**: {first}\n", message.role);
        for line in lines {
            text += &escaped(line);
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn from_markdown(text: &str) -> Vec<Message> {
    let mut messages: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        if let Some((role, content)) = begins_message(line) {
            messages.push((role.to_owned(), vec![content.to_owned()]));
        } else if let Some((_, lines)) = messages.last_mut() {
            let bare = line
                .strip_prefix('\\')
                .filter(|line| begins_message(line.trim_start_matches('\\')).is_some());
            lines.push(bare.unwrap_or(line).to_owned());
        }
    }
    let message = |(role, mut lines): (String, Vec<String>)| {
        // The empty line between two messages belongs to neither.
        if lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Message::new(role, lines.join("\n"))
    };
    messages.into_iter().map(message).collect()
}

/// Role and first line, where a line begins a message.
fn begins_message(line: &str) -> Option<(&str, &str)> {
    let (role, content) = line.strip_prefix("**")?.split_once("**:")?;
    ROLES.contains(&role).then(|| (role, content.strip_prefix(' ').unwrap_or(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<Message> {
        let turns = [
            ("system", "Be brief.\n"),
            ("user", "Hi\n\n**user**: no\n\\**assistant**: nor this\n\\\\ a"),
            ("assistant", "  **Note**: é\n\n"),
            ("user", ""),
        ];
        turns.iter().map(|(role, content)| Message::new(*role, *content)).collect()
    }

    fn told(messages: &[Message]) -> Vec<(&str, &str)> {
        messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect()
    }

    #[test]
    fn conversations_come_back_as_they_were() {
        let messages = conversation();
        let markdown = to_markdown(&messages);
        assert!(markdown.starts_with("**system**: Be brief.\n"), "{markdown}");
        assert_eq!(told(&from_markdown(&markdown)), told(&messages), "{markdown}");
        let json = to_json(&messages).unwrap();
        assert_eq!(told(&from_json(&json).unwrap()), told(&messages));
    }

    #[test]
    fn files_are_told_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["talk.md", "talk.json", "talk"] {
            let path = folder.path().join(name);
            save(&path, &conversation()).unwrap();
            assert_eq!(told(&load(&path).unwrap()), told(&conversation()), "{name}");
        }
        std::fs::write(folder.path().join("other"), "just text").unwrap();
        assert!(load(&folder.path().join("other")).is_err());
    }
}
