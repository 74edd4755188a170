//! A place to run the built command in: a small random checkpoint, converted, and an empty cache.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "each test file uses some of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kinglet_tests::tiny;
use serde_json::Value;
use tempfile::TempDir;

/// A converted checkpoint and an empty cache, deleted afterwards.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) model: PathBuf,
}

/// A converted checkpoint of a family.
pub(crate) fn place(family: &str) -> Place {
    place_with(family, |_, _| {})
}

/// A converted checkpoint whose folder and configuration have been changed.
pub(crate) fn place_with(family: &str, change: impl Fn(&Path, &mut Value)) -> Place {
    let folder = tiny::checkpoint(family);
    let config = folder.path().join("config.json");
    let mut fields: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    change(folder.path(), &mut fields);
    std::fs::write(&config, fields.to_string()).unwrap();
    let model = folder.path().join("model.kinglet");
    let place = Place { folder, model };
    let checkpoint = place.folder.path().to_str().unwrap();
    let out = place.run(&["quantize", checkpoint, "-o", place.model()]);
    assert!(out.status.success(), "{}", stderr(&out));
    place
}

impl Place {
    pub(crate) fn model(&self) -> &str {
        self.model.to_str().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kinglet"));
        command.args(arguments).env("KINGLET_CACHE", self.folder.path().join("cache"));
        command.env("HF_HOME", self.folder.path().join("hf"));
        command.env_remove("KINGLET_ISA").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command does with this on standard input.
    pub(crate) fn run_with(&self, input: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that fails at once need not read.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Standard output of a command that must succeed, as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let out = self.run(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", stderr(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// The message of a command that must fail with `code`.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(!message.contains("panicked") && !message.contains("RUST_BACKTRACE"), "{message}");
        message
    }
}

/// A converted decoder with a chat template and room for some text.
pub(crate) fn chat_place(template: &str) -> Place {
    place_with("llama", |folder, config| {
        std::fs::write(folder.join("chat_template.jinja"), template).unwrap();
        config["max_position_embeddings"] = 4096.into();
    })
}

/// A chat template with a place for instructions.
pub(crate) const TEMPLATE: &str =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";

/// What a command wrote for people.
pub(crate) fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// What a command wrote as its result.
pub(crate) fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}
