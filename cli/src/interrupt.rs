//! Ctrl-C, and on Unix the signals that end programs: they end this one at once, unless something
//! has to be finished or cleaned up first.

use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kinglet::CancelToken;

use crate::failure::Failure;
use crate::output::say;

/// Exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

#[derive(Clone, Debug)]
enum Action {
    /// Nothing to clean up.
    Exit,
    /// Work that looks at [`Guard::pressed`] and cleans up.
    Wait,
    /// A session's computation.
    Cancel(CancelToken),
    /// A line editor that has changed how the terminal behaves.
    Edit,
}

struct State {
    action: Action,
    pressed: bool,
    /// The exit code, once a signal has asked the program to end.
    ending: Option<i32>,
}

static STATE: Mutex<State> =
    Mutex::new(State { action: Action::Exit, pressed: false, ending: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exit code of a program that was interrupted: 128 and the number of the signal.
pub(crate) fn exit_code() -> u8 {
    u8::try_from(state().ending.unwrap_or(INTERRUPTED)).unwrap_or(1)
}

/// Whether a signal has asked the program to end, not only to stop what it does.
pub(crate) fn is_ending() -> bool {
    state().ending.is_some()
}

/// Starts listening.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| stop(state(), INTERRUPTED))?;
    #[cfg(unix)]
    listen_to_endings()?;
    Ok(())
}

/// SIGTERM and SIGHUP clean up as Ctrl-C does, and end conversations too.
#[cfg(unix)]
fn listen_to_endings() -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM])?;
    if !ignores_hangups() {
        signals.add_signal(SIGHUP)?;
    }
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let mut state = state();
            state.ending = Some(128 + signal);
            stop(state, 128 + signal);
        }
    });
    Ok(())
}

/// Whether `nohup` or the like wants the program to outlive its terminal. Where the system does not
/// tell, hangups are left as they are.
#[cfg(unix)]
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask & 1 << (signal_hook::consts::SIGHUP - 1) != 0)
}

/// Stops what is being done; the second time, and where nothing has to be cleaned up, the program.
fn stop(mut state: MutexGuard<'_, State>, code: i32) {
    let again = std::mem::replace(&mut state.pressed, true);
    match &state.action {
        Action::Edit => {
            restore_terminal();
            process::exit(code)
        }
        Action::Exit => process::exit(code),
        _ if again => process::exit(code),
        Action::Wait => {}
        Action::Cancel(token) => token.cancel(),
    }
}

/// Undoes what a line editor does to a terminal. Where there is no `stty`, there is nothing to undo
/// it with.
fn restore_terminal() {
    let _ = process::Command::new("stty").arg("sane").status();
    say!("");
}

/// While this lives, Ctrl-C does something else than exit; pressed twice, it exits all the same.
pub(crate) struct Guard {
    before: Action,
}

impl Guard {
    fn new(action: Action) -> Self {
        let mut state = state();
        state.pressed = false;
        Self { before: std::mem::replace(&mut state.action, action) }
    }

    /// The holder asks [`Guard::check`] from time to time and cleans up.
    pub(crate) fn wait() -> Self {
        Self::new(Action::Wait)
    }

    /// Ctrl-C cancels the computation.
    pub(crate) fn cancel(token: CancelToken) -> Self {
        Self::new(Action::Cancel(token))
    }

    /// A line editor reads; it takes Ctrl-C for itself.
    pub(crate) fn edit() -> Self {
        Self::new(Action::Edit)
    }

    /// Whether Ctrl-C has been pressed.
    pub(crate) fn pressed(&self) -> bool {
        state().pressed
    }

    /// Fails if Ctrl-C has been pressed.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.pressed() { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = state();
        state.action = self.before.clone();
        state.pressed = false;
    }
}
