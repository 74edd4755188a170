//! The command line: verbs, exit codes, and how failures are told.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::Failure;
use crate::hub;
use crate::interrupt;
use crate::output::say;
use crate::spelling;
use crate::verbs::{
    answer, bench, chat, classify, complete, completions, demo, embed, fill_mask, fit, models,
    perplexity, quantize, rerank, run, search, serve, show, tag, tokenize, transcribe, translate,
    verify,
};

/// Runs foundation models on small machines.
#[derive(Parser, Debug)]
#[command(name = "kinglet", version, arg_required_else_help = true, disable_version_flag = true)]
#[command(after_help = "Examples:
  kinglet run smollm2-135m \"Why is the sky blue?\"
  kinglet run hf:Qwen/Qwen3-0.6B \"Why is the sky blue?\"
  kinglet chat smollm2-135m
  kinglet embed minilm \"a small bird\" \"a large ship\" -o json
  kinglet transcribe whisper-tiny.en talk.mp3
  kinglet quantize model.gguf -o model.kinglet

Models are fetched and converted once, into the folder that `kinglet models` names; checkpoints
of the Hugging Face hub go to its own cache, which other tools share.
Environment: KINGLET_CACHE is that folder; KINGLET_ISA chooses a kernel set; of the hub, HF_TOKEN
is for gated and private models, HF_HOME and HF_HUB_CACHE are its cache, HF_ENDPOINT is a mirror,
HF_HUB_OFFLINE=1 is --offline; HTTPS_PROXY and SSL_CERT_FILE are for networks that need them.")]
struct Arguments {
    /// Print version
    #[arg(short = 'V', long, short_alias = 'v', action = ArgAction::Version)]
    version: (),
    /// Fetch nothing: use what is on this machine, or fail
    #[arg(long, global = true)]
    offline: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Run(run::Arguments),
    Chat(chat::Arguments),
    Complete(complete::Arguments),
    Serve(serve::Arguments),
    #[command(alias = "convert")]
    Quantize(quantize::Arguments),
    Show(show::Arguments),
    Verify(verify::Arguments),
    Tokenize(tokenize::Arguments),
    Embed(embed::Arguments),
    Classify(classify::Arguments),
    Tag(tag::Arguments),
    FillMask(fill_mask::Arguments),
    Answer(answer::Arguments),
    Rerank(rerank::Arguments),
    Search(search::Arguments),
    Fit(fit::Arguments),
    Transcribe(transcribe::Arguments),
    Translate(translate::Arguments),
    Bench(bench::Arguments),
    Perplexity(perplexity::Arguments),
    Models(models::Arguments),
    #[command(hide = true)]
    Pull(models::Pull),
    #[command(hide = true, alias = "ls")]
    List(models::List),
    #[command(hide = true)]
    Rm(models::Rm),
    Demo(demo::Arguments),
    Completions(completions::Arguments),
}

/// What clap knows about the command line.
pub(crate) fn command() -> clap::Command {
    let mut command = with_negative_numbers(Arguments::command());
    command.build();
    command
}

/// Takes `-1` for a value wherever one can stand, so that the option says what it must be.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let with_value = |arg: clap::Arg| match arg.get_action().takes_values() {
        true if arg.get_long().is_some() => arg.allow_negative_numbers(true),
        _ => arg,
    };
    command.mut_args(with_value).mut_subcommands(with_negative_numbers)
}

/// Runs the command that the process was given. Exit codes: 0 for success, 1 for failure, 2 for
/// wrong usage, 128 and the signal's number after Ctrl-C or another signal.
pub fn run() -> ExitCode {
    let outcome = parse(std::env::args_os().collect())
        .map_err(|e| Failure::Usage(Box::new(e)))
        .and_then(|arguments| {
            interrupt::install()?;
            if arguments.offline {
                hub::go_offline();
            }
            dispatch(arguments.verb)
        });
    match outcome {
        Ok(()) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(Failure::Interrupted) => ExitCode::from(interrupt::exit_code()),
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

fn parse(arguments: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let command = command();
    let arguments = spelling::normalize(&command, arguments);
    let verb = arguments.get(1).map(|verb| verb.to_string_lossy().into_owned());
    let matches = command.try_get_matches_from(&arguments);
    matches.and_then(|matches| Arguments::from_arg_matches(&matches)).map_err(|error| {
        match error.kind() {
            ErrorKind::InvalidUtf8 => not_utf8(&arguments),
            ErrorKind::UnknownArgument => with_tip(error, &verb.unwrap_or_default()),
            _ => error,
        }
    })
}

/// Names the arguments of which clap says only that there are some: numbers and names, as texts
/// tell by themselves and paths may hold any bytes.
fn not_utf8(arguments: &[OsString]) -> clap::Error {
    let lossy = |argument: &OsString| match argument.to_str() {
        Some(_) => None,
        None => Some(format!("`{}`", argument.to_string_lossy())),
    };
    let found: Vec<String> = arguments.iter().filter_map(lossy).collect();
    let message = format!(
        "{} is not UTF-8, and stands where no path is expected\n\nFor more information, try \
         '--help'.\n",
        found.join(", ")
    );
    clap::Error::raw(ErrorKind::InvalidUtf8, message)
}

/// An unknown option's error with a tip that leads on: clap's own, `-- --option`, is for texts
/// alone.
fn with_tip(mut error: clap::Error, verb: &str) -> clap::Error {
    error.remove(ContextKind::Suggested);
    if let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg)
        && error.get(ContextKind::SuggestedArg).is_none()
        && spelling::takes_texts(verb)
    {
        let tip = format!("a text that begins with a minus goes behind '--', as in '-- {name}'");
        let tips = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

fn dispatch(verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Chat(arguments) => chat::run(&arguments),
        Verb::Complete(arguments) => complete::run(&arguments),
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Quantize(arguments) => quantize::run(&arguments),
        Verb::Show(arguments) => show::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Tokenize(arguments) => tokenize::run(&arguments),
        Verb::Embed(arguments) => embed::run(&arguments),
        Verb::Classify(arguments) => classify::run(&arguments),
        Verb::Tag(arguments) => tag::run(&arguments),
        Verb::FillMask(arguments) => fill_mask::run(&arguments),
        Verb::Answer(arguments) => answer::run(&arguments),
        Verb::Rerank(arguments) => rerank::run(&arguments),
        Verb::Search(arguments) => search::run(&arguments),
        Verb::Fit(arguments) => fit::run(&arguments),
        Verb::Transcribe(arguments) => transcribe::run(&arguments),
        Verb::Translate(arguments) => translate::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Perplexity(arguments) => perplexity::run(&arguments),
        Verb::Models(arguments) => models::run(&arguments),
        Verb::Pull(arguments) => models::pull(&arguments),
        Verb::List(arguments) => models::list_all(&arguments),
        Verb::Rm(arguments) => models::rm(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Completions(arguments) => completions::run(&arguments, command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_examples() {
        for verb in Arguments::command().get_subcommands_mut() {
            let help = verb.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}: {help}", verb.get_name());
        }
    }
}
