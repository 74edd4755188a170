//! Matrices of small integers in groups with a scale and a zero point each, several integers in a
//! 32-bit word: GPTQ and AWQ. A value is `scale * (q - zero)`.
//!
//! | tensor | GPTQ | AWQ |
//! |---|---|---|
//! | `qweight` | `[inputs / n][outputs]`: a word holds `n` inputs, the first lowest | `[inputs][outputs / n]`: a word holds `n` outputs, in an order of its own |
//! | `qzeros` | `[groups][outputs / n]`, less one in the first version | `[groups][outputs / n]`, in the same order |
//! | `scales` | `[groups][outputs]` | `[groups][outputs]` |
//! | `g_idx` | `[inputs]`: the group of each input | none: inputs in their order |

use half::{bf16, f16};
use kinglet_formats::checkpoint::{Checkpoint, CheckpointError, DType};

use super::SUPPORTED;
use crate::QuantizeError;
use crate::fields::Fields;
use crate::overlay::{Make, required};

/// Where AWQ keeps eight neighbouring outputs in a word.
const AWQ_PLACES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// How a checkpoint packs its integers.
#[derive(Clone, Debug)]
pub(super) struct Scheme {
    awq: bool,
    bits: u32,
    /// Inputs that share a scale; `None`: all of them.
    group_size: Option<usize>,
    /// What is to be added to a stored zero point.
    zero_offset: u32,
}

/// A packed matrix `[outputs][inputs]`.
pub(super) struct Integers {
    scheme: Scheme,
    outputs: usize,
    inputs: usize,
    qweight: usize,
    qzeros: usize,
    scales: usize,
    scale_type: DType,
    /// The group of each input.
    groups: Vec<u32>,
}

impl Scheme {
    pub(super) fn read(method: &str, config: &Fields<'_>) -> Result<Self, QuantizeError> {
        let awq = method == "awq";
        let bits = match config.opt_size("bits")? {
            Some(bits) => bits,
            None => config.size_or("w_bit", 4)?,
        };
        if !(bits == 4 || bits == 8 && !awq) {
            let supported = if awq { "4" } else { "4 and 8" };
            return Err(config.unsupported("bits", &bits, supported));
        }
        let key = if config.has("q_group_size") { "q_group_size" } else { "group_size" };
        // -1 stands for all inputs.
        let group_size = match config.opt_float(key)?.unwrap_or(128.0) {
            -1.0 => None,
            size if size >= 1.0 && size.fract() == 0.0 => Some(size as usize),
            size => return Err(config.bad(key, &size, "-1 or a number above zero")),
        };
        let known: &[&str] = if awq { &["gemm"] } else { &["gptq", "gptq_v2"] };
        let key = if awq { "version" } else { "checkpoint_format" };
        let form = config.opt_text(key)?.unwrap_or(known[0]).to_ascii_lowercase();
        if !known.contains(&form.as_str()) {
            return Err(config.unsupported(
                key,
                &form,
                &format!("{}; {SUPPORTED}", known.join(", ")),
            ));
        }
        if awq && !config.flag_or("zero_point", true)? {
            return Err(config.unsupported("zero_point", "false", "true"));
        }
        let zero_offset = u32::from(form == "gptq");
        Ok(Self { awq, bits: bits as u32, group_size, zero_offset })
    }

    /// Integers in a word.
    fn per_word(&self) -> usize {
        32 / self.bits as usize
    }

    fn mask(&self) -> u32 {
        (1 << self.bits) - 1
    }

    /// Where the integer of output `output` begins in a word that holds several.
    fn shift_of_output(&self, output: usize) -> u32 {
        let at = output % self.per_word();
        self.bits * if self.awq { AWQ_PLACES[at] } else { at as u32 }
    }
}

impl Integers {
    /// Opens the matrix whose `qweight` is tensor number `qweight`; gives the numbers of all tensors
    /// that it is made of, too.
    pub(super) fn open(
        inner: &dyn Checkpoint,
        qweight: usize,
        module: &str,
        scheme: &Scheme,
    ) -> Result<(Self, Vec<usize>), QuantizeError> {
        let info = |index: usize| &inner.tensors()[index];
        let find = |ending: &str| {
            required(inner, &format!("{module}.weight"), format!("{module}.{ending}"))
        };
        let (qzeros, scales) = (find("qzeros")?, find("scales")?);
        let per_word = scheme.per_word();
        let &[rows @ (1..), columns @ (1..)] = info(qweight).dims.as_slice() else {
            return Err(QuantizeError::shape(info(qweight), vec![1, 1]));
        };
        // A file holds all words, so that neither product overflows; of rows without words it may
        // claim any number.
        let (inputs, outputs) = match scheme.awq {
            true => (rows, columns.saturating_mul(per_word)),
            false => (rows.saturating_mul(per_word), columns),
        };
        let group_size = scheme.group_size.unwrap_or(inputs).max(1);
        let n_groups = inputs.div_ceil(group_size);
        for (index, expected) in
            [(scales, [n_groups, outputs]), (qzeros, [n_groups, outputs / per_word])]
        {
            if info(index).dims != expected || !outputs.is_multiple_of(per_word) {
                return Err(QuantizeError::shape(info(index), expected.to_vec()));
            }
        }
        for index in [qweight, qzeros] {
            if info(index).dtype != DType::I32 {
                return Err(not_float(inner, index));
            }
            inner.raw(index)?;
        }
        let scale_type = info(scales).dtype;
        if !matches!(scale_type, DType::F16 | DType::BF16 | DType::F32) {
            return Err(not_float(inner, scales));
        }
        inner.raw(scales)?;
        let mut used = vec![qweight, qzeros, scales];
        let groups = match inner.find(&format!("{module}.g_idx")) {
            Some(index) if !scheme.awq => {
                used.push(index);
                read_groups(inner, index, inputs, n_groups)?
            }
            _ => (0..inputs).map(|input| (input / group_size) as u32).collect(),
        };
        let scheme = scheme.clone();
        let matrix = Self { scheme, outputs, inputs, qweight, qzeros, scales, scale_type, groups };
        Ok((matrix, used))
    }

    /// Outputs and inputs.
    pub(super) fn dims(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }
}

impl Make for Integers {
    fn read_rows(
        &self,
        inner: &dyn Checkpoint,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), CheckpointError> {
        let (weights, zeros) = (inner.raw(self.qweight)?, inner.raw(self.qzeros)?);
        let scales = inner.raw(self.scales)?;
        let Scheme { awq, bits, zero_offset, .. } = self.scheme;
        let (per_word, mask) = (self.scheme.per_word(), self.scheme.mask());
        let words_of_outputs = self.outputs / per_word;
        let rows = out.len().checked_div(self.inputs).unwrap_or(0);
        for input in 0..self.inputs {
            let group = self.groups[input] as usize;
            for row in 0..rows {
                let output = first + row;
                let shift = self.scheme.shift_of_output(output);
                let at_output = output / per_word;
                let q = match awq {
                    true => word(weights, input * words_of_outputs + at_output) >> shift,
                    false => {
                        let shift = bits * (input % per_word) as u32;
                        word(weights, input / per_word * self.outputs + output) >> shift
                    }
                } & mask;
                let zero = word(zeros, group * words_of_outputs + at_output) >> shift;
                // The largest number is the zero that one was taken off.
                let zero = ((zero & mask) + zero_offset) & mask;
                let scale = number(scales, self.scale_type, group * self.outputs + output);
                out[row * self.inputs + input] = scale * (q as i32 - zero as i32) as f32;
            }
        }
        Ok(())
    }
}

fn read_groups(
    inner: &dyn Checkpoint,
    index: usize,
    inputs: usize,
    n_groups: usize,
) -> Result<Vec<u32>, QuantizeError> {
    let info = &inner.tensors()[index];
    if info.dims != [inputs] {
        return Err(QuantizeError::shape(info, vec![inputs]));
    }
    if info.dtype != DType::I32 {
        return Err(not_float(inner, index));
    }
    let groups: Vec<u32> = (0..inputs)
        .map(|at| inner.raw(index).map(|raw| word(raw, at)))
        .collect::<Result<_, _>>()?;
    match groups.iter().find(|&&group| group as usize >= n_groups) {
        None => Ok(groups),
        Some(group) => Err(QuantizeError::WrongContent {
            file: info.name.clone(),
            found: format!(
                "an input belongs to group {group} of {n_groups}; fetch the checkpoint again"
            ),
        }),
    }
}

fn not_float(inner: &dyn Checkpoint, index: usize) -> QuantizeError {
    let info = &inner.tensors()[index];
    QuantizeError::NotFloat { name: info.name.clone(), found: info.dtype.to_string() }
}

/// Word number `at`; shapes have been checked.
fn word(raw: &[u8], at: usize) -> u32 {
    raw.as_chunks::<4>().0.get(at).map_or(0, |word| u32::from_le_bytes(*word))
}

/// Float number `at`.
fn number(raw: &[u8], dtype: DType, at: usize) -> f32 {
    let half = || raw.as_chunks::<2>().0.get(at).copied().unwrap_or_default();
    match dtype {
        DType::F16 => f16::from_le_bytes(half()).to_f32(),
        DType::BF16 => bf16::from_le_bytes(half()).to_f32(),
        _ => f32::from_bits(word(raw, at)),
    }
}
