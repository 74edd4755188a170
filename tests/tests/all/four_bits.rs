//! 4-bit weights: taken over from GGUF with their integers, or rounded from full precision.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::tokenizer::EncodeOptions;
use kinglet::{KvType, Model};
use kinglet_formats::kinglet::{KingletFile, View};
use kinglet_formats::layout::Layout;
use kinglet_quantize::WeightType;
use kinglet_tests::{real, references};

use super::continuations::{CONTEXT, equal, scored};

/// Mean KL divergence of `other` from `base`, in nats a token, over the scored halves of `chunks`
/// chunks of a text; and how often both have the same most likely token.
fn divergence(base: &Model, other: &Model, chunks: usize) -> (f64, f64) {
    let text = include_str!("../../goldens/smollm2/text.txt");
    let options = EncodeOptions { add_special: true, parse_special: false };
    let tokens = base.tokenizer().encode(text, options);
    let (mut n, mut sum, mut same) = (0, 0.0, 0);
    for chunk in tokens.chunks_exact(CONTEXT).take(chunks) {
        // Every fourth token, as both models' rows are needed at once.
        let mut rows = Vec::new();
        scored(base, KvType::F16, chunk, |i, logprobs| {
            if i % 4 == 0 {
                rows.push(logprobs.iter().map(|&p| p as f32).collect::<Vec<_>>());
            }
        });
        let mut rows = rows.iter();
        scored(other, KvType::F16, chunk, |i, logprobs| {
            if i % 4 == 0 {
                let base = rows.next().unwrap();
                let pairs = base.iter().map(|&p| f64::from(p)).zip(logprobs);
                sum += pairs.map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                let best = |row: &mut dyn Iterator<Item = f64>| {
                    row.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
                };
                let (ours, theirs) = (
                    best(&mut base.iter().map(|&p| f64::from(p))),
                    best(&mut logprobs.iter().copied()),
                );
                same += usize::from(ours == theirs);
                n += 1;
            }
        });
    }
    (sum / n as f64, same as f64 / n as f64)
}

/// The file's matrices are Q4_1, its embeddings among them: nothing is rounded.
#[test]
fn a_file_of_4_bits_keeps_its_weights() {
    let path = real::converted("four_bits", "smollm2-135m", WeightType::Auto);
    let file = KingletFile::open(&path).unwrap();
    let f16 =
        KingletFile::open(&real::converted("four_bits", "smollm2-135m", WeightType::F16)).unwrap();
    let mut taken = 0;
    for (i, tensor) in file.tensors().iter().enumerate() {
        let (View::I4(matrix), View::F16(rounded)) =
            (file.view(i), f16.view(f16.find(&tensor.name).unwrap()))
        else {
            continue;
        };
        assert_eq!((tensor.group, tensor.relative_error), (32, 0.0), "{}", tensor.name);
        taken += 1;
        let (mut ours, mut theirs) = (vec![0.0; tensor.cols()], vec![0.0; tensor.cols()]);
        for row in (0..tensor.rows()).step_by(97) {
            matrix.row(row, &mut ours);
            rounded.row(row, &mut theirs);
            // The other file's weights are the same numbers in f16.
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 2048.0 + 6e-8;
            assert!(ours.iter().zip(&theirs).all(near), "{} row {row}", tensor.name);
        }
    }
    let matrices = file.tensors().iter().filter(|t| t.layout == Layout::I4R8K16).count();
    assert_eq!(taken, matrices);
    assert!(taken >= 180, "{taken} matrices of 4 bits");
}

#[test]
fn a_file_of_4_bits_answers_as_it_does_in_f16() {
    let golden = references::llama_cpp("smollm2");
    let model = |dtype| Model::open(real::converted("four_bits", "smollm2-135m", dtype)).unwrap();
    let four = model(WeightType::Auto);
    let (chat, raw) = (equal(&four, &golden.chat), equal(&four, &golden.raw));
    println!("{chat} of 10 chat prompts and {raw} of 10 plain ones are llama.cpp's F16's");
    assert!(chat >= 9 && raw >= 9, "{chat} of 10 chat prompts, {raw} of 10 plain ones equal");
    let (divergence, same) = divergence(&model(WeightType::F16), &four, 1);
    println!("divergence {divergence:.6}, same most likely token {same:.4}");
    // Only what is left of the matrices in int8, and the roundings of f16.
    assert!(divergence < 0.0005, "{divergence}");
}
