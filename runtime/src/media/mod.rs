//! Sound and images, as models read them.

pub(crate) mod audio;
pub(crate) mod image;
