//! Scores of the tokens that could come next: of all, or of those that a source allows.

/// A score for each token of a vocabulary, or for each of some tokens.
pub(super) struct Scores<'a> {
    pub(super) values: &'a mut [f32],
    /// Which tokens they are of, ascending; all in their order otherwise.
    pub(super) tokens: Option<&'a [u32]>,
}

impl Scores<'_> {
    /// The score of a token, if it has one.
    pub(super) fn of(&mut self, token: u32) -> Option<&mut f32> {
        let at = match self.tokens {
            None => token as usize,
            Some(tokens) => tokens.binary_search(&token).ok()?,
        };
        self.values.get_mut(at)
    }
}

/// The token of score number `at`.
pub(super) fn token(tokens: Option<&[u32]>, at: usize) -> u32 {
    tokens.and_then(|tokens| tokens.get(at)).map_or(at as u32, |&token| token)
}
