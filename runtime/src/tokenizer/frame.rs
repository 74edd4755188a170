//! What stands around texts: the tokens that a model expects before, between and behind them.

use kinglet_formats::tokenizer::TemplateItem;

use super::{EncodeOptions, Encoding, Tokenizer};

/// Without a template, a pair is one text after the other.
const PLAIN_PAIR: [TemplateItem; 2] =
    [TemplateItem::First { type_id: 0 }, TemplateItem::Second { type_id: 1 }];
const PLAIN: [TemplateItem; 1] = [TemplateItem::First { type_id: 0 }];

impl Tokenizer {
    /// A text or a pair of texts, given by their token ids, with the tokens that belong around them.
    pub fn frame(&self, first: &[u32], second: Option<&[u32]>) -> Encoding {
        framed(self.template(second.is_some()), first, second.unwrap_or_default())
    }

    /// Tokens that [`Tokenizer::frame`] puts around a text or a pair of texts.
    pub fn frame_len(&self, pair: bool) -> usize {
        let is_token = |item: &&TemplateItem| matches!(item, TemplateItem::Token { .. });
        self.template(pair).iter().filter(is_token).count()
    }

    /// Token and segment ids of a pair of texts, such as a question and a passage.
    pub fn encode_pair(&self, first: &str, second: &str, options: EncodeOptions) -> Encoding {
        let body = EncodeOptions { add_special: false, ..options };
        let (first, second) = (self.encode(first, body), self.encode(second, body));
        let template = if options.add_special { self.template(true) } else { &PLAIN_PAIR };
        framed(template, &first, &second)
    }

    /// Token ids of a text, of which the end is cut off where there would be more than
    /// `max_tokens`, special tokens included.
    pub fn encode_truncated(
        &self,
        text: &str,
        options: EncodeOptions,
        max_tokens: usize,
    ) -> Vec<u32> {
        let template = if options.add_special { self.template(false) } else { &PLAIN };
        let mut ids = self.encode(text, EncodeOptions { add_special: false, ..options });
        ids.truncate(max_tokens.saturating_sub(framed(template, &[], &[]).ids.len()));
        framed(template, &ids, &[]).ids
    }

    fn template(&self, pair: bool) -> &[TemplateItem] {
        match (&self.inner.spec.template, pair) {
            (Some(template), false) => &template.single,
            (Some(template), true) if !template.pair.is_empty() => &template.pair,
            (None, false) => &PLAIN,
            (_, true) => &PLAIN_PAIR,
        }
    }
}

fn framed(template: &[TemplateItem], first: &[u32], second: &[u32]) -> Encoding {
    let mut encoding = Encoding::default();
    for item in template {
        let from = encoding.ids.len();
        let type_id = match *item {
            TemplateItem::Token { id, type_id } => {
                encoding.ids.push(id);
                type_id
            }
            TemplateItem::First { type_id } => {
                encoding.ids.extend_from_slice(first);
                encoding.texts[0] = from..encoding.ids.len();
                type_id
            }
            TemplateItem::Second { type_id } => {
                encoding.ids.extend_from_slice(second);
                encoding.texts[1] = from..encoding.ids.len();
                type_id
            }
        };
        encoding.type_ids.resize(encoding.ids.len(), type_id);
    }
    encoding
}
