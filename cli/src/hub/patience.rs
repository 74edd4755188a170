//! What may pass is tried again, with pauses, and not for ever.

use std::thread;
use std::time::Duration;

use super::Error;
use crate::output::say;

/// How often something is tried anew without any progress.
const RETRIES: u32 = 4;
/// Longest wait that a busy server may ask for, in seconds.
const MAX_WAIT: u64 = 60;

/// Does something again while it may pass, with growing pauses.
pub(super) fn patiently<T>(mut f: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        match f() {
            Err(error) => pause(error, tries)?,
            done => return done,
        }
        tries += 1;
    }
}

/// Waits before something is tried again for the `tries`th time; gives back what is no use trying.
pub(super) fn pause(error: Error, tries: u32) -> Result<(), Error> {
    let usual = Duration::from_millis(250 << tries.min(5));
    let (limit, time) = match &error {
        Error::Busy { seconds: Some(seconds @ ..=MAX_WAIT), .. } => {
            (RETRIES, Duration::from_secs(*seconds))
        }
        Error::Busy { seconds: None, .. } | Error::Cut { .. } => (RETRIES, usual),
        Error::Status { status: 408 | 500 | 502..=504, .. } => (RETRIES, usual),
        Error::NoNetwork { .. } => (1, usual),
        _ => return Err(error),
    };
    if tries >= limit {
        return Err(error);
    }
    if time > Duration::from_secs(5) {
        say!("the server is busy and asks to wait {} s", time.as_secs());
    }
    thread::sleep(time);
    Ok(())
}
