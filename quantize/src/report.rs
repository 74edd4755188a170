//! What a conversion did.

use kinglet_formats::layout::Layout;

/// What a conversion did.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Family of the checkpoint.
    pub family: &'static str,
    /// The tensors of the result, in file order.
    pub tensors: Vec<TensorReport>,
    /// Tensors of the checkpoint that the result does without: buffers that follow from the
    /// configuration, heads and towers that are not part of the model.
    pub ignored: Vec<String>,
    /// Bytes of the input files.
    pub input_bytes: u64,
    /// Bytes of the result.
    pub output_bytes: u64,
}

/// What became of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorReport {
    /// Canonical name.
    pub name: String,
    /// Name in the checkpoint.
    pub source: String,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// How it is stored.
    pub layout: Layout,
    /// Columns that share a scale, 0 for a whole row or no scales.
    pub group: u32,
    /// Bytes of its planes.
    pub bytes: u64,
    /// RMS of the rounding error over RMS of the weights; 0 when nothing was lost.
    pub relative_error: f32,
}

impl TensorReport {
    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.dims.iter().map(|&d| d as u64).product()
    }
}

impl Report {
    /// Number of weights of all tensors.
    pub fn weights(&self) -> u64 {
        self.tensors.iter().map(TensorReport::weights).sum()
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(|t| t.bytes).sum()
    }

    /// Bits that a weight takes on average, scales and padding included.
    pub fn bits_per_weight(&self) -> f64 {
        self.tensor_bytes() as f64 * 8.0 / self.weights().max(1) as f64
    }

    /// The tensor that lost most.
    pub fn worst(&self) -> Option<&TensorReport> {
        self.tensors.iter().max_by(|a, b| a.relative_error.total_cmp(&b.relative_error))
    }
}
