//! Texts from arguments, files and standard input.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, IsTerminal, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::output::say;

/// After how long somebody who pipes nothing is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// What standard input is called.
pub(crate) const STDIN: &str = "standard input";

/// The text of a file, or of standard input for `-`. Bytes that are no UTF-8 become U+FFFD.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return read_stdin();
    }
    let bytes = fs::read(path).map_err(|e| Failure::from(e).during(path.display()))?;
    Ok(decode(bytes, path.display()))
}

/// Text from `-p`, words, a file or standard input, whichever there is.
pub(crate) fn text_of(
    given: Option<&str>,
    words: &[&str],
    file: Option<&PathBuf>,
    what: &str,
) -> Result<String, Failure> {
    let sources = [given.is_some(), !words.is_empty(), file.is_some()];
    if sources.iter().filter(|&&is| is).count() > 1 {
        return Err(Failure::usage(format!("the {what} is given in more than one way")));
    }
    match (given, file) {
        (Some(text), _) => Ok(text.to_owned()),
        (_, Some(path)) => read_text(path),
        _ if !words.is_empty() => Ok(words.join(" ")),
        _ if !stdin().is_terminal() => read_stdin(),
        _ => Err(Failure::usage(format!("no {what}: give it as argument, by -f FILE or on stdin"))),
    }
}

/// A text, and after it what is piped into the program.
pub(crate) fn with_piped(text: String) -> Result<String, Failure> {
    let bytes = match Source::of_stdin() {
        Source::Nothing => return Ok(text),
        Source::Stream => read_to_end(Patience::Endless)?,
        Source::Socket => read_to_end(Patience::Short)?,
    };
    Ok(joined(text, &decode(bytes, STDIN)))
}

/// Says so if a pipe's text is not read, because the text is given in another way.
pub(crate) fn note_on_unread_pipe() {
    if matches!(Source::of_stdin(), Source::Stream) {
        say!("standard input is not read, as there is a text already");
    }
}

/// A text and what was piped after it.
fn joined(text: String, piped: &str) -> String {
    match piped.trim_end() {
        "" => text,
        piped if text.is_empty() => piped.to_owned(),
        piped => format!("{text}\n\n{piped}"),
    }
}

/// What may stand behind standard input where nobody has asked for it.
#[cfg_attr(not(unix), allow(dead_code, reason = "sockets are told apart on Unix"))]
enum Source {
    /// A terminal or another device.
    Nothing,
    /// A pipe or file, which somebody has put there.
    Stream,
    /// A socket: a remote shell's, with text or without, or one that a program leaves open.
    Socket,
}

impl Source {
    #[cfg(unix)]
    fn of_stdin() -> Self {
        use std::os::unix::fs::FileTypeExt;
        match fs::metadata("/dev/stdin").map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_fifo() || kind.is_file() => Self::Stream,
            Ok(kind) if kind.is_socket() => Self::Socket,
            _ => Self::Nothing,
        }
    }

    #[cfg(not(unix))]
    fn of_stdin() -> Self {
        if stdin().is_terminal() { Self::Nothing } else { Self::Stream }
    }
}

/// How long the first byte is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Endless,
    Short,
}

/// All of standard input, where it is the only input.
fn read_stdin() -> Result<String, Failure> {
    Ok(decode(read_to_end(Patience::Endless)?, STDIN))
}

/// All of standard input; says what is waited for, and what was not.
fn read_to_end(patience: Patience) -> Result<Vec<u8>, Failure> {
    let (started, start) = sync_channel(1);
    let (done, bytes) = sync_channel(1);
    thread::spawn(move || {
        let mut input = stdin().lock();
        let _ = started.send(input.fill_buf().is_ok());
        let mut bytes = Vec::new();
        let _ = done.send(input.read_to_end(&mut bytes).map(|_| bytes));
    });
    if start.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        if patience == Patience::Short {
            say!("nothing comes from standard input; going on without it");
            return Ok(Vec::new());
        }
        say!("{WAITING}");
    }
    Ok(bytes.recv().unwrap_or_else(|_| Ok(Vec::new()))?)
}

const WAITING: &str =
    "waiting for the end of standard input (where there is none, say < /dev/null)";

/// A line of a file.
pub(crate) struct Line {
    /// Without what ends it.
    pub(crate) text: String,
    /// The first is 1.
    pub(crate) number: u64,
    /// Bytes of the file up to its end.
    pub(crate) end: u64,
}

/// The lines of the file called `name`. What is no UTF-8 becomes U+FFFD, which is said once.
pub(crate) fn lines(
    mut input: impl BufRead,
    name: String,
) -> impl Iterator<Item = Result<Line, Failure>> {
    let (mut number, mut end, mut told) = (0, 0, false);
    std::iter::from_fn(move || {
        let mut bytes = Vec::new();
        match input.read_until(b'\n', &mut bytes) {
            Err(error) => return Some(Err(Failure::from(error).during(&name))),
            Ok(0) => return None,
            Ok(n) => end += n as u64,
        }
        number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        // A mark of the encoding is no text.
        if number == 1 && bytes.starts_with("\u{feff}".as_bytes()) {
            bytes.drain(.."\u{feff}".len());
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            if !std::mem::replace(&mut told, true) {
                say_not_utf8(&name);
            }
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        Some(Ok(Line { text, number, end }))
    })
}

/// The lines of standard input as they come.
pub(crate) struct Lines {
    lines: Receiver<Result<String, Failure>>,
    started: bool,
}

impl Lines {
    /// Begins to read, some way ahead of who takes the lines.
    pub(crate) fn of_stdin() -> Self {
        let (sender, receiver) = sync_channel(1024);
        thread::spawn(move || {
            let mut lines = lines(stdin().lock(), STDIN.to_owned());
            let _ = lines.try_for_each(|line| sender.send(line.map(|line| line.text)));
        });
        Self { lines: receiver, started: false }
    }

    /// At least one line, and with it what has come meanwhile, but no more than `most`. Empty at
    /// the end.
    pub(crate) fn next(&mut self, most: usize) -> Result<Vec<String>, Failure> {
        let first = match self.lines.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => {
                if !std::mem::replace(&mut self.started, true) {
                    say!("{WAITING}");
                }
                self.lines.recv().ok()
            }
            other => other.ok(),
        };
        self.started = true;
        let mut batch: Vec<String> = first.transpose()?.into_iter().collect();
        while !batch.is_empty() && batch.len() < most {
            let Ok(line) = self.lines.try_recv() else { break };
            batch.push(line?);
        }
        Ok(batch)
    }
}

fn decode(bytes: Vec<u8>, source: impl Display) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        say_not_utf8(source);
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    })
}

fn say_not_utf8(source: impl Display) {
    say!("{source} is not UTF-8 throughout; what is not is read as \u{fffd}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_text_comes_after_the_prompt() {
        assert_eq!(joined("Summarise".to_owned(), "one\ntwo\n"), "Summarise\n\none\ntwo");
        assert_eq!(joined("Summarise".to_owned(), "\n"), "Summarise");
        assert_eq!(joined(String::new(), "one"), "one");
    }

    #[test]
    fn lines_lose_their_ends_alone() {
        let read = |bytes: &[u8]| -> Vec<String> {
            lines(bytes, String::new()).map(|line| line.unwrap().text).collect()
        };
        assert_eq!(read(b" a \r\n"), [" a "]);
        assert_eq!(read(b"a\n"), ["a"]);
        assert_eq!(read(b"a"), ["a"]);
        assert_eq!(read(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\xff"), ["a", "\u{feff}b\u{fffd}"]);
    }
}
