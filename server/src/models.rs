//! The models that are served: opened when they are first asked for, closed when nobody has for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kinglet::{ChatFormat, GenerateOptions, Model, SchedulerOptions};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::engine::{Engine, Load};
use crate::error::ApiError;
use crate::metrics::Metrics;

/// Opens a model; what it says on failure is for the client.
pub type Open = Box<dyn Fn() -> Result<Model, String> + Send + Sync>;

/// A model to serve.
pub struct Served {
    /// The name that requests call it by.
    pub name: String,
    /// Opens it.
    pub open: Open,
    /// How it generates where neither the request nor its file says so.
    pub defaults: GenerateOptions,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A model, open or not.
pub(crate) struct Entry {
    pub(crate) served: Served,
    pub(crate) metrics: Arc<Metrics>,
    open: Mutex<Option<Arc<Opened>>>,
    /// Held while it is being opened, so that this is done once.
    opening: AsyncMutex<()>,
    /// When it was asked for last.
    used: Mutex<Instant>,
    /// Seconds since 1970 when it was first served.
    pub(crate) created: u64,
}

/// A model that is open.
pub(crate) struct Opened {
    pub(crate) model: Model,
    /// Of models that go on with a text.
    pub(crate) engine: Option<Engine>,
    /// Of models that converse.
    pub(crate) format: Option<ChatFormat>,
    /// One computation at a time, beside the engine's.
    turns: Arc<Semaphore>,
}

/// All of them; the first one answers requests that name none.
pub(crate) struct Models {
    entries: Vec<Entry>,
    options: SchedulerOptions,
}

impl Models {
    pub(crate) fn new(served: Vec<Served>, options: SchedulerOptions) -> Self {
        let entry = |served| Entry {
            served,
            metrics: Arc::default(),
            open: Mutex::default(),
            opening: AsyncMutex::default(),
            used: Mutex::new(Instant::now()),
            created: seconds(),
        };
        Self { entries: served.into_iter().map(entry).collect(), options }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The model of this name; the first one, if there is no name.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<&Entry, ApiError> {
        let known: Vec<&str> = self.entries.iter().map(|one| one.served.name.as_str()).collect();
        let found = match name {
            None => self.entries.first(),
            Some(name) => self.entries.iter().find(|one| one.served.name == name),
        };
        found.ok_or_else(|| ApiError::no_model(name.unwrap_or_default(), &known))
    }

    /// The same, opened.
    pub(crate) async fn open(&self, name: Option<&str>) -> Result<(&Entry, Arc<Opened>), ApiError> {
        let entry = self.find(name)?;
        entry.metrics.requests.add(1);
        *lock(&entry.used) = Instant::now();
        if let Some(opened) = entry.opened() {
            return Ok((entry, opened));
        }
        let _opening = entry.opening.lock().await;
        if let Some(opened) = entry.opened() {
            return Ok((entry, opened));
        }
        // On a thread for such things: a conversion may take a while.
        let model = tokio::task::block_in_place(|| (entry.served.open)());
        let model = model.map_err(ApiError::internal)?;
        let opened = Opened::new(model, &self.options, entry.metrics.clone())?;
        let opened = Arc::new(opened);
        *lock(&entry.open) = Some(opened.clone());
        Ok((entry, opened))
    }

    /// Closes models that nobody has asked for since `idle`.
    pub(crate) fn close_idle(&self, idle: Duration) {
        for entry in &self.entries {
            let mut open = lock(&entry.open);
            let is_idle = lock(&entry.used).elapsed() >= idle;
            // Whoever computes with it holds it too.
            if is_idle && open.as_ref().is_some_and(|open| Arc::strong_count(open) == 1) {
                *open = None;
            }
        }
    }
}

impl Entry {
    /// The model, if it is open.
    pub(crate) fn opened(&self) -> Option<Arc<Opened>> {
        lock(&self.open).clone()
    }

    /// How busy it is.
    pub(crate) fn load(&self) -> Load {
        self.opened().and_then(|open| open.engine.as_ref().map(Engine::load)).unwrap_or_default()
    }
}

impl Opened {
    fn new(
        model: Model,
        options: &SchedulerOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ApiError> {
        // Encoders have no engine, nor has what answers a source.
        let engine = match model.is_generative() && !model.reads_source() {
            true => Some(Engine::start(&model, options, metrics)?),
            false => None,
        };
        let format = match model.has_chat_template() {
            true => Some(model.chat_format()?),
            false => None,
        };
        Ok(Self { model, engine, format, turns: Arc::new(Semaphore::new(1)) })
    }

    /// The engine of a model that goes on with a text.
    pub(crate) fn engine(&self) -> Result<&Engine, ApiError> {
        let why = "the model does not go on with texts; ask for what it is made for, such as \
                   /v1/embeddings";
        self.engine.as_ref().ok_or_else(|| ApiError::invalid(why))
    }

    /// Waits for the turn to compute something.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let turn = self.turns.clone().acquire_owned().await;
        turn.map_err(|_| ApiError::closing())
    }
}

/// Runs `work` on a thread for computations, when it is its turn.
pub(crate) async fn compute<T: Send + 'static>(
    opened: Arc<Opened>,
    work: impl FnOnce(&Model) -> Result<T, kinglet::Error> + Send + 'static,
) -> Result<T, ApiError> {
    let turn = opened.turn().await?;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&opened.model)
    });
    let done = done.await.map_err(|error| ApiError::internal(error.to_string()))?;
    done.map_err(ApiError::from)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
