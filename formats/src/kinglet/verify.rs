//! The full check of a file's data: all hashes, all paddings, no value that cannot be.

use super::CHUNK;
use super::error::{KingletError, Section, TensorProblem};
use super::index::Tensor;
use super::reader::{KingletFile, View};

impl KingletFile {
    /// Reads the whole data section and checks every hash and every byte of padding.
    /// `progress` is told the bytes done and the bytes in all: twice the data section, since the
    /// hashes of the tensors and those of the chunks are checked one after the other.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), KingletError> {
        let data = self.section(Section::Data);
        let (mut done, total) = (0, 2 * data.len() as u64);
        progress(done, total);
        // Tensors first: a damaged one is told by its name.
        let mut end = data.len();
        for (i, tensor) in self.tensors().iter().enumerate().rev() {
            let start = tensor.planes.first().map_or(end, |plane| plane.start);
            self.verify_tensor(i, tensor, end)
                .map_err(|problem| KingletError::Tensor { name: tensor.name.clone(), problem })?;
            done += (end - start) as u64;
            progress(done, total);
            end = start;
        }
        let table = self.section(Section::ChunkTable).chunks_exact(blake3::OUT_LEN);
        for (chunk, (bytes, hash)) in data.chunks(CHUNK).zip(table).enumerate() {
            if blake3::hash(bytes).as_bytes() != hash {
                return Err(KingletError::Chunk { chunk });
            }
            done += bytes.len() as u64;
            progress(done, total);
        }
        Ok(())
    }

    /// Checks a tensor whose last padding ends at `end` of the data section.
    fn verify_tensor(&self, i: usize, tensor: &Tensor, end: usize) -> Result<(), TensorProblem> {
        let data = self.section(Section::Data);
        let mut hasher = blake3::Hasher::new();
        for (plane, place) in tensor.planes.iter().enumerate() {
            hasher.update(&data[place.clone()]);
            let next = tensor.planes.get(plane + 1).map_or(end, |next| next.start);
            if data[place.end..next].iter().any(|&b| b != 0) {
                return Err(TensorProblem::PlanePadding { plane });
            }
        }
        if *hasher.finalize().as_bytes() != tensor.hash {
            return Err(TensorProblem::Hash);
        }
        let flaw = match self.view(i) {
            View::I8(matrix) => matrix.flaw().map(|flaw| flaw.0),
            View::I4(matrix) => matrix.flaw().map(|flaw| flaw.0),
            View::F16(matrix) => matrix.flaw().map(|flaw| flaw.0),
            View::F32 { data, .. } => {
                (!data.iter().all(|v| v.is_finite())).then_some("a value that is not finite")
            }
            View::U32 { .. } => None,
        };
        flaw.map_or(Ok(()), |what| Err(TensorProblem::Flaw { what }))
    }
}
