//! Translation with the models of Firefox Translations, against another engine's.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use kinglet::{Error, Model, TranslateOptions};
use kinglet_quantize::WeightType;
use kinglet_tests::real;

fn model(name: &str) -> Model {
    Model::open(real::converted("all", name, WeightType::Int8)).unwrap()
}

/// Sentences and their translations.
fn pairs(direction: &str) -> Vec<(String, String)> {
    let path = format!("{}/goldens/firefox/{direction}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
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
