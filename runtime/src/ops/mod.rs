//! What a step computes with weights: products, their inputs, norms.

mod chosen;
mod experts;
mod input;
mod moments;
mod norm;
mod product;

pub(crate) use chosen::ChosenRows;
pub(crate) use experts::{ExpertRows, ExpertWeights};
pub(crate) use input::{Input, QuantizeScratch};
pub(crate) use moments::Moments;
pub(crate) use norm::{BoundNorm, add_normed, apply_norm, norm_row};
pub(crate) use product::{Linears, PairedLinears};

use kinglet_formats::kinglet::KingletFile;

use crate::error::Error;
use crate::kernels::{Kernels, PANEL_ROWS, TileMut};
use crate::memory::Room;
use crate::team::Crew;

/// Rows in a work item of the functions that go row by row.
pub(crate) const ROWS_PER_ITEM: usize = 8;

/// What the leader of a step needs at hand.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) crew: &'a Crew<'a>,
    pub(crate) ops: Ops<'a>,
}

/// What every thread of a step needs at hand.
#[derive(Clone, Copy)]
pub(crate) struct Ops<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) file: &'a KingletFile,
    /// Where inputs of products are counted, if somebody wants to know them.
    pub(crate) moments: Option<&'a Moments>,
}

/// A tile of one thread, for products that are combined with others before they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerScratch {
    tile: Vec<f32>,
}

impl WorkerScratch {
    /// Room for the largest tile of any product.
    pub(crate) fn new(room: &mut Room) -> Result<Self, Error> {
        let few = product::FEW_TOKENS * product::MAX_ITEM_PANELS * PANEL_ROWS;
        let many = product::TILE_TOKENS[0] * product::TILE_COLS;
        Ok(Self { tile: room.zeroed(few.max(many))? })
    }

    fn tile(&mut self, rows: usize, cols: usize) -> TileMut<'_> {
        TileMut::new(&mut self.tile[..rows * cols], cols)
    }
}
