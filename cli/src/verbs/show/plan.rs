//! `kinglet show --plan`: what running a model takes of the machine's memory.

use std::path::Path;

use kinglet::{MemoryPlan, Model, ModelOptions};
use serde::Serialize;

use super::Arguments;
use crate::arguments::session_options;
use crate::failure::Failure;
use crate::memory;
use crate::output::{Format, print, print_json};
use crate::table::Table;
use crate::units;

/// A plan for JSON and CSV; sizes in bytes.
#[derive(Serialize)]
struct Description {
    context_length: usize,
    threads: usize,
    weights: usize,
    file_head: usize,
    kv_per_position: usize,
    kv: usize,
    scratch: usize,
    /// The program without a model, where the system tells.
    program: Option<u64>,
    private: usize,
    total: usize,
}

pub(super) fn show(path: &Path, arguments: &Arguments) -> Result<(), Failure> {
    let program = memory::program();
    let mut options = ModelOptions::default();
    options.threads = arguments.model.threads.map(std::num::NonZeroUsize::get);
    let model =
        Model::open_with(path, &options).map_err(|e| Failure::from(e).during(path.display()))?;
    let plan = model.memory_plan(&session_options(arguments.context, arguments.kv))?;
    if arguments.output == Format::Md {
        return print(&table(&model, &plan, program).markdown());
    }
    let description = Description {
        context_length: plan.context_length,
        threads: model.n_threads(),
        weights: plan.weights,
        file_head: plan.file_head,
        kv_per_position: plan.kv_per_position,
        kv: plan.kv,
        scratch: plan.scratch,
        program: program.map(|program| program.peak),
        private: plan.private() + program.map_or(0, |program| program.private as usize),
        total: plan.total() + program.map_or(0, |program| program.peak as usize),
    };
    if arguments.output == Format::Json {
        print_json(&description)
    } else {
        print_csv(&description)
    }
}

/// The figures of the JSON form, one a row.
fn print_csv(description: &Description) -> Result<(), Failure> {
    let figures = serde_json::to_value(description)?;
    let mut csv = Table::new(&["figure", "value"]);
    for (name, value) in figures.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()) {
        csv.row([name.clone(), value.to_string()]);
    }
    print(&csv.csv())
}

fn table(model: &Model, plan: &MemoryPlan, program: Option<memory::Memory>) -> Table {
    let title = format!("{}, {} tokens", model.meta().general.name, plan.context_length);
    let mut table = Table::new(&[&title, "private:", "in all:"]);
    let mut row = |name: String, private: usize, all: usize| {
        table.row([name, units::bytes(private as u64), units::bytes(all as u64)]);
    };
    let file = |bytes| if plan.mapped { 0 } else { bytes };
    row("weights, mapped".to_owned(), file(plan.weights), plan.weights);
    row("tokenizer and index, mapped".to_owned(), file(plan.file_head), plan.file_head);
    let per_position = units::bytes(plan.kv_per_position as u64);
    row(format!("keys and values, {per_position} a token"), plan.kv, plan.kv);
    row(format!("buffers, {} threads", model.n_threads()), plan.scratch, plan.scratch);
    let (private, all) = program.map_or((0, 0), |p| (p.private as usize, p.peak as usize));
    if program.is_some() {
        row("the program".to_owned(), private, all);
    }
    row("sum".to_owned(), plan.private() + private, plan.total() + all);
    table
}
