//! Where the messages of a chat come from: a line editor at a terminal, lines of a file or pipe
//! elsewhere.

use std::io::{BufRead, IsTerminal, stdin};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Config, Context, Editor, Helper};

use super::command::COMMANDS;
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::output::say;

/// Begins and ends a message of several lines.
const QUOTES: &str = "\"\"\"";

/// What a user did at the prompt.
pub(super) enum Line {
    /// A message or command.
    Text(String),
    /// Ctrl-C.
    Interrupt,
    /// The end of the input.
    End,
}

/// A source of messages.
pub(super) enum Input {
    /// A terminal.
    Editor(Box<Editor<Rules, MemHistory>>),
    /// Standard input that is no terminal, or one that no editor runs on.
    Plain,
}

impl Input {
    /// An editor, if somebody sits at a terminal.
    pub(super) fn new() -> Result<Self, Failure> {
        if !stdin().is_terminal() {
            return Ok(Self::Plain);
        }
        // Asks at the terminal itself, so that standard output holds answers and nothing else.
        let config = Config::builder().behavior(Behavior::PreferTerm).build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(Rules));
        Ok(Self::Editor(Box::new(editor)))
    }

    /// Whether somebody sits at a terminal.
    pub(super) fn is_interactive(&self) -> bool {
        matches!(self, Self::Editor(_))
    }

    /// The next message, without characters that control terminals.
    pub(super) fn read(&mut self) -> Result<Line, Failure> {
        let text = match self {
            Self::Plain => match read_plain(&mut stdin().lock())? {
                Some(text) => text,
                None => return Ok(Line::End),
            },
            Self::Editor(editor) => {
                let _guard = Guard::edit();
                match editor.readline(">>> ") {
                    Ok(text) => {
                        if !text.trim().is_empty() {
                            editor.add_history_entry(&text)?;
                        }
                        text.replace("\\\n", "\n")
                    }
                    Err(ReadlineError::Interrupted) => return Ok(Line::Interrupt),
                    Err(ReadlineError::Eof) => {
                        say!("");
                        return Ok(Line::End);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        Ok(Line::Text(plain(unquoted(text.trim()).unwrap_or(&text))))
    }
}

/// A line, or several from `"""` to `"""`, or to the end of the input.
fn read_plain(input: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok((!text.is_empty()).then_some(text));
        }
        text += &String::from_utf8_lossy(&line);
        if is_complete(&text) {
            return Ok(Some(text));
        }
    }
}

/// Whether a message has as many `"""` as it needs: none at the beginning, or one at the end too.
fn is_complete(text: &str) -> bool {
    let text = text.trim();
    !text.starts_with(QUOTES) || unquoted(text).is_some()
}

/// What stands between the `"""` of a message.
fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix(QUOTES)?.strip_suffix(QUOTES)
}

/// A text without escape sequences and other control characters, but for line breaks and tabs:
/// they come from keys that a terminal does not know, and mean nothing to a model.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next_if(|&c| c == '[' || c == 'O').is_some() {
                    // Parameters, up to the letter that ends the sequence.
                    while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                    rest.next_if(|c| matches!(c, '@'..='~'));
                }
            }
            '\n' | '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// What the editor knows: when a message is complete, and the names of commands.
pub(super) struct Rules;

impl Validator for Rules {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        Ok(match is_complete(input) && !input.ends_with('\\') {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Completer for Rules {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let begun = line.get(..position).unwrap_or_default();
        let Some(name) = begun.strip_prefix('/') else { return Ok((0, Vec::new())) };
        let names = COMMANDS.iter().filter(|command| command.starts_with(name));
        Ok((1, names.map(|command| format!("{command} ")).collect()))
    }
}

impl Hinter for Rules {
    type Hint = String;
}

impl Highlighter for Rules {}

impl Helper for Rules {}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let mut input = text.as_bytes();
        std::iter::from_fn(|| read_plain(&mut input).unwrap()).collect()
    }

    #[test]
    fn quotes_hold_several_lines_together() {
        assert_eq!(messages("a\nb\n"), ["a\n", "b\n"]);
        assert_eq!(messages("\"\"\"a\nb\"\"\"\nc"), ["\"\"\"a\nb\"\"\"\n", "c"]);
        assert_eq!(messages("\"\"\"\na\n\"\"\"\n"), ["\"\"\"\na\n\"\"\"\n"]);
        assert_eq!(messages("\"\"\"a\nb"), ["\"\"\"a\nb"]);
        assert_eq!(unquoted("\"\"\"a\nb\"\"\""), Some("a\nb"));
        assert!(!is_complete("\"\"\""));
        assert!(is_complete("\"\"\"\"\"\""));
    }

    #[test]
    fn control_characters_are_no_part_of_a_message() {
        assert_eq!(plain("a\u{1b}[Db\u{1b}[1;5Cc\u{1b}OAd"), "abcd");
        assert_eq!(plain("a\0b\u{7f}\u{9b}c\r\n\td"), "abc\n\td");
        assert_eq!(plain("a\u{1b}"), "a");
        assert_eq!(plain("größer 🦜"), "größer 🦜");
    }
}
