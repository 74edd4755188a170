//! Several checkpoints as one.

use super::stored::{ByName, tensor};
use super::{Checkpoint, CheckpointError, Quoted, TensorInfo};

/// The tensors of several checkpoints: the files of one model, or the modules that make one up.
pub struct Joined {
    infos: Vec<TensorInfo>,
    files: Vec<Box<dyn Checkpoint>>,
    /// For each tensor its file and its number there.
    places: Vec<(usize, usize)>,
    by_name: ByName,
}

impl Joined {
    /// Joins the tensors of `files`, each under the name that `name` has for it, given the file's
    /// number; without one it is left out.
    ///
    /// # Errors
    /// With the name that two of them have.
    pub fn new(
        files: Vec<Box<dyn Checkpoint>>,
        name: impl Fn(usize, &TensorInfo) -> Option<String>,
    ) -> Result<Self, Quoted> {
        let (mut infos, mut places) = (Vec::new(), Vec::new());
        for (file, checkpoint) in files.iter().enumerate() {
            for (number, info) in checkpoint.tensors().iter().enumerate() {
                if let Some(name) = name(file, info) {
                    infos.push(TensorInfo { name, ..info.clone() });
                    places.push((file, number));
                }
            }
        }
        let by_name =
            ByName::new(&infos).map_err(|twice| Quoted::from(infos[twice].name.as_str()))?;
        Ok(Self { infos, files, places, by_name })
    }

    fn place(&self, index: usize) -> Result<(&dyn Checkpoint, usize), CheckpointError> {
        tensor(&self.infos, index)?;
        let (file, number) = self.places[index];
        Ok((&*self.files[file], number))
    }
}

impl Checkpoint for Joined {
    fn tensors(&self) -> &[TensorInfo] {
        &self.infos
    }

    fn read_rows(
        &self,
        index: usize,
        first_row: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let (file, number) = self.place(index)?;
        file.read_rows(number, first_row, out)
    }

    fn row_step(&self, index: usize, row: usize) -> Option<f32> {
        let (file, number) = self.place(index).ok()?;
        file.row_step(number, row)
    }

    fn raw(&self, index: usize) -> Result<&[u8], CheckpointError> {
        let (file, number) = self.place(index)?;
        file.raw(number)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.by_name.find(&self.infos, name)
    }
}
