//! One model in two files: its encoder, and its decoder with everything else.

use std::collections::BTreeMap;

use super::Onnx;

impl Onnx {
    /// One checkpoint of the two files of a model. Names become those of the whole model: of a decoder
    /// `decoder.block.0…` without what held it for the export, and of an encoder, which was exported
    /// alone, `encoder.block.0…`.
    pub fn joined(encoder: Self, decoder: Self) -> Self {
        let names = |part: &Self| -> Vec<String> {
            part.infos.iter().map(|info| info.name.clone()).collect()
        };
        let (mut of_encoder, mut of_decoder) = (names(&encoder), names(&decoder));
        strip(&mut of_decoder, |rest| ["decoder", "model"].contains(&rest));
        let has = |names: &[String], start: &str| names.iter().any(|name| name.starts_with(start));
        let inside = match has(&of_decoder, "model.decoder.") {
            true => "model.",
            false => "",
        };
        if inside.is_empty() && !has(&of_decoder, "decoder.") {
            of_decoder.iter_mut().for_each(|name| name.insert_str(0, "decoder."));
        }
        // `model.encoder.`, `encoder.` and what else held the encoder stand before all of its names.
        strip(&mut of_encoder, |_| false);
        of_encoder.iter_mut().for_each(|name| *name = format!("{inside}encoder.{name}"));

        let (n_files, n_tensors) = (encoder.files.len(), encoder.tensors.len());
        let (mut files, mut tensors) = (encoder.files, encoder.tensors);
        let mut weights: BTreeMap<_, _> = of_encoder.into_iter().zip(encoder.weights).collect();
        files.extend(decoder.files);
        tensors.extend(decoder.tensors.into_iter().map(|tensor| tensor.in_file(n_files)));
        for (name, weight) in of_decoder.into_iter().zip(decoder.weights) {
            // A decoder that was exported with its encoder has that, too.
            weights.insert(name, weight.renumbered(n_tensors));
        }
        let data_files = [encoder.data_files, decoder.data_files].concat();
        Self::new(files, data_files, tensors, weights)
    }
}

/// Removes the modules that stand before all of `names`, up to one that `stays`.
fn strip(names: &mut [String], stays: impl Fn(&str) -> bool) {
    // Of a single tensor, every module would be one of all.
    let [first, others @ ..] = &*names else { return };
    let shared =
        |name: &String| first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let shared = others.iter().map(shared).min().unwrap_or(0);
    let mut end = 0;
    for (dot, _) in first.match_indices('.').take_while(|&(dot, _)| dot < shared) {
        if stays(&first[end..dot]) {
            break;
        }
        end = dot + 1;
    }
    names.iter_mut().for_each(|name| drop(name.drain(..end)));
}
