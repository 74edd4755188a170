//! Whisper's vocabulary as whisper.cpp's files have it: byte-level pieces in the order in which they merge.
//! The special tokens behind them, and what is never spoken, follow from the numbers of pieces and tokens.

use std::collections::HashMap;

use kinglet_formats::tokenizer::{
    AddedToken, Bpe, Decoder, Model, PreTokenizer, SplitBehavior, added_flags, byte_letter,
};

use super::CompileError;
use super::build::{Builder, GPT2_PATTERN};

/// Timestamps of a vocabulary, steps of 20 ms in 30 seconds and the last one's end.
const N_TIMESTAMPS: usize = 1501;
/// Codes of languages in the order of their tokens; models know the first 99, or all.
const LANGUAGES: &str = "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no \
    th ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so \
    af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue";
const END: &[u8] = b"<|endoftext|>";
/// Tokens before the languages, and behind them.
const BEFORE: [&str; 2] = ["<|endoftext|>", "<|startoftranscript|>"];
const BEHIND: [&str; 6] = [
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
];
/// Marks that stand for sounds and speakers: never spoken where they are one token.
const MARKS: &str = "\" # ( ) * + / : ; < = > @ [ \\ ] ^ _ ` { | } ~ 「 」 『 』 << >> <<< >>> -- --- -( -[ (' (\" (( )) \
    ((( ))) [[ ]] {{ }} ♪♪ ♪♪♪";
/// Signs of music, which are never begun either.
const MUSIC: &str = "♩ ♪ ♫ ♬ ♭ ♮ ♯";

/// Pieces of text, and how many tokens there are with the special ones.
pub(crate) struct WhisperVocabulary {
    pieces: Vec<Vec<u8>>,
    n_languages: usize,
}

impl WhisperVocabulary {
    /// Of the pieces in a file, the last of which may be the end's, and `n_vocab` tokens.
    pub(crate) fn new(mut pieces: Vec<Vec<u8>>, n_vocab: usize) -> Result<Self, CompileError> {
        if pieces.last().is_some_and(|last| last == END) {
            pieces.pop();
        }
        let others = BEFORE.len() + BEHIND.len() + N_TIMESTAMPS;
        let n_languages = n_vocab.checked_sub(pieces.len() + others);
        match n_languages.filter(|&n| n <= LANGUAGES.split_whitespace().count()) {
            Some(n_languages) => Ok(Self { pieces, n_languages }),
            None => Err(CompileError::Whisper { n_pieces: pieces.len(), n_vocab }),
        }
    }

    /// The token that ends an answer.
    pub(crate) fn end(&self) -> u32 {
        self.pieces.len() as u32
    }

    fn specials(&self) -> impl Iterator<Item = String> {
        let languages = LANGUAGES.split_whitespace().take(self.n_languages);
        let languages = languages.map(|code| format!("<|{code}|>"));
        let times = (0..N_TIMESTAMPS).map(|step| format!("<|{:.2}|>", step as f64 * 0.02));
        let own = |names: &'static [&str]| names.iter().map(|&name| name.to_owned());
        own(&BEFORE).chain(languages).chain(own(&BEHIND)).chain(times)
    }

    /// Tokens of marks that nobody speaks.
    pub(crate) fn not_spoken(&self) -> Vec<u32> {
        let ids = self.ids();
        let mut found: Vec<u32> = [" -", " '"].iter().flat_map(|text| first(&ids, text)).collect();
        let spelled = |mark: &str| [mark.to_owned(), format!(" {mark}")];
        for text in MARKS.split_whitespace().flat_map(spelled) {
            found.extend(ids.get(text.as_bytes()));
        }
        found
            .extend(MUSIC.split_whitespace().flat_map(spelled).flat_map(|text| first(&ids, &text)));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Tokens with which no answer begins: a blank, and the end.
    pub(crate) fn not_first(&self) -> Vec<u32> {
        let blank = self.ids().get(&b" "[..]).copied();
        blank.into_iter().chain([self.end()]).collect()
    }

    fn ids(&self) -> HashMap<&[u8], u32> {
        self.pieces.iter().map(Vec::as_slice).zip(0..).collect()
    }
}

/// The first token of a word: neighbours are joined, the earliest piece first.
fn first(ids: &HashMap<&[u8], u32>, word: &str) -> Option<u32> {
    let bytes = word.as_bytes();
    let mut ends: Vec<usize> = (0..=bytes.len()).collect();
    loop {
        let joined = ends.windows(3).enumerate();
        let known = joined.filter_map(|(i, w)| Some((*ids.get(&bytes[w[0]..w[2]])?, i + 1)));
        let Some((_, middle)) = known.min() else { break };
        ends.remove(middle);
    }
    ids.get(&bytes[..*ends.get(1)?]).copied()
}

/// Compiles a vocabulary.
pub(crate) fn compile_whisper(vocabulary: &WhisperVocabulary) -> Result<Vec<u8>, CompileError> {
    let mut builder = Builder::new(Model::Bpe(Bpe { ignore_merges: true, ..Bpe::default() }));
    let mut ranks = Vec::with_capacity(vocabulary.pieces.len());
    for (id, piece) in (0..).zip(&vocabulary.pieces) {
        builder.set_piece(u64::from(id), piece.iter().copied().map(byte_letter).collect())?;
        ranks.push((id, -(id as f32)));
    }
    builder.merge_by_score(ranks);
    for (content, id) in vocabulary.specials().zip(vocabulary.end()..) {
        builder.added.push(AddedToken { content, id, flags: added_flags::SPECIAL });
    }
    builder.roles.eos = Some(vocabulary.end());
    let automaton = builder.regex(GPT2_PATTERN)?;
    let behavior = SplitBehavior::Isolated;
    builder.pre_tokenizers = vec![
        PreTokenizer::Split { automaton, behavior, invert: false },
        PreTokenizer::ByteAlphabet,
    ];
    builder.decoders = vec![Decoder::ByteLevel { alphabet: true }];
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(extra: &[&[u8]]) -> WhisperVocabulary {
        let bytes = (0..=255).map(|byte| vec![byte]);
        let pieces: Vec<Vec<u8>> = bytes.chain(extra.iter().map(|&piece| piece.to_vec())).collect();
        let n_vocab = 256 + extra.len() + 8 + 3 + N_TIMESTAMPS;
        WhisperVocabulary::new(pieces, n_vocab).unwrap()
    }

    #[test]
    fn special_tokens_follow_the_pieces() {
        let vocabulary = vocabulary(&[]);
        let specials: Vec<String> = vocabulary.specials().collect();
        assert_eq!(
            specials[..5],
            ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|de|>"]
        );
        assert_eq!(specials[10..12], ["<|notimestamps|>", "<|0.00|>"]);
        assert_eq!(specials.last().unwrap(), "<|30.00|>");
        assert_eq!(vocabulary.not_first(), [32, 256]);
        assert_eq!(LANGUAGES.split_whitespace().count(), 100);
        for n_vocab in [0, 300, 256 + 8 + 101 + N_TIMESTAMPS] {
            assert!(WhisperVocabulary::new(vec![vec![0]; 256], n_vocab).is_err());
        }
    }

    #[test]
    fn marks_that_are_one_token_are_not_spoken() {
        let vocabulary = vocabulary(&[b" (", b"((", " \u{266a}".as_bytes(), b" \xe2"]);
        let found = vocabulary.not_spoken();
        for id in [u32::from(b'('), 256, 257, u32::from(b'"')] {
            assert!(found.contains(&id), "{id} of {found:?}");
        }
        // Of a note, the first token: its piece cannot be reached byte by byte.
        assert!(found.contains(&259) && found.contains(&0xe2));
        assert!(!found.contains(&u32::from(b'a')));
    }
}
