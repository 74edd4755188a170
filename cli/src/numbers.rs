//! Values of options. What is wrong with one is said in the option's own terms.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::thread::available_parallelism;

use kinglet::{AudioContext, KvType};
use kinglet_quantize::WeightType;

/// Most threads that can be asked for; the runtime starts no more.
const MAX_THREADS: usize = 256;

/// A number, or in words what it must be.
fn number<T: FromStr>(text: &str, range: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("it must be {range}"))
}

/// The number, if it is one of those that `range` describes.
fn checked<T: FromStr>(text: &str, range: &str, allowed: impl Fn(&T) -> bool) -> Result<T, String> {
    number(text, range).and_then(|value| match allowed(&value) {
        true => Ok(value),
        false => Err(format!("it must be {range}")),
    })
}

/// A number of threads.
pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    const RANGE: &str = "1 or more; without the option the machine's number is taken";
    let threads: NonZeroUsize = number(text, RANGE)?;
    if threads.get() > MAX_THREADS {
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        return Err(format!(
            "at most {MAX_THREADS} can be used, and this machine has {}",
            crate::units::count(processors, "processor")
        ));
    }
    Ok(threads)
}

/// A length of the context, 0 for what the model was made for.
pub(crate) fn context(text: &str) -> Result<usize, String> {
    number(text, "1 or more, or 0 for what the model was made for")
}

/// Most tokens of an answer; `None` goes on to the end of the context.
pub(crate) fn predict(text: &str) -> Result<Option<usize>, String> {
    match text {
        "-1" => Ok(None),
        text => number(text, "0 or more, or -1 to go on to the end of the context").map(Some),
    }
}

/// Seconds that an encoder reads at a time, or as much as there is.
pub(crate) fn audio_context(text: &str) -> Result<AudioContext, String> {
    match text {
        "auto" => Ok(AudioContext::Sound),
        text => checked(text, "1 to 30, or auto", |s| (1.0..=30.0).contains(s))
            .map(AudioContext::Seconds),
    }
}

/// A start of the random sequence; `None` takes another one each time.
pub(crate) fn seed(text: &str) -> Result<Option<u64>, String> {
    match text {
        "-1" => Ok(None),
        text => number(text, "0 or more, or -1 for another one each time").map(Some),
    }
}

/// A temperature.
pub(crate) fn temperature(text: &str) -> Result<f32, String> {
    let range = "0 or more; 0 always takes the likeliest token";
    checked(text, range, |t: &f32| *t >= 0.0 && t.is_finite())
}

/// A probability.
pub(crate) fn probability(text: &str) -> Result<f32, String> {
    checked(text, "from 0 to 1", |p: &f32| (0.0..=1.0).contains(p))
}

/// What the logits of repeated tokens are divided by.
pub(crate) fn penalty(text: &str) -> Result<f32, String> {
    checked(text, "more than 0; 1 is off", |x: &f32| *x > 0.0 && x.is_finite())
}

/// What is taken from the logits of repeated tokens.
pub(crate) fn finite(text: &str) -> Result<f32, String> {
    checked(text, "a number; 0 is off", |x: &f32| x.is_finite())
}

/// A number of tokens, where 0 means none or all.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    number(text, "0 or more")
}

/// A type of weights. Others than there are name the nearest.
pub(crate) fn weight_type(text: &str) -> Result<WeightType, String> {
    text.parse().map_err(|error: kinglet_quantize::InvalidOption| match nearest_type(text) {
        Some((near, why)) => format!("{near} is the nearest of int8, int4 and f16: {why}"),
        None => error.to_string(),
    })
}

/// A type of keys and values. Others than there are name the nearest.
pub(crate) fn kv_type(text: &str) -> Result<KvType, String> {
    text.parse().map_err(|error: <KvType as FromStr>::Err| match nearest_type(text) {
        Some(("int4", _)) => "int8 is the nearest of int8 and f16".to_owned(),
        Some((near, _)) => format!("{near} is the nearest of int8 and f16"),
        None => error.to_string(),
    })
}

/// The type that does the work of one that other programs have.
fn nearest_type(text: &str) -> Option<(&'static str, &'static str)> {
    let text = text.to_ascii_lowercase().replace(['-', '_'], "");
    let is = |names: &[&str]| names.iter().any(|name| text.starts_with(name));
    let eight = ["q8", "i8", "int8", "u8", "uint8", "8bit", "w8"];
    if is(&eight) || is(&["q5", "q6", "iq5", "iq6", "fp8", "5bit", "6bit"]) {
        Some(("int8", "8 bits for each weight, and a scale for each 64"))
    } else if is(&["q", "iq", "i", "int", "4bit", "nf4", "mxfp4", "fp4", "awq", "gptq"]) {
        Some(("int4", "4 bits for each weight, a scale and a minimum for each 32"))
    } else if is(&["f", "fp", "float", "bf", "half", "16bit"]) {
        Some(("f16", "16 bits for each weight"))
    } else {
        None
    }
}

/// A note on numbers of threads that slow the machine down.
pub(crate) fn note_on_threads(threads: usize) -> Option<String> {
    let processors = available_parallelism().map_or(1, NonZeroUsize::get);
    (threads > processors).then(|| {
        format!(
            "{threads} threads on {}: more than there are make it slower",
            crate::units::count(processors, "processor")
        )
    })
}

/// A note on a context that is longer than the model's.
pub(crate) fn note_on_context(wanted: impl Into<Option<usize>>, most: usize) -> Option<String> {
    let wanted: usize = wanted.into()?;
    (wanted > most).then(|| note(wanted, most))
}

fn note(wanted: impl Display, most: impl Display) -> String {
    format!("the model was made for {most} tokens; -c {wanted} is taken as {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_is_a_seed_that_changes() {
        assert_eq!(seed("-1"), Ok(None));
        assert_eq!(seed("7"), Ok(Some(7)));
        assert_eq!(predict("-1"), Ok(None));
        assert!(seed("-2").unwrap_err().contains("0 or more, or -1"));
        assert!(predict("-2").unwrap_err().contains("0 or more, or -1"));
    }

    #[test]
    fn what_a_number_must_be_is_said() {
        assert!(threads("0").unwrap_err().contains("1 or more"));
        assert!(threads("10000").unwrap_err().contains("at most 256"));
        assert!(threads("-1").unwrap_err().contains("1 or more"));
        assert!(temperature("-1").unwrap_err().contains("0 or more"));
        assert!(temperature("nan").unwrap_err().contains("0 or more"));
        assert!(temperature("inf").is_err());
        assert!(probability("2").unwrap_err().contains("from 0 to 1"));
        assert!(penalty("0").unwrap_err().contains("more than 0"));
        assert!(count("-3").unwrap_err().contains("0 or more"));
        assert!(context("-3").unwrap_err().contains("1 or more"));
    }

    #[test]
    fn a_type_of_others_names_the_nearest() {
        for (name, near) in [
            ("q4", "int4"),
            ("Q4_K_M", "int4"),
            ("Q6_K", "int8"),
            ("q8_0", "int8"),
            ("int3", "int4"),
            ("nf4", "int4"),
        ] {
            assert!(weight_type(name).unwrap_err().starts_with(near), "{name}");
        }
        for name in ["fp16", "bf16", "f32", "float16", "half"] {
            assert!(weight_type(name).unwrap_err().starts_with("f16"), "{name}");
        }
        assert!(weight_type("zip").unwrap_err().contains("int8, int4, f16"));
        assert_eq!(weight_type("f16"), Ok(WeightType::F16));
        assert!(kv_type("q8_0").unwrap_err().starts_with("int8"));
        assert!(kv_type("fp16").unwrap_err().starts_with("f16"));
        assert_eq!(kv_type("int8").ok(), Some(KvType::Int8));
    }

    #[test]
    fn notes_are_for_what_is_out_of_proportion() {
        assert!(note_on_threads(1).is_none());
        assert!(note_on_threads(256).unwrap().contains("slower"));
        assert!(note_on_context(Some(999_999), 8192).unwrap().contains("8192"));
        assert!(note_on_context(Some(8192), 8192).is_none());
        assert!(note_on_context(None, 8192).is_none());
    }
}
