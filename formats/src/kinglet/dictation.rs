//! The part of the meta section that says how a model of samples writes speech down.

use serde::{Deserialize, Serialize};

use crate::spec::{Input, ModelSpec};

/// Most tokens a second that may be asked for.
const MOST_TOKENS: f32 = 1e3;

/// How a model that reads samples of sound writes down what is said: plain text without times, which the
/// tokens of `generation.eos` end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dictation {
    /// Begins an answer.
    pub start: u32,
    /// Most tokens for a second of sound, `start` included: more would repeat themselves.
    pub tokens_per_second: f32,
}

impl Dictation {
    /// What is wrong, if something is.
    pub(super) fn problem(&self, spec: &ModelSpec) -> Option<String> {
        let writer = spec.logits_head().and_then(|head| spec.stack_of(head));
        let Some((_, writer)) = writer.filter(|_| spec.generates()) else {
            return Some("dictation is there, but nothing writes text".to_owned());
        };
        let heard = spec.stacks.first().is_some_and(|s| matches!(s.input, Input::Samples(_)));
        if !heard || !spec.reads_source() {
            return Some("dictation is there, but nothing reads samples of sound".to_owned());
        }
        if let Input::Tokens(tokens) = &writer.input
            && self.start as usize >= tokens.vocab_size
        {
            let (token, size) = (self.start, tokens.vocab_size);
            return Some(format!("dictation: token {token} is outside the vocabulary of {size}"));
        }
        let rate = self.tokens_per_second;
        let possible = rate > 0.0 && rate <= MOST_TOKENS;
        (!possible).then(|| format!("dictation: {rate} tokens a second"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::spec::{
        Activation, Attention, Block, MixerKind, Norm, NormKind, SampleConvolution, SampleInput,
        Stack,
    };

    /// The sample's decoder, which reads what an encoder makes of samples.
    fn spec() -> ModelSpec {
        let mut spec = sample::meta().spec;
        let hidden_size = spec.stacks[0].hidden_size;
        let convolution = SampleConvolution {
            width: 9,
            step: 4,
            channels: hidden_size,
            bias: false,
            activation: Activation::Tanh,
        };
        let input = Input::Samples(SampleInput {
            sample_rate: 16_000,
            max_samples: 16_000,
            convolutions: vec![convolution],
            norm: Norm { kind: NormKind::Layer, eps: 1e-5, bias: true },
        });
        let reading =
            Attention { memory: Some("encoder".to_owned()), ..Attention::plain(1, hidden_size) };
        spec.stacks[0].layers[0].blocks.insert(1, Block::of(MixerKind::Attention(reading)));
        let name = "encoder".to_owned();
        let encoder = Stack { name, hidden_size, input, layers: Vec::new(), final_norm: None };
        spec.stacks.insert(0, encoder);
        spec
    }

    #[test]
    fn what_is_wrong_is_said() {
        let dictation = Dictation { start: 1, tokens_per_second: 6.5 };
        assert_eq!(dictation.problem(&spec()), None);
        let deaf = sample::meta().spec;
        assert!(dictation.problem(&deaf).is_some_and(|p| p.contains("nothing reads samples")));
        let problem = |change: fn(&mut Dictation)| {
            let mut dictation = dictation.clone();
            change(&mut dictation);
            dictation.problem(&spec()).unwrap_or_default()
        };
        assert!(problem(|d| d.start = u32::MAX).contains("outside the vocabulary"));
        assert!(problem(|d| d.tokens_per_second = f32::NAN).contains("NaN tokens a second"));
        assert!(problem(|d| d.tokens_per_second = 0.0).contains("0 tokens a second"));
    }
}
