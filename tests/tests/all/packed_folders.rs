//! Folders whose weights are packed become the file that plain weights of the same values become.

#![allow(clippy::unwrap_used, reason = "a test may fail and tell")]

use std::fs;
use std::path::Path;

use half::f16;
use kinglet_formats::kinglet::KingletFile;
use kinglet_quantize::{Options, Source, quantize};
use kinglet_tests::tiny;
use serde_json::{Map, Value, json};

/// Inputs that share a scale.
const GROUP: usize = 16;

/// A safetensors file in the making.
#[derive(Default)]
struct Weights {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl Weights {
    fn add(
        &mut self,
        name: &str,
        dtype: &str,
        shape: &[usize],
        bytes: impl IntoIterator<Item = u8>,
    ) {
        let start = self.data.len();
        self.data.extend(bytes);
        let range = [start, self.data.len()];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": range});
        self.header.insert(name.to_owned(), entry);
    }

    fn write(&self, folder: &Path) {
        let header = serde_json::to_vec(&self.header).unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &self.data].concat();
        fs::write(folder.join("model.safetensors"), bytes).unwrap();
    }
}

fn converted(folder: &Path) -> (Vec<u8>, KingletFile) {
    let out = folder.join("out.kinglet");
    quantize(&Source::open(folder).unwrap(), &Options::default(), &out, &mut ()).unwrap();
    let file = KingletFile::open(&out).unwrap();
    let data = file.bytes()[(file.file_len() - file.data_len()) as usize..].to_vec();
    (data, file)
}

/// Eight integers of 4 bits in each word, the first lowest.
fn words(integers: &[u32]) -> Vec<u8> {
    let word = |eight: &[u32]| (0..).zip(eight).fold(0, |word, (at, q)| word | q << (4 * at));
    integers.chunks(8).flat_map(|eight| u32::to_le_bytes(word(eight))).collect()
}

#[test]
fn gptq_in_a_folder() {
    let (mut plain, mut packed) = (Weights::default(), Weights::default());
    for tensor in tiny::tensors("llama") {
        let values: Vec<f32> = tensor.values().collect();
        let floats =
            |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
        let Some(module) = tensor.name.strip_suffix("_proj.weight") else {
            for weights in [&mut plain, &mut packed] {
                weights.add(&tensor.name, "F32", &tensor.dims, floats(&values));
            }
            continue;
        };
        let (outputs, inputs) = (tensor.dims[0], tensor.dims[1]);
        let n_groups = inputs / GROUP;
        let q = |output: usize, input: usize| {
            ((values[output * inputs + input] * 40.0).round() as i32 + 8).clamp(0, 15) as u32
        };
        let scale =
            |group: usize, output: usize| f16::from_f32(0.01 + (group + output) as f32 / 1e4);
        let value = |output: usize, input: usize| {
            scale(input / GROUP, output).to_f32() * (q(output, input) as i32 - 8) as f32
        };
        let all = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i)));
        let unpacked: Vec<f32> = all.map(|(o, i)| value(o, i)).collect();
        plain.add(&tensor.name, "F32", &tensor.dims, floats(&unpacked));
        // A word has eight inputs of one output.
        let places = (0..inputs / 8).flat_map(|word| {
            (0..outputs).flat_map(move |o| (0..8).map(move |at| (o, word * 8 + at)))
        });
        let integers: Vec<u32> = places.map(|(o, i)| q(o, i)).collect();
        let scales = (0..n_groups).flat_map(|g| (0..outputs).map(move |o| (g, o)));
        let scales: Vec<u8> = scales.flat_map(|(g, o)| scale(g, o).to_le_bytes()).collect();
        let name = |part: &str| format!("{module}_proj.{part}");
        packed.add(&name("qweight"), "I32", &[inputs / 8, outputs], words(&integers));
        packed.add(
            &name("qzeros"),
            "I32",
            &[n_groups, outputs / 8],
            words(&vec![7; n_groups * outputs]),
        );
        packed.add(&name("scales"), "F16", &[n_groups, outputs], scales);
    }
    let folders = [tiny::checkpoint("llama"), tiny::checkpoint("llama"), tiny::checkpoint("llama")];
    plain.write(folders[0].path());
    packed.write(folders[1].path());
    packed.write(folders[2].path());
    let scheme = json!({"quant_method": "gptq", "bits": 4, "group_size": GROUP});
    let config = folders[1].path().join("config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    value["quantization_config"] = scheme.clone();
    fs::write(&config, value.to_string()).unwrap();
    // As older tools wrote it.
    fs::write(folders[2].path().join("quantize_config.json"), scheme.to_string()).unwrap();
    let expected = converted(folders[0].path());
    for folder in &folders[1..] {
        let found = converted(folder.path());
        assert_eq!(found.1.tensors(), expected.1.tensors());
        assert!(found.0 == expected.0);
    }
}
