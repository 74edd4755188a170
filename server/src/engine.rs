//! A model's thread: it runs the scheduler while there is something to do.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use kinglet::{
    Error, Event, FinishReason, Model, Request, Scheduler, SchedulerOptions, Ticket, TokenLogprobs,
    Usage,
};
use tokio::sync::{mpsc, oneshot};

use crate::error::ApiError;
use crate::metrics::Metrics;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Told {
    Token { text: String, logprobs: Option<TokenLogprobs> },
    Ended { text: String, reason: FinishReason, usage: Usage },
    Failed(ApiError),
}

enum Command {
    Submit(Box<Request>, mpsc::UnboundedSender<Told>, oneshot::Sender<Result<Ticket, Error>>),
    Cancel(Ticket),
}

/// How busy an engine is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) kv_bytes: usize,
}

/// The thread's other end. The thread ends when this is dropped and nothing is left to do.
#[derive(Debug)]
pub(crate) struct Engine {
    commands: Sender<Command>,
    load: Arc<Mutex<Load>>,
}

/// An answer in the making; dropped, its request is given up.
#[derive(Debug)]
pub(crate) struct Answering {
    events: mpsc::UnboundedReceiver<Told>,
    ticket: Ticket,
    commands: Sender<Command>,
    ended: bool,
}

impl Engine {
    /// Starts the thread.
    pub(crate) fn start(
        model: &Model,
        options: &SchedulerOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let scheduler = Scheduler::new(model, options)?;
        let (commands, inbox) = channel();
        let load = Arc::new(Mutex::new(Load::default()));
        let desk = Desk { scheduler, listeners: HashMap::new(), load: load.clone(), metrics };
        let named = std::thread::Builder::new().name("kinglet-engine".to_owned());
        named
            .spawn(move || desk.run(&inbox))
            .map_err(|error| Error::Threads { wanted: 1, reason: error.to_string() })?;
        Ok(Self { commands, load })
    }

    /// Hands a request over.
    pub(crate) async fn submit(&self, request: Request) -> Result<Answering, ApiError> {
        let (tell, events) = mpsc::unbounded_channel();
        let (reply, ticket) = oneshot::channel();
        let gone = |_| ApiError::internal("the model's thread has ended; restart the server");
        self.commands
            .send(Command::Submit(Box::new(request), tell, reply))
            .map_err(|_| gone(()))?;
        let ticket = ticket.await.map_err(|_| gone(()))??;
        Ok(Answering { events, ticket, commands: self.commands.clone(), ended: false })
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answering {
    /// What comes next; `None` if the thread has ended.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The same for those who wait for several.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Told>> {
        let told = ready!(self.events.poll_recv(context));
        self.ended |= !matches!(told, Some(Told::Token { .. }));
        Poll::Ready(told)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.commands.send(Command::Cancel(self.ticket));
        }
    }
}

/// What the thread holds.
struct Desk {
    scheduler: Scheduler,
    listeners: HashMap<Ticket, mpsc::UnboundedSender<Told>>,
    load: Arc<Mutex<Load>>,
    metrics: Arc<Metrics>,
}

impl Desk {
    fn run(mut self, inbox: &Receiver<Command>) {
        let mut open = true;
        let mut busy = false;
        while open || busy {
            if !busy {
                match inbox.recv() {
                    Ok(command) => self.follow(command),
                    Err(_) => return,
                }
            }
            loop {
                match inbox.try_recv() {
                    Ok(command) => self.follow(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                }
            }
            busy = self.step();
            self.note_load();
        }
    }

    fn follow(&mut self, command: Command) {
        match command {
            Command::Submit(request, tell, reply) => {
                let submitted = self.scheduler.submit(*request);
                if let Ok(ticket) = &submitted {
                    self.listeners.insert(*ticket, tell);
                }
                // Who asked may be gone again.
                if let Err(Ok(ticket)) = reply.send(submitted) {
                    self.scheduler.cancel(ticket);
                }
            }
            Command::Cancel(ticket) => {
                // One that has ended already is not known any more.
                if self.listeners.remove(&ticket).is_some() {
                    self.scheduler.cancel(ticket);
                }
            }
        }
    }

    fn step(&mut self) -> bool {
        let Self { scheduler, listeners, metrics, .. } = self;
        let start = Instant::now();
        let mut lost = Vec::new();
        let busy = scheduler.step(&mut |ticket, event| {
            let (told, last) = match event {
                Event::Token { text, logprobs } => {
                    metrics.generated.add(1);
                    (Told::Token { text: text.to_owned(), logprobs }, false)
                }
                Event::Ended { text, reason, usage } => {
                    metrics.prompted.add(usage.prompt as u64);
                    metrics.cached.add(usage.cached as u64);
                    (Told::Ended { text: text.to_owned(), reason, usage }, true)
                }
                Event::Failed(error) => {
                    metrics.failures.add(1);
                    (Told::Failed(error.into()), true)
                }
                _ => return,
            };
            let heard = match last {
                true => listeners.remove(&ticket).map(|tell| tell.send(told)),
                false => listeners.get(&ticket).map(|tell| tell.send(told)),
            };
            if matches!(heard, Some(Err(_))) && !last {
                lost.push(ticket);
            }
        });
        for ticket in lost {
            listeners.remove(&ticket);
            scheduler.cancel(ticket);
        }
        if busy {
            metrics.steps.add(1);
            metrics.busy_micros.add(start.elapsed().as_micros() as u64);
        }
        busy
    }

    fn note_load(&self) {
        let (running, waiting) = self.scheduler.load();
        let kv_bytes = self.scheduler.kv_bytes();
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        *load = Load { running, waiting, kv_bytes };
    }
}
