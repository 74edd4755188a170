//! Arguments as other programs' users write them, brought into the form that clap reads.
//!
//! Clap takes what begins with a minus for an option. A text such as `-5 degrees` or `- milk` is
//! told from one by its blanks, or by being a number, and moved behind `--`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{Arg, Command};

/// Verbs whose words are texts.
const TEXT_VERBS: [&str; 9] =
    ["run", "tokenize", "embed", "classify", "tag", "fill-mask", "answer", "rerank", "search"];

/// Whether the words of a verb are texts.
pub(crate) fn takes_texts(verb: &str) -> bool {
    TEXT_VERBS.contains(&verb)
}

/// The arguments of a process, the program's name first, in the spelling of `command`.
pub(crate) fn normalize(command: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let (mut verb, mut at) = (command, 0);
    while let Some((next, place)) = subcommand(verb, &arguments, at + 1) {
        (verb, at) = (next, place);
    }
    let mut rest = arguments.into_iter();
    let head: Vec<OsString> = rest.by_ref().take(at + 1).collect();
    let (mut in_order, mut options, mut words) = (Vec::new(), Vec::new(), Vec::new());
    let mut moved = false;
    while let Some(argument) = rest.next() {
        if argument == "--" {
            // What follows is nothing but words.
            in_order.push(argument);
            for word in rest.by_ref() {
                in_order.push(word.clone());
                words.push(word);
            }
            break;
        }
        let kind = kind(verb, &argument);
        if matches!(kind, Kind::Word | Kind::Text) {
            moved |= kind == Kind::Text;
            in_order.push(argument.clone());
            words.push(argument);
            continue;
        }
        let argument = respelled(verb, argument);
        in_order.push(argument.clone());
        options.push(argument);
        if kind == Kind::OptionBeforeValue
            && let Some(value) = rest.next()
        {
            in_order.push(value.clone());
            options.push(value);
        }
    }
    if !moved {
        return head.into_iter().chain(in_order).collect();
    }
    head.into_iter().chain(options).chain([OsString::from("--")]).chain(words).collect()
}

/// The subcommand that comes next, and its place.
fn subcommand<'a>(
    command: &'a Command,
    arguments: &[OsString],
    from: usize,
) -> Option<(&'a Command, usize)> {
    let rest = arguments.get(from..)?;
    let at = rest.iter().position(|argument| !begins_with_minus(argument))?;
    Some((command.find_subcommand(rest[at].to_str()?)?, from + at))
}

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Anything without a minus.
    Word,
    /// A word with a minus before it.
    Text,
    /// An option, complete in itself or unknown.
    Option,
    /// An option whose value is the next argument.
    OptionBeforeValue,
}

fn begins_with_minus(argument: &OsStr) -> bool {
    argument.len() > 1 && argument.as_encoded_bytes()[0] == b'-'
}

fn kind(verb: &Command, argument: &OsStr) -> Kind {
    if !begins_with_minus(argument) {
        return Kind::Word;
    }
    let text = argument.to_string_lossy();
    let unknown = match takes_texts(verb.get_name()) && is_text(&text) {
        true => Kind::Text,
        false => Kind::Option,
    };
    if text == "-sys" {
        return Kind::OptionBeforeValue;
    }
    if let Some(long) = text.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
        return match by_long(verb, name) {
            Some(arg) if value.is_none() && wants_next(arg) => Kind::OptionBeforeValue,
            Some(_) => Kind::Option,
            None => unknown,
        };
    }
    let mut letters = text[1..].char_indices();
    while let Some((at, letter)) = letters.next() {
        let Some(arg) = by_short(verb, letter) else { return unknown };
        if arg.get_action().takes_values() {
            let value = letters.as_str();
            return match value {
                "" if wants_next(arg) => Kind::OptionBeforeValue,
                _ if unknown == Kind::Text && !may_hold(arg, value) => Kind::Text,
                _ => Kind::Option,
            };
        }
        if at == 0 && unknown == Kind::Text {
            // A flag takes no blanks.
            return Kind::Text;
        }
    }
    Kind::Option
}

/// Whether an argument with a minus reads like something to say: it has blanks, or is a number.
fn is_text(argument: &str) -> bool {
    argument.contains(char::is_whitespace) || argument.parse::<f64>().is_ok()
}

/// Whether an option can have a value with blanks attached: texts, and files that exist.
fn may_hold(arg: &Arg, value: &str) -> bool {
    match arg.get_id().as_str() {
        "prompt" | "stop" | "system" => true,
        "file" | "named" | "output" => Path::new(value.trim_start_matches('=')).exists(),
        _ => !value.contains(char::is_whitespace),
    }
}

fn wants_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

fn by_long<'a>(verb: &'a Command, name: &str) -> Option<&'a Arg> {
    verb.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    })
}

fn by_short(verb: &Command, letter: char) -> Option<&Arg> {
    verb.get_arguments().find(|arg| {
        let aliases = arg.get_all_short_aliases().unwrap_or_default();
        arg.get_short() == Some(letter) || aliases.contains(&letter)
    })
}

/// The option as `verb` spells it: llama.cpp's `-sys`, which clap would read as `-s ys`, and
/// `--json`.
fn respelled(verb: &Command, argument: OsString) -> OsString {
    if argument == "-sys" && by_long(verb, "system").is_some() {
        return OsString::from("--system");
    }
    if argument == "--json" {
        for name in ["report", "output"] {
            if by_long(verb, name).is_some() {
                return OsString::from(format!("--{name}=json"));
            }
        }
    }
    argument
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn words(line: &[&str]) -> Vec<String> {
        let line = ["kinglet"].iter().chain(line).map(OsString::from).collect();
        let line = normalize(&command::command(), line);
        line[1..].iter().map(|word| word.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn texts_may_begin_with_a_minus() {
        assert_eq!(
            words(&["run", "m", "-5 degrees", "-n", "3"]),
            ["run", "-n", "3", "--", "m", "-5 degrees"]
        );
        assert_eq!(
            words(&["embed", "m", "- milk", "bread", "-o", "json", "-7"]),
            ["embed", "-o", "json", "--", "m", "- milk", "bread", "-7"]
        );
        assert_eq!(words(&["tokenize", "m", "--a b"]), ["tokenize", "--", "m", "--a b"]);
        assert_eq!(words(&["run", "m", "-quite so"]), ["run", "--", "m", "-quite so"]);
        assert_eq!(words(&["run", "m", "-n items"]), ["run", "--", "m", "-n items"]);
    }

    #[test]
    fn options_stay_options() {
        for line in [
            &["run", "m", "-n", "-1", "--seed", "-1"][..],
            &["run", "m", "-p", "- milk"],
            &["run", "m", "-pTwo words"],
            &["run", "m", "--stop=The End", "x"],
            &["run", "m", "--no-such-option"],
            &["run", "m", "--", "-a b"],
            &["quantize", "in", "-o", "- out"],
            &["--help"],
            &["no-such-verb", "- x"],
        ] {
            assert_eq!(words(line), line);
        }
    }

    #[test]
    fn foreign_spellings_are_respelled() {
        assert_eq!(
            words(&["run", "m", "-sys", "--json", "x"]),
            ["run", "m", "--system", "--json", "x"]
        );
        assert_eq!(words(&["show", "m", "--json"]), ["show", "m", "--output=json"]);
        assert_eq!(words(&["quantize", "m", "--json"]), ["quantize", "m", "--report=json"]);
    }
}
