//! The command line: verbs, exit codes, and how failures are told.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::say;
use crate::verbs::{
    bench, chat, demo, embed, models, perplexity, quantize, run, show, tokenize, verify,
};

/// Runs foundation models on small machines.
#[derive(Parser, Debug)]
#[command(name = "kinglet", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  kinglet run smollm2-135m \"Why is the sky blue?\"
  kinglet chat smollm2-135m
  kinglet embed minilm \"a small bird\" \"a large ship\" -o json
  kinglet quantize model.gguf -o model.kinglet

Models are fetched and converted once, into the folder that `kinglet models` names.
Environment: KINGLET_CACHE is that folder; KINGLET_ISA chooses a kernel set.")]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Run(run::Arguments),
    Chat(chat::Arguments),
    Quantize(quantize::Arguments),
    Show(show::Arguments),
    Verify(verify::Arguments),
    Tokenize(tokenize::Arguments),
    Embed(embed::Arguments),
    Bench(bench::Arguments),
    Perplexity(perplexity::Arguments),
    Models(models::Arguments),
    Demo(demo::Arguments),
}

/// Runs the command that the process was given. Exit codes: 0 for success, 1 for failure, 2 for
/// wrong usage, 130 after Ctrl-C.
pub fn run() -> ExitCode {
    let arguments = std::env::args_os().map(|argument| {
        // llama.cpp's spelling, which clap would read as `-s ys`.
        if argument == "-sys" { OsString::from("--system") } else { argument }
    });
    let outcome = Command::try_parse_from(arguments)
        .map_err(|e| Failure::Usage(Box::new(e)))
        .and_then(|command| {
            interrupt::install()?;
            dispatch(command.verb)
        });
    match outcome {
        Ok(()) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(Failure::Usage(error)) => {
            // Help and version come this way too; a closed pipe is no matter.
            let _ = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(2),
            }
        }
        Err(Failure::Message(message)) => {
            say!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Chat(arguments) => chat::run(&arguments),
        Verb::Quantize(arguments) => quantize::run(&arguments),
        Verb::Show(arguments) => show::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Tokenize(arguments) => tokenize::run(&arguments),
        Verb::Embed(arguments) => embed::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Perplexity(arguments) => perplexity::run(&arguments),
        Verb::Models(arguments) => models::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_examples() {
        for verb in Command::command().get_subcommands_mut() {
            let help = verb.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}: {help}", verb.get_name());
        }
    }
}
