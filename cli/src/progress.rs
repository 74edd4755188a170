//! Progress on standard error: a bar on a terminal, a line per phase elsewhere.

use std::io::{IsTerminal, stderr};
use std::ops::ControlFlow;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kinglet_quantize::{Progress, Stage, Update};

use crate::interrupt::Guard;
use crate::output::say;
use crate::units;

/// A phase of work, counted in bytes or in steps. It vanishes when it is over.
pub(crate) struct Phase(Option<ProgressBar>);

impl Phase {
    /// A phase of `total` bytes.
    pub(crate) fn bytes(title: &str, total: u64) -> Self {
        let template = "{prefix} {bar:28} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg}";
        Self::new(title, total, template, &format!(" ({})", units::bytes(total)))
    }

    /// A phase of `total` bytes, of which some are `done` already: speed and time left count from
    /// there.
    pub(crate) fn resumed(title: &str, total: u64, done: u64) -> Self {
        let phase = Self::bytes(title, total);
        if let Some(bar) = &phase.0 {
            bar.set_position(done);
            bar.reset_eta();
        }
        phase
    }

    /// A phase of `total` steps of some kind.
    pub(crate) fn steps(title: &str, total: u64, unit: &str) -> Self {
        let template = "{prefix} {bar:28} {pos}/{len} {eta} {wide_msg}";
        Self::new(title, total, template, &format!(" ({total} {unit})"))
    }

    fn new(title: &str, total: u64, template: &str, size: &str) -> Self {
        if !stderr().is_terminal() {
            say!("{title}{}", if total == 0 { "" } else { size });
            return Self(None);
        }
        let template = if total == 0 { "{prefix} {spinner} {wide_msg}" } else { template };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("█▉▊▋▌▍▎▏ ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(Some(bar))
    }

    /// Sets how much is done.
    pub(crate) fn set(&self, done: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(done);
        }
    }

    /// Shows what is being worked on.
    pub(crate) fn name(&self, name: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(name.to_owned());
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Shows a conversion, and stops it on Ctrl-C.
pub(crate) struct ConversionProgress<'a> {
    model: &'a str,
    guard: &'a Guard,
    phase: Option<(Stage, Phase)>,
}

impl<'a> ConversionProgress<'a> {
    pub(crate) fn new(model: &'a str, guard: &'a Guard) -> Self {
        Self { model, guard, phase: None }
    }
}

impl Progress for ConversionProgress<'_> {
    fn update(&mut self, update: &Update<'_>) -> ControlFlow<()> {
        if self.phase.as_ref().is_none_or(|(stage, _)| *stage != update.stage) {
            self.phase = None;
            let title = match update.stage {
                Stage::Hash => format!("reading {}", self.model),
                Stage::Tokenizer => "compiling its tokenizer".to_owned(),
                Stage::Tensors => format!("converting {}", self.model),
                _ => "finishing the file".to_owned(),
            };
            self.phase = Some((update.stage, Phase::bytes(&title, update.total)));
        }
        if let Some((_, phase)) = &self.phase {
            phase.set(update.done);
            phase.name(update.name);
        }
        goes_on(self.guard)
    }
}

/// Shows nothing of a conversion, and stops it on Ctrl-C.
pub(crate) struct Unseen<'a>(pub(crate) &'a Guard);

impl Progress for Unseen<'_> {
    fn update(&mut self, _: &Update<'_>) -> ControlFlow<()> {
        goes_on(self.0)
    }
}

fn goes_on(guard: &Guard) -> ControlFlow<()> {
    if guard.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
