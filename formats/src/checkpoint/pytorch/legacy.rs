//! The stream that PyTorch wrote before 1.6: five pickles, then the storages one after the other.

use std::collections::HashMap;

use super::node::Node;
use super::pickle::Pickle;
use super::state_dict::{StateDict, Storages, storage_claim};
use super::{DType, PytorchProblem};

/// The first pickle is this integer.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const VERSION: i64 = 1001;

/// Whether `bytes` begin such a stream.
pub(in crate::checkpoint) fn is_legacy(bytes: &[u8]) -> bool {
    // PROTO, perhaps FRAME, LONG1.
    let start = &bytes[..bytes.len().min(32)];
    start.first() == Some(&0x80) && start.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// Reads the tensors of a stream.
pub(super) fn read(bytes: &[u8]) -> Result<StateDict, PytorchProblem> {
    let mut position = 0;
    let mut next = || {
        let (pickle, len) = Pickle::read(&bytes[position..])?;
        position += len;
        Ok((pickle, position))
    };
    let (magic, _) = next()?;
    if !matches!(magic.root(), Node::Long(magic) if *magic == MAGIC) {
        return Err(PytorchProblem::Truncated { what: "the magic number" });
    }
    let (version, _) = next()?;
    match version.root() {
        Node::Int(VERSION) => {}
        Node::Int(found) => return Err(PytorchProblem::StreamVersion { found: *found }),
        _ => return Err(PytorchProblem::StreamVersion { found: -1 }),
    }
    // What the writing machine was like.
    let (system, _) = next()?;
    if is_big_endian(&system) {
        return Err(PytorchProblem::BigEndian);
    }
    let (state_dict, _) = next()?;
    let (keys, storages_start) = next()?;
    let places = places(bytes, storages_start, &state_dict, &keys)?;
    StateDict::new(&state_dict, &Stream { places })
}

fn is_big_endian(system: &Pickle<'_>) -> bool {
    let Node::Dict(entries) = system.root() else {
        return false;
    };
    entries.iter().any(|&(key, value)| {
        matches!(system.node(key), Node::Str("little_endian"))
            && matches!(system.node(value), Node::Bool(false))
    })
}

/// First byte and length in bytes of each storage.
struct Stream<'a> {
    places: HashMap<&'a str, (usize, u64)>,
}

impl Storages for Stream<'_> {
    fn place(&self, key: &str) -> Result<(usize, u64), PytorchProblem> {
        let place = self.places.get(key).copied();
        place.ok_or_else(|| PytorchProblem::MissingEntry { entry: key.into() })
    }
}

/// Walks over the storages, which come in the order of `keys`, each after its number of elements.
fn places<'a>(
    bytes: &[u8],
    mut position: usize,
    state_dict: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Result<HashMap<&'a str, (usize, u64)>, PytorchProblem> {
    // The size of an element is known only from the references to a storage.
    let mut element_bytes = HashMap::new();
    for (id, node) in state_dict.nodes().iter().enumerate() {
        if matches!(node, Node::Storage(_)) {
            let claim = storage_claim(state_dict, id as u32)?;
            element_bytes.insert(claim.key, claim.dtype.map_or(1, DType::block_bytes) as u64);
        }
    }
    let Node::List(keys_in_order) = keys.root() else {
        return Err(PytorchProblem::NoTensors);
    };
    let truncated = || PytorchProblem::Truncated { what: "a storage" };
    let mut places = HashMap::new();
    for &key in keys_in_order {
        let key = match keys.node(key) {
            Node::Str(key) => *key,
            _ => return Err(PytorchProblem::NoTensors),
        };
        let size = element_bytes.get(key);
        let size = *size.ok_or_else(|| PytorchProblem::MissingEntry { entry: key.into() })?;
        let rest = &bytes[position..];
        let (len, rest) = rest.split_first_chunk::<8>().ok_or_else(truncated)?;
        let len = u64::from_le_bytes(*len).checked_mul(size).ok_or_else(truncated)?;
        if len > rest.len() as u64 {
            return Err(truncated());
        }
        places.insert(key, (position + 8, len));
        position += 8 + len as usize;
    }
    Ok(places)
}
