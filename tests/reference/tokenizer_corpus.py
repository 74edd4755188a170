"""The texts of the tokenizer tests: goldens/tokenizers/corpus.json, a list of texts.

A text is a string, or `[string, times]` for a long repetition. Written once by this script; the
random part is seeded and draws only on characters assigned in Unicode 3.2, so that references
with tables of different Unicode versions agree.
"""

import json
import random
import re
import unicodedata
from pathlib import Path

GOLDENS = Path(__file__).parent.parent / "goldens" / "tokenizers"

SENTENCES = r"""
The quick brown fox jumps over the lazy dog.|She'd've said it's John's, but they'll say we're wrong; I'm sure you can't.
Why is the sky blue?|Once upon a time, in a land far away, there lived a king.|HELLO WORLD, Hello World, hello world!
"Quoted text," she said — then left… forever.|E-mail: someone@example.com, URL: https://example.com/a/b?c=d&e=f#g
The price is $1,234.56 (or €1.234,56), up 12.5% from 2023-10-05T14:48:00Z.|Tel. +1 (555) 010-9999 ext. 42; ISBN 978-3-16-148410-0
Zażółć gęślą jaźń. Pchnąć w tę łódź jeża lub ośm skrzyń fig.|Příliš žluťoučký kůň úpěl ďábelské ódy.|Árvíztűrő tükörfúrógép.
Voix ambiguë d’un cœur qui au zéphyr préfère les jattes de kiwis.|Falsches Üben von Xylophonmusik quält jeden größeren Zwerg. STRASSE, Straße, ẞ
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia. ¿Qué? ¡Sí!|À noite, vovô Kowalsky vê o ímã cair no pé do pinguim queixoso.
Flygande bäckasiner söka hwila på mjuka tuvor.|Høj bly gom vandt fræk sexquiz på wc.|Törkylempijävongahdus.|Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa.
Съешь же ещё этих мягких французских булок, да выпей чаю.|Жебракують філософи при ґанку церкви в Гадячі, ще й шатро їхнє п'яне знаємо.|Ах чудна българска земьо, полюшвай цъфтящи жита.
Ξεσκεπάζω την ψυχοφθόρα σας βδελυγμία. ΟΔΥΣΣΕΥΣ Σίσυφος|Տիար հասարակ գյուղացի, բարև ձեզ։|თხოვთ ახლავე გაიაროთ რეგისტრაცია.
דג סקרן שט בים מאוכזב ולפתע מצא חברה. שָׁלוֹם עֲלֵיכֶם|نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر. مَرْحَبًا بِالعَالَم ١٢٣٤|همهٔ افراد بشر آزاد به دنیا می‌آیند ۱۲۳|تمام انسان آزاد پیدا ہوئے ہیں۔
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश। क्षत्रिय १२३|আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। ১২৩|ਸਤ ਸ੍ਰੀ ਅਕਾਲ ਦੁਨਿਆ|ગુજરાતી ભાષા બોલો|யாதும் ஊரே யாவரும் கேளிர்.|తెలుగు భాష తియ్యనైనది|ಕನ್ನಡ ನುಡಿ ಚೆನ್ನ|മലയാളം ഒരു ഭാഷയാണ്|සිංහල භාෂාව
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน ๑๒๓|ສະບາຍດີ ຊາວໂລກ|မင်္ဂလာပါ ကမ္ဘာလောက|សួស្តីពិភពលោក|བཀྲ་ཤིས་བདེ་ལེགས།
我能吞下玻璃而不伤身体。今天天气很好,我们去公园吧!|視野無限廣,窗外有藍天。|いろはにほへと ちりぬるを わかよたれそ つねならむ|カタカナ・テスト、ｶﾀｶﾅ、全角ＡＢＣ１２３|키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.|東京2020オリンピック、第32回。
Đường về quê hương xa xôi, trời đã tối rồi. Nguyễn Văn A|Pijamalı hasta yağız şoföre çabucak güvendi. İSTANBUL ıIiİ|Semua manusia dilahirkan bebas.|Kila mtu anazaliwa huru.|Ọmọ Yorùbá, ẹ káàbọ̀
Сэлэм, дэлхий! Монгол хэл|ሰላም ልዑል፣ ኢትዮጵያ ፩፪፫|ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ|ᚠᛇᚻ᛫ᛒᛦᚦ|⠓⠑⠇⠇⠕|𝓗𝓮𝓵𝓵𝓸 𝕎𝕠𝕣𝕝𝕕 𝟙𝟚𝟛|𐌰𐌱𐌲 𐐷𐐨
fn main() { println!("{}", x.iter().map(¦v¦ v * 2).sum::<i32>()); }|def f(x, *args, **kwargs):\n    return [i**2 for i in range(10) if i % 2 == 0]\n|for (int i=0;i<n;++i){a[i]+=b[i]*c[i];}\n\t\treturn 0;|<div class="a b" id='c'>&nbsp;&amp;<br/></div><!-- x -->
SELECT * FROM t WHERE a='b' AND c>=1.5e-3;|{"key": [1, 2.5, -3e10, null, true], "nested": {"a": "b\n"}}|#include <stdio.h>\n#define MAX(a,b) ((a)>(b)?(a):(b))|git commit -m "fix: #123" && git push --force-with-lease|0xDEADBEEF 0b1010 1_000_000 3.14159f64 1e-9|a->b->c != NULL && !(x&y) ¦¦ z^~w
import numpy as np\nx = np.zeros((3, 4), dtype=np.float32)  # comment\n|\\begin{equation} E = mc^2 \\end{equation} $\\alpha_{i}^{2}$|camelCaseIdentifier snake_case_name SCREAMING_CASE kebab-case PascalCase XMLHttpRequest2|C:\\Users\\name\\file.txt /usr/local/bin/../lib ~/.config
∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β = ¬(¬α ∨ β), ℕ ⊆ ℕ₀ ⊂ ℤ|½ ¼ ¾ ⅓ x² y³ H₂O ①②③ ⅣⅧ ㊿|ﬁ ﬂ ﬃ ǆ Ǆ ŉ ſ K Å ™ ℠ № ㎏ ㍿ ﷺ|→ ← ↔ ⇒ ■ □ ▪ ● ○ ★ ☆ ♠ ♥ ☎ ✓ ✗
"""

PIECES = r"""
a|A|é|e\u0301|\u0301|ñ|n\u0303|ﬁ|Å|A\u030a|\u212b|q\u0307\u0323|q\u0323\u0307|각|\u1100\u1161\u11a8|İ|i\u0307|ß|ẞ|Σ|ς|ά|ǰ
😀|👍🏽|👨\u200d👩\u200d👧\u200d👦|🏳️\u200d🌈|🇩🇪🇫🇷|❤️|❤|☺︎|1️⃣|👩🏿\u200d🚀|🤷🏻\u200d♀️|©️|🧑\u200d💻|✈️
\u0000|\u0001|\u0007|\b|\u001b[31m|\u007f|\u0085|\u00a0|\u00ad|\u200b|\u200c|\u200d|\u200e|\u2028|\u2029|\u202f|\u205f|\u3000|\ufeff|\ufffd|\ufffe|\uffff|\u180e|\u1680|\ue000|\U000e0001|\U000f0000|\U0010ffff
 |  |   |     |\t|\t\t|\n|\n\n|\n\n\n|\r\n|\r|\r\n\r\n| \n|\n |\u000b|\u000c| \t \n
0|7|12|123|1234|12345678|3.14|1,000|٣|४|²|½|Ⅷ|一|1st|2nd|x1|1x
.|,|!|?|...|…|;|:|'|"|’|“”|«»|-|–|—|_|__|(|)|[]|{}|<>|/|\\|\|@|#|$|%|^|&|*|+|=|~|`|¿|¡|、|。|「」|،|؟|।|·|•|§|¶|°|±|×|÷|€|£|¥|¢
's|'S|'t|'re|'ve|'m|'ll|'d|'LL|'RE|’s|'ſ|n't|don't|DON'T|I'm|we'll've|'tis
the|The| the| The|ing|tion|hello|Hello| hello|world| world|antidisestablishmentarianism|supercalifragilisticexpialidocious|pneumonoultramicroscopicsilicovolcanoconiosis|unaffable|embeddings|tokenization|naïve café|résumé|coöperate|Zürich|São Paulo
<s>|</s>|<unk>|<pad>|<bos>|<eos>|[CLS]|[SEP]|[MASK]|[UNK]|[PAD]|<mask>|<¦im_start¦>|<¦im_end¦>|<¦endoftext¦>|<start_of_turn>|<end_of_turn>|<unused0>|<unused99>|<¦im_start¦|<¦im_end¦>|<0x41>|<0x0A>|<0xZZ>|▁|▁▁|▁the|Ġ|Ġthe|Ċ|##ing|## ing|<repo_name>|<¦begin_of_text¦>|<¦eot_id¦>|[INST]|[/INST]|<extra_id_0>|<th>|</h1>|[ CLS ]|<S>|[cls]
"""

RUNS = [("a", 400), (" ", 300), ("\n", 200), ("\t", 100), ("ab", 150), ("1", 250), ("😀", 60), (".", 200), ("é", 120),
        ("e\u0301", 60), ("\u0301", 80), ("日", 120), ("\r\n", 80), ("-", 150), ("=", 129), ("▁", 70), ("ا", 90),
        ("<|im_start|>", 20), ("[MASK]", 20), ("\u200d", 40), ("\u00a0", 50), ("\u3000", 50), ("Aa", 90), ("a ", 120),
        (" a", 120), ("0x", 60), ("ก", 100), ("각", 60), ("\ufffd", 40), ("x", 101), ("x", 100), ("é", 100), ("é", 101),
        ("'s", 60), ("\n ", 60), (" \n", 60), ("\t\n", 40), ("__", 60), ("ha", 200), ("lol", 70), ("𝓗", 40), ("🇩🇪", 30)]


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "\\": "\\"}


def split(block):
    """Texts separated by `|`, with `¦` for that character itself and the usual escapes."""
    def unescape(found):
        code = found.group(1)
        return chr(int(code[1:], 16)) if code[0] in "uU" else ESCAPES[code]

    for line in block.strip("\n").split("\n"):
        for part in line.split("|"):
            text = re.sub(r"\\(u[0-9a-f]{4}|U[0-9a-f]{8}|.)", unescape, part).replace("¦", "|")
            if text:
                yield text


def corpus():
    rng = random.Random(7)
    sentences, pieces = list(split(SENTENCES)), list(split(PIECES))
    texts = [""] + sentences + pieces
    texts += [f" {s}" for s in sentences[::3]] + [f"{s} " for s in sentences[1::3]] + [f"\n{s}\n\n" for s in sentences[2::3]]
    texts += [s.upper() for s in sentences[::4]] + [unicodedata.normalize("NFD", s) for s in sentences[1::2]]
    texts += [unicodedata.normalize("NFKC", s) for s in sentences[2::4]]
    # Pieces side by side, with and without white space.
    for _ in range(620):
        n = rng.randint(2, 7)
        texts.append("".join(rng.choice(pieces) + rng.choice(["", "", " ", "  ", "\n"]) for _ in range(n)))
    # Sentences cut and joined anywhere between two characters.
    for _ in range(200):
        a, b = rng.choice(sentences), rng.choice(sentences)
        texts.append(a[rng.randint(0, len(a)):][:40] + rng.choice(pieces) + b[: rng.randint(0, len(b))][:40])
    # Any characters.
    assigned = [chr(c) for c in range(0x30000) if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co")]
    low = [c for c in assigned if ord(c) < 0x3000]
    for i in range(220):
        texts.append("".join(rng.choice(assigned if i % 4 == 0 else low) for _ in range(rng.randint(1, 14))))
    for _ in range(120):
        texts.append("".join(rng.choice([" ", "  ", "\t", "\n", "\r\n", "a", "b.", "1", "\u00a0", "é", "'s"])
                             for _ in range(rng.randint(3, 16))))
    texts = list(dict.fromkeys(texts))
    return texts + [list(run) for run in RUNS]


def load():
    texts = json.loads((GOLDENS / "corpus.json").read_text(encoding="utf-8"))
    return [t if isinstance(t, str) else t[0] * t[1] for t in texts]


if __name__ == "__main__":
    texts = corpus()
    lines = ",\n".join(json.dumps(t, ensure_ascii=False) for t in texts)
    GOLDENS.mkdir(parents=True, exist_ok=True)
    (GOLDENS / "corpus.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(len(texts), "texts")
