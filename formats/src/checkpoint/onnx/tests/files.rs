//! Models that exporters and quantizers have written, made by `tests/reference/onnx_files.py`.

use std::path::PathBuf;

use super::*;
use crate::checkpoint::Safetensors;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/onnx")).join(name)
}

/// Name, dimensions and bits of each tensor.
fn all(checkpoint: &dyn Checkpoint) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |(index, info): (usize, &TensorInfo)| {
        let mut out = vec![f32::NAN; info.n_rows() * info.row_len()];
        checkpoint.read_rows(index, 0, &mut out).unwrap();
        // Products with the identity are sums, which have no negative zeros.
        let bits = out.iter().map(|x| (x + 0.0).to_bits()).collect();
        (info.name.clone(), info.dims.clone(), bits)
    };
    let mut all: Vec<_> = checkpoint.tensors().iter().enumerate().map(bits).collect();
    all.sort();
    all
}

#[test]
fn exported_and_quantized_models_have_their_parameters() {
    for name in [
        "scripted",
        "traced",
        "half",
        "merged",
        "dynamic",
        "static",
        "packed4",
        "packed4_symmetric",
        "packed8",
    ] {
        let onnx = Onnx::open(golden(&format!("{name}.onnx"))).unwrap();
        let expected = Safetensors::open(golden(&format!("{name}.golden"))).unwrap();
        let (found, expected) = (all(&onnx), all(&expected));
        let names = |all: &[(String, Vec<usize>, Vec<u32>)]| -> Vec<String> {
            all.iter().map(|(name, dims, _)| format!("{name} {dims:?}")).collect()
        };
        assert_eq!(names(&found), names(&expected), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{name}");
        }
    }
}
