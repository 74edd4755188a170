//! Standard input, written down as it comes.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use kinglet::{Heard, Model, Segment};

use super::{Arguments, Format, Transcribed, Work, report, write};
use crate::failure::Failure;
use crate::interrupt::Guard;
use crate::output::{print, print_json, say};
use crate::sound;

/// Pieces of sound that may wait, a tenth of a second or so each; after that, standard input does.
const MOST_WAITING: usize = 3000;

/// How often it is asked whether Ctrl-C has been pressed while no sound comes.
const PATIENCE: Duration = Duration::from_millis(100);

/// Hears standard input to its end, which Ctrl-C brings about: what is left is then written down.
pub(super) fn run(arguments: &Arguments, model: &Model) -> Result<(), Failure> {
    let mut transcriber = model.transcriber(&arguments.options())?;
    let guard = Guard::wait();
    if !arguments.quiet {
        say!("listening");
    }
    // Sound comes while other sound is being heard.
    let (sender, receiver) = sync_channel(MOST_WAITING);
    let reader = thread::spawn(move || read(&sender));
    let start = Instant::now();
    let mut page = Page { format: arguments.output, line: String::new(), segments: Vec::new() };
    if arguments.output == Format::Vtt {
        print("WEBVTT\n\n")?;
    }
    while !guard.pressed() {
        let Some(samples) = waiting(&receiver) else { break };
        page.write(transcriber.push(&samples)?)?;
    }
    page.write(transcriber.finish()?)?;
    // Otherwise it waits for sound that may never come.
    if !guard.pressed() {
        reader.join().unwrap_or_else(|_| Err(Failure::new("reading sound has failed")))?;
    }
    let took = start.elapsed().as_secs_f64();
    let work = Work { file: Path::new("-"), seconds: transcriber.seconds(), took };
    report(arguments, model, &work, transcriber.language());
    if arguments.output == Format::Json {
        let language = transcriber.language().map(str::to_owned);
        print_json(&Transcribed::new(arguments, &work, language, page.segments))?;
    }
    Ok(())
}

/// Reads standard input until it ends, or nobody listens any more.
fn read(sender: &SyncSender<Vec<f32>>) -> Result<(), Failure> {
    sound::follow(&mut |samples| sender.send(samples).map_err(|error| error.to_string()))
}

/// All the sound that waits, none after some time; `None` at the end.
fn waiting(receiver: &Receiver<Vec<f32>>) -> Option<Vec<f32>> {
    let mut samples = match receiver.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Disconnected) => return None,
        first => first.unwrap_or_default(),
    };
    samples.extend(receiver.try_iter().flatten());
    Some(samples)
}

/// What has been written.
struct Page {
    format: Format,
    /// Words that stay, of the segment that is not over.
    line: String,
    segments: Vec<Segment>,
}

impl Page {
    fn write(&mut self, heard: Heard) -> Result<(), Failure> {
        for segment in heard.segments {
            match self.format {
                Format::Text => self.end(&segment.text)?,
                format => write(format, self.segments.len() + 1, &segment)?,
            }
            self.segments.push(segment);
        }
        match self.format {
            Format::Text => self.go_on(&heard.stable),
            Format::Json | Format::Srt | Format::Vtt => Ok(()),
        }
    }

    /// Ends a line. Words that stay may have gone on beyond the end of their segment before that was known:
    /// then so does the line.
    fn end(&mut self, text: &str) -> Result<(), Failure> {
        match self.line.strip_prefix(text) {
            Some(beyond) if !beyond.is_empty() => self.line = beyond.to_owned(),
            _ => {
                self.go_on(text)?;
                print("\n")?;
                self.line.clear();
            }
        }
        Ok(())
    }

    /// Writes what is new of a line.
    fn go_on(&mut self, text: &str) -> Result<(), Failure> {
        let Some(more) = text.strip_prefix(&*self.line) else { return Ok(()) };
        print(if self.line.is_empty() { more.trim_start() } else { more })?;
        text.clone_into(&mut self.line);
        Ok(())
    }
}
