//! The values that a pickle builds.

use super::globals::Global;

/// Number of a node.
pub(super) type Id = u32;

/// A value. Strings are borrowed from the file.
#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Float,
    Int(i64),
    /// An integer of more than 64 bits.
    Long(&'a [u8]),
    Str(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Pairs in order; keys may repeat.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// The arguments by which a file refers to a storage.
    Storage(Vec<Id>),
    /// The arguments by which a tensor is rebuilt.
    Tensor(Vec<Id>),
    /// What lies beside tensors and is not needed: sizes, devices, sets, numbers of numpy.
    Other,
}

/// A little-endian integer in two's complement.
pub(super) fn int(bytes: &[u8]) -> Node<'_> {
    let Some(&last) = bytes.last() else {
        return Node::Int(0);
    };
    if bytes.len() > 8 {
        return Node::Long(bytes);
    }
    let mut wide = [if last >= 0x80 { 0xff } else { 0 }; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}
