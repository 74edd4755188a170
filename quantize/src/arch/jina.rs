//! JinaBERT (the encoders of Jina embeddings 2): BERT with linear biases by distance and a gated MLP.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::{AbsolutePositions, Mlp, Position};

use super::encoder::{BERT_DEFAULTS, Defaults, Encoder, FORMER_ENDINGS};
use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, bert, find_prefix};
use crate::QuantizeError;
use crate::fields::Fields;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "jina-bert-v2",
    architectures: &["JinaBertModel", "JinaBertForMaskedLM"],
    // Configurations call it BERT.
    model_type: "jina_bert",
    gguf: Some(("jina-bert-v2", from_gguf)),
    from_config,
};

const DEFAULTS: Defaults = Defaults { position_type: "alibi", ..BERT_DEFAULTS };

/// Most heads, each of which has a slope.
const MAX_HEADS: usize = 1 << 16;

const GATE_UP: &[&str] = &["gate_proj", "up_proj"];

/// Besides BERT's names.
const IN_LAYER: Table = &[
    ("gate_proj", at("mlp.gated_layers").fused(GATE_UP)),
    ("up_proj", at("mlp.gated_layers").fused(GATE_UP)),
    ("down_proj", at("mlp.wo")),
    ("mlp_after_norm", at("mlp.layernorm")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.word_embeddings")),
    ("embed_segments", at("embeddings.token_type_embeddings")),
    ("embed_norm", at("embeddings.LayerNorm")),
];

/// Besides BERT's names, where both halves are one tensor.
const GGUF_FUSED: Table =
    &[("gate_proj", at("ffn_up").fused(GATE_UP)), ("up_proj", at("ffn_up").fused(GATE_UP))];

/// Where they are two.
const GGUF_SPLIT: Table = &[("gate_proj", at("ffn_gate"))];

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["*embeddings.position_ids", "*pooler.*", "cls.*"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let form = config.opt_text("feed_forward_type")?.unwrap_or("original");
    if form != "geglu" {
        return Err(config.unsupported("feed_forward_type", form, "geglu"));
    }
    let mut encoder = Encoder::from_config(config, checkpoint, &DEFAULTS)?;
    finish(&mut encoder, config, "num_attention_heads")?;
    Ok(Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "bert."], bert::WORDS),
            layers: "encoder.layer.",
            in_layer: &[IN_LAYER, bert::IN_LAYER],
            outside: OUTSIDE,
            former_endings: FORMER_ENDINGS,
        }],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    })
}

fn from_gguf(fields: &Fields<'_>, checkpoint: &dyn Checkpoint) -> Result<Mapping, QuantizeError> {
    let mut encoder = bert::encoder_from_gguf(fields, checkpoint)?;
    finish(&mut encoder, fields, "attention.head_count")?;
    let in_layer: &[Table] = match checkpoint.find("blk.0.ffn_gate.weight") {
        Some(_) => &[GGUF_SPLIT, bert::GGUF_IN_LAYER],
        None => &[GGUF_FUSED, bert::GGUF_IN_LAYER],
    };
    Ok(bert::gguf_mapping(FAMILY.name, encoder.spec(), in_layer, bert::GGUF_OUTSIDE))
}

/// What every JinaBERT has. Under `key`, the fields say the number of heads.
fn finish(encoder: &mut Encoder, fields: &Fields<'_>, key: &str) -> Result<(), QuantizeError> {
    let n_heads = encoder.attention.n_heads;
    if n_heads > MAX_HEADS {
        return Err(fields.bad(key, &n_heads, &format!("at most {MAX_HEADS}")));
    }
    encoder.positions = AbsolutePositions::None;
    encoder.attention.position = Position::LinearBias { slopes: slopes(n_heads) };
    encoder.mlp = Mlp { gated: true, bias: false, output_bias: true, ..encoder.mlp.clone() };
    Ok(())
}

/// The slopes of `n` heads (arXiv:2108.12409): powers of two between which those of the next power
/// of two as a number of heads are put.
fn slopes(n: usize) -> Vec<f32> {
    let of_power = |n: usize| (1..=n).map(move |i| (-8.0 * i as f64 / n as f64).exp2() as f32);
    let most = 1 << n.ilog2();
    of_power(most).chain(of_power(2 * most).step_by(2)).take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_by_hand() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
        let expected = [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125];
        assert_eq!(slopes(6), expected);
    }
}
