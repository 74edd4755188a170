//! A small model file for tests: every layout, ragged shapes, a tokenizer.

use std::path::Path;

use half::f16;

use super::*;
use crate::layout::{Layout, f16_r8k1, f32_rows, i4_r8k16, i8_r8k8, plane_lengths, u32_rows};
use crate::spec::{
    Activation, Attention, Block, Head, Input, Layer, MixerKind, Mlp, ModelSpec, Norm, NormKind,
    Position, Rope, RopePairs, RopeScaling, Stack, TokenInput,
};

/// The sample's meta section.
pub(crate) fn meta() -> Meta {
    let norm = Norm { kind: NormKind::Rms, eps: 1e-5, bias: false };
    let rope = Rope {
        theta: 10_000.0,
        dims: 4,
        pairs: RopePairs::Half,
        scaling: RopeScaling::PerFrequency { factors: vec![1.0, 4.5], attention_factor: 1.25 },
    };
    let attention = Attention {
        n_kv_heads: 1,
        causal: true,
        soft_cap: Some(30.0),
        position: Position::Rope(rope),
        ..Attention::plain(2, 4)
    };
    let mlp = Mlp {
        intermediate_size: 70,
        activation: Activation::Silu,
        gated: true,
        bias: false,
        output_bias: false,
        output_gate: false,
    };
    let block = |kind| Block { pre: Some(norm), ..Block::of(kind) };
    let blocks = vec![block(MixerKind::Attention(attention)), block(MixerKind::Mlp(mlp))];
    let layer = Layer { blocks, weights_of: None };
    let input = Input::Tokens(TokenInput {
        vocab_size: 11,
        table_of: None,
        width: None,
        positions: Default::default(),
        n_segments: 0,
        zero_start: false,
        scale: 1.0,
        norm: None,
    });
    let stack = Stack {
        name: "decoder".to_owned(),
        hidden_size: 9,
        input,
        layers: vec![layer],
        final_norm: Some(norm),
    };
    Meta {
        general: General { name: "sample".to_owned(), ..Default::default() },
        spec: ModelSpec {
            stacks: vec![stack],
            heads: vec![Head::language_model(true)],
            context_length: 64,
        },
        generation: Generation { eos: vec![2], temperature: Some(0.2), ..Default::default() },
        chat_template: Some("{% for m in messages %}{{ m }}{% endfor %}".to_owned()),
        infill: Some(Infill { prefix: 3, suffix: 4, middle: 5, ends: vec![6, 7] }),
        labels: vec!["a".to_owned(), "\u{1f426} \"quoted\"".to_owned()],
        embedding: None,
        speech: None,
        dictation: None,
        preprocessing: None,
        text_to_text: None,
        translation: None,
        provenance: Provenance { source: "made up".to_owned(), ..Default::default() },
    }
}

/// Name, role, layout, dims and group of the sample's tensors.
pub(super) fn plan() -> Vec<TensorPlan> {
    let tensor = |name: &str, role, layout, dims: &[u64], group| TensorPlan {
        name: name.to_owned(),
        role,
        layout,
        dims: dims.to_vec(),
        group,
    };
    vec![
        tensor("decoder.embed_tokens.weight", Role::Embedding, Layout::F16R8K1, &[11, 9], 0),
        tensor("decoder.layers.0.attn_norm.weight", Role::Norm, Layout::F32Rows, &[9], 0),
        tensor("decoder.layers.0.up_proj.weight", Role::Matrix, Layout::I8R8K8, &[9, 70], 64),
        tensor("decoder.layers.0.gate_proj.weight", Role::Matrix, Layout::I8R8K8, &[3, 3, 33], 32),
        tensor("decoder.layers.0.down_proj.weight", Role::Matrix, Layout::I8R8K8, &[3, 130], 128),
        tensor("decoder.layers.0.o_proj.weight", Role::Matrix, Layout::I8R8K8, &[8, 65], 0),
        tensor("decoder.layers.1.up_proj.weight", Role::Matrix, Layout::I4R8K16, &[9, 70], 32),
        tensor("decoder.layers.1.o_proj.weight", Role::Matrix, Layout::I4R8K16, &[8, 65], 64),
        tensor("table", Role::Other, Layout::F32Rows, &[2, 2, 2, 3], 0),
        tensor("lists", Role::Other, Layout::U32Rows, &[21], 0),
    ]
}

/// The values of a tensor of the plan.
pub(super) fn values(plan: &TensorPlan) -> Vec<f32> {
    let n: u64 = plan.dims.iter().product();
    let number = |i| ((i * 37 + plan.dims[0]) % 101) as f32;
    let scaled = |i| number(i) / 50.0 - 1.0;
    match plan.layout {
        Layout::U32Rows => (0..n).map(number).collect(),
        _ => (0..n).map(scaled).collect(),
    }
}

/// Bytes of a tensor's planes without padding, and its relative error.
pub(super) fn encode(plan: &TensorPlan) -> (Vec<u8>, f32) {
    let values = values(plan);
    let k = *plan.dims.last().unwrap() as usize;
    let n_rows = values.len() / k;
    let planes = plane_lengths(plan.layout, &plan.dims, plan.group).unwrap();
    match plan.layout {
        Layout::I8R8K8 => {
            let mut data = vec![0; planes.lengths()[0] as usize];
            let mut scales = vec![f16::ZERO; planes.lengths()[1] as usize / 2];
            let error = i8_r8k8::encode_panels(
                &values,
                n_rows,
                k,
                plan.group,
                true,
                &mut data,
                &mut scales,
            )
            .unwrap();
            let mut bytes: Vec<u8> = bytemuck::cast_slice(&data).to_vec();
            bytes.extend_from_slice(bytemuck::cast_slice(&scales));
            (bytes, error.relative())
        }
        Layout::I4R8K16 => {
            let mut data = vec![0; planes.lengths()[0] as usize];
            let mut scales = vec![f16::ZERO; planes.lengths()[1] as usize / 2];
            let (group, planes) = (plan.group, (&mut data, &mut scales));
            let error =
                i4_r8k16::encode_panels(&values, n_rows, k, group, None, planes.0, planes.1)
                    .unwrap();
            data.extend_from_slice(bytemuck::cast_slice(&scales));
            (data, error.relative())
        }
        Layout::F16R8K1 => {
            let mut data = vec![f16::ZERO; planes.total() as usize / 2];
            let error = f16_r8k1::encode_panels(&values, n_rows, k, &mut data).unwrap();
            (bytemuck::cast_slice(&data).to_vec(), error.relative())
        }
        Layout::F32Rows => (f32_rows::encode(&values, k).unwrap().to_vec(), 0.0),
        Layout::U32Rows => (u32_rows::encode(&values, k).unwrap(), 0.0),
    }
}

/// The sample's tokenizer section: not a multiple of 64 long.
pub(super) const TOKENIZER: &[u8] = b"not a tokenizer, only bytes";

/// Writes the sample to `path`, in pieces of `piece` bytes.
pub(super) fn write(path: &Path, piece: usize) -> Result<(), KingletError> {
    let mut writer = Writer::create(path, &meta(), TOKENIZER, plan())?;
    for tensor in plan() {
        let (bytes, error) = encode(&tensor);
        for piece in bytes.chunks(piece) {
            writer.write(piece)?;
        }
        writer.end_tensor(error)?;
    }
    writer.finish()
}

/// The bytes of the sample file.
pub(super) fn bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.kinglet");
    write(&path, usize::MAX).unwrap();
    std::fs::read(path).unwrap()
}
