//! File, network, kernels, threads and buffers together: whoever wants something computed asks here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kinglet_formats::kinglet::KingletFile;

use crate::error::Error;
use crate::kernels::Kernels;
use crate::kv::{KvLayout, KvSequence, KvType};
use crate::memory::Room;
use crate::network::{BoundHead, BoundStack, Network};
use crate::ops::{Moments, Ops};
use crate::step::{Batch, Rows, Step, Workspace, apply_head};
use crate::team::Team;

/// Runs steps, one after another, for all sessions of a model.
pub(crate) struct Runner {
    pub(crate) file: KingletFile,
    pub(crate) network: Network,
    pub(crate) kernels: &'static Kernels,
    pub(crate) team: Team,
    /// Kept where they are asked for when a model is opened.
    pub(crate) moments: Option<Moments>,
    desk: Mutex<Desk>,
}

/// What a step works with, one step at a time.
#[derive(Default)]
struct Desk {
    workspace: Workspace,
    /// A bidirectional stack, by number, and keys and values of sequences that pass through it.
    passing: Option<(usize, KvSequence)>,
}

impl Runner {
    pub(crate) fn new(
        file: KingletFile,
        network: Network,
        kernels: &'static Kernels,
        team: Team,
        moments: Option<Moments>,
    ) -> Self {
        Self { file, network, kernels, team, moments, desk: Mutex::default() }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where keys and values of a stack that generates lie, those of its own sequence.
    pub(crate) fn own_layout(&self, stack: usize, kind: KvType) -> KvLayout {
        let stack = &self.network.stacks[stack];
        let own = stack.attentions().filter(|a| !a.crosses());
        KvLayout::new(kind, own.map(|a| a.kv_shape()))
            .with_states(stack.n_states * stack.hidden_size)
    }

    /// Where keys and values lie that a stack reads of another one's rows.
    pub(crate) fn other_layout(&self, stack: usize, kind: KvType) -> KvLayout {
        let attentions = self.network.stacks[stack].attentions();
        KvLayout::new(kind, attentions.filter(|a| a.crosses()).map(|a| a.kv_shape()))
    }

    /// Where they lie while sequences pass through a bidirectional stack.
    pub(crate) fn passing_layout(&self, stack: usize) -> KvLayout {
        KvLayout::passing(self.network.stacks[stack].attentions().map(|a| a.kv_shape()))
    }

    /// Makes sure that steps of `capacity` rows can be run.
    ///
    /// # Errors
    /// If memory runs out.
    pub(crate) fn prepare(&self, capacity: usize) -> Result<(), Error> {
        self.prepared(capacity).map(drop)
    }

    fn prepared(&self, capacity: usize) -> Result<MutexGuard<'_, Desk>, Error> {
        let mut desk = self.desk();
        if desk.workspace.capacity() < capacity {
            // The smaller one goes first.
            desk.workspace = Workspace::default();
            desk.workspace = self.workspace(capacity, &mut Room::real())?;
        }
        Ok(desk)
    }

    /// Buffers for steps of `capacity` rows, or only their sizes.
    pub(crate) fn workspace(&self, capacity: usize, room: &mut Room) -> Result<Workspace, Error> {
        Workspace::new(&self.network, capacity, self.team.n_threads(), room)
    }

    /// Bytes of the buffers now.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.desk().workspace.bytes()
    }

    /// Runs the rows that `fill` puts into an empty batch, `n_rows` at most, through stack number
    /// `stack`, and calls `finish` with them. `memories` have room for the rows.
    ///
    /// `keep_going` is asked between layers; `false` ends the step and gives `None`.
    ///
    /// # Errors
    /// As [`Step::run`], or if memory runs out.
    pub(crate) fn step<R>(
        &self,
        stack: usize,
        n_rows: usize,
        memories: &mut [&mut KvSequence],
        fill: impl FnOnce(&mut Batch),
        keep_going: &dyn Fn() -> bool,
        finish: impl FnOnce(&mut Rows<'_, '_>) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        let mut desk = self.prepared(n_rows)?;
        desk.workspace.batch.clear();
        fill(&mut desk.workspace.batch);
        self.run(&self.network.stacks[stack], memories, &mut desk.workspace, keep_going, finish)
    }

    /// The same for whole sequences that pass through a bidirectional stack.
    ///
    /// # Errors
    /// As [`Runner::step`].
    pub(crate) fn pass<R>(
        &self,
        stack: usize,
        n_rows: usize,
        fill: impl FnOnce(&mut Batch),
        keep_going: &dyn Fn() -> bool,
        finish: impl FnOnce(&mut Rows<'_, '_>) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        let mut desk = self.prepared(n_rows)?;
        let Desk { workspace, passing } = &mut *desk;
        workspace.batch.clear();
        fill(&mut workspace.batch);
        if passing.as_ref().is_some_and(|(owner, _)| *owner != stack) {
            *passing = None;
        }
        let new = || (stack, KvSequence::new(self.passing_layout(stack)));
        let (_, memory) = passing.get_or_insert_with(new);
        memory.reserve(self.kernels, 0, workspace.batch.passing_slots())?;
        self.run(&self.network.stacks[stack], &mut [memory], workspace, keep_going, finish)
    }

    fn run<R>(
        &self,
        stack: &BoundStack,
        memories: &mut [&mut KvSequence],
        workspace: &mut Workspace,
        keep_going: &dyn Fn() -> bool,
        finish: impl FnOnce(&mut Rows<'_, '_>) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        let mut step = Step {
            file: &self.file,
            network: &self.network,
            stack,
            kernels: self.kernels,
            team: &self.team,
            moments: self.moments.as_ref(),
            memories,
            workspace,
        };
        step.run(keep_going, finish)
    }

    /// What `head` makes of ready rows `[n][inputs]`: `[n][width]`.
    ///
    /// # Errors
    /// If memory runs out, or the results are not finite.
    pub(crate) fn head(
        &self,
        head: &BoundHead,
        rows: &[f32],
        n: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        // A pooling may make several rows of one.
        let hidden = self.network.stacks[head.stack].hidden_size;
        let mut desk = self.prepared(n.max(rows.len().div_ceil(hidden)))?;
        let moments = self.moments.as_ref();
        let ops = Ops { kernels: self.kernels, file: &self.file, moments };
        let workspace = &mut desk.workspace;
        self.team.enter(|crew| apply_head(crew, ops, head, rows, n, workspace, out))?
    }
}
