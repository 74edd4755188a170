use std::path::Path;

use kinglet_formats::checkpoint::Safetensors;
use kinglet_formats::map::Bytes;
use serde_json::{Map, Value, json};

use super::*;

fn golden(name: &str) -> Box<dyn Checkpoint> {
    let path = format!("{}/../tests/goldens/packed/{name}.golden", env!("CARGO_MANIFEST_DIR"));
    Box::new(Safetensors::open(Path::new(&path)).unwrap())
}

fn open(inner: Box<dyn Checkpoint>, config: Value) -> Result<Box<dyn Checkpoint>, QuantizeError> {
    let Value::Object(map) = config else { return unpacked(inner, None) };
    unpacked(inner, Some(&Fields::json("config.json", &map)))
}

/// All values of a tensor, read a few rows at a time.
fn values(checkpoint: &dyn Checkpoint, name: &str) -> Vec<f32> {
    let index = checkpoint.find(name).unwrap_or_else(|| panic!("no {name}"));
    let info = &checkpoint.tensors()[index];
    let mut out = vec![f32::NAN; info.n_rows() * info.row_len()];
    for (number, rows) in out.chunks_mut(3 * info.row_len()).enumerate() {
        checkpoint.read_rows(index, 3 * number, rows).unwrap();
    }
    out
}

fn same(found: &[f32], expected: &[f32]) -> bool {
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    // A difference of zero has no sign in the reference.
    bits(found) == bits(expected) || found == expected
}

#[test]
fn integers_are_those_of_the_reference() {
    for (name, config) in [
        ("gptq4", json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": true})),
        ("gptq4", json!({"bits": 4, "group_size": 32})),
        (
            "gptq4_v2",
            json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"}),
        ),
        (
            "gptq8",
            json!({"quant_method": "gptq", "bits": 8, "group_size": 32, "checkpoint_format": "gptq"}),
        ),
        ("awq", json!({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"})),
        ("awq", json!({"w_bit": 4, "q_group_size": 32, "version": "GEMM", "zero_point": true})),
    ] {
        let checkpoint = open(golden(name), config).unwrap();
        let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a.expected", "a.weight"], "{name}");
        let (found, expected) =
            (values(checkpoint.as_ref(), "a.weight"), values(checkpoint.as_ref(), "a.expected"));
        assert!(same(&found, &expected), "{name}");
        assert!(checkpoint.raw(1).is_err() && checkpoint.raw(0).is_ok());
        assert!(checkpoint.read_rows(1, 40, &mut [0.0; 96]).is_err());
        assert!(checkpoint.read_rows(1, 0, &mut [0.0; 95]).is_err());
    }
}

#[test]
fn small_floats_are_those_of_the_reference() {
    let config = json!({"quant_method": "fp8", "weight_block_size": [8, 20]});
    let checkpoint = open(golden("floats"), config).unwrap();
    let checkpoint = checkpoint.as_ref();
    let mut n = 0;
    for info in checkpoint.tensors() {
        let Some(name) = info.name.strip_suffix(".expected") else {
            assert!(!info.name.contains("scale"), "{}", info.name);
            continue;
        };
        let weight =
            if name.ends_with(".all") { name.to_owned() } else { format!("{name}.weight") };
        let (found, expected) = (values(checkpoint, &weight), values(checkpoint, &info.name));
        assert!(same(&found, &expected), "{name}");
        n += 1;
    }
    assert_eq!(n, 11);
}

#[test]
fn what_is_not_supported_is_named() {
    for (config, parts) in [
        (json!({"quant_method": "bitsandbytes"}), ["bitsandbytes", "dequantize()"]),
        (json!({"quant_method": "hqq"}), ["hqq", "take the original"]),
        (json!({"quant_method": "gptq", "bits": 3}), ["bits", "3"]),
        (json!({"quant_method": "awq", "bits": 8}), ["bits", "8"]),
        (json!({"quant_method": "awq", "version": "gemv"}), ["version", "gemv"]),
        (
            json!({"quant_method": "gptq", "checkpoint_format": "marlin"}),
            ["checkpoint_format", "marlin"],
        ),
        (json!({"quant_method": "gptq", "group_size": 0}), ["group_size", "0"]),
        (
            json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}),
            ["format", "pack-quantized"],
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [0, 1]}),
            ["weight_block_size", "above zero"],
        ),
        (json!({"quant_method": 8}), ["quant_method", "8"]),
    ] {
        let error = open(golden("gptq4"), config).err().unwrap().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

/// Name, type and shape.
type Tensor<'a> = (&'a str, &'a str, &'a [usize]);

/// A safetensors file of zeros with these tensors.
fn file(tensors: &[Tensor<'_>]) -> Box<dyn Checkpoint> {
    let (mut header, mut at) = (Map::new(), 0);
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "I32" | "F32" => 4,
            "F16" => 2,
            _ => 1,
        };
        let end = at + shape.iter().product::<usize>() * width;
        header.insert(
            (*name).to_owned(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; at]].concat();
    Box::new(Safetensors::parse(Bytes::copy_of(&bytes), "file").unwrap())
}

#[test]
fn what_does_not_fit_together_is_named() {
    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 8});
    let whole: [Tensor<'_>; 4] = [
        ("a.qweight", "I32", &[2, 8]),
        ("a.qzeros", "I32", &[2, 1]),
        ("a.scales", "F16", &[2, 8]),
        ("a.g_idx", "I32", &[16]),
    ];
    open(file(&whole), gptq.clone()).unwrap();
    let with = |at: usize, tensor| {
        let mut tensors = whole;
        tensors[at] = tensor;
        let result = open(file(&tensors), gptq.clone());
        result.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let cases: [(usize, Tensor<'_>, &str); 10] = [
        (0, ("a.qweight", "I32", &[3, 8]), "a.scales"),
        (0, ("a.qweight", "I32", &[16]), "a.qweight"),
        (0, ("a.qweight", "F32", &[2, 8]), "a.qweight"),
        (0, ("a.qweight", "I32", &[2, 0]), "a.qweight"),
        (0, ("a.qweight", "I32", &[0, 8]), "a.qweight"),
        (1, ("a.qzeros", "I32", &[2, 2]), "a.qzeros"),
        (1, ("b", "I32", &[2, 1]), "no `a.qzeros`"),
        (2, ("a.scales", "I32", &[2, 8]), "a.scales"),
        (3, ("a.g_idx", "I32", &[15]), "a.g_idx"),
        (3, ("a.g_idx", "F32", &[16]), "a.g_idx"),
    ];
    for (at, tensor, part) in cases {
        let error = with(at, tensor);
        assert!(error.contains(part), "{error:?}, not {part}");
    }
    // Any number of inputs of no outputs, in no bytes.
    let none: [Tensor<'_>; 3] = [
        ("a.qweight", "I32", &[1 << 40, 0]),
        ("a.qzeros", "I32", &[1, 0]),
        ("a.scales", "F16", &[1, 0]),
    ];
    let one_group = json!({"quant_method": "gptq", "group_size": -1});
    let error = open(file(&none), one_group).err().unwrap().to_string();
    assert!(error.contains("a.qweight"), "{error}");
    for shape in [&[2, 8][..], &[9], &[4, 1], &[1, 1, 1]] {
        let tensors = [("a.weight", "F8_E4M3", &[8, 8][..]), ("a.weight_scale", "F32", shape)];
        let error = open(file(&tensors), Value::Null).err().unwrap().to_string();
        assert!(error.contains("a.weight_scale"), "{error}");
    }
    // Nothing to scale: as it is.
    let plain = open(file(&[("a.weight", "F8_E5M2", &[8, 8])]), Value::Null).unwrap();
    assert_eq!(plain.tensors()[0].dtype, DType::F8_E5M2);
}

/// Groups out of a damaged file must not lead out of the scales.
#[test]
fn groups_are_those_that_there_are() {
    let header = json!({
        "a.qweight": {"dtype": "I32", "shape": [1, 8], "data_offsets": [0, 32]},
        "a.qzeros": {"dtype": "I32", "shape": [1, 1], "data_offsets": [32, 36]},
        "a.scales": {"dtype": "F16", "shape": [1, 8], "data_offsets": [36, 52]},
        "a.g_idx": {"dtype": "I32", "shape": [8], "data_offsets": [52, 84]},
    });
    let header = serde_json::to_vec(&header).unwrap();
    for group in [1, -1] {
        let groups: Vec<u8> =
            [0, 0, 0, 0, 0, 0, 0, group].iter().flat_map(|g: &i32| g.to_le_bytes()).collect();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &[0; 52], &groups].concat();
        let inner = Box::new(Safetensors::parse(Bytes::copy_of(&bytes), "file").unwrap());
        let error = open(inner, json!({"quant_method": "gptq", "group_size": -1})).err().unwrap();
        assert!(error.to_string().contains("of 1; fetch the checkpoint again"), "{error}");
    }
}
