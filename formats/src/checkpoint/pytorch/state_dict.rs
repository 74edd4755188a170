//! From the values of a pickle to named tensors, each checked against its storage.

use super::globals::Global;
use super::node::{Id, Node};
use super::pickle::Pickle;
use super::view::View;
use super::{DType, PytorchProblem, TensorInfo};
use crate::checkpoint::stored::byte_len;

/// Keys under which trainers put the dictionary of tensors.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
const MAX_DEPTH: usize = 8;
const MAX_DIMS: usize = 8;
/// Most values looked at: shared dictionaries can make more paths than there are values.
const MAX_VISITS: usize = 1 << 18;
/// Most bytes of all names together: shared keys can make more than the file has.
const MAX_NAMES: usize = 16 << 20;

/// The tensors of a checkpoint.
pub(super) struct StateDict {
    pub(super) infos: Vec<TensorInfo>,
    /// For each tensor where it lies.
    pub(super) views: Vec<View>,
}

/// Where the storages of a file lie.
pub(super) trait Storages {
    /// First byte and length in bytes of the storage called `key`, which lies within the file.
    fn place(&self, key: &str) -> Result<(usize, u64), PytorchProblem>;
}

/// What a pickle says of a storage.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct StorageClaim<'a> {
    pub(super) key: &'a str,
    /// `None` if it is of bytes.
    pub(super) dtype: Option<DType>,
    /// In elements.
    pub(super) len: u64,
}

impl StateDict {
    pub(super) fn new(
        pickle: &Pickle<'_>,
        storages: &dyn Storages,
    ) -> Result<Self, PytorchProblem> {
        let mut walk = Walk {
            pickle,
            storages,
            found: Self { infos: Vec::new(), views: Vec::new() },
            visits: 0,
            name_bytes: 0,
        };
        let root = unwrapped(pickle).ok_or(PytorchProblem::NoTensors)?;
        walk.dict("", root, 0)?;
        if walk.found.infos.is_empty() {
            return Err(PytorchProblem::NoTensors);
        }
        Ok(walk.found)
    }
}

/// The outermost dictionary that has tensors, or the one that it wraps.
fn unwrapped<'p>(pickle: &'p Pickle<'_>) -> Option<&'p [(Id, Id)]> {
    let Node::Dict(dict) = pickle.root() else {
        return None;
    };
    let mut dict: &[(Id, Id)] = dict;
    for _ in 0..MAX_DEPTH {
        if dict.iter().any(|&(_, value)| matches!(pickle.node(value), Node::Tensor(_))) {
            break;
        }
        let wrapped = WRAPPERS.iter().find_map(|wrapper| {
            dict.iter().find_map(|&(key, value)| match (pickle.node(key), pickle.node(value)) {
                (Node::Str(key), Node::Dict(inner)) if key == wrapper => Some(inner),
                _ => None,
            })
        });
        match wrapped {
            Some(inner) => dict = inner,
            None => break,
        }
    }
    Some(dict)
}

struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    storages: &'p dyn Storages,
    found: StateDict,
    visits: usize,
    name_bytes: usize,
}

impl Walk<'_, '_> {
    /// Collects the tensors of a dictionary that lies inside `depth` others.
    fn dict(
        &mut self,
        prefix: &str,
        dict: &[(Id, Id)],
        depth: usize,
    ) -> Result<(), PytorchProblem> {
        for &(key, value) in dict {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                let (what, max) = ("entries", MAX_VISITS);
                return Err(PytorchProblem::TooMuch { what, max });
            }
            let node = self.pickle.node(value);
            if !matches!(node, Node::Dict(_) | Node::Tensor(_)) {
                continue;
            }
            let name = match self.pickle.node(key) {
                Node::Str(key) => format!("{prefix}{key}"),
                Node::Int(key) => format!("{prefix}{key}"),
                _ => continue,
            };
            self.name_bytes += name.len();
            if self.name_bytes > MAX_NAMES {
                let (what, max) = ("bytes of names", MAX_NAMES);
                return Err(PytorchProblem::TooMuch { what, max });
            }
            match node {
                Node::Tensor(arguments) => self.tensor(name, arguments)?,
                Node::Dict(inner) if depth < MAX_DEPTH => {
                    self.dict(&format!("{name}."), inner, depth + 1)?;
                }
                _ => {
                    let (what, max) = ("levels of dictionaries", MAX_DEPTH);
                    return Err(PytorchProblem::TooMuch { what, max });
                }
            }
        }
        Ok(())
    }

    /// Whether a type of elements is one that no weights have.
    fn is_other_type(&self, id: Id) -> bool {
        matches!(self.pickle.node(id), Node::Global(Global::Other))
    }

    /// Whether a storage has such elements.
    fn is_other(&self, id: Id) -> bool {
        match self.pickle.node(id) {
            Node::Storage(arguments) => {
                arguments.get(1).is_some_and(|&class| self.is_other_type(class))
            }
            _ => false,
        }
    }

    fn tensor(&mut self, name: String, arguments: &[Id]) -> Result<(), PytorchProblem> {
        let wrong = |expected| PytorchProblem::Tensor { tensor: name.as_str().into(), expected };
        let &[storage, offset, dims, strides, ..] = arguments else {
            return Err(wrong("storage, offset, size and strides"));
        };
        if self.is_other(storage) || arguments.get(6).is_some_and(|&id| self.is_other_type(id)) {
            return Ok(());
        }
        let storage = storage_claim(self.pickle, storage)?;
        let offset = number(self.pickle.node(offset)).ok_or_else(|| wrong("an offset"))?;
        let dims =
            numbers(self.pickle, dims).ok_or_else(|| wrong("a size of at most 8 dimensions"))?;
        let strides = numbers(self.pickle, strides).ok_or_else(|| wrong("strides"))?;
        if dims.len() != strides.len() {
            return Err(wrong("a stride for each dimension"));
        }
        let dtype = match (storage.dtype, arguments.get(6).map(|&id| self.pickle.node(id))) {
            (Some(dtype), None | Some(Node::None)) => dtype,
            (_, Some(&Node::Global(Global::DType(dtype)))) => dtype,
            _ => return Err(wrong("a type of elements")),
        };
        let size = dtype.block_bytes() as u64;
        byte_len(&dims, dtype).map_err(|_| wrong("dimensions whose product fits a file"))?;

        // The storage must have what the pickle says of it, and the tensor all its elements.
        let (start, bytes) = self.storages.place(storage.key)?;
        let unit = storage.dtype.map_or(1, DType::block_bytes) as u64;
        if storage.len.checked_mul(unit) != Some(bytes) {
            return Err(PytorchProblem::StorageSize {
                storage: storage.key.into(),
                expected: storage.len.saturating_mul(unit),
                found: bytes,
            });
        }
        let available = bytes / size;
        let needed =
            needed(offset, &dims, &strides).ok_or_else(|| wrong("strides within a file"))?;
        // An expanded tensor repeats elements; its size would not be bounded by the file's.
        let elements = dims.iter().product::<usize>() as u64;
        if needed > available || elements > available {
            return Err(PytorchProblem::BeyondStorage {
                tensor: name.as_str().into(),
                needed: needed.max(elements),
                available,
            });
        }
        // Within the file, so it fits a usize. An empty tensor may have any offset.
        let start = if elements == 0 { start } else { start + (offset * size) as usize };
        self.found.infos.push(TensorInfo { name, dims, dtype });
        self.found.views.push(View { start, strides });
        Ok(())
    }
}

/// Elements that a storage must have for a view of it.
fn needed(offset: u64, dims: &[usize], strides: &[usize]) -> Option<u64> {
    if dims.contains(&0) {
        return Some(0);
    }
    let last = dims.iter().zip(strides).try_fold(offset, |last, (&dim, &stride)| {
        last.checked_add((dim as u64 - 1).checked_mul(stride as u64)?)
    });
    last?.checked_add(1)
}

/// What the arguments of a reference to a storage say.
pub(super) fn storage_claim<'a>(
    pickle: &Pickle<'a>,
    id: Id,
) -> Result<StorageClaim<'a>, PytorchProblem> {
    let wrong =
        PytorchProblem::Malformed { at: 0, expected: "a storage with its type, key and length" };
    let Node::Storage(arguments) = pickle.node(id) else {
        return Err(wrong);
    };
    let &[tag, class, key, _, len, ref rest @ ..] = arguments.as_slice() else {
        return Err(wrong);
    };
    // Views of storages are of a time before tensors had offsets.
    let is_view = rest.iter().any(|&id| !matches!(pickle.node(id), Node::None));
    let [tag, class, key, len] = [tag, class, key, len].map(|id| pickle.node(id));
    match (tag, class, key, number(len)) {
        (
            Node::Str("storage"),
            &Node::Global(Global::Storage(dtype)),
            &Node::Str(key),
            Some(len),
        ) if !is_view => Ok(StorageClaim { key, dtype, len }),
        _ => Err(wrong),
    }
}

fn number(node: &Node<'_>) -> Option<u64> {
    match node {
        Node::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

fn numbers(pickle: &Pickle<'_>, id: Id) -> Option<Vec<usize>> {
    let (Node::Tuple(items) | Node::List(items)) = pickle.node(id) else {
        return None;
    };
    if items.len() > MAX_DIMS {
        return None;
    }
    let number = |&id: &Id| usize::try_from(number(pickle.node(id))?).ok();
    items.iter().map(number).collect()
}
