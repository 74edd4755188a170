//! Vocabularies of SentencePiece: byte-pair models with scores, and unigram models.

use kinglet_formats::tokenizer::{Bpe, Decoder, Model, Normalizer, PreTokenizer, PrependScheme};

use super::{GgufTokenType, GgufVocab, add_tokens, bos_eos, is_type};
use crate::tokenizer::CompileError;
use crate::tokenizer::build::{Builder, WORD_MARK};

/// Compiles a byte-pair model with scores (`llama`).
pub(super) fn compile(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let mut builder = Builder::new(Model::Bpe(Bpe {
        byte_fallback: true,
        unk: vocab.unk,
        fuse_unk: true,
        ..Bpe::default()
    }));
    add_tokens(&mut builder, vocab, |_, token| token.to_owned())?;
    builder.merge_by_score(merging(vocab));
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    if prefix {
        // Before every text between special tokens, as the models were trained.
        builder.normalizers.push(Normalizer::Prepend { text: WORD_MARK.into() });
    }
    let automaton = builder.literal(" ")?;
    builder.normalizers.push(Normalizer::Replace { automaton, content: WORD_MARK.into() });
    let automaton = builder.literal(&WORD_MARK.to_string())?;
    builder.decoders = vec![
        Decoder::Replace { automaton, content: " ".into() },
        Decoder::ByteFallback,
        Decoder::Fuse,
    ];
    if prefix {
        builder.decoders.push(Decoder::Strip { content: ' ', start: 1, stop: 0 });
    }
    builder.template = bos_eos(vocab, true, false);
    Ok(builder)
}

/// The pieces that come out of merges with their scores: not special tokens, bytes and unused ids.
fn merging(vocab: &GgufVocab) -> Vec<(u32, f32)> {
    let merges = |id: usize| {
        vocab.token_types.is_empty()
            || is_type(vocab, id, GgufTokenType::Normal)
            || is_type(vocab, id, GgufTokenType::UserDefined)
    };
    // Minus zero is zero here.
    let score = |id: usize| vocab.scores.get(id).copied().unwrap_or(0.0) + 0.0;
    let ids = (0..vocab.tokens.len()).filter(|&id| merges(id));
    ids.map(|id| (id as u32, score(id))).collect()
}

/// Compiles a unigram model (`t5`).
pub(super) fn compile_unigram(vocab: &GgufVocab) -> Result<Builder, CompileError> {
    let scores: Vec<f64> = vocab.scores.iter().map(|&score| f64::from(score)).collect();
    // Only pieces of text take part; what is found whole must not set the price of the unknown.
    let lowest = (0..scores.len())
        .filter(|&id| is_type(vocab, id, GgufTokenType::Normal))
        .map(|id| scores[id])
        .fold(0.0, f64::min);
    let mut builder = Builder::new(Model::Unigram {
        unk: vocab.unk,
        unk_score: lowest - 10.0,
        byte_fallback: (0..scores.len()).any(|id| is_type(vocab, id, GgufTokenType::Byte)),
        single: false,
    });
    add_tokens(&mut builder, vocab, |_, token| token.to_owned())?;
    builder.scores = scores;
    if !vocab.precompiled_charsmap.is_empty() {
        builder.charsmaps.push(vocab.precompiled_charsmap.clone());
        builder.normalizers.push(Normalizer::Charsmap { charsmap: 0 });
    }
    if vocab.remove_extra_whitespaces.unwrap_or(false) {
        builder.normalizers.push(Normalizer::Strip { left: true, right: true });
        let automaton = builder.regex(" {2,}")?;
        builder.normalizers.push(Normalizer::Replace { automaton, content: " ".into() });
    }
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    let prepend = if prefix { PrependScheme::Always } else { PrependScheme::Never };
    builder.pre_tokenizers.push(PreTokenizer::Metaspace {
        replacement: WORD_MARK,
        prepend,
        split: true,
    });
    builder.decoders = vec![Decoder::Metaspace { replacement: WORD_MARK, strip_first: prefix }];
    builder.template = bos_eos(vocab, false, true);
    Ok(builder)
}
