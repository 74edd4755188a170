use std::path::Path;

use super::*;

/// Writes messages.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn varint(number: u16, value: u8) -> Vec<u8> {
    let tag = number << 3;
    let tag = if tag < 0x80 { vec![tag as u8] } else { vec![tag as u8 | 0x80, (tag >> 7) as u8] };
    [&tag[..], &[value]].concat()
}

fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let score = [&[0x15], &score.to_le_bytes()[..]].concat();
    field(1, &[field(1, text.as_bytes()), score, varint(3, kind)].concat())
}

fn small() -> Vec<u8> {
    let trainer = [varint(3, 2), varint(24, 1), varint(9, 7)].concat();
    let normalizer = [field(2, &[1, 2, 3]), varint(4, 0)].concat();
    [
        piece("<unk>", 0.0, 2),
        piece("<s>", 0.0, 3),
        piece("\u{2581}a", -1.5, 1),
        piece("xy", -2.0, 4),
        piece("old", -3.0, 5),
        field(2, &trainer),
        field(3, &normalizer),
    ]
    .concat()
}

fn error(file: &[u8]) -> String {
    SentencePieceModel::read(file).unwrap_err().to_string()
}

#[test]
fn everything_is_read() {
    let file = small();
    let model = SentencePieceModel::read(&file).unwrap();
    let kinds: Vec<PieceKind> = model.pieces.iter().map(|piece| piece.kind).collect();
    use PieceKind::{Control, Normal, Unknown, Unused, UserDefined};
    assert_eq!(kinds, [Unknown, Control, Normal, UserDefined, Unused]);
    assert_eq!((model.pieces[2].text, model.pieces[2].score), ("\u{2581}a", -1.5));
    assert_eq!((model.algorithm, model.byte_fallback), (Algorithm::Bpe, false));
    assert!(model.space_behind_words);
    assert_eq!((model.bos, model.eos, model.unknown_text), ("<s>", "</s>", " \u{2047} "));
    assert_eq!(model.normalizer.charsmap, [1, 2, 3]);
    assert!(model.normalizer.add_dummy_prefix && !model.normalizer.remove_extra_whitespaces);
}

#[test]
fn what_cannot_be_used_is_named() {
    let unk = piece("<unk>", 0.0, 2);
    let with = |more: &[Vec<u8>]| [&unk[..], &more.concat()].concat();
    for (file, part) in [
        (Vec::new(), "no pieces"),
        (with(&[piece("", 0.0, 1)]), "piece 1 has no text"),
        (with(&[piece("a", f32::NAN, 1)]), "piece 1 \"a\" has the score NaN"),
        (with(&[piece("a", f32::INFINITY, 1)]), "has the score inf"),
        (with(&[piece("a", 0.0, 1), piece("a", 0.0, 1)]), "piece 2 \"a\" is there already"),
        (with(&[piece("a", 0.0, 9)]), "kind of a piece is 9"),
        (with(&[piece("b", 0.0, 2)]), "2 pieces stand for the unknown"),
        (piece("a", 0.0, 1), "0 pieces stand for the unknown"),
        (with(&[piece("<0x41>", 0.0, 6)]), "1 of 256 bytes"),
        (with(&[piece("<0x4G>", 0.0, 6)]), "should be a byte"),
        (with(&[field(2, &varint(35, 1))]), "0 of 256 bytes"),
        (with(&[field(2, &varint(3, 5))]), "kind of the model is 5"),
        (with(&[field(1, &field(1, b"\xff"))]), "UTF-8"),
        (b"\x0a\x7fabc".to_vec(), "cut off at byte 2"),
        (b"\x0b".to_vec(), "kind of a field"),
        (b"\x00".to_vec(), "number of a field"),
        (vec![0xff; 20], "number of a field"),
    ] {
        let error = error(&file);
        assert!(error.contains(part), "{error}, not {part}");
    }
}

/// Every cut and every changed byte gives an error or a model.
#[test]
fn damaged_files_do_no_harm() {
    let golden = "../tests/goldens/sentencepiece/unigram.model";
    let golden = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(golden)).unwrap();
    for file in [small(), golden] {
        SentencePieceModel::read(&file).unwrap();
        let step = 1 + file.len() / 500;
        for at in (0..file.len()).step_by(step) {
            let _ = SentencePieceModel::read(&file[..at]);
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                let _ = SentencePieceModel::read(&changed);
            }
        }
    }
}
