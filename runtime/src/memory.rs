//! What a session takes of the machine's memory: buffers, and the plan that tells their sizes
//! before there are any.

use bytemuck::Zeroable;
use kinglet_formats::kinglet::KingletFile;

use crate::error::Error;
use crate::kv::KvLayout;

/// What buffers are taken from: the system, or nothing while a plan is made. One code path serves
/// both, so that the plan is what happens.
pub(crate) struct Room {
    bytes: usize,
    is_plan: bool,
}

impl Room {
    /// Room for real buffers.
    pub(crate) fn real() -> Self {
        Self { bytes: 0, is_plan: false }
    }

    /// Counts the bytes of buffers and leaves them empty.
    pub(crate) fn plan() -> Self {
        Self { bytes: 0, is_plan: true }
    }

    /// Whether nothing is allocated.
    pub(crate) fn is_plan(&self) -> bool {
        self.is_plan
    }

    /// Bytes of all buffers so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `len` zeros, which the system gives page by page as they are touched.
    pub(crate) fn zeroed<T: Zeroable>(&mut self, len: usize) -> Result<Vec<T>, Error> {
        let bytes = len.saturating_mul(size_of::<T>());
        self.bytes = self.bytes.saturating_add(bytes);
        if self.is_plan {
            return Ok(Vec::new());
        }
        bytemuck::try_zeroed_vec(len)
            .map_err(|()| Error::OutOfMemory { what: "the buffers of a step", bytes })
    }
}

/// What a session with a full context takes of the machine's memory, in bytes, once everything
/// has been touched. See [`Model::memory_plan`](crate::Model::memory_plan).
///
/// The program itself (code, libraries, stacks: some 5 MB) is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// Tokens of the context.
    pub context_length: usize,
    /// Whether the file is mapped: its pages are then shared with other processes, and dropped and
    /// read again when memory is short.
    pub mapped: bool,
    /// Weights in the file.
    pub weights: usize,
    /// The rest of the file: tokenizer, spec, index and checksums.
    pub file_head: usize,
    /// Keys and values of one position over all layers.
    pub kv_per_position: usize,
    /// Keys and values of the whole context.
    pub kv: usize,
    /// Buffers of a step and logits.
    pub scratch: usize,
}

impl MemoryPlan {
    pub(crate) fn new(
        file: &KingletFile,
        context_length: usize,
        kv: &KvLayout,
        room: &Room,
    ) -> Self {
        let weights = file.data_len() as usize;
        Self {
            context_length,
            mapped: file.bytes().is_mapped(),
            weights,
            file_head: file.file_len() as usize - weights,
            kv_per_position: kv.bytes_per_position(),
            kv: kv.bytes_for(context_length),
            scratch: room.bytes(),
        }
    }

    /// Bytes that belong to this process alone.
    pub fn private(&self) -> usize {
        let file = if self.mapped { 0 } else { self.weights + self.file_head };
        file.saturating_add(self.kv).saturating_add(self.scratch)
    }

    /// Bytes in all.
    pub fn total(&self) -> usize {
        let file = self.weights.saturating_add(self.file_head);
        file.saturating_add(self.kv).saturating_add(self.scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_counts_what_real_buffers_take() {
        for mut room in [Room::real(), Room::plan()] {
            let floats: Vec<f32> = room.zeroed(10).unwrap();
            let halves: Vec<half::f16> = room.zeroed(3).unwrap();
            assert_eq!(room.bytes(), 46);
            let lens = if room.is_plan { (0, 0) } else { (10, 3) };
            assert_eq!((floats.len(), halves.len()), lens);
        }
    }

    #[test]
    fn no_memory_is_an_error() {
        let mut room = Room::real();
        for len in [usize::MAX, isize::MAX as usize / 4] {
            assert!(matches!(room.zeroed::<f32>(len), Err(Error::OutOfMemory { .. })));
        }
        let mut plan = Room::plan();
        assert!(plan.zeroed::<f32>(usize::MAX).is_ok());
    }
}
