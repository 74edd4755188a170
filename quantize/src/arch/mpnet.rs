//! MPNet: BERT without segments, with biases by bucket of distance that all layers share.

use kinglet_formats::checkpoint::Checkpoint;
use kinglet_formats::spec::Position;

use super::encoder::{BERT_DEFAULTS, Defaults, Encoder, FORMER_ENDINGS};
use super::roberta::HEADS;
use super::{Family, FolderConfig, Mapping, Names, Table, Transforms, bert, find_prefix, task};
use crate::QuantizeError;
use crate::take::at;

pub(super) const FAMILY: Family = Family {
    name: "mpnet",
    architectures: &[
        "MPNetModel",
        "MPNetForMaskedLM",
        "MPNetForSequenceClassification",
        "MPNetForTokenClassification",
        "MPNetForQuestionAnswering",
    ],
    model_type: "mpnet",
    gguf: None,
    from_config,
};

const DEFAULTS: Defaults = Defaults { vocab_size: Some(30_527), ..BERT_DEFAULTS };

/// The network always has padding at id 1, whatever a configuration says.
const FIRST_POSITION: usize = 2;
/// The numbers of buckets and the distance of the last are the network's too.
const N_BUCKETS: usize = 32;
const MAX_DISTANCE: usize = 128;

const IN_LAYER: Table = &[
    ("q_proj", at("attention.attn.q")),
    ("k_proj", at("attention.attn.k")),
    ("v_proj", at("attention.attn.v")),
    ("o_proj", at("attention.attn.o")),
    ("attn_after_norm", at("attention.LayerNorm")),
];

const OUTSIDE: Table = &[
    ("embed_tokens", at("embeddings.word_embeddings")),
    ("embed_positions", at("embeddings.position_embeddings")),
    ("embed_norm", at("embeddings.LayerNorm")),
    ("position_buckets", at("encoder.relative_attention_bias").transposed()),
];

/// A buffer, and the heads of pre-training, which an embedding does without.
const IGNORED: &[&str] = &["*embeddings.position_ids", "*pooler.*", "lm_head.*"];

fn from_config(
    folder: &FolderConfig<'_>,
    checkpoint: &dyn Checkpoint,
) -> Result<Mapping, QuantizeError> {
    let config = &folder.config;
    let mut encoder = Encoder::from_config(config, checkpoint, &DEFAULTS)?;
    encoder.n_segments = 0;
    encoder.skip_positions(config, FIRST_POSITION)?;
    let key = "relative_attention_num_buckets";
    let n_buckets = config.size_or(key, N_BUCKETS)?;
    if n_buckets != N_BUCKETS {
        return Err(config.unsupported(key, &n_buckets, "32"));
    }
    encoder.attention.position = Position::RelativeBuckets {
        n_buckets,
        max_distance: MAX_DISTANCE,
        two_way: true,
        by_layer: false,
    };
    let mut mapping = Mapping {
        family: FAMILY.name,
        spec: encoder.spec(),
        names: vec![Names {
            stack: "encoder",
            prefix: find_prefix(checkpoint, &["", "mpnet."], bert::WORDS),
            layers: "encoder.layer.",
            in_layer: &[IN_LAYER, bert::IN_LAYER],
            outside: OUTSIDE,
            former_endings: FORMER_ENDINGS,
        }],
        transforms: Transforms::default(),
        ignored: IGNORED,
        max_tokens: None,
        images: Default::default(),
    };
    task::add_heads(&mut mapping, folder, checkpoint, &encoder, &HEADS)?;
    Ok(mapping)
}
