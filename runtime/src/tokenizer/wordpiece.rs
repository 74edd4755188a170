//! WordPiece: the longest piece first.

use kinglet_formats::tokenizer::Tables;
use kinglet_formats::tokenizer::hash::PieceHash;

use super::found::FoundTokens;

/// Appends the tokens of a word, or the unknown token if it cannot be spelled in full.
pub(super) fn encode(
    unk: u32,
    prefix: &str,
    max_chars: u32,
    tables: &Tables<'_>,
    word: &str,
    found: &mut FoundTokens<'_>,
) {
    // Characters are counted only where the word could have too many.
    if word.len() > max_chars as usize && word.chars().count() > max_chars as usize {
        found.push(unk, 0, word.len());
        return;
    }
    let first = found.len();
    let inside = PieceHash::of(prefix.as_bytes());
    let mut rest = word.as_bytes();
    while !rest.is_empty() {
        let at_start = rest.len() == word.len();
        let (hash, prefix) = if at_start { (PieceHash::new(), "") } else { (inside, prefix) };
        let Some((id, len)) = longest(tables, hash, prefix.as_bytes(), rest) else {
            found.truncate(first);
            found.push(unk, 0, word.len());
            return;
        };
        let at = word.len() - rest.len();
        found.push(id, at, at + len);
        rest = &rest[len..];
    }
}

/// The longest piece that `text` begins with behind `prefix`, whose hash is `hash`.
fn longest(
    tables: &Tables<'_>,
    mut hash: PieceHash,
    prefix: &[u8],
    text: &[u8],
) -> Option<(u32, usize)> {
    let most = tables.max_piece_len().saturating_sub(prefix.len());
    let mut found = None;
    for (at, &byte) in text.iter().enumerate().take(most) {
        hash = hash.then_byte(byte);
        let len = at + 1;
        // A piece ends between characters.
        if text.get(len).is_some_and(|next| next & 0xc0 == 0x80) {
            continue;
        }
        let is_equal = |piece: &[u8]| piece.strip_prefix(prefix) == Some(&text[..len]);
        if let Some(id) = tables.find_hashed(hash, prefix.len() + len, is_equal) {
            found = Some((id, len));
        }
    }
    found
}
