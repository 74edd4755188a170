//! Layouts: how the numbers of a tensor lie in the data section, and the codecs between them
//! and rows of `f32`.
//!
//! A tensor of dims `[.., k]` is a matrix: `k` columns (the last dim) and as many rows as the
//! product of the other dims. Three layouts are made of **panels** of [`PANEL_ROWS`] rows, so that
//! one pass along `k` feeds eight outputs; the others are plain rows. The byte-level description is
//! in the [container's documentation](crate::kinglet).

use std::fmt;

use thiserror::Error;

mod encode_error;
pub mod f16_r8k1;
pub mod f32_rows;
pub mod i4_r8k16;
pub mod i8_r8k8;
pub mod u32_rows;

pub use encode_error::{BlockError, EncodeError};

/// Rows of a panel.
pub const PANEL_ROWS: usize = 8;

/// Most dimensions a tensor can have.
pub const MAX_RANK: usize = 4;

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Panels of 8 rows in lines of 8 rows x 8 columns, `i8` with `f16` scales per group.
    I8R8K8,
    /// Panels of 8 rows interleaved per column, `f16`.
    F16R8K1,
    /// Plain rows of `f32`.
    F32Rows,
    /// Plain rows of `u32`.
    U32Rows,
    /// Panels of 8 rows in lines of 8 rows x 16 columns, 4-bit integers with an `f16` scale and an
    /// `f16` minimum per group.
    I4R8K16,
}

impl Layout {
    /// The layout with this id in a file.
    pub fn from_id(id: u16) -> Result<Self, LayoutError> {
        match id {
            1 => Ok(Self::I8R8K8),
            2 => Ok(Self::F16R8K1),
            3 => Ok(Self::F32Rows),
            4 => Ok(Self::U32Rows),
            16 => Ok(Self::I4R8K16),
            _ => Err(LayoutError::UnknownId { id }),
        }
    }

    /// The layout's id in a file.
    pub fn id(self) -> u16 {
        match self {
            Self::I8R8K8 => 1,
            Self::F16R8K1 => 2,
            Self::F32Rows => 3,
            Self::U32Rows => 4,
            Self::I4R8K16 => 16,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I8R8K8 => "i8.r8k8",
            Self::F16R8K1 => "f16.r8k1",
            Self::F32Rows => "f32",
            Self::U32Rows => "u32",
            Self::I4R8K16 => "i4.r8k16",
        })
    }
}

/// Dims, layout and group of a tensor in one phrase, for messages: `[1536, 576] i8.r8k8 g64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Dimensions, outermost first.
    pub dims: Vec<u64>,
    /// How the numbers are stored.
    pub layout: Layout,
    /// Columns that share a scale, 0 for a whole row or for layouts without scales.
    pub group: u32,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.dims, self.layout)?;
        match (self.layout, self.group) {
            (Layout::I8R8K8, 0) => f.write_str(" row"),
            (_, 0) => Ok(()),
            (_, group) => write!(f, " g{group}"),
        }
    }
}

/// Lengths in bytes of a tensor's planes, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planes {
    lengths: [u64; 3],
    n: usize,
}

impl Planes {
    fn new(lengths: &[u64]) -> Self {
        let mut planes = Self { lengths: [0; 3], n: lengths.len() };
        planes.lengths[..lengths.len()].copy_from_slice(lengths);
        planes
    }

    /// The lengths: one per plane.
    pub fn lengths(&self) -> &[u64] {
        &self.lengths[..self.n]
    }

    /// Bytes of all planes together, without padding between them.
    pub fn total(&self) -> u64 {
        self.lengths().iter().sum()
    }
}

/// Why a tensor cannot have a form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The id belongs to no layout.
    #[error(
        "layout id {id} is unknown (known: 1 i8.r8k8, 2 f16.r8k1, 3 f32, 4 u32, 16 i4.r8k16); update \
         Kinglet"
    )]
    UnknownId {
        /// The id found.
        id: u16,
    },
    /// No dimension, or too many.
    #[error("{rank} dimensions; 1 to {MAX_RANK} are possible")]
    Rank {
        /// Number of dimensions.
        rank: usize,
    },
    /// A dimension is zero.
    #[error("a dimension of {dims:?} is zero")]
    ZeroDim {
        /// The dimensions.
        dims: Vec<u64>,
    },
    /// The group size does not exist in the layout.
    #[error("group {group} does not exist in layout {layout} ({allowed})")]
    Group {
        /// The layout.
        layout: Layout,
        /// The group found.
        group: u32,
        /// What is possible.
        allowed: &'static str,
    },
    /// The size in bytes overflows.
    #[error("dimensions {dims:?} overflow a 63-bit size in bytes")]
    Overflow {
        /// The dimensions.
        dims: Vec<u64>,
    },
    /// A buffer's length does not follow from the form.
    #[error("{what}: {expected} elements expected, {found} found")]
    BufferLength {
        /// Which buffer.
        what: &'static str,
        /// Length that follows from the form.
        expected: u64,
        /// Length found.
        found: u64,
    },
}

/// Rows and columns of a tensor: the last dim is the columns.
pub fn rows_and_cols(dims: &[u64]) -> Result<(u64, u64), LayoutError> {
    let Some((&cols, outer)) = dims.split_last() else {
        return Err(LayoutError::Rank { rank: 0 });
    };
    if dims.len() > MAX_RANK {
        return Err(LayoutError::Rank { rank: dims.len() });
    }
    if dims.contains(&0) {
        return Err(LayoutError::ZeroDim { dims: dims.to_vec() });
    }
    let rows = outer
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .ok_or_else(|| LayoutError::Overflow { dims: dims.to_vec() })?;
    Ok((rows, cols))
}

/// Columns of one group's storage and columns of a padded row of `i8.r8k8`.
fn i8_groups(cols: u64, group: u32) -> Result<(u64, u64), LayoutError> {
    match group {
        0 => {
            let padded = cols.checked_next_multiple_of(64);
            let padded = padded.ok_or_else(|| LayoutError::Overflow { dims: vec![cols] })?;
            Ok((padded, padded))
        }
        32 | 64 | 128 => {
            let padded = cols.checked_next_multiple_of(u64::from(group));
            let padded = padded.ok_or_else(|| LayoutError::Overflow { dims: vec![cols] })?;
            Ok((u64::from(group), padded))
        }
        _ => Err(LayoutError::Group {
            layout: Layout::I8R8K8,
            group,
            allowed: "32, 64, 128, or 0 for a whole row",
        }),
    }
}

/// Columns of one group's storage and columns of a padded row of `i4.r8k16`.
fn i4_groups(cols: u64, group: u32) -> Result<(u64, u64), LayoutError> {
    if group == 0 {
        let allowed = "32, 64 or 128";
        return Err(LayoutError::Group { layout: Layout::I4R8K16, group, allowed });
    }
    i8_groups(cols, group).map_err(|error| match error {
        LayoutError::Group { group, .. } => {
            LayoutError::Group { layout: Layout::I4R8K16, group, allowed: "32, 64 or 128" }
        }
        other => other,
    })
}

/// Lengths in bytes of the planes of a tensor.
///
/// ```
/// use kinglet_formats::layout::{Layout, plane_lengths};
/// let planes = plane_lengths(Layout::I8R8K8, &[1536, 576], 64)?;
/// assert_eq!(planes.lengths(), [1536 * 576, 1536 * 9 * 2]);
/// # Ok::<(), kinglet_formats::layout::LayoutError>(())
/// ```
pub fn plane_lengths(layout: Layout, dims: &[u64], group: u32) -> Result<Planes, LayoutError> {
    let (rows, cols) = rows_and_cols(dims)?;
    let product = |factors: &[u64]| {
        factors
            .iter()
            .try_fold(1u64, |n, &f| n.checked_mul(f))
            // Half of the range, so that sums of a few planes and paddings cannot wrap either.
            .filter(|&n| n < 1 << 62)
            .ok_or_else(|| LayoutError::Overflow { dims: dims.to_vec() })
    };
    if !matches!(layout, Layout::I8R8K8 | Layout::I4R8K16) && group != 0 {
        return Err(LayoutError::Group { layout, group, allowed: "only 0" });
    }
    let panels = rows.div_ceil(PANEL_ROWS as u64);
    match layout {
        Layout::I8R8K8 => {
            let (group_cols, padded_cols) = i8_groups(cols, group)?;
            Ok(Planes::new(&[
                product(&[panels, 8, padded_cols])?,
                product(&[panels, padded_cols / group_cols, 8, 2])?,
            ]))
        }
        Layout::I4R8K16 => {
            let (group_cols, padded_cols) = i4_groups(cols, group)?;
            Ok(Planes::new(&[
                product(&[panels, 8, padded_cols / 2])?,
                product(&[panels, padded_cols / group_cols, 2, 8, 2])?,
            ]))
        }
        Layout::F16R8K1 => Ok(Planes::new(&[product(&[panels, 8, cols, 2])?])),
        Layout::F32Rows | Layout::U32Rows => Ok(Planes::new(&[product(&[rows, cols, 4])?])),
    }
}

/// Something in a tensor's planes that no writer produces, in words that follow "holds".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw(pub(crate) &'static str);

/// Checks the length of a buffer.
fn check_length(what: &'static str, expected: u64, found: usize) -> Result<(), LayoutError> {
    if expected == found as u64 {
        Ok(())
    } else {
        Err(LayoutError::BufferLength { what, expected, found: found as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_by_hand() {
        let lengths = |layout, dims: &[u64], group| {
            plane_lengths(layout, dims, group).unwrap().lengths().to_vec()
        };
        // 9 rows are 2 panels; 70 columns are 3 groups of 32, 2 of 64, 1 of 128, 128 columns a row.
        assert_eq!(lengths(Layout::I8R8K8, &[9, 70], 32), [2 * 8 * 96, 2 * 3 * 8 * 2]);
        assert_eq!(lengths(Layout::I8R8K8, &[9, 70], 64), [2 * 8 * 128, 2 * 2 * 8 * 2]);
        assert_eq!(lengths(Layout::I8R8K8, &[9, 70], 128), [2 * 8 * 128, 2 * 8 * 2]);
        assert_eq!(lengths(Layout::I8R8K8, &[9, 70], 0), [2 * 8 * 128, 2 * 8 * 2]);
        assert_eq!(lengths(Layout::I8R8K8, &[3, 3, 70], 0), [2 * 8 * 128, 2 * 8 * 2]);
        assert_eq!(lengths(Layout::I4R8K16, &[9, 70], 32), [2 * 8 * 96 / 2, 2 * 3 * 16 * 2]);
        assert_eq!(lengths(Layout::F16R8K1, &[9, 70], 0), [2 * 8 * 70 * 2]);
        assert_eq!(lengths(Layout::F32Rows, &[9, 70], 0), [9 * 70 * 4]);
        assert_eq!(lengths(Layout::F32Rows, &[7], 0), [28]);
    }

    #[test]
    fn impossible_forms() {
        use LayoutError as E;
        let err = |layout, dims: &[u64], group| plane_lengths(layout, dims, group).unwrap_err();
        assert!(matches!(err(Layout::F32Rows, &[], 0), E::Rank { rank: 0 }));
        assert!(matches!(err(Layout::F32Rows, &[1; 5], 0), E::Rank { rank: 5 }));
        assert!(matches!(err(Layout::F32Rows, &[3, 0], 0), E::ZeroDim { .. }));
        assert!(matches!(err(Layout::F32Rows, &[3, 3], 32), E::Group { .. }));
        assert!(matches!(err(Layout::F16R8K1, &[3, 3], 64), E::Group { .. }));
        for group in [1, 16, 63, 96, 256, u32::MAX] {
            assert!(matches!(err(Layout::I8R8K8, &[3, 3], group), E::Group { .. }), "{group}");
            let four = err(Layout::I4R8K16, &[3, 3], group).to_string();
            assert!(four.contains("does not exist in layout i4.r8k16 (32, 64 or 128)"), "{four}");
        }
        assert!(matches!(err(Layout::I4R8K16, &[3, 3], 0), E::Group { .. }));
        for layout in [Layout::I8R8K8, Layout::F16R8K1, Layout::F32Rows, Layout::U32Rows] {
            for dims in [
                vec![u64::MAX],
                vec![u64::MAX, 1],
                vec![1, u64::MAX],
                vec![1 << 32, 1 << 32],
                vec![1 << 31, 1 << 31],
                vec![1 << 20, 1 << 20, 1 << 20, 16],
            ] {
                assert!(matches!(err(layout, &dims, 0), E::Overflow { .. }), "{layout} {dims:?}");
            }
        }
    }

    #[test]
    fn ids_round_trip() {
        let plain = [Layout::F32Rows, Layout::U32Rows];
        for layout in [Layout::I8R8K8, Layout::F16R8K1, Layout::I4R8K16].into_iter().chain(plain) {
            assert_eq!(Layout::from_id(layout.id()), Ok(layout));
        }
        assert!(Layout::from_id(0).unwrap_err().to_string().contains("id 0"));
    }

    #[test]
    fn forms_read_well() {
        let form = |layout, group| Form { dims: vec![1536, 576], layout, group }.to_string();
        assert_eq!(form(Layout::I8R8K8, 64), "[1536, 576] i8.r8k8 g64");
        assert_eq!(form(Layout::I8R8K8, 0), "[1536, 576] i8.r8k8 row");
        assert_eq!(form(Layout::F16R8K1, 0), "[1536, 576] f16.r8k1");
    }
}
