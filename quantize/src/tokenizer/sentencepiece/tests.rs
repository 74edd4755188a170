use super::*;
use kinglet_formats::tokenizer::{Layout, TemplateItem, TokenizerSpec};

/// A model with these pieces (text, kind), all other settings as SentencePiece has them.
fn model(pieces: &[(&str, u8)]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let piece = |&(text, kind): &(&str, u8)| {
        field(1, &[&field(1, text.as_bytes())[..], &[0x15, 0, 0, 0, 0xc0, 0x18, kind]].concat())
    };
    pieces.iter().flat_map(piece).collect()
}

const XLMR: [(&str, u8); 5] = [("<unk>", 2), ("<s>", 3), ("</s>", 3), (",", 1), ("\u{2581}the", 1)];

struct Compiled {
    section: Vec<u8>,
    layout: Layout,
    spec: TokenizerSpec,
}

impl Compiled {
    fn new(pieces: &[(&str, u8)], options: &SentencePieceOptions<'_>) -> Compiled {
        let section = compile_sentencepiece(&model(pieces), options).unwrap();
        let (layout, spec) = Layout::read(&section).unwrap();
        Compiled { section, layout, spec }
    }

    fn piece(&self, id: u32) -> &str {
        let piece = self.layout.tables(&self.section).piece(id).unwrap_or_default();
        str::from_utf8(piece).unwrap()
    }

    fn around(&self) -> Vec<Option<u32>> {
        let single = &self.spec.template.as_ref().unwrap().single;
        let id = |item: &TemplateItem| match *item {
            TemplateItem::Token { id, .. } => Some(id),
            _ => None,
        };
        single.iter().map(id).collect()
    }
}

fn of(class: SentencePieceClass) -> SentencePieceOptions<'static> {
    SentencePieceOptions { class, ..SentencePieceOptions::default() }
}

#[test]
fn classes_number_pieces_as_transformers_does() {
    let pieces = |compiled: &Compiled, n: u32| -> Vec<String> {
        (0..n).map(|id| compiled.piece(id).to_owned()).collect()
    };
    let plain = Compiled::new(&XLMR, &of(SentencePieceClass::Plain));
    assert_eq!(pieces(&plain, 5), ["<unk>", "<s>", "</s>", ",", "\u{2581}the"]);
    assert_eq!(plain.spec.template, None);
    assert_eq!((plain.spec.roles.bos, plain.spec.roles.eos), (Some(1), Some(2)));

    let xlmr = Compiled::new(&XLMR, &of(SentencePieceClass::XlmRoberta));
    let expected = ["<s>", "<pad>", "</s>", "<unk>", ",", "\u{2581}the", "<mask>"];
    assert_eq!(pieces(&xlmr, 7), expected);
    assert_eq!(xlmr.around(), [Some(0), None, Some(2)]);
    assert_eq!((xlmr.spec.roles.unk, xlmr.spec.roles.bos), (Some(3), Some(0)));

    let camembert = Compiled::new(&XLMR, &of(SentencePieceClass::Camembert));
    assert_eq!(
        pieces(&camembert, 10)[3..],
        ["<unk>", "<unk>NOTUSED", "<s>", "</s>", ",", "\u{2581}the", "<mask>"]
    );
    assert_eq!(camembert.around(), [Some(5), None, Some(6)]);

    let mbart = Compiled::new(&XLMR, &of(SentencePieceClass::Mbart));
    assert_eq!((mbart.piece(6), mbart.piece(9), mbart.piece(30)), ("ar_AR", "en_XX", "zh_CN"));
    assert_eq!(mbart.piece(31), "<mask>");
    assert_eq!(mbart.around(), [None, Some(2), Some(9)]);
    let mbart = SentencePieceOptions { language: Some("sl_SI"), ..of(SentencePieceClass::Mbart50) };
    let mbart = Compiled::new(&XLMR, &mbart);
    assert_eq!((mbart.piece(57), mbart.piece(58)), ("sl_SI", "<mask>"));
    assert_eq!(mbart.around(), [Some(57), None, Some(2)]);

    // Published models have 256,000 pieces, and `ace_Arab` is 256,001.
    let nllb = SentencePieceOptions { language: Some("zul_Latn"), ..of(SentencePieceClass::Nllb) };
    let nllb = Compiled::new(&XLMR, &nllb);
    assert_eq!((nllb.piece(6), nllb.piece(207)), ("ace_Arab", "zul_Latn"));
    assert_eq!(nllb.piece(208), "<mask>");
    assert_eq!(nllb.around(), [Some(207), None, Some(2)]);

    let t5 = [("<pad>", 3), ("</s>", 3), ("<unk>", 2), ("\u{2581}a", 1)];
    let t5 = Compiled::new(&t5, &of(SentencePieceClass::T5));
    assert_eq!((t5.piece(4), t5.piece(103)), ("<extra_id_99>", "<extra_id_0>"));
    assert_eq!(t5.around(), [None, Some(1)]);
    assert_eq!(t5.spec.roles.pad, Some(0));
}

#[test]
fn added_tokens_keep_their_ids() {
    let token = |content: &str, id| {
        ExtraToken::read(&serde_json::json!({"content": content, "special": true})).unwrap().at(id)
    };
    // Known under another id, at a free one, at one that is taken.
    let added = [token("<s>", 7), token("<|im_start|>", 9), token("<|im_end|>", 3)];
    let names = RoleNames { eos: Some("<|im_end|>"), added: &added, ..RoleNames::default() };
    let options = SentencePieceOptions { names, ..of(SentencePieceClass::Llama) };
    let llama = Compiled::new(&XLMR, &options);
    assert_eq!(
        (llama.piece(1), llama.piece(9), llama.piece(10)),
        ("<s>", "<|im_start|>", "<|im_end|>")
    );
    assert_eq!(llama.around(), [Some(1), None]);
    assert_eq!(llama.spec.roles.eos, Some(10));
}

#[test]
fn what_is_missing_or_not_supported_is_named() {
    let error = |pieces: &[(&str, u8)], more: &[u8], class| {
        let file = [model(pieces), more.to_vec()].concat();
        compile_sentencepiece(&file, &of(class)).unwrap_err().to_string()
    };
    use SentencePieceClass::{Albert, Llama, Plain, T5};
    for (more, part) in [
        (&[0x12, 2, 0x18, 3][..], "a model of whole words"),
        (&[0x12, 2, 0x18, 4], "a model of characters"),
        (&[0x2a, 3, 0x12, 1, 0], "a character map for decoded text"),
        (&[0x12], "cut off"),
    ] {
        let error = error(&XLMR, more, Plain);
        assert!(error.contains(part), "{error}");
    }
    let many = SentencePieceOptions { extra_ids: Some(usize::MAX), ..of(T5) };
    let many = compile_sentencepiece(&model(&XLMR), &many).unwrap_err();
    assert!(matches!(many, CompileError::IdTooLarge { .. }));
    assert!(error(&XLMR[..1], &[], Llama).contains("BOS `<s>`"));
    assert!(error(&XLMR[..2], &[], T5).contains("EOS `</s>`"));
    assert!(error(&XLMR, &[], Albert).contains("`[CLS]`"));
    assert!(
        error(&[("<unk>", 2), (&"a".repeat(100), 1)], &[0x1a, 3, 0x12, 1, 0], Plain)
            .contains("character map")
    );
}
