//! Files of results, which a later run can go on with.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::texts::{FileArguments, Texts};

/// Results of a former run that are computed once more, to see whether this run is of its kind.
const CHECKED: usize = 16;
/// Texts that are passed over together.
const BATCH: u64 = 256;

/// Where results go, if not to standard output.
#[derive(Args, Debug)]
pub(crate) struct OutArguments {
    /// Write JSON lines to this file
    #[arg(short = 'O', long, value_name = "OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Go on behind the whole lines that OUT has, if they are what this command writes
    #[arg(long, requires = "out")]
    resume: bool,
}

impl OutArguments {
    /// An error for a file that would take the texts' place.
    pub(crate) fn check(&self, texts: &FileArguments) -> Result<(), Failure> {
        let Some(out) = &self.out else { return Ok(()) };
        let file = texts.file.as_ref().and_then(|file| file.canonicalize().ok());
        if file.is_some() && file == out.canonicalize().ok() {
            let out = out.display();
            return Err(Failure::usage(format!("--out is the file of the texts itself: {out}")));
        }
        Ok(())
    }

    /// Opens the file, if there is to be one. To go on with it, the texts whose results it has are
    /// passed over, and `make` gives the lines of some texts, the first of which has the number that
    /// it is told.
    pub(crate) fn open(
        &self,
        texts: &mut Texts,
        make: impl FnMut(u64, &[String]) -> Result<String, Failure>,
    ) -> Result<Option<Out>, Failure> {
        let Some(path) = &self.out else { return Ok(None) };
        let named = |failure: Failure| failure.during(path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!self.resume);
        let mut file = options.open(path).map_err(|e| named(e.into()))?;
        let lines = if self.resume { go_on(&mut file, texts, make).map_err(named)? } else { 0 };
        Ok(Some(Out { file, lines }))
    }
}

/// A file of results that is being written.
pub(crate) struct Out {
    file: File,
    /// Lines that were there when it was opened.
    pub(crate) lines: u64,
}

impl Out {
    /// Writes further lines.
    pub(crate) fn write(&mut self, lines: &str) -> Result<(), Failure> {
        Ok(self.file.write_all(lines.as_bytes())?)
    }

    /// All lines, from the first.
    pub(crate) fn read(mut self) -> Result<BufReader<File>, Failure> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(BufReader::new(self.file))
    }
}

/// Passes over the texts whose results are in `file`, and cuts off what follows its last whole line.
/// Gives the number of lines.
///
/// The last lines are computed again. The same model gives the same bits, so that they tell a file
/// of another model, verb or option, or of other texts; it is left as it is.
fn go_on(
    file: &mut File,
    texts: &mut Texts,
    mut make: impl FnMut(u64, &[String]) -> Result<String, Failure>,
) -> Result<u64, Failure> {
    let Left { lines, ends } = Left::read(file)?;
    let mut last = VecDeque::new();
    let mut passed = 0;
    while passed < lines {
        let (batch, _) = texts.next((lines - passed).min(BATCH) as usize)?;
        if batch.is_empty() {
            return Err(Failure::new(format!(
                "{lines} results are there already, for {passed} texts: is it another file's?"
            )));
        }
        passed += batch.len() as u64;
        last.extend(batch);
        last.drain(..last.len().saturating_sub(CHECKED));
    }
    let (start, end) = (ends.front().copied().unwrap_or(0), ends.back().copied().unwrap_or(0));
    if lines > 0 {
        let expected = make(lines - last.len() as u64, last.make_contiguous())?;
        if expected.len() as u64 != end - start || !holds(file, start, expected.as_bytes())? {
            return Err(Failure::new(format!(
                "its last results (of {lines}) are not what this command makes of these texts: they \
                 were written by another model, verb or version, with other options or for other \
                 texts; repeat the command that wrote them, name another file, or leave --resume \
                 away to begin anew"
            )));
        }
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    Ok(lines)
}

/// Whether the bytes are those of the file from `start`.
fn holds(file: &mut File, start: u64, bytes: &[u8]) -> Result<bool, Failure> {
    let mut found = vec![0; bytes.len()];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut found)?;
    Ok(found == bytes)
}

/// What a former run has left.
struct Left {
    /// Whole lines.
    lines: u64,
    /// Where the lines end that are computed again, and the one before them.
    ends: VecDeque<u64>,
}

impl Left {
    fn read(file: &mut File) -> Result<Self, Failure> {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut left = Self { lines: 0, ends: VecDeque::from([0]) };
        let mut at = 0;
        loop {
            let bytes = reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(left);
            }
            for (end, _) in (at + 1..).zip(bytes).filter(|(_, byte)| **byte == b'\n') {
                left.lines += 1;
                left.ends.push_back(end);
                if left.ends.len() > CHECKED + 1 {
                    left.ends.pop_front();
                }
            }
            let n = bytes.len();
            at += n as u64;
            reader.consume(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file becomes whose texts are `a`, `b`, `c`… with the lines `a0`, `b1`, `c2`…
    fn gone_on(content: &str, texts: &[&str]) -> (Result<u64, Failure>, String) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let arguments = FileArguments { file: None, column: None };
        let mut texts = Texts::new(texts, &arguments).unwrap();
        let make = |first: u64, texts: &[String]| {
            Ok((first..).zip(texts).map(|(i, text)| format!("{text}{i}\n")).collect())
        };
        let result = go_on(&mut file, &mut texts, make);
        if result.is_ok() {
            file.write_all(b"x").unwrap();
        }
        let mut out = Out { file, lines: 0 }.read().unwrap();
        let mut content = String::new();
        out.read_to_string(&mut content).unwrap();
        (result, content)
    }

    #[test]
    fn lines_are_gone_on_with_if_they_are_ours() {
        for (content, lines, kept) in
            [("", 0, ""), ("a0", 0, ""), ("a0\nb1\n", 2, "a0\nb1\n"), ("a0\nb1\nc", 2, "a0\nb1\n")]
        {
            let (result, content) = gone_on(content, &["a", "b", "c"]);
            assert_eq!((result.unwrap(), content), (lines, format!("{kept}x")));
        }
        for other in ["a0\nB1\nc", "a1\nb1\n", "a0\nb1\n\n", "a0\nb1 \nc2\n", "notes\nof mine"] {
            let (result, content) = gone_on(other, &["a", "b", "c"]);
            let failure = result.unwrap_err().to_string();
            assert!(failure.contains("are not what this command makes"), "{failure}");
            assert_eq!(content, other);
        }
        let (result, _) = gone_on("a0\nb1\n", &["a"]);
        assert!(result.unwrap_err().to_string().contains("2 results are there already, for 1"));
    }

    #[test]
    fn the_last_lines_of_many_are_checked() {
        let names: Vec<String> = (0..600).map(|i| format!("text{}", i % 7)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let lines: Vec<String> =
            names.iter().enumerate().map(|(i, name)| format!("{name}{i}\n")).collect();
        let (result, _) = gone_on(&lines[..500].concat(), &names);
        assert_eq!(result.unwrap(), 500);
        for (at, is_seen) in [(499, true), (484, true), (483, false)] {
            let mut lines = lines[..500].to_vec();
            lines[at] = lines[at].replace("text", "word");
            assert_eq!(gone_on(&lines.concat(), &names).0.is_err(), is_seen, "{at}");
        }
    }
}
