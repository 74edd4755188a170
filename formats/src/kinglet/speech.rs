//! The part of the meta section that says how a model writes speech down (arXiv:2212.04356).

use serde::{Deserialize, Serialize};

use crate::spec::{Input, ModelSpec};

/// Steps of time in a window: timestamps stand for its multiples of a 1500th, and its end.
const N_TIMESTAMPS: u32 = 1501;

/// How a model that reads log-mel spectrograms of 30 seconds writes speech down: by which tokens an
/// answer is begun, and which of them are no text.
///
/// An answer is `previous TEXT start LANGUAGE TASK`, of which a model of one language has `start`
/// alone, and then text between timestamps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speech {
    /// Begins an answer.
    pub start: u32,
    /// Ends an answer; all tokens before it are text.
    pub end: u32,
    /// The languages it tells apart; none where it knows one alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<Language>,
    /// Asks for the words as they were spoken, where there is a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcribe: Option<u32>,
    /// Asks for them in English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translate: Option<u32>,
    /// Goes before the text of what was said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u32>,
    /// Stands for silence: its probability after `start` is that nobody speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_speech: Option<u32>,
    /// Asks for text without timestamps.
    pub no_timestamps: u32,
    /// The first of 1,501 timestamps, which stand for steps of 20 ms.
    pub first_timestamp: u32,
    /// Tokens that are never written: marks of things that are heard, and those above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<u32>,
    /// Tokens with which no answer begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed_first: Vec<u32>,
    /// Layer and head of the attention to the sound that follows the words in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alignment_heads: Vec<(usize, usize)>,
}

/// A language that a model tells from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// Its code: `en`, `haw`.
    pub code: String,
    /// The token that stands for it.
    pub token: u32,
}

impl Speech {
    /// The language called `code`.
    pub fn language(&self, code: &str) -> Option<&Language> {
        self.languages.iter().find(|language| language.code == code)
    }

    /// The last timestamp: the end of a window.
    pub fn last_timestamp(&self) -> u32 {
        self.first_timestamp.saturating_add(N_TIMESTAMPS - 1)
    }

    /// What is wrong, if something is.
    pub(super) fn problem(&self, spec: &ModelSpec) -> Option<String> {
        let writer = spec.logits_head().and_then(|head| spec.stack_of(head));
        let Some((_, writer)) = writer.filter(|_| spec.generates()) else {
            return Some("speech is there, but nothing writes text".to_owned());
        };
        let heard = spec.stacks.first().is_some_and(|s| matches!(s.input, Input::Spectrogram(_)));
        let reads = writer.attentions().any(|a| a.memory.is_some());
        let Input::Tokens(tokens) = &writer.input else {
            return Some("speech is there, but what writes has no vocabulary".to_owned());
        };
        if !heard || !reads {
            return Some("speech is there, but nothing reads a spectrogram".to_owned());
        }
        let one = [Some(self.start), Some(self.end), Some(self.no_timestamps), self.transcribe];
        let one = one.into_iter().chain([self.translate, self.previous, self.no_speech]).flatten();
        let all = one
            .chain([self.last_timestamp()])
            .chain(self.languages.iter().map(|language| language.token))
            .chain(self.suppressed.iter().copied())
            .chain(self.suppressed_first.iter().copied());
        let vocab_size = tokens.vocab_size;
        if let Some(token) = all.into_iter().find(|&token| token as usize >= vocab_size) {
            return Some(format!(
                "speech: token {token} is outside the vocabulary of {vocab_size}"
            ));
        }
        if self.first_timestamp <= self.end {
            return Some(
                "speech: timestamps are not behind the token that ends an answer".to_owned(),
            );
        }
        if self.languages.is_empty() != self.transcribe.is_none() {
            return Some("speech: languages and tasks are there together or not at all".to_owned());
        }
        let mut codes: Vec<&str> = self.languages.iter().map(|one| one.code.as_str()).collect();
        codes.sort_unstable();
        if let Some(twice) = codes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!("speech: there are two languages {:?}", twice[0]));
        }
        let heads: Vec<usize> =
            writer.attentions().filter(|a| a.memory.is_some()).map(|a| a.n_heads).collect();
        let (layer, head) = *self
            .alignment_heads
            .iter()
            .find(|&&(layer, head)| heads.get(layer).is_none_or(|&n| head >= n))?;
        Some(format!("speech: there is no head {head} in layer {layer} of the attention to sound"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinglet::sample;
    use crate::spec::{
        Activation, Attention, Block, Convolution, MixerKind, SpectrogramInput, Stack,
    };

    /// The sample's decoder with 2,000 tokens, which reads an encoder of spectrograms.
    fn spec() -> ModelSpec {
        let mut spec = sample::meta().spec;
        let writer = &mut spec.stacks[0];
        let cross = Attention { memory: Some("encoder".to_owned()), ..Attention::plain(3, 3) };
        let layer = &mut writer.layers[0];
        layer.blocks.insert(1, Block::of(MixerKind::Attention(cross)));
        if let Input::Tokens(tokens) = &mut writer.input {
            tokens.vocab_size = 2_000;
        }
        let mut layer = layer.clone();
        layer.blocks = vec![Block::of(MixerKind::Attention(Attention::plain(3, 3)))];
        let input = Input::Spectrogram(SpectrogramInput {
            n_mels: 8,
            convolutions: vec![Convolution { width: 3, step: 2 }],
            activation: Activation::Gelu,
            max_positions: 1500,
        });
        let name = "encoder".to_owned();
        spec.stacks.insert(
            0,
            Stack { name, hidden_size: 9, input, layers: vec![layer], final_norm: None },
        );
        spec.validate().unwrap();
        spec
    }

    fn speech() -> Speech {
        let language = |code: &str, token| Language { code: code.to_owned(), token };
        Speech {
            start: 401,
            end: 400,
            languages: vec![language("en", 402), language("de", 403)],
            transcribe: Some(404),
            translate: Some(405),
            previous: Some(406),
            no_speech: Some(407),
            no_timestamps: 408,
            first_timestamp: 409,
            suppressed: vec![1, 401],
            suppressed_first: vec![2, 400],
            alignment_heads: vec![(0, 2)],
        }
    }

    #[track_caller]
    fn check(expected: &str, change: impl FnOnce(&mut Speech)) {
        let mut speech = speech();
        change(&mut speech);
        let problem = speech.problem(&spec()).unwrap();
        assert!(problem.ends_with(expected), "{problem}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(speech().problem(&spec()), None);
        assert_eq!(speech().last_timestamp(), 1909);
        check("token 2000 is outside the vocabulary of 2000", |s| s.suppressed.push(2000));
        check("token 2099 is outside the vocabulary of 2000", |s| s.first_timestamp = 599);
        check("token 4294967295 is outside the vocabulary of 2000", |s| {
            s.first_timestamp = u32::MAX;
        });
        check("timestamps are not behind the token that ends an answer", |s| s.end = 409);
        check("are there together or not at all", |s| s.languages.clear());
        check("there are two languages \"de\"", |s| s.languages[0].code = "de".to_owned());
        check("no head 3 in layer 0 of the attention to sound", |s| s.alignment_heads[0].1 = 3);
        check("no head 0 in layer 1 of the attention to sound", |s| s.alignment_heads[0] = (1, 0));
        let reads_text = sample::meta().spec;
        assert!(speech().problem(&reads_text).unwrap().contains("nothing reads a spectrogram"));
    }
}
