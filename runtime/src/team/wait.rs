//! How a thread waits for another: it polls, first at full speed, then giving way to others.

use std::time::Duration;

/// How long a thread polls at full speed before it lets others have its core at each poll.
const SPIN: Duration = Duration::from_micros(30);
/// Polls for each look at the clock while spinning.
const POLLS_PER_LOOK: u32 = 64;
/// Polls for each pause instruction: hypervisors take a processor away from a guest that pauses
/// many times in a row.
const POLLS_PER_PAUSE: u32 = 32;

/// The wait of one thread for another.
pub(super) struct Wait {
    polls: u32,
    clock: Option<Clock>,
    waited: Duration,
}

impl Wait {
    pub(super) fn new() -> Self {
        Self { polls: 0, clock: None, waited: Duration::ZERO }
    }

    /// Lets a moment pass between two polls.
    pub(super) fn pause(&mut self) {
        self.polls = self.polls.wrapping_add(1);
        if self.waited >= SPIN {
            std::thread::yield_now();
        } else if !self.polls.is_multiple_of(POLLS_PER_LOOK) {
            if self.polls.is_multiple_of(POLLS_PER_PAUSE) {
                std::hint::spin_loop();
            }
            return;
        }
        self.waited = self.clock.get_or_insert_with(Clock::start).elapsed();
    }

    /// Whether the wait has taken longer than `patience`.
    pub(super) fn is_longer_than(&self, patience: Duration) -> bool {
        self.waited > patience
    }
}

#[cfg(not(target_family = "wasm"))]
struct Clock(std::time::Instant);

#[cfg(not(target_family = "wasm"))]
impl Clock {
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(&mut self) -> Duration {
        self.0.elapsed()
    }
}

/// A bare WebAssembly module has no clock: each look at it counts as the time that the polls
/// between two looks take.
#[cfg(target_family = "wasm")]
struct Clock(u32);

#[cfg(target_family = "wasm")]
impl Clock {
    fn start() -> Self {
        Self(0)
    }

    fn elapsed(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        Duration::from_nanos(150) * self.0
    }
}
