//! Brings patterns from the dialect of `tokenizer.json`, which is Oniguruma's, into that of our
//! parser. What means the same is left alone, what means something else is rewritten, and what
//! cannot be said is refused.

/// `\w` inside a class.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}";
/// `\w` by itself, which has the fractions and superscripts of Latin-1 too.
const LONE_WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}";
/// `\h`.
const HEX: &str = "0-9A-Fa-f";
/// The POSIX classes, which hold more than ASCII.
const POSIX: [(&str, &str); 14] = [
    ("alnum", r"\p{Alphabetic}\p{Nd}"),
    ("alpha", r"\p{Alphabetic}"),
    ("ascii", r"\x00-\x7f"),
    ("blank", r"\p{Zs}\t"),
    ("cntrl", r"\p{Cc}"),
    ("digit", r"\p{Nd}"),
    ("graph", r"[^\p{Z}\s\p{Cc}\p{Cn}]"),
    ("lower", r"\p{Lowercase}"),
    ("print", r"[^\p{Zl}\p{Zp}\p{Cc}\p{Cn}]"),
    ("punct", r"\p{P}\p{S}"),
    ("space", r"\s"),
    ("upper", r"\p{Uppercase}"),
    ("word", WORD),
    ("xdigit", HEX),
];
/// Letters that without regard to case also match one letter of their own, as `ss` matches `ß`.
const FOLDED: [&str; 6] = ["ss", "ff", "fi", "fl", "st", "\u{2bc}n"];

/// The pattern in our parser's dialect. A look-ahead becomes a group with a telling name: `ahead`
/// or `unless` and a number.
pub(super) fn translated(pattern: &str) -> Result<String, String> {
    if pattern.contains("(?i") {
        let lower = pattern.to_lowercase();
        if let Some(letters) = FOLDED.iter().find(|letters| lower.contains(**letters)) {
            return Err(format!("`{letters}` without regard to case matches single letters too"));
        }
    }
    let mut translation = Translation { rest: pattern, out: String::new(), n_looks: 0 };
    translation.run()?;
    Ok(translation.out)
}

struct Translation<'p> {
    rest: &'p str,
    out: String,
    n_looks: usize,
}

impl Translation<'_> {
    fn run(&mut self) -> Result<(), String> {
        // Where the last character or class begins, if that was last.
        let mut atom = None;
        // Where its quantifier stands, if that was last and may become possessive.
        let mut quantifier = None;
        while let Some(c) = self.rest.chars().next() {
            let start = self.out.len();
            let before = quantifier.take();
            match c {
                '\\' => {
                    self.escape(false);
                    atom = Some(start);
                }
                '[' => {
                    self.class()?;
                    atom = Some(start);
                }
                '(' => {
                    self.open()?;
                    atom = None;
                }
                '+' if before.is_some() => {
                    self.rest = &self.rest[1..];
                    self.possessive(atom.take(), before.unwrap_or(start))?;
                }
                '?' | '*' | '+' => {
                    self.copy(1);
                    // Behind another one it only makes that lazy.
                    quantifier = before.is_none().then_some(start);
                }
                '{' => {
                    let n = self.rest.find('}').map_or(1, |end| end + 1);
                    self.copy(n);
                }
                ')' | '|' => {
                    self.copy(1);
                    atom = None;
                }
                c => {
                    self.copy(c.len_utf8());
                    atom = Some(start);
                }
            }
        }
        Ok(())
    }

    /// Takes the next `n` bytes as they are.
    fn copy(&mut self, n: usize) {
        let (taken, rest) = self.rest.split_at(n.min(self.rest.len()));
        self.out.push_str(taken);
        self.rest = rest;
    }

    fn escape(&mut self, in_class: bool) {
        let named = |set: &str, negated: bool| match (in_class, negated) {
            (true, false) => set.to_owned(),
            (_, negated) => format!("[{}{set}]", if negated { "^" } else { "" }),
        };
        let word = if in_class { WORD } else { LONE_WORD };
        let kind = self.rest[1..].chars().next();
        let set = match kind {
            Some('w') => named(word, false),
            Some('W') => named(word, true),
            Some('h') => named(HEX, false),
            Some('H') => named(HEX, true),
            Some('p' | 'P' | 'x' | 'u') if self.rest[2..].starts_with('{') => {
                let n = self.rest.find('}').map_or(self.rest.len(), |end| end + 1);
                return self.copy(n);
            }
            kind => return self.copy(1 + kind.map_or(0, char::len_utf8)),
        };
        self.out.push_str(&set);
        self.rest = &self.rest[2..];
    }

    /// A class in brackets, with those inside it.
    fn class(&mut self) -> Result<(), String> {
        let mut depth = 0;
        while let Some(c) = self.rest.chars().next() {
            if let Some(name) = self.rest.strip_prefix("[:").filter(|_| depth > 0)
                && let Some((name, _)) = name.split_once(":]")
                && name.trim_start_matches('^').chars().all(|c| c.is_ascii_lowercase())
            {
                self.posix(name)?;
                continue;
            }
            match c {
                '\\' => self.escape(true),
                '[' => {
                    depth += 1;
                    self.copy(1);
                    if self.rest.starts_with('^') {
                        self.copy(1);
                    }
                    // First in its class, a bracket is a member.
                    if self.rest.starts_with(']') {
                        self.copy(1);
                    }
                }
                ']' => {
                    depth -= 1;
                    self.copy(1);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                '-' | '~' if self.rest[1..].starts_with(c) => {
                    return Err(format!("`{c}{c}` in a class is not supported"));
                }
                c => self.copy(c.len_utf8()),
            }
        }
        Ok(())
    }

    fn posix(&mut self, name: &str) -> Result<(), String> {
        let plain = name.strip_prefix('^').unwrap_or(name);
        let found = POSIX.iter().find(|(known, _)| *known == plain);
        let (_, set) = found.ok_or_else(|| format!("the class `[:{name}:]` is not known"))?;
        let negation = if plain == name { "" } else { "^" };
        self.out.push_str(&format!("[{negation}{set}]"));
        self.rest = &self.rest[name.len() + 4..];
        Ok(())
    }

    /// The beginning of a group.
    fn open(&mut self) -> Result<(), String> {
        for (look, name) in [("(?!", "unless"), ("(?=", "ahead")] {
            if self.rest.starts_with(look) {
                self.out.push_str(&format!("(?P<{name}{}>", self.n_looks));
                self.n_looks += 1;
                self.rest = &self.rest[look.len()..];
                return Ok(());
            }
        }
        let flags = self.rest.strip_prefix("(?").unwrap_or_default();
        let end = flags.find(|c: char| !(c.is_ascii_alphabetic() || c == '-'));
        let flags = &flags[..end.unwrap_or(flags.len())];
        match flags.chars().find(|&flag| flag != 'i' && flag != '-') {
            Some(flag) => Err(format!("the option `{flag}` is not supported")),
            None => {
                self.copy(if self.rest.starts_with("(?") { 2 + flags.len() } else { 1 });
                Ok(())
            }
        }
    }

    /// A quantifier that gives nothing back: for a character of a class that is one behind which no
    /// such character stands.
    fn possessive(&mut self, atom: Option<usize>, quantifier: usize) -> Result<(), String> {
        let atom = atom.and_then(|start| self.out.get(start..quantifier)).map(str::to_owned);
        let atom = atom.ok_or("a possessive mark behind a group is not supported")?;
        let none_behind = format!("(?P<unless{}>{atom})", self.n_looks);
        self.n_looks += 1;
        if self.out.ends_with('?') {
            self.out.truncate(quantifier - atom.len());
            self.out.push_str(&format!("(?:{atom}|{none_behind})"));
        } else {
            self.out.push_str(&none_behind);
        }
        Ok(())
    }
}
