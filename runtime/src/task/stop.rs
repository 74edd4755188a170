//! Texts that end an answer, found in a stream of pieces.

use crate::error::Error;

/// Holds back text that may turn out to be the beginning of a stop string.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopStrings {
    stops: Vec<String>,
    held: String,
}

impl StopStrings {
    pub(crate) fn new(stops: &[String]) -> Result<Self, Error> {
        if stops.iter().any(String::is_empty) {
            return Err(Error::Empty { what: "a stop string" });
        }
        let longest = stops.iter().map(String::len).max().unwrap_or(0);
        Ok(Self { stops: stops.to_vec(), held: String::with_capacity(longest + 256) })
    }

    /// Adds `text` to the stream and what is certain to `out`; `true` if a stop string is
    /// complete, and then `out` has all that came before it.
    pub(crate) fn push(&mut self, text: &str, out: &mut String) -> bool {
        if self.stops.is_empty() {
            out.push_str(text);
            return false;
        }
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            out.push_str(&self.held[..at]);
            self.held.clear();
            return true;
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let certain = self.held.len() - keep;
        out.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        false
    }

    /// The stream is over: gives out what was held back.
    pub(crate) fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }
}

/// Length of the longest end of `text` that is a beginning of `stop`, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most)
        .rev()
        .find(|&n| {
            text.as_bytes().ends_with(&stop.as_bytes()[..n])
                && text.is_char_boundary(text.len() - n)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut stop = StopStrings::new(&stops).unwrap();
        let mut given = Vec::new();
        for piece in pieces {
            let mut out = String::new();
            let stopped = stop.push(piece, &mut out);
            given.push(out);
            if stopped {
                return (given, true);
            }
        }
        let mut out = String::new();
        stop.finish(&mut out);
        given.push(out);
        (given, false)
    }

    #[test]
    fn text_flows_unless_it_may_be_a_stop() {
        assert_eq!(run(&[], &["a", "b"]), (vec!["a".into(), "b".into(), "".into()], false));
        assert_eq!(
            run(&["\n\nUser:"], &["hi\n", "\nUs", "ers"]),
            (vec!["hi".into(), "".into(), "\n\nUsers".into(), "".into()], false)
        );
    }

    #[test]
    fn the_first_stop_wins_and_is_not_given_out() {
        assert_eq!(run(&["END", "N"], &["xE", "ND"]), (vec!["x".into(), "".into()], true));
        assert_eq!(run(&["b", "aab"], &["aaab"]), (vec!["a".into()], true));
        assert_eq!(
            run(&["é!"], &["caf", "é", "!"]),
            (vec!["caf".into(), "".into(), "".into()], true)
        );
    }

    #[test]
    fn held_text_comes_at_the_end() {
        assert_eq!(run(&["stop"], &["st"]), (vec!["".into(), "st".into()], false));
    }
}
