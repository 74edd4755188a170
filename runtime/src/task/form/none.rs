//! Without grammars.

use super::Form;
use crate::error::Error;
use crate::model::Model;
use crate::task::sampler::Sampler;

/// There is none.
#[derive(Debug)]
pub(in crate::task) enum Constraint {}

impl Constraint {
    pub(in crate::task) fn new(_: &Form, _: &Model) -> Result<Self, Error> {
        let reason = "this build has no grammars: build with the feature `grammar`".to_owned();
        Err(Error::Form { reason })
    }

    pub(in crate::task) fn sample(
        &mut self,
        _: &[f32],
        _: &[u32],
        _: &mut Sampler,
        _: &Model,
    ) -> Result<u32, Error> {
        match *self {}
    }

    pub(in crate::task) fn accept(&mut self, _: u32) -> Result<(), Error> {
        match *self {}
    }

    pub(in crate::task) fn forced(&mut self) -> Vec<u32> {
        match *self {}
    }

    pub(in crate::task) fn is_complete(&self) -> bool {
        match *self {}
    }
}
