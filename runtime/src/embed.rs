//! One vector per text: texts packed into batches without padding, pooled and normalised.

use kinglet_formats::spec::{Head, Pooling};

use crate::error::Error;
use crate::forward::{Batch, Scratch, check_finite};
use crate::kv_cache::KvCache;
use crate::memory::{MemoryPlan, Room};
use crate::model::Model;
use crate::tokenizer::EncodeOptions;

/// Tokens that go through the network together, where no text is longer.
const BATCH_TOKENS: usize = 512;

/// Buffers for embedding, kept from call to call.
pub(crate) struct Embedder {
    cache: KvCache,
    scratch: Scratch,
    batch: Batch,
    pooling: Pooling,
    normalize: bool,
}

impl Embedder {
    pub(crate) fn new(model: &Model) -> Result<Self, Error> {
        let head = model.meta().spec.heads.iter().find_map(|head| match *head {
            Head::Embedding { pooling, normalize } => Some((pooling, normalize)),
            _ => None,
        });
        let Some((pooling, normalize)) = head else {
            return Err(Error::WrongTask {
                task: "embed texts",
                reason: "it has no embedding head (is it a chat model?)".to_owned(),
            });
        };
        Ok(Self { pooling, normalize, ..Self::with_capacity(model, BATCH_TOKENS)? })
    }

    fn with_capacity(model: &Model, capacity: usize) -> Result<Self, Error> {
        let network = model.network();
        // A bidirectional layer needs keys and values only while it runs: one layer's cache does.
        let shapes = network.layers.iter().map(|layer| layer.kv_shape());
        let n_threads = model.n_threads();
        Ok(Self {
            cache: KvCache::shared(shapes),
            scratch: Scratch::new(network, capacity, n_threads, &mut Room::real())?,
            batch: Batch::with_capacity(capacity),
            pooling: Pooling::Mean,
            normalize: true,
        })
    }

    /// What embedding batches of texts of up to `max_tokens` tokens takes.
    pub(crate) fn plan(model: &Model, max_tokens: usize) -> Result<MemoryPlan, Error> {
        let network = model.network();
        let (capacity, mut room) = (BATCH_TOKENS.max(max_tokens), Room::plan());
        Scratch::new(network, capacity, model.n_threads(), &mut room)?;
        let cache = KvCache::shared(network.layers.iter().map(|layer| layer.kv_shape()));
        Ok(MemoryPlan::new(model.file(), capacity, &cache, &room))
    }

    pub(crate) fn embed<T: AsRef<str>>(
        &mut self,
        model: &Model,
        texts: &[T],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let limit = model.embedding_tokens();
        let options = EncodeOptions { add_special: true, parse_special: false };
        let tokens: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| model.tokenizer().encode_truncated(text.as_ref(), options, limit))
            .collect();
        self.embed_tokens(model, &tokens)
    }

    pub(crate) fn embed_tokens(
        &mut self,
        model: &Model,
        tokens: &[Vec<u32>],
    ) -> Result<Vec<Vec<f32>>, Error> {
        let context_length = model.context_length();
        for tokens in tokens {
            if tokens.is_empty() {
                return Err(Error::Empty { what: "a text to embed" });
            }
            if tokens.len() > context_length {
                return Err(Error::ContextFull { used: 0, wanted: tokens.len(), context_length });
            }
        }
        // Long ones first: what they need is allocated once, and batches fill up well.
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(tokens[i].len()));
        if let Some(&longest) = order.first()
            && tokens[longest].len() > self.scratch.capacity()
        {
            let (pooling, normalize) = (self.pooling, self.normalize);
            let larger = Self::with_capacity(model, tokens[longest].len())?;
            *self = Self { pooling, normalize, ..larger };
        }

        let mut vectors = vec![Vec::new(); tokens.len()];
        let mut rest = &order[..];
        while !rest.is_empty() {
            self.batch.clear();
            let mut n = 0;
            while n < rest.len()
                && self.batch.len() + tokens[rest[n]].len() <= self.scratch.capacity()
            {
                self.batch.push_sequence(&tokens[rest[n]], 0, model.network().causal);
                n += 1;
            }
            self.run(model)?;
            for (rows, &text) in self.batch.sequences.iter().zip(rest) {
                vectors[text] = self.pool(rows.clone(), model.network().hidden_size);
                check_finite("vectors", &vectors[text])?;
            }
            rest = &rest[n..];
        }
        Ok(vectors)
    }

    fn run(&mut self, model: &Model) -> Result<(), Error> {
        self.cache.reserve(self.batch.n_slots)?;
        model.step(&mut self.cache, &mut self.scratch).run(&self.batch, &|| true)?;
        Ok(())
    }

    /// The vector `[hidden_size]` of the sequence in `rows`.
    fn pool(&self, rows: std::ops::Range<usize>, hidden_size: usize) -> Vec<f32> {
        let hidden = self.scratch.hidden();
        let row = |r: usize| &hidden[r * hidden_size..(r + 1) * hidden_size];
        let mut vector = match self.pooling {
            Pooling::Cls => row(rows.start).to_vec(),
            Pooling::Last => row(rows.end - 1).to_vec(),
            Pooling::Mean => {
                let mut sum = vec![0.0; hidden_size];
                for r in rows.clone() {
                    sum.iter_mut().zip(row(r)).for_each(|(sum, x)| *sum += x);
                }
                sum.iter_mut().for_each(|sum| *sum /= rows.len() as f32);
                sum
            }
            Pooling::Max => {
                let mut max = row(rows.start).to_vec();
                for r in rows.skip(1) {
                    max.iter_mut().zip(row(r)).for_each(|(max, &x)| *max = max.max(x));
                }
                max
            }
        };
        if self.normalize {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            // Zero vectors stay zero, as with PyTorch's `normalize`.
            let scale = 1.0 / length.max(1e-12);
            vector.iter_mut().for_each(|x| *x *= scale);
        }
        vector
    }
}
