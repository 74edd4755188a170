//! Arguments that several verbs share.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Args, Command, ValueHint};
use kinglet::{KvType, Model, SessionOptions};
use kinglet_quantize::WeightType;

use crate::failure::Failure;
use crate::numbers;
use crate::output::say;

/// Which model, and how to run it.
#[derive(Args, Debug)]
pub(crate) struct ModelArguments {
    /// Catalog name (see `kinglet models`), .kinglet file, or a checkpoint: GGUF, safetensors,
    /// PyTorch or ONNX file, or Hugging Face folder; or a model of the Hugging Face hub
    /// (hf:ORG/NAME[:FILE][@REVISION]), or the https address of a file
    #[arg(value_name = "MODEL", required_unless_present = "named", value_hint = ValueHint::AnyPath)]
    first: Option<OsString>,
    /// The model, in place of the argument MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    named: Option<OsString>,
    /// Weights of a catalog model or checkpoint: int8, int4, f16, or auto (the default): int8, but the
    /// 4-bit weights of a GGUF file as they are
    #[arg(long = "type", value_name = "TYPE", value_parser = numbers::weight_type)]
    pub(crate) dtype: Option<WeightType>,
    /// Threads [default: the machine's physical cores, fewer for a small model]
    #[arg(short, long, value_name = "N", value_parser = numbers::threads)]
    pub(crate) threads: Option<NonZeroUsize>,
}

impl ModelArguments {
    /// The model's name or path.
    pub(crate) fn model(&self) -> Result<&OsStr, Failure> {
        let model = self.named.as_deref().or(self.first.as_deref());
        model.ok_or_else(|| Failure::usage("no MODEL given"))
    }

    /// The words that follow the model: with `-m`, the first argument is one of them.
    pub(crate) fn words<'a>(&'a self, rest: &'a [String]) -> Result<Vec<&'a str>, Failure> {
        let first = self.first.as_ref().filter(|_| self.named.is_some());
        let first = first.map(|word| {
            word.to_str().ok_or_else(|| Failure::usage(not_text("the first word", word)))
        });
        Ok(first.transpose()?.into_iter().chain(rest.iter().map(String::as_str)).collect())
    }
}

impl ModelArguments {
    /// The paths that follow the model: with `-m`, the first argument is one of them.
    pub(crate) fn paths<'a>(&'a self, rest: &'a [PathBuf]) -> Vec<&'a Path> {
        let first = self.first.as_ref().filter(|_| self.named.is_some()).map(Path::new);
        first.into_iter().chain(rest.iter().map(PathBuf::as_path)).collect()
    }
}

/// A session, and what is said in it before the first message.
#[derive(Args, Debug)]
pub(crate) struct SessionArguments {
    /// Instructions that go before the conversation (-sys works too)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, value_parser = Text)]
    #[arg(alias = "system-prompt")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    context: ContextArguments,
}

/// How much a session holds, and how.
#[derive(Args, Debug)]
pub(crate) struct ContextArguments {
    /// Most tokens of prompts and answers together [default: what the model was made for]
    #[arg(short = 'c', long = "ctx-size", value_name = "N", value_parser = numbers::context)]
    #[arg(aliases = ["context", "num-ctx", "n-ctx"])]
    context: Option<usize>,
    /// How keys and values are kept: f16, or int8 in half the memory
    #[arg(long, value_name = "TYPE", default_value_t)]
    #[arg(value_parser = numbers::kv_type)]
    pub(crate) kv: KvType,
}

impl SessionArguments {
    /// The instructions, if there are any: an empty text is none.
    pub(crate) fn system(&self) -> Option<&str> {
        self.system.as_deref().filter(|text| !text.is_empty())
    }

    /// See [`ContextArguments::options`].
    pub(crate) fn options(&self, model: &Model) -> SessionOptions {
        self.context.options(model)
    }

    /// How keys and values are kept.
    pub(crate) fn kv(&self) -> KvType {
        self.context.kv
    }
}

impl ContextArguments {
    /// The session's options; says what of them the model cannot have.
    pub(crate) fn options(&self, model: &Model) -> SessionOptions {
        if let Some(note) = numbers::note_on_context(self.context, model.context_length()) {
            say!("{note}");
        }
        session_options(self.context, self.kv)
    }
}

/// A session's options from `-c`, where 0 is as good as nothing, and `--kv`.
pub(crate) fn session_options(context: Option<usize>, kv: KvType) -> SessionOptions {
    let options = SessionOptions::default().kv(kv);
    match context {
        Some(context @ 1..) => options.context_length(context),
        _ => options,
    }
}

/// Reads an argument that is a text. Paths may hold any bytes, texts are UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Text;

impl TypedValueParser for Text {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        value.to_str().map(str::to_owned).ok_or_else(|| {
            let name = argument.map_or_else(|| "an argument".to_owned(), Arg::to_string);
            let message =
                format!("{}\n\nFor more information, try '--help'.\n", not_text(&name, value));
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

/// What to say about an argument that must be a text and is not.
pub(crate) fn not_text(name: &str, value: &OsStr) -> String {
    format!("{name}: `{}` is not UTF-8, which a text must be", value.to_string_lossy())
}
