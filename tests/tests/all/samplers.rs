//! What samplers leave of logits, against llama.cpp.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use kinglet::{
    Dry, DynamicTemperature, Mirostat, MirostatVersion, Model, Sampler, SamplerExtras,
    SamplerOptions, Xtc,
};
use kinglet_quantize::WeightType;
use kinglet_tests::{real, references};
use serde_json::Value;

/// The options of a case; what it does not say is off.
fn options(case: &Value) -> SamplerOptions {
    let own = SamplerExtras::default();
    let number = |name: &str| case[name].as_f64().map(|x| x as f32);
    let size = |name: &str| case[name].as_u64().map(|n| n as usize);
    let texts = |name: &str| -> Option<Vec<String>> {
        let texts = case[name].as_array()?.iter();
        Some(texts.map(|text| text.as_str().unwrap().to_owned()).collect())
    };
    let order =
        texts("order").map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
    let version = match size("mirostat") {
        None => None,
        Some(1) => Some(MirostatVersion::One),
        Some(_) => Some(MirostatVersion::Two),
    };
    SamplerOptions {
        repeat_penalty: number("repeat_penalty").unwrap_or(1.0),
        repeat_last_n: size("repeat_last_n").unwrap_or(64),
        presence_penalty: number("presence_penalty").unwrap_or(0.0),
        frequency_penalty: number("frequency_penalty").unwrap_or(0.0),
        top_k: size("top_k").unwrap(),
        top_p: number("top_p").unwrap(),
        min_p: number("min_p").unwrap(),
        temperature: number("temperature").unwrap(),
        extras: SamplerExtras {
            order: order.unwrap_or(own.order),
            top_n_sigma: number("top_n_sigma").unwrap_or(0.0),
            typical_p: number("typical_p").unwrap_or(1.0),
            xtc: Xtc {
                probability: number("xtc_probability").unwrap_or(0.0),
                threshold: number("xtc_threshold").unwrap_or(own.xtc.threshold),
            },
            dry: Dry {
                multiplier: number("dry_multiplier").unwrap_or(0.0),
                base: number("dry_base").unwrap_or(own.dry.base),
                allowed_length: size("dry_allowed_length").unwrap_or(own.dry.allowed_length),
                last_n: size("dry_last_n"),
                breakers: texts("dry_breakers").unwrap_or(own.dry.breakers),
            },
            dynamic_temperature: DynamicTemperature {
                range: number("dynatemp_range").unwrap_or(0.0),
                exponent: number("dynatemp_exponent").unwrap_or(1.0),
            },
            mirostat: version.map(|version| Mirostat {
                version,
                tau: number("mirostat_tau").unwrap(),
                eta: 0.1,
            }),
        },
        ..SamplerOptions::default()
    }
}

/// The generating script's, exact before it is rounded once.
fn logit(token: u32) -> f32 {
    let random = token.wrapping_mul(2_654_435_761);
    (f64::from(random) / 4_294_967_296.0 * 12.0 - 6.0) as f32
}

/// Both round every logit and probability to f32, in different orders: 1e-5 is a hundred times that.
#[test]
fn all_stages_leave_what_llama_cpp_leaves() {
    let golden = references::samplers();
    let ids = |name: &str| -> Vec<u32> {
        golden[name].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let model = Model::open(real::converted("samplers", "smollm2-135m", WeightType::Int8)).unwrap();
    let mut logits = vec![f32::NEG_INFINITY; model.vocab_size()];
    for id in ids("ids") {
        logits[id as usize] = logit(id);
    }
    let (untouched, recent) = (logits.clone(), ids("recent"));
    for case in golden["cases"].as_array().unwrap() {
        let about = &case["options"];
        let kept = case["kept"].as_array().unwrap().iter();
        let kept: Vec<(u32, f32)> = kept
            .map(|one| (one[0].as_u64().unwrap() as u32, one[1].as_f64().unwrap() as f32))
            .collect();
        let mut sampler = Sampler::for_model(options(about), &model).unwrap();
        let mut found = sampler.distribution(&mut logits, &recent);
        assert_eq!(logits, untouched);
        let token = sampler.sample(&mut logits, &recent);
        assert!(kept.iter().any(|kept| kept.0 == token), "{token}: {about}");
        // Where two are as likely but for a rounding, either may come first.
        let mut kept = kept;
        kept.sort_unstable_by_key(|one| one.0);
        found.sort_unstable_by_key(|one| one.0);
        let ids = |kept: &[(u32, f32)]| kept.iter().map(|kept| kept.0).collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&kept), "{about}");
        for (found, wanted) in found.iter().zip(&kept) {
            assert!((found.1 - wanted.1).abs() < 1e-5, "{found:?}, not {wanted:?}: {about}");
        }
    }
}
