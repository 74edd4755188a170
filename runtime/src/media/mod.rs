//! Sound, as models read it.

pub(crate) mod audio;
