//! Finds the tokens by which a model fills a gap in a text.

use kinglet_formats::kinglet::Infill;
use kinglet_formats::tokenizer::{Layout, Tables, flags};

/// What goes before the text in front of the gap, before the text behind it, and before what fills
/// it.
const CONVENTIONS: [[&str; 3]; 4] = [
    // Qwen 2.5 Coder, CodeGemma, Granite 4.
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // StarCoder, Granite.
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // SantaCoder.
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    // DeepSeek.
    [
        "<\u{ff5c}fim\u{2581}begin\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}hole\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}end\u{ff5c}>",
    ],
];

/// Tokens after which comes another file, another gap, or nothing.
const ENDS: [&str; 14] = [
    "<|fim_pad|>",
    "<|file_sep|>",
    "<|file_separator|>",
    "<|repo_name|>",
    "<|endoftext|>",
    "<|im_end|>",
    "<fim_pad>",
    "<fim-pad>",
    "<file_sep>",
    "<repo_name>",
    "<reponame>",
    "<filename>",
    "<|EOT|>",
    "<end_of_turn>",
];

/// The tokens of a compiled tokenizer, if it has those of one convention.
pub(crate) fn find(tokenizer: &[u8]) -> Option<Infill> {
    let (layout, _) = Layout::read(tokenizer).ok()?;
    let tables = layout.tables(tokenizer);
    let id = |text: &str| special(&tables, text);
    let [prefix, suffix, middle] = CONVENTIONS
        .into_iter()
        .find_map(|[prefix, suffix, middle]| Some([id(prefix)?, id(suffix)?, id(middle)?]))?;
    let ends = [prefix, suffix, middle].into_iter().chain(ENDS.iter().filter_map(|end| id(end)));
    Some(Infill { prefix, suffix, middle, ends: ends.collect() })
}

/// The token called `text`, unless it is a piece of ordinary text.
fn special(tables: &Tables<'_>, text: &str) -> Option<u32> {
    let mut added = (0..tables.n_added()).filter_map(|index| tables.added(index));
    let found = added.find(|token| token.content == text).map(|token| token.id);
    found.or_else(|| {
        tables.find(text.as_bytes()).filter(|&id| tables.flags(id) & flags::SPECIAL != 0)
    })
}
