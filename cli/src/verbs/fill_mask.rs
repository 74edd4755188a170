//! `kinglet fill-mask`: tokens for gaps.

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::print_json_line;
use crate::resolve;
use crate::results::{self, BulkArguments, Named, Outcome, TextFormat};

/// Fill the masks of a text
///
/// A mask is spelled as the model's vocabulary has it: [MASK], <mask>. Each mask is filled while the
/// others stay.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet fill-mask bert.kinglet \"The capital of France is [MASK].\"
  kinglet fill-mask roberta.kinglet \"The <mask> is small.\" --top 3 -o json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    bulk: BulkArguments,
    /// Tokens for each mask
    #[arg(short = 'k', long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,
}

/// A token for JSON.
#[derive(Serialize)]
struct Fill {
    token: String,
    id: u32,
    score: f32,
    text: String,
}

/// Of one text: a list of tokens for each mask; of several, such a list for each text.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bulk = &arguments.bulk;
    if let ([text], Some(TextFormat::Json), None) = (&bulk.words()?[..], bulk.output, &bulk.out.out)
    {
        let masks = resolve::open(&bulk.model)?.model.fill_mask(text, arguments.top as usize)?;
        return print_json_line(&Named("fills", &outcome(masks).value));
    }
    results::run(bulk, "fills", |model, texts| {
        let filled = model.fill_masks(texts, arguments.top as usize)?;
        Ok(filled.into_iter().map(outcome).collect())
    })
}

fn outcome(masks: Vec<Vec<kinglet::Fill>>) -> Outcome<Vec<Vec<Fill>>> {
    let fill = |kinglet::Fill { token, id, score, text, .. }: kinglet::Fill| Fill {
        token,
        id,
        score,
        text,
    };
    let value: Vec<Vec<Fill>> =
        masks.into_iter().map(|mask| mask.into_iter().map(fill).collect()).collect();
    let line = |fill: &Fill| format!("{:.4}  {:<16} {}\n", fill.score, fill.token, fill.text);
    let masks: Vec<String> = value.iter().map(|mask| mask.iter().map(line).collect()).collect();
    Outcome { value, text: masks.join("\n"), length: None }
}
