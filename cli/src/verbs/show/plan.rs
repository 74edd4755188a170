//! `kinglet show --plan`: what running a model takes of the machine's memory.

use std::num::NonZeroUsize;

use kinglet::{MemoryPlan, Model};
use serde::Serialize;

use super::Arguments;
use crate::arguments::session_options;
use crate::failure::Failure;
use crate::memory;
use crate::numbers;
use crate::output::{Format, print, print_json, print_json_line, say};
use crate::resolve::{Resolved, open_file};
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

pub(super) fn show(resolved: &Resolved, arguments: &Arguments) -> Result<(), Failure> {
    let program = memory::program();
    let model = open_file(resolved, arguments.model.threads.map(NonZeroUsize::get))?;
    if let Some(note) = numbers::note_on_context(arguments.context, model.context_length()) {
        say!("{note}");
    }
    let plan = model.memory_plan(&session_options(arguments.context, arguments.kv))?;
    if arguments.output == Format::Md {
        return print(&table(&resolved.name, &model, &plan, program).markdown());
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
    match arguments.output {
        Format::Json => print_json(&description),
        Format::Jsonl => print_json_line(&description),
        _ => print_csv(&description),
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

fn table(name: &str, model: &Model, plan: &MemoryPlan, program: Option<memory::Memory>) -> Table {
    let title = format!("{name}, {}", units::count(plan.context_length, "token"));
    let mut table = Table::new(&[&title, "private:", "in all:"]);
    let mut row = |name: String, private: usize, all: usize| {
        table.row([name, units::bytes(private as u64), units::bytes(all as u64)]);
    };
    let file = |bytes| if plan.mapped { 0 } else { bytes };
    row("weights, mapped".to_owned(), file(plan.weights), plan.weights);
    row("tokenizer and index, mapped".to_owned(), file(plan.file_head), plan.file_head);
    let per_position = units::bytes(plan.kv_per_position as u64);
    row(format!("keys and values, {per_position} a token"), plan.kv, plan.kv);
    let threads = units::count(model.n_threads(), "thread");
    row(format!("buffers, {threads}"), plan.scratch, plan.scratch);
    let (private, all) = program.map_or((0, 0), |p| (p.private as usize, p.peak as usize));
    if program.is_some() {
        row("the program".to_owned(), private, all);
    }
    row("sum".to_owned(), plan.private() + private, plan.total() + all);
    table
}
