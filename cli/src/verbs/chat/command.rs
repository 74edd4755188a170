//! Commands inside a chat.

use std::path::Path;

use kinglet::{GenerateOptions, Message, SamplerOptions};

use super::{Conversation, transcript};
use crate::numbers;
use crate::output::say;
use crate::units;

/// Names of commands, for completion.
pub(super) const COMMANDS: [&str; 8] =
    ["help", "bye", "reset", "forget", "system", "set", "save", "load"];

const HELP: &str = "\
/system TEXT     start over with these instructions
/reset           start over
/forget          drop the older half of the conversation
/set NAME VALUE  temp, top-k, top-p, min-p, repeat-penalty, repeat-last-n, seed or predict (n);
                 without a value, show it; alone, show all
/save FILE       write the conversation to a file, as Markdown or, named *.json, JSON
/load FILE       go on with a conversation from a file
/bye             leave (so does Ctrl-D)
\"\"\"              begins and ends a message of several lines; \\ at the end of a line goes on
Ctrl-C stops an answer.";

impl Conversation {
    /// Carries out a command; `false` ends the conversation.
    pub(super) fn command(&mut self, command: &str) -> bool {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "bye" | "exit" | "quit" => return false,
            "help" | "?" => say!("{HELP}"),
            "reset" | "clear" => {
                self.reset();
                say!("started over");
            }
            "forget" => self.forget(),
            "system" => {
                self.system = (!rest.is_empty()).then(|| rest.to_owned());
                self.reset();
                let with = if self.system.is_some() { "with" } else { "without" };
                say!("started over {with} instructions");
            }
            "set" => match set(&mut self.options, rest) {
                Ok(told) => say!("{told}"),
                Err(problem) => say!("error: {problem}"),
            },
            "save" | "load" if rest.is_empty() => say!("error: /{name} needs the name of a file"),
            "save" => match transcript::save(Path::new(rest), self.chat.messages()) {
                Ok(()) => say!("saved to {rest}"),
                Err(failure) => say!("error: {}", failure.during(rest)),
            },
            "load" => match transcript::load(Path::new(rest)) {
                Ok(messages) => {
                    say!("{} loaded", units::count(messages.len(), "message"));
                    self.restart(messages);
                }
                Err(failure) => say!("error: {}", failure.during(rest)),
            },
            other => say!("error: there is no command /{other}; /help lists them"),
        }
        true
    }

    /// Drops the older half of the turns, not the instructions.
    fn forget(&mut self) {
        let messages = self.chat.messages().to_vec();
        let (kept, dropped) = newer_half(messages);
        self.restart(kept);
        say!("{} forgotten", units::count(dropped, "message"));
    }
}

/// The messages without the older half of the turns, and how many were left out.
fn newer_half(messages: Vec<Message>) -> (Vec<Message>, usize) {
    let n_system = messages.iter().take_while(|message| message.role == "system").count();
    let starts: Vec<usize> =
        (n_system..messages.len()).filter(|&i| messages[i].role == "user").collect();
    let keep_from = starts.get(starts.len().div_ceil(2)).copied().unwrap_or(messages.len());
    let is_kept = |i: usize| i < n_system || i >= keep_from;
    let dropped = keep_from - n_system;
    let kept = messages.into_iter().enumerate().filter(|(i, _)| is_kept(*i));
    (kept.map(|(_, message)| message).collect(), dropped)
}

/// Names of the settings, as `/set` shows them.
const SETTINGS: [&str; 8] =
    ["temp", "top-k", "top-p", "min-p", "repeat-penalty", "repeat-last-n", "seed", "predict"];

/// Changes a setting, or shows one or all; tells what it did.
fn set(options: &mut GenerateOptions, words: &str) -> Result<String, String> {
    let (name, value) = words.split_once([' ', '\t', '=']).unwrap_or((words, ""));
    let value = value.trim();
    let spelled = name.trim_start_matches('-').replace('_', "-");
    let name = match spelled.as_str() {
        "" => {
            let all = SETTINGS.map(|name| format!("{name} {}", shown(options, name)));
            return Ok(all.join("\n"));
        }
        "temperature" => "temp",
        "n" | "num-predict" | "n-predict" | "max-tokens" => "predict",
        name => SETTINGS
            .into_iter()
            .find(|known| *known == name)
            .ok_or_else(|| format!("there is no setting `{name}`; /set lists them"))?,
    };
    if !value.is_empty() {
        let wrong = |problem| format!("{name} `{value}`: {problem}");
        match name {
            "temp" => options.temperature = Some(numbers::temperature(value).map_err(wrong)?),
            "top-k" => options.top_k = Some(numbers::count(value).map_err(wrong)?),
            "top-p" => options.top_p = Some(numbers::probability(value).map_err(wrong)?),
            "min-p" => options.min_p = Some(numbers::probability(value).map_err(wrong)?),
            "repeat-penalty" => {
                options.repeat_penalty = Some(numbers::penalty(value).map_err(wrong)?);
            }
            "repeat-last-n" => options.repeat_last_n = Some(numbers::count(value).map_err(wrong)?),
            "seed" => {
                let seed = numbers::seed(value).map_err(wrong)?;
                options.seed = Some(seed.unwrap_or_else(crate::sampling::random_seed));
            }
            _ => options.max_tokens = numbers::predict(value).map_err(wrong)?,
        }
    }
    Ok(format!("{name} {}", shown(options, name)))
}

/// The value of a setting; what neither the user nor the model has set is the runtime's.
fn shown(options: &GenerateOptions, name: &str) -> String {
    let own = SamplerOptions::default();
    match name {
        "temp" => options.temperature.unwrap_or(own.temperature).to_string(),
        "top-k" => options.top_k.unwrap_or(own.top_k).to_string(),
        "top-p" => options.top_p.unwrap_or(own.top_p).to_string(),
        "min-p" => options.min_p.unwrap_or(own.min_p).to_string(),
        "repeat-penalty" => options.repeat_penalty.unwrap_or(own.repeat_penalty).to_string(),
        "repeat-last-n" => options.repeat_last_n.unwrap_or(own.repeat_last_n).to_string(),
        "seed" => options.seed.unwrap_or(own.seed).to_string(),
        _ => options.max_tokens.map_or_else(|| "-1".to_owned(), |n| n.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_shown_and_changed() {
        let mut options = GenerateOptions::default();
        let all = set(&mut options, "").unwrap();
        assert_eq!(all.lines().count(), SETTINGS.len());
        assert!(all.lines().all(|line| line.split(' ').count() == 2), "{all}");
        assert_eq!(set(&mut options, "temp 0.5").unwrap(), "temp 0.5");
        assert_eq!(set(&mut options, "--temperature=0.25").unwrap(), "temp 0.25");
        assert_eq!(set(&mut options, "temp").unwrap(), "temp 0.25");
        assert_eq!(set(&mut options, "max_tokens 12").unwrap(), "predict 12");
        assert_eq!(set(&mut options, "n -1").unwrap(), "predict -1");
        assert!(set(&mut options, "temp -1").unwrap_err().contains("0 or more"));
        assert!(set(&mut options, "colour red").unwrap_err().contains("colour"));
        assert_eq!(options.temperature, Some(0.25));
    }

    #[test]
    fn the_older_half_is_forgotten_turn_by_turn() {
        let told = |roles: &str| -> (String, usize) {
            let role = |c| match c {
                's' => "system",
                'u' => "user",
                _ => "assistant",
            };
            let messages = roles.chars().map(|c| Message::new(role(c), "")).collect();
            let (kept, dropped) = newer_half(messages);
            (kept.iter().map(|m| m.role.chars().next().unwrap()).collect(), dropped)
        };
        assert_eq!(told("suauaua"), ("sua".to_owned(), 4));
        assert_eq!(told("uaua"), ("ua".to_owned(), 2));
        assert_eq!(told("sua"), ("s".to_owned(), 2));
        assert_eq!(told("s"), ("s".to_owned(), 0));
        assert_eq!(told(""), (String::new(), 0));
    }
}
