//! Single tensors: found, compared with the list, turned into handles.

use kinglet_formats::kinglet::View;
use kinglet_formats::spec::Norm;

use super::Binder;
use crate::error::Error;
use crate::ops::{BoundNorm, Linears};
use crate::weights::{Matrix, Numbers, Table, Vector};

/// k per activation scale where the weights have one scale per row.
const ROW_ACTIVATION_GROUP: usize = 64;

impl Binder<'_> {
    /// Matrices that share an input, of modules under `prefix`.
    pub(super) fn linears(&self, prefix: &str, modules: &[&str]) -> Result<Linears, Error> {
        let parts = modules.iter().map(|module| self.matrix(&format!("{prefix}{module}")));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        self.same_groups(&parts)?;
        Ok(Linears::new(parts, self.n_threads))
    }

    /// An input is quantized once for all matrices that read it.
    pub(super) fn same_groups(&self, parts: &[Matrix]) -> Result<(), Error> {
        let mut int8 = parts.iter().filter(|part| part.group.is_some());
        let Some(first) = int8.next() else { return Ok(()) };
        match int8.find(|part| part.group != first.group) {
            None => Ok(()),
            Some(other) => Err(self.wrong(
                other.tensor,
                &format!(
                    "groups of {} as in `{}`, which reads the same input,",
                    first.group.unwrap_or(0),
                    self.file.tensors()[first.tensor].name
                ),
            )),
        }
    }

    /// The matrix of the module called `module`, and its bias where the list has one.
    pub(super) fn matrix(&self, module: &str) -> Result<Matrix, Error> {
        let name = format!("{module}.weight");
        let (tensor, dims) = (self.find(&name)?, self.dims(&name)?);
        let mut minima = false;
        let (rows, k, group) = match self.file.view(tensor) {
            View::I8(m) if m.group == m.padded_k && ![32, 64, 128].contains(&m.group) => {
                (m.rows, m.cols, Some(ROW_ACTIVATION_GROUP))
            }
            View::I8(m) => (m.rows, m.cols, Some(m.group)),
            View::I4(m) => {
                minima = true;
                (m.rows, m.cols, Some(m.group))
            }
            View::F16(m) => (m.rows, m.cols, None),
            View::F32 { .. } | View::U32 { .. } => {
                return Err(self.wrong(tensor, "an int8, 4-bit or f16 matrix"));
            }
        };
        if dims != [rows, k] {
            return Err(self.wrong(tensor, &format!("{dims:?}")));
        }
        let bias = format!("{module}.bias");
        let has_bias = self.dims.contains_key(&bias);
        let bias = if has_bias { Some(self.vector(&bias)?) } else { None };
        let bytes = self.file.tensors()[tensor].n_bytes();
        Ok(Matrix { rows, k, group, minima, tensor, bias, bytes })
    }

    /// A table of positions, which is multiplied with rows that are not quantized.
    pub(super) fn positions(&self, prefix: &str, module: &str) -> Result<Matrix, Error> {
        let matrix = self.matrix(&format!("{prefix}{module}"))?;
        match matrix.group {
            None => Ok(matrix),
            Some(_) => Err(self.wrong(matrix.tensor, "an f16 matrix")),
        }
    }

    pub(super) fn norm(
        &self,
        prefix: &str,
        module: &str,
        norm: Option<Norm>,
    ) -> Result<Option<BoundNorm>, Error> {
        let Some(norm) = norm else { return Ok(None) };
        let weight = self.vector(&format!("{prefix}{module}.weight"))?;
        let bias = match norm.bias {
            true => Some(self.vector(&format!("{prefix}{module}.bias"))?),
            false => None,
        };
        Ok(Some(BoundNorm { kind: norm.kind, eps: norm.eps, weight, bias }))
    }

    /// A matrix looked up by rows, in any layout.
    pub(super) fn table(&self, prefix: &str, module: &str) -> Result<Table, Error> {
        let name = format!("{prefix}{module}.weight");
        let (tensor, dims) = (self.find(&name)?, self.dims(&name)?);
        let values = !matches!(self.file.view(tensor), View::U32 { .. });
        if !values || self.file.tensors()[tensor].dims[..] != *dims {
            return Err(self.wrong(tensor, &format!("{dims:?}")));
        }
        Ok(Table { tensor })
    }

    pub(super) fn vector(&self, name: &str) -> Result<Vector, Error> {
        let (tensor, dims) = (self.find(name)?, self.dims(name)?);
        match self.file.view(tensor) {
            View::F32 { data, .. } if data.len() == dims.iter().product::<usize>() => {
                Ok(Vector { tensor })
            }
            _ => Err(self.wrong(tensor, &format!("{dims:?} f32"))),
        }
    }

    /// Numbers that count or name something.
    pub(super) fn numbers(&self, name: &str) -> Result<Numbers, Error> {
        let (tensor, dims) = (self.find(name)?, self.dims(name)?);
        match self.file.view(tensor) {
            View::U32 { data } if data.len() == dims.iter().product::<usize>() => {
                Ok(Numbers { tensor })
            }
            _ => Err(self.wrong(tensor, &format!("{dims:?} u32"))),
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, Error> {
        self.file.find(name).ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
    }

    /// The dims that the list of tensors gives to `name`.
    pub(super) fn dims(&self, name: &str) -> Result<&[usize], Error> {
        let tensor = self.dims.get(name);
        tensor
            .map(|tensor| &tensor.dims[..])
            .ok_or_else(|| Error::MissingTensor { name: name.to_owned() })
    }

    pub(super) fn wrong(&self, tensor: usize, expected: &str) -> Error {
        let tensor = &self.file.tensors()[tensor];
        let group = if tensor.group > 0 { format!(" g{}", tensor.group) } else { String::new() };
        Error::WrongTensor {
            name: tensor.name.clone(),
            expected: expected.to_owned(),
            found: format!("{:?} {}{group}", tensor.dims, tensor.layout),
        }
    }
}
