//! A hub on loopback that cuts connections, lies, or means harm.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod server;

use std::time::{Duration, Instant};

use serde_json::json;
use server::machine::{Machine, fails, has_file, run};
use server::{Fault, Hub, sha256};

const WEIGHTS: &str = "model.safetensors";

/// A machine whose hub has a fault in the weights.
fn with(fault: Fault) -> Machine {
    let machine = Machine::with("llama");
    machine.hub.fault(WEIGHTS, fault);
    machine
}

/// The ranges that the weights were asked for.
fn ranges(hub: &Hub) -> Vec<Option<String>> {
    let requests = hub.requests().into_iter().filter(|r| r.to_store && r.method == "GET");
    requests.map(|request| request.head.get("range").cloned()).collect()
}

#[test]
fn a_cut_connection_is_resumed() {
    let sound = Machine::with("llama");
    let expected = sound.runs(&run("org/name"));
    let machine = with(Fault::Cut(10_000, 2));
    assert_eq!(machine.runs(&run("org/name")), expected);
    let from = Some("bytes=10000-".to_owned());
    assert_eq!(ranges(&machine.hub), [None, from.clone(), from]);

    let machine = with(Fault::Rangeless(10_000));
    assert_eq!(machine.runs(&run("org/name")), expected);
    for fault in [Fault::Broken(2), Fault::Busy(1)] {
        assert_eq!(with(fault).runs(&run("org/name")), expected, "{fault:?}");
    }
}

#[test]
fn what_has_arrived_is_kept_for_the_next_try() {
    let machine = with(Fault::Cut(10_000, usize::MAX));
    let message = machine.fails(&["pull", "org/name"]);
    assert!(message.contains("was cut") && message.contains("10000"), "{message}");
    let tag = sha256(&machine.hub.state().repositories["org/name"].files[WEIGHTS]);
    assert!(machine.blobs().contains(&format!("{tag}.incomplete")), "{:?}", machine.blobs());
    assert!(!machine.repository().join("refs/main").exists(), "it is not whole");
    machine.hub.state().faults.clear();
    machine.hub.requests();
    machine.runs(&run("org/name"));
    assert_eq!(ranges(&machine.hub), [Some("bytes=10000-".to_owned())]);
    assert!(machine.blobs().contains(&tag));
}

#[test]
fn a_part_of_something_else_is_fetched_anew() {
    let machine = Machine::with("llama");
    let tag = sha256(&machine.hub.state().repositories["org/name"].files[WEIGHTS]);
    let blobs = machine.repository().join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(format!("{tag}.incomplete")), vec![1; 5000]).unwrap();
    machine.runs(&run("org/name"));
    assert_eq!(ranges(&machine.hub), [Some("bytes=5000-".to_owned()), None]);
}

#[test]
fn other_bytes_are_refused() {
    let machine = with(Fault::Flip);
    let message = machine.fails(&run("org/name"));
    assert!(message.contains("SHA-256") && message.contains("nothing of it was kept"), "{message}");
    let tag = sha256(&machine.hub.state().repositories["org/name"].files[WEIGHTS]);
    assert!(!machine.blobs().iter().any(|name| name.contains(&tag)), "{:?}", machine.blobs());
    assert!(!has_file(&machine.folder.path().join("kinglet"), ".kinglet"));
}

#[test]
fn a_server_that_lies_is_no_harm() {
    for (fault, words) in [
        (Fault::Endless, "sends more than"),
        (Fault::Longer, "and the hub says"),
        (Fault::Circle, "in a circle"),
        (Fault::Unencrypted, "not encrypted"),
    ] {
        let start = Instant::now();
        let machine = with(fault);
        let message = machine.fails(&["pull", "org/name"]);
        assert!(message.contains(words), "{fault:?}: {message}");
        assert!(start.elapsed() < Duration::from_secs(30));
        let size: u64 = walk(&machine.repository());
        assert!(size < 1 << 20, "{fault:?}: {size}");
    }
}

/// Bytes below a folder.
fn walk(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

#[test]
fn a_silent_server_is_not_waited_for() {
    let machine = with(Fault::Stall(10_000));
    let start = Instant::now();
    let mut command = machine.command(&["pull", "org/name"]);
    let message = fails(command.env("HF_HUB_DOWNLOAD_TIMEOUT", "1"));
    assert!(message.contains("was cut"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
}

#[test]
fn hostile_lists_are_refused() {
    let machine = Machine::with("llama");
    let commit = "0".repeat(40);
    let list =
        |file: &str| json!({ "sha": commit, "siblings": [{ "rfilename": file }] }).to_string();
    let mut huge = br#"{"sha":""#.to_vec();
    huge.resize(40 << 20, b'0');
    for (listing, words) in [
        (list("../../x.gguf").into_bytes(), "can stand in no folder"),
        (list("/etc/x.gguf").into_bytes(), "can stand in no folder"),
        (json!({ "sha": "../../..", "siblings": [] }).to_string().into_bytes(), "is no commit"),
        (b"<html>".to_vec(), "not what the hub would say"),
        ("[".repeat(100_000).into_bytes(), "not what the hub would say"),
        (huge, "more than 32 MB"),
    ] {
        machine.hub.state().listing = Some(listing);
        let message = machine.fails(&["run", "hf:org/name", "x"]);
        assert!(message.contains(words), "{words}: {message:.500}");
    }
    assert_eq!(machine.blobs().len(), 0);
}

#[test]
fn a_hostile_index_names_nothing_outside() {
    let machine = Machine::with("llama");
    {
        let mut state = machine.hub.state();
        let files = &mut state.repositories.get_mut("org/name").unwrap().files;
        files.remove(WEIGHTS);
        let index = json!({ "weight_map": { "x": "../../../x.safetensors" } }).to_string();
        files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    }
    let message = machine.fails(&run("org/name"));
    assert!(message.contains("x.safetensors"), "{message}");
    assert!(machine.hub.requests().iter().all(|request| !request.path.contains("..")));
}

#[test]
fn an_address_is_resumed_while_it_is_the_same() {
    let machine = Machine::new(&Hub::start());
    let put = |byte: u8| {
        machine.hub.state().addresses.insert("/m.gguf".to_owned(), vec![byte; 50_000]);
    };
    put(1);
    let address = format!("{}/m.gguf", machine.hub.address);
    let ranges = || {
        let requests = machine.hub.requests().into_iter().filter(|r| r.method == "GET");
        requests.map(|request| request.head.get("range").cloned()).collect::<Vec<_>>()
    };
    machine.hub.fault("/m.gguf", Fault::Cut(10_000, usize::MAX));
    machine.fails(&["pull", &address]);
    machine.hub.state().faults.clear();
    ranges();
    let path = machine.runs(&["pull", &address]);
    assert_eq!(ranges(), [Some("bytes=10000-".to_owned())]);
    assert_eq!(std::fs::read(path.trim()).unwrap(), [1; 50_000]);

    // Of a new file nothing is joined with the old one, which stays until the new one is there.
    put(2);
    machine.hub.fault("/m.gguf", Fault::Cut(20_000, usize::MAX));
    machine.fails(&["pull", &address]);
    assert_eq!(std::fs::read(path.trim()).unwrap(), [1; 50_000]);
    put(3);
    machine.hub.state().faults.clear();
    ranges();
    machine.runs(&["pull", &address]);
    assert_eq!(ranges(), [None]);
    assert_eq!(std::fs::read(path.trim()).unwrap(), [3; 50_000]);
}

#[test]
fn a_busy_hub_that_asks_for_hours_is_not_waited_for() {
    let machine = Machine::with("llama");
    machine.hub.fault("config.json", Fault::Busy(usize::MAX));
    let start = Instant::now();
    let message = machine.fails(&["pull", "org/name"]);
    assert!(message.contains("too many requests"), "{message}");
    assert!(start.elapsed() < Duration::from_secs(30));
}
