//! Tensors of a file: their bytes lie in it, in a file beside it, or, as fields of numbers, are
//! gathered from it.

use std::borrow::Cow;

use super::super::DType;
use super::element::Element;
use super::external::{Files, Reference};
use super::{MAX_DIMS, OnnxProblem};
use crate::protobuf::{Span, Value};

/// A tensor whose bytes are known to be there.
pub(super) struct Tensor {
    /// Dimensions, outermost first.
    pub(super) dims: Vec<usize>,
    pub(super) element: Element,
    pub(super) place: Place,
}

/// Where the elements of a tensor lie.
pub(super) enum Place {
    /// In a file, by its number, from this byte on.
    File { file: usize, start: usize },
    /// In memory: fields of numbers have another form in the file.
    Held(Vec<u8>),
    /// Nowhere: the type is not read.
    None,
}

impl Tensor {
    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The same tensor where its file has a number greater by `by`.
    pub(super) fn in_file(mut self, by: usize) -> Self {
        if let Place::File { file, .. } = &mut self.place {
            *file += by;
        }
        self
    }

    /// Whether this is a matrix: more than one row of more than one element.
    pub(super) fn is_matrix(&self) -> bool {
        matches!(self.dims[..], [rows, cols] if rows > 1 && cols > 1)
    }
}

/// The parts of a `TensorProto`.
#[derive(Default)]
struct Parts<'a> {
    dims: Vec<usize>,
    code: u64,
    raw: Option<Span<'a>>,
    /// Fields of numbers: the field's own number, and its value.
    typed: Vec<(u32, Value<'a>)>,
    external: Vec<(&'a str, &'a str)>,
    is_external: bool,
}

/// Name of the `TensorProto` in `message`, and the tensor.
pub(super) fn read<'a>(
    message: Span<'a>,
    files: &mut Files<'_>,
) -> Result<(&'a str, Tensor), OnnxProblem> {
    let mut name = "";
    for field in message.fields() {
        if let (8, Value::Bytes(span)) = field? {
            name = span.text()?;
        }
    }
    let parts = Parts::read(name, message)?;
    let element = Element::of(parts.code);
    // Also assures that no partial product of the dimensions overflows, in bits either.
    let most = parts.dims.iter().try_fold(64usize, |n, &dim| n.checked_mul(dim.max(1)));
    if most.is_none() {
        return Err(OnnxProblem::TooLarge { tensor: name.into(), dims: parts.dims });
    }
    let len = parts.dims.iter().product();
    let Some(expected) = element.bytes(len) else {
        return Ok((name, Tensor { dims: parts.dims, element, place: Place::None }));
    };
    let wrong_size = |found: u64| OnnxProblem::WrongSize {
        tensor: name.into(),
        dims: parts.dims.clone(),
        element: element.to_string(),
        expected,
        found,
    };
    let place = if parts.is_external {
        let reference = Reference::read(name, &parts.external)?;
        let (file, start) = files.place(name, &reference, expected)?;
        Place::File { file, start }
    } else if let Some(raw) = parts.raw {
        if raw.bytes.len() != expected {
            return Err(wrong_size(raw.bytes.len() as u64));
        }
        Place::File { file: 0, start: raw.start }
    } else {
        let held = typed(element, &parts.typed)?;
        if held.len() != expected {
            return Err(wrong_size(held.len() as u64));
        }
        match held {
            Cow::Borrowed(bytes) if !bytes.is_empty() => {
                let start = typed_start(&parts.typed);
                Place::File { file: 0, start }
            }
            held => Place::Held(held.into_owned()),
        }
    };
    Ok((name, Tensor { dims: parts.dims, element, place }))
}

impl<'a> Parts<'a> {
    fn read(name: &str, message: Span<'a>) -> Result<Self, OnnxProblem> {
        let mut parts = Self::default();
        let push = |dims: &mut Vec<usize>, dim: u64| {
            let dim = usize::try_from(dim).ok().filter(|&dim| dim <= isize::MAX as usize);
            dims.push(dim.ok_or_else(|| OnnxProblem::Dimension { tensor: name.into() })?);
            match dims.len() > MAX_DIMS {
                true => Err(OnnxProblem::Dimensions { tensor: name.into(), max: MAX_DIMS }),
                false => Ok(()),
            }
        };
        for field in message.fields() {
            match field? {
                (1, Value::Varint(dim)) => push(&mut parts.dims, dim)?,
                (1, Value::Bytes(packed)) => {
                    packed.varints().try_for_each(|dim| push(&mut parts.dims, dim?))?;
                }
                (2, Value::Varint(code)) => parts.code = code,
                (number @ (4 | 5 | 7 | 10 | 11), value) => parts.typed.push((number, value)),
                (9, Value::Bytes(raw)) => parts.raw = Some(raw),
                (13, Value::Bytes(entry)) => parts.external.push(key_value(entry)?),
                (14, Value::Varint(location)) => parts.is_external = location == 1,
                _ => {}
            }
        }
        Ok(parts)
    }
}

/// The two texts of a `StringStringEntryProto`.
pub(super) fn key_value(message: Span<'_>) -> Result<(&str, &str), OnnxProblem> {
    let (mut key, mut value) = ("", "");
    for field in message.fields() {
        match field? {
            (1, Value::Bytes(span)) => key = span.text()?,
            (2, Value::Bytes(span)) => value = span.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn typed_start(typed: &[(u32, Value<'_>)]) -> usize {
    match typed {
        [(_, Value::Bytes(span))] => span.start,
        _ => 0,
    }
}

/// The bytes of fields of numbers in the order and form of raw data: as they lie where that is
/// their form already.
fn typed<'a>(element: Element, typed: &[(u32, Value<'a>)]) -> Result<Cow<'a, [u8]>, OnnxProblem> {
    if let [(4 | 10, Value::Bytes(packed))] = typed {
        return Ok(Cow::Borrowed(packed.bytes));
    }
    let mut held = Vec::new();
    for (number, value) in typed {
        match (number, value) {
            (4, Value::Fixed32(bytes)) => held.extend(bytes),
            (10, Value::Fixed64(bytes)) => held.extend(bytes),
            (4 | 10, Value::Bytes(packed)) => held.extend(packed.bytes),
            (_, Value::Varint(number)) => push(element, &mut held, *number),
            (_, Value::Bytes(packed)) => {
                for number in packed.varints() {
                    push(element, &mut held, number?);
                }
            }
            _ => {}
        }
    }
    Ok(Cow::Owned(held))
}

/// The low bytes of a number are the element; half floats are numbers of their bits, and of four
/// bits two elements are one number.
fn push(element: Element, held: &mut Vec<u8>, number: u64) {
    let size = match element {
        Element::Plain(dtype @ (DType::F32 | DType::F64)) => {
            // Floats have fields of their own; this one's length is then wrong.
            debug_assert!(dtype.block_len() == 1);
            return;
        }
        Element::Plain(dtype) => dtype.block_bytes(),
        _ => 1,
    };
    held.extend(&number.to_le_bytes()[..size]);
}
