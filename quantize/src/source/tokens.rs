//! Tokens that end an answer, whatever else a checkpoint says about its end.

/// Texts of the tokens by which chat and completion formats end a turn or a document.
const END_OF_TURN: [&str; 9] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|eot|>",
    "</s>",
];

/// Whether a special token with this text ends an answer.
pub(super) fn ends_turn(text: &str) -> bool {
    END_OF_TURN.contains(&text)
}

/// Adds `more` to `ids`, keeping the order and each id once.
pub(super) fn merge(ids: &mut Vec<u32>, more: impl IntoIterator<Item = u32>) {
    for id in more {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}
