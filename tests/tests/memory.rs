//! Memory of a real session against its plan. One test: it measures a process of its own, as the
//! conversion before it leaves freed memory behind, which a session would take first.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may fail and tell")]

use kinglet::Model;
use kinglet_quantize::WeightType;
use kinglet_tests::real;

/// Names the converted model to the process that measures.
const MODEL: &str = "KINGLET_TESTS_MEMORY_MODEL";

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
        let mut measuring = std::process::Command::new(std::env::current_exe().unwrap());
        measuring.args(["--exact", "a_session_takes_what_was_planned", "--nocapture"]);
        assert!(measuring.env(MODEL, path).status().unwrap().success());
        return;
    };
    let (private_before, before) = (status("RssAnon"), status("VmRSS"));
    let model = Model::open(path).unwrap();
    let plan = model.memory_plan(512).unwrap();

    // The largest context is free until it is used.
    let mut session = model.session().unwrap();
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
