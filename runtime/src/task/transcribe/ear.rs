//! Who listens, by what a model reads.

use super::dictator::Dictator;
use super::listener::{Listener, Sound};
use super::{Segment, TranscribeOptions};
use crate::error::Error;
use crate::model::Model;
use crate::task::session::CancelToken;

/// Who listens.
pub(super) enum Ear {
    /// To spectrograms, window by window.
    Windows(Box<Listener>),
    /// To samples, piece by piece.
    Pieces(Box<Dictator>),
}

impl Ear {
    pub(super) fn new(model: &Model, options: &TranscribeOptions) -> Result<Self, Error> {
        Ok(match &model.meta().dictation {
            Some(dictation) => Self::Pieces(Box::new(Dictator::new(model, dictation, options)?)),
            None => Self::Windows(Box::new(Listener::new(model, options)?)),
        })
    }

    /// The code of the language that is spoken, once it is known; `None` for a model that knows one alone.
    pub(super) fn language(&self) -> Option<&str> {
        match self {
            Self::Windows(listener) => listener.language(),
            Self::Pieces(_) => None,
        }
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        match self {
            Self::Windows(listener) => listener.cancel_token(),
            Self::Pieces(dictator) => dictator.cancel_token(),
        }
    }

    /// The largest logarithm of a power in `samples`, where it matters.
    pub(super) fn loudest(&mut self, samples: &[f32]) -> Option<f32> {
        match self {
            Self::Windows(listener) => Some(listener.loudest(samples)),
            Self::Pieces(_) => None,
        }
    }

    /// The segments of what begins at frame `seek`, and the frame at which it goes on. `None` if cancelled.
    pub(super) fn hear(
        &mut self,
        sound: Sound<'_>,
        seek: usize,
    ) -> Result<Option<(Vec<Segment>, usize)>, Error> {
        match self {
            Self::Windows(listener) => listener.hear(sound, seek),
            Self::Pieces(dictator) => dictator.hear(sound.samples, seek),
        }
    }
}
