//! Guesses of how a text goes on: as it did the last time it came to the same words. Code that is
//! edited and texts that are summed up say much of their prompt again.

use super::session::Session;

/// Tokens that must be the same for a guess.
const SAME: usize = 3;
/// How much of what is known of past guesses each new one leaves.
const MEMORY: f32 = 0.8;
/// Share of guessed tokens that came, below which no more are tried for a while: a row more in a step
/// costs up to a sixth of the step.
const WORTHWHILE: f32 = 0.35;
/// After so many places where a guess was not made, one is made again.
const PATIENCE: u32 = 12;

/// How far guesses can be trusted.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Most tokens of a guess.
    most: usize,
    /// Share of guessed tokens that came, the last ones counting most.
    trust: f32,
    /// Places since the last guess.
    passed: u32,
    guess: Vec<u32>,
    /// Tokens that the session had when the guess was made.
    position: usize,
}

impl Lookup {
    pub(super) fn new(most: usize) -> Self {
        let guess = Vec::with_capacity(most);
        Self { most, trust: 0.6, passed: 0, guess, position: 0 }
    }

    /// A guess of what follows the tokens of `session`, at most `limit` of them; most often none.
    pub(super) fn guess(&mut self, session: &Session, limit: usize) -> &[u32] {
        self.learn(session.tokens());
        self.guess.clear();
        let most = self.most.min(limit).min(session.most_ahead());
        if most == 0 {
            return &[];
        }
        let tokens = session.tokens();
        let Some(place) = last_place(tokens) else { return &[] };
        if self.trust < WORTHWHILE && self.passed < PATIENCE {
            self.passed += 1;
            return &[];
        }
        self.passed = 0;
        // The surer, the farther.
        let length = ((self.trust * self.trust * most as f32).ceil() as usize).clamp(1, most);
        let follows = &tokens[place..];
        self.guess.extend_from_slice(&follows[..length.min(follows.len())]);
        self.position = tokens.len();
        &self.guess
    }

    /// Compares the last guess with what came.
    fn learn(&mut self, tokens: &[u32]) {
        let came = tokens.get(self.position..).unwrap_or_default();
        if self.guess.is_empty() || came.is_empty() {
            return;
        }
        let right = self.guess.iter().zip(came).take_while(|(a, b)| a == b).count();
        let share = right as f32 / self.guess.len() as f32;
        self.trust = MEMORY * self.trust + (1.0 - MEMORY) * share;
    }
}

/// Where the text went on the last time that it had said its last tokens.
fn last_place(tokens: &[u32]) -> Option<usize> {
    let (before, last) = tokens.split_at(tokens.len().checked_sub(SAME)?);
    let end = last[SAME - 1];
    // Compared from the end, as most places differ there. The place may overlap the last tokens.
    (SAME..=before.len() + SAME - 1)
        .rev()
        .find(|&place| tokens[place - 1] == end && tokens[place - SAME..place] == *last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_several_places_is_taken() {
        assert_eq!(last_place(&[1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3]), Some(7));
        assert_eq!(last_place(&[1, 2, 3, 4, 5, 6]), None);
        assert_eq!(last_place(&[1, 1, 1, 1]), Some(3));
        assert_eq!(last_place(&[1, 2]), None);
        assert_eq!(last_place(&[]), None);
        assert_eq!(last_place(&[1, 2, 3]), None);
    }
}
