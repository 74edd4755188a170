//! A checkpoint in which some tensors are made of those that are stored.

use std::collections::HashMap;

use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, TensorInfo};

use crate::QuantizeError;

/// How a tensor is made.
pub(crate) trait Make: Send + Sync {
    /// Makes whole rows that the tensor has, out of tensors of `inner`.
    fn read_rows(
        &self,
        inner: &dyn Checkpoint,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError>;
}

/// Tensors of a checkpoint, and others that are made of its tensors as they are read.
pub(crate) struct Overlay<'a> {
    inner: Box<dyn Checkpoint + 'a>,
    infos: Vec<TensorInfo>,
    parts: Vec<Part>,
    by_name: HashMap<String, usize>,
}

/// Where the values of a tensor come from.
enum Part {
    /// A tensor of the checkpoint, by its number.
    Stored(usize),
    Made(Box<dyn Make>),
}

impl<'a> Overlay<'a> {
    /// The tensors of `inner` that are kept, by number and description, and those that are made.
    pub(crate) fn new(
        inner: Box<dyn Checkpoint + 'a>,
        keeps: impl Fn(usize, &TensorInfo) -> bool,
        made: Vec<(TensorInfo, Box<dyn Make>)>,
    ) -> Self {
        let stored = inner.tensors().iter().enumerate();
        let stored = stored.filter(|(index, info)| keeps(*index, info));
        let stored = stored.map(|(index, info)| (info.clone(), Part::Stored(index)));
        let made = made.into_iter().map(|(info, make)| (info, Part::Made(make)));
        let (infos, parts): (Vec<TensorInfo>, Vec<Part>) = stored.chain(made).unzip();
        let by_name = infos.iter().enumerate().map(|(i, info)| (info.name.clone(), i)).collect();
        Self { inner, infos, parts, by_name }
    }

    fn part(&self, index: usize) -> Result<(&TensorInfo, &Part), CheckpointError> {
        let found = self.infos.get(index).zip(self.parts.get(index));
        found.ok_or(CheckpointError::NoSuchTensor { index, count: self.infos.len() })
    }
}

impl Checkpoint for Overlay<'_> {
    fn tensors(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        match self.part(index)? {
            (_, Part::Stored(stored)) => self.inner.read_rows(*stored, first_row, out),
            (info, Part::Made(make)) => {
                info.check_rows(first_row, out.len())?;
                make.read_rows(self.inner.as_ref(), first_row, out)
            }
        }
    }

    fn row_step(&self, index: usize, row: usize) -> Option<f32> {
        match self.part(index).ok()? {
            (_, Part::Stored(stored)) => self.inner.row_step(*stored, row),
            (_, Part::Made(_)) => None,
        }
    }

    /// Fails for a tensor that is made.
    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        match self.part(index)? {
            (_, Part::Stored(stored)) => self.inner.raw(*stored),
            (info, Part::Made(_)) => {
                Err(CheckpointError::NotInOrder { tensor: info.name.as_str().into() })
            }
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

/// The number of the tensor called `name`, of which what is called `canonical` is made.
pub(crate) fn required(
    checkpoint: &dyn Checkpoint,
    canonical: &str,
    name: String,
) -> Result<usize, QuantizeError> {
    checkpoint.find(&name).ok_or_else(|| QuantizeError::MissingTensor {
        canonical: canonical.to_owned(),
        looked_for: name,
    })
}

/// All values of a tensor.
pub(crate) fn read_all(
    checkpoint: &dyn Checkpoint,
    index: usize,
) -> Result<Vec<f32>, CheckpointError> {
    let mut x = vec![0.0; checkpoint.tensors()[index].dims.iter().product()];
    checkpoint.read_rows(index, 0, &mut x)?;
    Ok(x)
}
