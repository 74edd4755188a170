//! Token ids back to text, a token at a time.
//!
//! Every decoder is a stage that hands text on to the next one as soon as it cannot change any
//! more. Decoding a whole sequence uses the same stages, so both give the same text.

use kinglet_formats::tokenizer::{Decoder, flags, letter_byte};

use super::Tokenizer;
use super::sentencepiece::{self, Token};
use super::utf8::{self, Errors};

/// A decoder, or what stands in for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// One of the file's steps.
    Step(Decoder),
    /// Without decoders, pieces are joined by spaces.
    JoinBySpaces,
}

/// The stages for a list of decoders.
pub(super) fn stages(decoders: &[Decoder]) -> Vec<Stage> {
    match decoders {
        [] => vec![Stage::JoinBySpaces],
        decoders => decoders.iter().cloned().map(Stage::Step).collect(),
    }
}

/// What a stage remembers.
#[derive(Clone, Debug, Default)]
struct State {
    /// A piece has begun.
    started: bool,
    /// The piece at hand is the first.
    first: bool,
    /// The text handed on, kept for its memory.
    text: String,
    /// Bytes or text not handed on yet.
    held: Vec<u8>,
    /// Whether what is held begins a piece.
    held_begins: bool,
    /// Characters that may still be dropped at the beginning, or were held back at the end.
    to_drop: u32,
    held_back: u32,
}

/// Decodes token by token.
///
/// What [`push`](DecodeStream::push) gives out, joined and followed by
/// [`finish`](DecodeStream::finish), is the text that [`Tokenizer::decode`] gives. It is made of
/// whole characters only.
#[derive(Clone, Debug)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    skip_special: bool,
    states: Vec<State>,
    out: String,
}

impl DecodeStream {
    pub(super) fn new(tokenizer: Tokenizer, skip_special: bool) -> DecodeStream {
        let states = vec![State::default(); tokenizer.inner.stages.len()];
        DecodeStream { tokenizer, skip_special, states, out: String::new() }
    }

    /// The text that this token completes, possibly none.
    pub fn push(&mut self, id: u32) -> &str {
        self.out.clear();
        let inner = &self.tokenizer.inner;
        let tables = inner.tables();
        let skip = self.skip_special && tables.flags(id) & flags::SPECIAL != 0;
        if let (
            Some(Stage::Step(Decoder::SentencePiece { strip_first, strip_all, unknown })),
            [state],
        ) = (inner.stages.first(), self.states.as_mut_slice())
        {
            let decoding = sentencepiece::Decoding {
                strip_first: *strip_first,
                strip_all: *strip_all,
                unknown,
            };
            let piece = tables.piece(id).and_then(|piece| str::from_utf8(piece).ok());
            let token = match piece {
                Some(_) if Some(id) == self.tokenizer.unk() => Token::Unknown,
                Some(piece) if tables.flags(id) & flags::BYTE != 0 => {
                    byte_token(piece).map_or(Token::Piece(piece), Token::Byte)
                }
                Some(piece) if !skip => Token::Piece(piece),
                _ => Token::Silent,
            };
            decoding.push(&token, &mut state.started, &mut state.held, &mut self.out);
        } else if let Some(piece) = tables.piece(id).filter(|_| !skip) {
            let chain = Chain { tokenizer: &self.tokenizer, stages: &inner.stages };
            let raw_bytes = Stage::Step(Decoder::ByteLevel { alphabet: false });
            match (inner.stages.first(), self.states.split_first_mut()) {
                (Some(stage), Some((state, states))) if *stage == raw_bytes => {
                    state.held.extend_from_slice(piece);
                    chain.next().characters(state, states, false, &mut self.out);
                }
                _ => {
                    let piece = String::from_utf8_lossy(piece);
                    chain.piece(&mut self.states, &piece, true, &mut self.out);
                }
            }
        }
        &self.out
    }

    /// What is left when no more tokens come. The stream is then as new.
    pub fn finish(&mut self) -> &str {
        self.out.clear();
        let chain = Chain { tokenizer: &self.tokenizer, stages: &self.tokenizer.inner.stages };
        chain.finish(&mut self.states, &mut self.out);
        for state in &mut self.states {
            let State { mut text, mut held, .. } = std::mem::take(state);
            text.clear();
            held.clear();
            *state = State { text, held, ..State::default() };
        }
        &self.out
    }
}

/// The stages from one on.
#[derive(Clone, Copy)]
struct Chain<'a> {
    tokenizer: &'a Tokenizer,
    stages: &'a [Stage],
}

impl Chain<'_> {
    fn next(&self) -> Self {
        Chain { stages: self.stages.get(1..).unwrap_or_default(), ..*self }
    }

    /// Passes on `text`, which begins a piece or continues the last one.
    fn piece(&self, states: &mut [State], text: &str, begins: bool, out: &mut String) {
        let (Some(stage), Some((state, states))) = (self.stages.first(), states.split_first_mut())
        else {
            out.push_str(text);
            return;
        };
        let next = self.next();
        if begins {
            state.first = !state.started;
            state.started = true;
        }
        let first = state.first;
        let mut made = std::mem::take(&mut state.text);
        made.clear();
        let mut hand_on = true;
        match stage {
            Stage::JoinBySpaces => {
                if begins && !first {
                    made.push(' ');
                }
                made.push_str(text);
            }
            Stage::Step(step) => match step {
                Decoder::ByteLevel { .. } => {
                    let held = state.held.len();
                    state.held.extend(text.chars().map_while(letter_byte));
                    if state.held.len() - held != text.chars().count() {
                        // Not spelled in the byte alphabet: the piece stands for itself.
                        state.held.truncate(held);
                        state.held.extend_from_slice(text.as_bytes());
                    }
                    next.characters(state, states, false, out);
                    hand_on = false;
                }
                Decoder::Metaspace { replacement, strip_first } => {
                    let strip = first && *strip_first;
                    made.extend(text.chars().filter_map(|c| match c == *replacement {
                        true => (!strip).then_some(' '),
                        false => Some(c),
                    }));
                }
                Decoder::WordPiece { prefix, cleanup } => {
                    match text.strip_prefix(prefix.as_str()).filter(|_| !first) {
                        Some(tail) => made.push_str(tail),
                        None => {
                            if !first {
                                made.push(' ');
                            }
                            made.push_str(text);
                        }
                    }
                    if *cleanup && made.len() > 1 && made.contains(' ') {
                        made = clean_up(made);
                    }
                }
                Decoder::ByteFallback => {
                    if let Some(byte) = byte_token(text) {
                        state.held.push(byte);
                        hand_on = false;
                    } else {
                        next.spelled(state, states, out);
                        made.push_str(text);
                    }
                }
                Decoder::Fuse => {
                    state.text = made;
                    return next.piece(states, text, first && begins, out);
                }
                Decoder::Strip { content, start, stop } => {
                    if begins {
                        next.held_back(state, states, *content, *stop, &mut made, out);
                        state.to_drop = *start;
                        state.held_begins = true;
                    }
                    for c in text.chars() {
                        if c == *content && state.to_drop > 0 {
                            state.to_drop -= 1;
                        } else if c == *content && *stop > 0 {
                            state.to_drop = 0;
                            state.held_back = state.held_back.saturating_add(1);
                        } else {
                            state.to_drop = 0;
                            made.extend(std::iter::repeat_n(*content, state.held_back as usize));
                            state.held_back = 0;
                            made.push(c);
                        }
                    }
                    let begins = std::mem::replace(&mut state.held_begins, false);
                    next.piece(states, &made, begins, out);
                    hand_on = false;
                }
                Decoder::Replace { automaton, content } => {
                    let inner = &self.tokenizer.inner;
                    let mut done = 0;
                    if let Some(automaton) = inner.layout.automaton(inner.section(), *automaton) {
                        for (from, to) in automaton.matches(text) {
                            made.push_str(text.get(done..from).unwrap_or_default());
                            made.push_str(content);
                            done = to;
                        }
                    }
                    made.push_str(text.get(done..).unwrap_or_default());
                }
                // The only step, which sees ids.
                Decoder::SentencePiece { .. } => made.push_str(text),
                Decoder::Suffix { suffix } => {
                    if begins {
                        next.suffixed(state, states, suffix, " ", &mut made, out);
                    }
                    state.held.extend_from_slice(text.as_bytes());
                    hand_on = false;
                }
            },
        }
        if hand_on {
            next.piece(states, &made, begins, out);
        }
        state.text = made;
    }

    /// Ends the last piece in every stage.
    fn finish(&self, states: &mut [State], out: &mut String) {
        let (Some(stage), Some((state, states))) = (self.stages.first(), states.split_first_mut())
        else {
            return;
        };
        let next = self.next();
        let mut made = std::mem::take(&mut state.text);
        made.clear();
        match stage {
            Stage::Step(Decoder::ByteLevel { .. }) => next.characters(state, states, true, out),
            Stage::Step(Decoder::ByteFallback) => next.spelled(state, states, out),
            Stage::Step(Decoder::Strip { content, stop, .. }) => {
                next.held_back(state, states, *content, *stop, &mut made, out);
            }
            Stage::Step(Decoder::Suffix { suffix }) => {
                next.suffixed(state, states, suffix, "", &mut made, out);
            }
            Stage::Step(Decoder::SentencePiece { .. }) => {
                sentencepiece::spelled(&mut state.held, true, &mut state.started, out);
            }
            _ => {}
        }
        state.text = made;
        next.finish(states, out);
    }

    /// Hands on the whole characters among the bytes held, errors as U+FFFD; all of them
    /// if no more come. Everything is one piece.
    fn characters(&self, state: &mut State, states: &mut [State], at_end: bool, out: &mut String) {
        utf8::hand_out(&mut state.held, at_end, Errors::Sequences, |text| {
            let begins = !std::mem::replace(&mut state.held_begins, true);
            self.piece(states, text, begins, out);
        });
    }

    /// Hands on what a run of byte tokens spells.
    fn spelled(&self, state: &mut State, states: &mut [State], out: &mut String) {
        if state.held.is_empty() {
            return;
        }
        match str::from_utf8(&state.held) {
            Ok(text) => self.piece(states, text, true, out),
            Err(_) => {
                for _ in 0..state.held.len() {
                    self.piece(states, "\u{fffd}", true, out);
                }
            }
        }
        state.held.clear();
    }

    /// Ends a piece whose last characters were held back: up to `stop` of them are dropped.
    fn held_back(
        &self,
        state: &mut State,
        states: &mut [State],
        content: char,
        stop: u32,
        made: &mut String,
        out: &mut String,
    ) {
        let kept = state.held_back.saturating_sub(stop);
        state.held_back = 0;
        if kept > 0 {
            made.extend(std::iter::repeat_n(content, kept as usize));
            self.piece(states, made, false, out);
            made.clear();
        }
    }

    /// Hands on the piece held, its suffix replaced.
    fn suffixed(
        &self,
        state: &mut State,
        states: &mut [State],
        suffix: &str,
        replacement: &str,
        made: &mut String,
        out: &mut String,
    ) {
        if state.held.is_empty() {
            return;
        }
        let held = String::from_utf8_lossy(&state.held);
        made.push_str(&held.replace(suffix, replacement));
        self.piece(states, made, true, out);
        made.clear();
        state.held.clear();
    }
}

/// The byte that a byte token (`<0x41>`) spells.
pub(super) fn byte_token(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// Undoes what cutting English into words did to punctuation and contractions.
fn clean_up(text: String) -> String {
    const FORMS: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    FORMS.iter().fold(text, |text, (from, to)| match text.contains(from) {
        true => text.replace(from, to),
        false => text,
    })
}
