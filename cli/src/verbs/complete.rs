//! `kinglet complete`: what belongs between two texts.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::arguments::{ContextArguments, ModelArguments, Text};
use crate::failure::Failure;
use crate::generation::{self, Finish, Stream};
use crate::input::read_text;
use crate::interrupt::Guard;
use crate::reply::{self, Form, ReportArguments};
use crate::resolve::{self, Opened};
use crate::sampling::SamplingArguments;

/// Complete code between a prefix and a suffix
///
/// The model writes what belongs between the two texts, as an editor asks for at the cursor, and
/// stops when the gap is filled. The result goes to standard output as it is generated, without
/// the texts around it, and where that is no terminal without a line end of its own. It takes a
/// model that was trained for it: Qwen2.5-Coder, StarCoder2, CodeGemma, DeepSeek-Coder, Granite.
/// Unless --temp says otherwise, the likeliest token is taken.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet complete qwen2.5-coder.gguf --prefix \"def mean(values): return \" -n 32
  kinglet complete model.kinglet --prefix-file before.rs --suffix-file after.rs
  head -c 1200 main.c | kinglet complete model.kinglet --prefix-file - -q
  kinglet complete model.kinglet --prefix \"let x = \" --suffix \";\" -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The text before the gap
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Text)]
    prefix: Option<String>,
    /// A file with the text before the gap; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "prefix")]
    prefix_file: Option<PathBuf>,
    /// The text after the gap
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Text)]
    suffix: Option<String>,
    /// A file with the text after the gap; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "suffix")]
    suffix_file: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArguments,
    #[command(flatten)]
    report: ReportArguments,
    #[command(flatten)]
    sampling: SamplingArguments,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let start = Instant::now();
    arguments.report.check()?;
    // Whether there is such a model is known before a text is waited for.
    resolve::meaning(arguments.model.model()?)?;
    let (prefix, suffix) = texts(arguments)?;
    let Opened { model, .. } = resolve::open(&arguments.model)?;
    let options = arguments.sampling.options_for_code(&model);
    let mut session = model.session_with(&arguments.context.options(&model))?;
    let guard = Guard::cancel(session.cancel_token());
    if !model.can_infill() {
        return Err(Failure::new(
            "the model cannot fill a gap in a text: its vocabulary has no fill-in-the-middle \
             tokens; Qwen2.5-Coder, StarCoder2, CodeGemma, DeepSeek-Coder and Granite models have \
             them",
        ));
    }
    let told = |error| generation::failure(error, &model);
    let stream = Stream::Text(session.infill(&prefix, &suffix, &options).map_err(told)?);
    let form = Form {
        report: &arguments.report,
        kv: arguments.context.kv,
        ends_repetition: arguments.sampling.ends_repetition(),
        ends_line: stdout().is_terminal(),
    };
    match reply::write(stream, &model, &form, start)? {
        Finish::Cancelled => Err(Failure::Interrupted),
        _ => guard.check(),
    }
}

/// The texts around the gap, of which one may be missing.
fn texts(arguments: &Arguments) -> Result<(String, String), Failure> {
    let files = [&arguments.prefix_file, &arguments.suffix_file];
    if files.iter().all(|file| file.as_deref() == Some(Path::new("-"))) {
        return Err(Failure::usage("standard input cannot be both the prefix and the suffix"));
    }
    let of = |text: &Option<String>, file: &Option<PathBuf>| match (text, file) {
        (Some(text), _) => Ok(text.clone()),
        (None, Some(file)) => read_text(file),
        (None, None) => Ok(String::new()),
    };
    let prefix = of(&arguments.prefix, &arguments.prefix_file)?;
    let suffix = of(&arguments.suffix, &arguments.suffix_file)?;
    if prefix.is_empty() && suffix.is_empty() {
        return Err(Failure::usage(
            "there is nothing to complete: give --prefix or --prefix-file, and --suffix or \
             --suffix-file",
        ));
    }
    Ok((prefix, suffix))
}
