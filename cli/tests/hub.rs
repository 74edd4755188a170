//! Models from a hub on loopback: what is fetched, where it is kept, and who is told the token.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod server;

use std::fs;
use std::path::Path;

use kinglet_tests::tiny;
use server::machine::{Machine, checkpoint, has_file, run, sharded, succeeds};
use server::{Hub, sha256};

#[test]
fn a_repository_is_fetched_once_and_runs_as_a_folder_does() {
    let local = tiny::checkpoint("llama");
    let machine = Machine::with("llama");
    let expected = machine.runs(&run(local.path().to_str().unwrap()));
    assert_eq!(machine.runs(&run("org/name")), expected);
    let requests = machine.hub.requests();
    // A list, what is known of each file, and the files; the weights from the other server.
    assert!(requests.iter().any(|r| r.path == "/api/models/org/name/revision/main?blobs=true"));
    assert_eq!(requests.iter().filter(|r| r.to_store && r.method == "GET").count(), 1);
    assert!(requests.iter().all(|r| r.head["user-agent"].starts_with("kinglet/")));
    assert!(requests.iter().all(|r| r.head["accept-encoding"] == "identity"));

    for name in ["org/name", "hf:org/name", "hf:org/name@main"] {
        assert_eq!(machine.runs(&run(name)), expected);
    }
    assert_eq!(machine.hub.requests().len(), 0, "nothing is asked again");
    // Another type is another conversion of the same files.
    machine.runs(&[&run("org/name")[..], &["--type", "f16"]].concat());
    assert_eq!(machine.hub.requests().len(), 0);
    let listed = machine.runs(&["models"]);
    assert!(
        listed.contains("org--name-int8-g64-") && listed.contains("org--name-f16-"),
        "{listed}"
    );

    machine.runs(&["rm", "hf:org/name"]);
    assert!(!machine.runs(&["models"]).contains("org--name"));
    assert!(machine.repository().join("refs/main").is_file(), "others may need it");
}

#[test]
fn the_cache_is_laid_out_for_other_tools() {
    let machine = Machine::with("bert");
    let path = machine.runs(&["pull", "hf:org/name"]);
    let repository = machine.hub.state().repositories["org/name"].clone();
    let snapshot = machine.repository().join("snapshots").join(&repository.commit);
    assert_eq!(Path::new(path.trim()), snapshot);
    let commit = fs::read_to_string(machine.repository().join("refs/main")).unwrap();
    assert_eq!(commit, repository.commit);
    for file in ["config.json", "model.safetensors", "modules.json", "1_Pooling/config.json"] {
        let bytes = &repository.files[file];
        assert_eq!(&fs::read(snapshot.join(file)).unwrap(), bytes, "{file}");
        #[cfg(unix)]
        {
            let up = "../".repeat(2 + file.matches('/').count());
            let hash = sha256(bytes);
            // Small files are tagged by git, here with a part of the hash.
            let tag = if bytes.len() >= server::LARGE { &hash[..] } else { &hash[..40] };
            let link = fs::read_link(snapshot.join(file)).unwrap();
            assert_eq!(link.to_str().unwrap(), format!("{up}blobs/{tag}"), "{file}");
        }
    }
    assert!(machine.blobs().iter().all(|name| !name.contains("incomplete")));

    // What another tool has fetched is not fetched again.
    let other = Machine::new(&machine.hub);
    let blobs = other.repository().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let tag = sha256(&repository.files["model.safetensors"]);
    fs::copy(machine.repository().join("blobs").join(&tag), blobs.join(&tag)).unwrap();
    machine.hub.requests();
    other.runs(&["embed", "org/name", "a b", "-o", "json"]);
    assert!(machine.hub.requests().iter().all(|request| !request.to_store));
}

#[test]
fn without_a_network_there_is_what_there_is() {
    let machine = Machine::with("llama");
    for arguments in
        [&["run", "hf:org/name", "--offline", "x"][..], &["--offline", "pull", "org/name"]]
    {
        let message = machine.fails(arguments);
        assert!(message.contains("offline") && message.contains("org/name"), "{message}");
    }
    assert!(
        machine.fails(&["run", "smollm2-135m", "x", "--offline"]).contains("nothing is fetched")
    );
    assert_eq!(machine.hub.requests().len(), 0);

    machine.runs(&["pull", "org/name"]);
    machine.hub.requests();
    let mut offline = machine.command(&run("org/name"));
    let answer = succeeds(offline.env("HF_HUB_OFFLINE", "1"));
    assert_eq!(machine.hub.requests().len(), 0);
    // A hub that cannot be reached.
    let mut alone = machine.command(&run("org/name"));
    assert_eq!(succeeds(alone.env("HF_ENDPOINT", "http://127.0.0.1:9")), answer);
    let mut new = machine.command(&["pull", "org/name"]);
    let out = new.env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
    let message = server::machine::stderr(&out);
    assert!(
        out.status.success() && message.contains("going on with what this machine has"),
        "{message}"
    );

    let tokenizer = fs::canonicalize(
        machine.repository().join("snapshots").read_dir().unwrap().next().unwrap().unwrap().path(),
    );
    fs::remove_file(tokenizer.unwrap().join("tokenizer.json")).unwrap();
    let message = machine.fails(&["quantize", "org/name", "--offline"]);
    assert!(message.contains("tokenizer.json"), "{message}");
}

#[test]
fn what_other_tools_have_fetched_runs_without_a_network() {
    let machine = Machine::with("llama");
    let repository = machine.hub.state().repositories["org/name"].clone();
    let snapshot = machine.repository().join("snapshots").join(&repository.commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(machine.repository().join("refs")).unwrap();
    fs::write(machine.repository().join("refs/main"), &repository.commit).unwrap();
    for (name, bytes) in &repository.files {
        fs::write(snapshot.join(name), bytes).unwrap();
    }
    machine.runs(&[&run("org/name")[..], &["--offline"]].concat());
    assert_eq!(machine.hub.requests().len(), 0);
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let machine = Machine::with("llama");
    machine.hub.state().repositories.get_mut("org/name").unwrap().gated = true;
    let message = machine.fails(&["run", "hf:org/name", "x"]);
    let page = format!("{}/org/name", machine.hub.address);
    for words in ["gated", &page, "HF_TOKEN"] {
        assert!(message.contains(words), "{message}");
    }
    let mut refused = machine.command(&["pull", "org/name"]);
    let message = server::machine::fails(refused.env("HF_TOKEN", "hf_bad"));
    assert!(message.contains("refuses the token"), "{message}");

    machine.hub.requests();
    succeeds(machine.command(&["pull", "org/name"]).env("HF_TOKEN", "hf_good"));
    let requests = machine.hub.requests();
    assert!(requests.iter().any(|request| request.to_store));
    for request in requests {
        let token = request.head.get("authorization").map(String::as_str);
        assert_eq!(token, (!request.to_store).then_some("Bearer hf_good"), "{request:?}");
    }
    let other = Machine::new(&machine.hub);
    fs::create_dir_all(other.folder.path().join("hf")).unwrap();
    fs::write(other.folder.path().join("hf/token"), "hf_good\n").unwrap();
    other.runs(&["pull", "org/name"]);
}

#[test]
fn shards_are_those_of_the_index() {
    let machine = Machine::with("llama");
    let expected = machine.runs(&run("org/name"));
    let mut files = sharded(checkpoint("llama"));
    // Of no use here: other weights, and a shard that no index names.
    files.insert("pytorch_model.bin".to_owned(), vec![0; 5000]);
    files.insert("model-00003-of-00003.safetensors".to_owned(), vec![0; 5000]);
    machine.hub.put("org/sharded", files);
    assert_eq!(machine.runs(&run("org/sharded")), expected);
    let folder = machine.folder.path().join("hf/hub/models--org--sharded");
    assert!(has_file(&folder, "model-00002-of-00002.safetensors"));
    for other in ["pytorch_model.bin", "model-00003-of-00003.safetensors"] {
        assert!(!has_file(&folder, other), "{other}");
    }
}

#[test]
fn one_of_several_ggufs_is_named() {
    let hub = Hub::start();
    let files = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-f16.gguf"];
    let files = files.map(|name| (name.to_owned(), name.as_bytes().repeat(500)));
    hub.put("org/name", files.clone().into());
    let machine = Machine::new(&hub);
    let message = machine.fails(&["run", "hf:org/name", "x"]);
    let (first, second) =
        (message.find("hf:org/name:m-Q8_0.gguf  (5.5 kB)"), message.find("hf:org/name:m-Q4_K_M"));
    assert!(first.is_some() && first < second && !message.contains("mmproj"), "{message}");
    let message = machine.fails(&["pull", "hf:org/name:Q5_0"]);
    assert!(
        message.contains("no file that fits `Q5_0`") && message.contains("m-Q4_K_M"),
        "{message}"
    );
    let path = machine.runs(&["pull", "org/name:q8_0"]);
    assert!(path.trim().ends_with("m-Q8_0.gguf"), "{path}");
    assert_eq!(fs::read(path.trim()).unwrap(), files[1].1);
    assert_eq!(machine.blobs().len(), 1);
}

#[test]
fn a_converted_file_runs_as_it_is() {
    let machine = Machine::with("llama");
    let expected = machine.runs(&run("org/name"));
    machine.runs(&["quantize", "org/name", "-o", "m.kinglet"]);
    let bytes = fs::read(machine.folder.path().join("m.kinglet")).unwrap();
    machine.hub.put("org/ready", [("m.kinglet".to_owned(), bytes.clone())].into());
    assert_eq!(machine.runs(&run("org/ready")), expected);
    let message = machine.fails(&[&run("org/ready")[..], &["--type", "f16"]].concat());
    assert!(message.contains("converted already"), "{message}");

    // The same from an address.
    machine.hub.state().addresses.insert("/x/m.kinglet".to_owned(), bytes);
    let address = format!("{}/x/m.kinglet", machine.hub.address);
    assert_eq!(machine.runs(&run(&address)), expected);
    machine.hub.requests();
    assert_eq!(machine.runs(&run(&address)), expected);
    assert_eq!(machine.hub.requests().len(), 0);
}

#[test]
fn an_address_brings_what_lies_beside_it() {
    let machine = Machine::with("bert");
    let vector = |model: &str| machine.runs(&["embed", model, "a b", "-o", "json"]);
    let expected = vector("org/name");
    for (name, bytes) in checkpoint("bert") {
        machine.hub.state().addresses.insert(format!("/m/{name}"), bytes);
    }
    let address = format!("{}/m/model.safetensors?download=1", machine.hub.address);
    assert_eq!(vector(&address), expected);
    machine.hub.requests();
    assert_eq!(vector(&address), expected);
    assert_eq!(machine.hub.requests().len(), 0);
    // What has changed is fetched when it is asked for.
    machine.runs(&["pull", &address]);
    let requests = machine.hub.requests();
    assert!(requests.iter().all(|request| request.method == "HEAD"), "{requests:?}");
    machine.hub.state().addresses.insert("/m/config.json".to_owned(), b"{}".to_vec());
    machine.runs(&["pull", &address]);
    assert!(machine.fails(&["embed", &address, "a"]).contains("config.json"));
}

#[test]
fn revisions_are_told_apart() {
    let machine = Machine::with("llama");
    let old = machine.hub.state().repositories["org/name"].clone();
    let mut files = old.files.clone();
    files.insert("README.md".to_owned(), b"new".to_vec());
    let path = |name: &str| machine.runs(&["pull", name]);
    let first = path("hf:org/name");
    machine.hub.put("org/name", files);
    {
        let mut state = machine.hub.state();
        let repository = state.repositories.get_mut("org/name").unwrap();
        repository.revisions.insert("refs/pr/1".to_owned(), repository.commit.clone());
    }
    // Other verbs go on with what is there; pull looks for what is new.
    machine.hub.requests();
    machine.runs(&run("org/name"));
    assert_eq!(machine.hub.requests().len(), 0);
    let second = path("hf:org/name");
    assert_ne!(first, second);
    assert_eq!(path("hf:org/name@refs/pr/1"), second);
    assert!(machine.repository().join("refs/refs/pr/1").is_file());
    assert_eq!(path(&format!("hf:org/name@{}", old.commit)), first);
    let message = machine.fails(&["pull", "hf:org/name@v9"]);
    assert!(message.contains("no revision `v9`"), "{message}");
}

#[test]
fn what_is_not_there_is_said() {
    let machine = Machine::with("llama");
    let message = machine.fails(&["run", "org/nam", "x"]);
    for words in ["org/nam:", "no file or folder", "it has org/name", "HF_TOKEN"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(!machine.fails(&["run", "hf:org/nam", "x"]).contains("no file or folder"));
    machine.hub.put("org/other", [("tf_model.h5".to_owned(), vec![0; 10])].into());
    let message = machine.fails(&["run", "org/other", "x"]);
    assert!(
        message.contains("no weights that can be read") && message.contains("tf_model.h5"),
        "{message}"
    );
    let message = machine.fails(&["run", &format!("{}/none.gguf", machine.hub.address), "x"]);
    assert!(message.contains("does not exist"), "{message}");
    let message = machine.fails(&["run", "http://example.org/m.gguf", "x"]);
    assert!(message.contains("not encrypted"), "{message}");
    let mut unreachable = machine.command(&["run", "hf:org/name", "x"]);
    let message = server::machine::fails(unreachable.env("HF_ENDPOINT", "http://127.0.0.1:9"));
    assert!(message.contains("no network: 127.0.0.1:9"), "{message}");
}

#[test]
fn two_at_once_fetch_and_convert_once() {
    let machine = Machine::with("llama");
    let spawn = || {
        let mut command = machine.command(&run("org/name"));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let children = [spawn(), spawn()];
    let outputs = children.map(|child| child.wait_with_output().unwrap());
    assert!(outputs.iter().all(|out| out.status.success()));
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    let requests = machine.hub.requests();
    assert_eq!(requests.iter().filter(|r| r.to_store && r.method == "GET").count(), 1);
    let said: String = outputs.iter().map(server::machine::stderr).collect();
    assert_eq!(said.matches("converted name").count(), 1, "{said}");
}
