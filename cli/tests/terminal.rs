//! The command at a terminal: one that `script` makes, with somebody typing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod place;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use place::{Place, TEMPLATE, chat_place};

/// A terminal with the command in it.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Receiver<Vec<u8>>,
    /// What was shown so far, and how much of it has been waited for.
    text: String,
    seen: usize,
}

impl Terminal {
    fn open(place: &Place, arguments: &[&str]) -> Self {
        let line = [&[env!("CARGO_BIN_EXE_kinglet")], arguments].concat().join(" ");
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env("KINGLET_CACHE", place.folder.path().join("cache"))
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keys = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                let _ = sender.send(bytes[..n].to_vec());
            }
        });
        Self { child, keys, shown, text: String::new(), seen: 0 }
    }

    /// Waits until this is shown, after what was waited for before.
    fn wait_for(&mut self, text: &str) {
        loop {
            if let Some(at) = self.text[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let shown = self.shown.recv_timeout(Duration::from_secs(30));
            let shown = shown.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.text));
            self.text += &String::from_utf8_lossy(&shown);
        }
    }

    /// Types at the prompt.
    fn answer_prompt(&mut self, keys: &str) {
        self.wait_for(">>> ");
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

#[test]
fn lines_are_edited_and_remembered() {
    let place = chat_place(TEMPLATE);
    let file = place.path("talk.md");
    // Without a prompt, at a terminal, `run` begins a chat.
    let mut terminal = Terminal::open(&place, &["run", place.model(), "-n", "1"]);
    terminal.answer_prompt("ac\x1b[Db\r");
    terminal.wait_for("\n");
    terminal.answer_prompt("\x1b[A\x1b[Cd\r");
    terminal.wait_for("\n");
    terminal.answer_prompt("\"\"\"two\r");
    terminal.keys.write_all(b"lines\"\"\"\r").unwrap();
    terminal.wait_for("lines");
    terminal.answer_prompt(&format!("/sav\t{file}\r"));
    terminal.wait_for("saved to");
    terminal.answer_prompt("\x03");
    terminal.wait_for("/bye ends");
    terminal.answer_prompt("\x04");
    assert_eq!(terminal.code(), Some(0));
    let saved = std::fs::read_to_string(&file).unwrap();
    let mut asked = saved
        .split("**user**: ")
        .skip(1)
        .map(|turn| turn.split("\n\n**assistant**").next().unwrap());
    assert_eq!(asked.next(), Some("abc"), "{saved}");
    assert_eq!(asked.next(), Some("abcd"), "{saved}");
    assert_eq!(asked.next(), Some("two\nlines"), "{saved}");
}

#[test]
fn interrupts_end_answers_first_and_the_chat_then() {
    let place = chat_place(TEMPLATE);
    let endless = ["chat", place.model(), "--ignore-eos", "-t", "1"];
    let mut terminal = Terminal::open(&place, &endless);
    terminal.answer_prompt("ab\r");
    terminal.wait_for("\n");
    // Somewhere in the answer.
    let next = terminal.shown.recv_timeout(Duration::from_secs(30)).unwrap();
    terminal.text += &String::from_utf8_lossy(&next);
    terminal.keys.write_all(b"\x03").unwrap();
    terminal.answer_prompt("\x03");
    terminal.answer_prompt("\x03");
    assert_eq!(terminal.code(), Some(130));
}
