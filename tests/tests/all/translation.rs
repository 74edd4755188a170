//! Translation with the models of Firefox Translations, against another engine's.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;

use kinglet::{Error, Model, TranslateOptions};
use kinglet_quantize::{Options, Source, WeightType, quantize};
use kinglet_tests::real;

fn model(name: &str) -> Model {
    Model::open(real::converted("all", name, WeightType::Int8)).unwrap()
}

/// Sentences and their translations.
fn pairs(direction: &str) -> Vec<(String, String)> {
    let path = format!("{}/goldens/firefox/{direction}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn translations_are_those_of_the_packaged_engine() {
    for direction in ["en-pt", "pt-en"] {
        let model = model(&format!("firefox-{direction}"));
        let (sentences, expected): (Vec<_>, Vec<_>) = pairs(direction).into_iter().unzip();
        let translated = model.translate(&sentences, &TranslateOptions::default()).unwrap();
        for (translated, expected) in translated.iter().zip(&expected) {
            assert_eq!(translated.text, *expected);
            assert!(translated.score < 0.0 && translated.score > -2.0, "{translated:?}");
        }
    }
}

/// The lists that come with a model change no sentence here, and the words of one sentence are nothing to
/// another.
#[test]
fn shortlists_are_those_of_each_sentence() {
    let model = model("firefox-en-pt");
    assert!(model.meta().spec.tensors().iter().any(|tensor| tensor.name == "shortlist.words"));
    let (sentences, _): (Vec<_>, Vec<_>) = pairs("en-pt").into_iter().unzip();
    for beams in [1, 2] {
        let options = TranslateOptions::default().beams(beams);
        let some = &sentences[..12];
        let together = model.translate(some, &options).unwrap();
        let alone = some.iter().flat_map(|one| model.translate(&[one], &options).unwrap());
        assert_eq!(together, alone.collect::<Vec<_>>());
    }
}

#[test]
fn shortlists_must_be_of_the_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let from = real::checkpoint("firefox-en-pt");
    for file in ["model.enpt.intgemm.alphas.bin", "vocab.enpt.spm"] {
        fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let out = folder.path().join("out.kinglet");
    let convert = || {
        let source = Source::open(folder.path())?;
        quantize(&source, &Options::default(), &out, &mut ()).map(drop)
    };
    // All words compete where there is none.
    convert().unwrap();
    assert!(Model::open(&out).unwrap().translate(&["A bird."], &Default::default()).is_ok());
    let lists = fs::read(from.join("lex.50.50.enpt.s2t.bin")).unwrap();
    let cut = folder.path().join("lex.bin");
    fs::write(&cut, &lists[..lists.len() - 4]).unwrap();
    let error = convert().unwrap_err().to_string();
    assert!(error.contains("lex.bin") && error.contains("downloaded"), "{error}");
    // Two words, one list; the checksum as Marian makes it.
    let numbers = [2u64, 50, 3, 2, 0, 1, 2];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend([0u32, 1].map(u32::to_le_bytes).concat());
    let sum = bytes.as_chunks::<8>().0.iter().fold(0u64, |seed, number| {
        let shifted = (seed << 6).wrapping_add(seed >> 2).wrapping_add(0x9e37_79b9);
        seed ^ u64::from_le_bytes(*number).wrapping_add(shifted)
    });
    fs::write(&cut, [&lists[..8], &sum.to_le_bytes(), &bytes].concat()).unwrap();
    let error = convert().unwrap_err().to_string();
    assert!(error.contains("lex.bin") && error.contains("one of 2 words"), "{error}");
}

#[test]
fn texts_keep_their_form() {
    let model = model("firefox-en-pt");
    let options = TranslateOptions::default();
    let one = |text: &str| model.translate(&[text], &options).unwrap().remove(0).text;
    let (rain, train) = (one("It is raining again."), one("The train leaves at nine o'clock."));
    let text = "It is raining again.  The train leaves at nine o'clock.\n\n- It is raining again.\n12:30\n";
    assert_eq!(one(text), format!("{rain}  {train}\n\n- {rain}\n12:30\n"));
    for same in ["", " \n", "12:30", "\u{1f426}", "---"] {
        assert_eq!(one(same), same);
    }
    // A sentence of thousands of words is translated in parts.
    let long = "the small bird sings ".repeat(500);
    assert!(one(&long).split_whitespace().count() > 500);
}

#[test]
fn beams_are_no_worse_and_languages_are_known() {
    let model = model("firefox-en-pt");
    let texts = ["This problem is more difficult than it seems."];
    let score = |options: &TranslateOptions| model.translate(&texts, options).unwrap()[0].score;
    assert!(score(&TranslateOptions::default().beams(4)) >= score(&TranslateOptions::default()));
    let named = TranslateOptions::default().from("en").to("PT");
    assert_eq!(score(&named), score(&TranslateOptions::default()));

    let languages = model.languages().unwrap();
    assert_eq!((&*languages.from[0].code, &*languages.to[0].code), ("en", "pt"));
    let error = model.translate(&texts, &TranslateOptions::default().to("fr")).unwrap_err();
    assert!(matches!(&error, Error::UnknownLanguage { code, .. } if code == "fr"), "{error}");
    assert!(error.to_string().contains("it knows pt"), "{error}");
    assert!(matches!(model.translate(&[""; 0], &named), Err(Error::Empty { .. })));
    let error = model.embed(&texts).unwrap_err().to_string();
    assert!(error.contains("`translate`"), "{error}");
}

#[test]
fn a_session_reads_its_prompt_as_the_source() {
    let model = model("firefox-en-pt");
    let text = "The museum is closed on Mondays.";
    let expected = &model.translate(&[text], &TranslateOptions::default()).unwrap()[0].text;
    let mut session = model.session().unwrap();
    let mut answer = || {
        let pieces = session.generate(text, &Default::default()).unwrap();
        pieces.map(Result::unwrap).collect::<String>()
    };
    // Its decoder has recurrent states, which begin anew.
    assert_eq!(answer().trim(), expected);
    assert_eq!(answer().trim(), expected);
}
