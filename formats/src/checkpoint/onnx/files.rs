//! Which files of a folder are a model: there may be several, more or less exact, or one for the
//! encoder and one for the decoder.

/// Folders that are looked into.
const FOLDERS: [&str; 2] = ["", "onnx/"];
/// What is put behind the names of models by how exact they are, the most exact first.
const VARIANTS: [&str; 9] =
    ["", "_fp16", "_int8", "_uint8", "_quantized", "_q8", "_q4", "_q4f16", "_bnb4"];
const ENCODERS: [&str; 2] = ["encoder_model", "encoder"];
/// A decoder that goes on from earlier steps has the same weights as one that begins; one file may
/// have both.
const DECODERS: [&str; 3] = ["decoder_model_merged", "decoder_model", "decoder"];

/// The ONNX files of a folder that are one model together, where `contains` tells which names there
/// are: the most exact `model.onnx`, or an encoder and its decoder, in that order, in the folder or
/// in `onnx/`. None if there is no model.
pub fn onnx_files(contains: &dyn Fn(&str) -> bool) -> Vec<String> {
    let places = VARIANTS.iter().flat_map(|variant| FOLDERS.map(|folder| (folder, *variant)));
    let found = places.filter_map(|(folder, variant)| in_place(folder, variant, contains));
    found.into_iter().next().unwrap_or_default()
}

fn in_place(folder: &str, variant: &str, contains: &dyn Fn(&str) -> bool) -> Option<Vec<String>> {
    let file = |stem: &&str| {
        let name = format!("{folder}{stem}{variant}.onnx");
        contains(&name).then_some(name)
    };
    let decoder = DECODERS.iter().find_map(file);
    let model = file(&"model");
    match (model, ENCODERS.iter().find_map(file), decoder) {
        (Some(model), ..) => Some(vec![model]),
        (None, Some(encoder), Some(decoder)) => Some(vec![encoder, decoder]),
        (None, None, Some(decoder)) => Some(vec![decoder]),
        _ => None,
    }
}

/// The files of the model that the file called `name` is a part of: itself, and the other half of
/// an encoder or a decoder, if that is beside it.
pub fn onnx_parts(name: &str, contains: &dyn Fn(&str) -> bool) -> Vec<String> {
    let alone = || vec![name.to_owned()];
    let (folder, file) = name
        .rsplit_once('/')
        .map_or(("", name), |(_, file)| (&name[..name.len() - file.len()], file));
    let Some(stem) = file.strip_suffix(".onnx") else { return alone() };
    let variant = |stems: &[&str]| stems.iter().find_map(|start| stem.strip_prefix(start));
    let other = |stems: &[&str], variant: &str| {
        let names = stems.iter().map(|stem| format!("{folder}{stem}{variant}.onnx"));
        names.into_iter().find(|name| contains(name))
    };
    if let Some(variant) = variant(&ENCODERS)
        && let Some(decoder) = other(&DECODERS, variant)
    {
        return vec![name.to_owned(), decoder];
    }
    if let Some(variant) = variant(&DECODERS)
        && let Some(encoder) = other(&ENCODERS, variant)
    {
        return vec![encoder, name.to_owned()];
    }
    alone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_files_are_the_model() {
        for (there, expected) in [
            (&["model_quantized.onnx", "model_fp16.onnx"][..], &["model_fp16.onnx"][..]),
            (&["onnx/model.onnx", "model_q4.onnx"], &["onnx/model.onnx"]),
            (
                &[
                    "onnx/encoder_model.onnx",
                    "onnx/decoder_model.onnx",
                    "onnx/decoder_model_merged.onnx",
                ],
                &["onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"],
            ),
            (&["encoder.onnx", "decoder.onnx"], &["encoder.onnx", "decoder.onnx"]),
            // Halves of different exactness are no model.
            (&["encoder_model.onnx", "decoder_model_int8.onnx"], &["decoder_model_int8.onnx"]),
            (&["decoder_model_merged.onnx"], &["decoder_model_merged.onnx"]),
            (&["encoder.onnx", "text_model.onnx"], &[]),
        ] {
            assert_eq!(onnx_files(&|name| there.contains(&name)), expected, "{there:?}");
        }
    }

    #[test]
    fn a_half_finds_the_other() {
        let there = ["a/encoder_model_int8.onnx", "a/decoder_model_merged_int8.onnx"];
        let parts = |name| onnx_parts(name, &|name| there.contains(&name));
        for name in there {
            assert_eq!(parts(name), there);
        }
        assert_eq!(parts("encoder_model_int8.onnx"), ["encoder_model_int8.onnx"]);
        assert_eq!(parts("a/encoder_model.onnx"), ["a/encoder_model.onnx"]);
        assert_eq!(parts("a/model"), ["a/model"]);
    }
}
