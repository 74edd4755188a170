//! Counters, in the text form that Prometheus reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a model's requests took.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Tokens of prompts of requests that have ended.
    pub(crate) prompted: Counter,
    /// Those of them that had been computed before.
    pub(crate) cached: Counter,
    /// Tokens of answers.
    pub(crate) generated: Counter,
    /// Steps of the scheduler, and their microseconds.
    pub(crate) steps: Counter,
    pub(crate) busy_micros: Counter,
    /// Requests, and those that failed.
    pub(crate) requests: Counter,
    pub(crate) failures: Counter,
}

/// A page of metrics in the making.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// A metric with a value for each model.
    pub(crate) fn metric(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl IntoIterator<Item = (String, f64)>,
    ) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} {kind}");
        for (model, value) in values {
            let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.text, "kinglet_{name}{{model=\"{model}\"}} {value}");
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}
