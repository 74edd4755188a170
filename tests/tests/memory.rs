//! Memory of real sessions against their plans. One test: it measures in processes of their own, as
//! the conversion before it leaves freed memory behind, which a session would take first.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::{KvType, Model, SessionOptions};
use kinglet_quantize::WeightType;
use kinglet_tests::real;

/// Names the converted model to a process that measures.
const MODEL: &str = "KINGLET_TESTS_MEMORY_MODEL";
/// The type of its keys and values.
const KV: &str = "KINGLET_TESTS_MEMORY_KV";

/// A field of `/proc/self/status` in bytes.
fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kilobytes = line.trim_start_matches(':').trim().strip_suffix("kB").unwrap();
    kilobytes.trim().parse::<usize>().unwrap() << 10
}

#[test]
fn a_session_takes_what_was_planned() {
    const MIB: usize = 1 << 20;
    let Some(path) = std::env::var_os(MODEL) else {
        let path = real::converted("memory", "smollm2-135m", WeightType::Int8);
        for kv in [KvType::F16, KvType::Int8] {
            let mut measuring = std::process::Command::new(std::env::current_exe().unwrap());
            measuring.args(["--exact", "a_session_takes_what_was_planned", "--nocapture"]);
            measuring.env(MODEL, &path).env(KV, kv.to_string());
            assert!(measuring.status().unwrap().success(), "{kv}");
        }
        return;
    };
    let kv: KvType = std::env::var(KV).unwrap().parse().unwrap();
    let (private_before, before) = (status("RssAnon"), status("VmRSS"));
    let model = Model::open(path).unwrap();
    let options = SessionOptions::default().kv(kv);
    let plan = model.memory_plan(&options.clone().context_length(512)).unwrap();

    // The largest context is free until it is used.
    let mut session = model.session_with(&options).unwrap();
    assert_eq!(session.context_length(), 8192);
    assert!(status("RssAnon") - private_before < 2 * MIB);

    let tokens: Vec<u32> = (0..512).map(|i| 100 + i * 7 % 4000).collect();
    assert!(session.feed(&tokens).unwrap());
    assert_eq!(session.kv_bytes(), (plan.kv, plan.kv_per_position));
    assert_eq!(session.scratch_bytes(), plan.scratch);

    let (peak, private) = (status("VmHWM") - before, status("RssAnon") - private_before);
    println!("planned {} and {}, found {peak} and {private}", plan.total(), plan.private());
    assert!(peak.abs_diff(plan.total()) * 20 < plan.total(), "{peak}, planned {}", plan.total());
    assert!(private < plan.kv + 20 * MIB, "{private} private, {} of them KV", plan.kv);
    assert!(peak < 160 * MIB, "{peak}");
}
