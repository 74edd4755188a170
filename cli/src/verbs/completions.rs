//! `kinglet completions`: scripts that teach shells the command's words.

use clap::Args;
use clap_complete::{Shell, generate};

use crate::failure::Failure;
use crate::output::print;

/// Write a script that completes kinglet's commands in a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kinglet completions bash > ~/.local/share/bash-completion/completions/kinglet
  kinglet completions zsh > ~/.zfunc/_kinglet
  kinglet completions fish > ~/.config/fish/completions/kinglet.fish")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Writes the script for `command`, the whole of it.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(arguments.shell, &mut command, "kinglet", &mut script);
    print(&String::from_utf8_lossy(&script))
}
