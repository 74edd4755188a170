//! Ctrl-C: ends the program at once, unless something has to be finished or cleaned up first.

use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kinglet::CancelToken;

use crate::failure::Failure;
use crate::output::say;

/// Exit code of a program that was interrupted.
pub(crate) const EXIT_CODE: u8 = 130;

#[derive(Clone, Debug)]
enum Action {
    /// Nothing to clean up.
    Exit,
    /// Work that looks at [`Guard::pressed`] and cleans up.
    Wait,
    /// A session's computation.
    Cancel(CancelToken),
    /// An empty prompt of a conversation.
    Hint(&'static str),
}

struct State {
    action: Action,
    pressed: bool,
}

static STATE: Mutex<State> = Mutex::new(State { action: Action::Exit, pressed: false });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts listening.
pub(crate) fn install() -> Result<(), Failure> {
    ctrlc::set_handler(|| {
        let mut state = state();
        let again = std::mem::replace(&mut state.pressed, true);
        match &state.action {
            Action::Exit => process::exit(EXIT_CODE.into()),
            _ if again => process::exit(EXIT_CODE.into()),
            Action::Wait => {}
            Action::Cancel(token) => token.cancel(),
            Action::Hint(hint) => say!("\n{hint}"),
        }
    })?;
    Ok(())
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

    /// Ctrl-C shows how to leave.
    pub(crate) fn hint(hint: &'static str) -> Self {
        Self::new(Action::Hint(hint))
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
