//! Numbers of the format that several of its parts agree on.

/// First bytes of every file, in the manner of PNG: the non-ASCII byte, the two line ends and the
/// end-of-file character reveal transfers that are not binary.
pub(super) const MAGIC: [u8; 8] = *b"\x89KGL\r\n\x1a\n";

/// Bytes of the header.
pub const HEADER: usize = 128;

/// Most bytes of a tensor's name.
pub const NAME_BYTES: usize = 112;

/// Most bytes of a meta section.
pub const META_BYTES: usize = 16 << 20;
