//! Learns labels on top of a network that stays as it is: a linear layer, or two with a non-linearity
//! between, on the vectors that a model makes of examples.
//!
//! ```no_run
//! use kinglet_quantize::fit::{Examples, FitOptions, fit};
//!
//! # let (features, labels, names) = (vec![0.0; 384 * 100], vec![0; 100], vec![]);
//! let examples = Examples::new(&features, 384, &labels, names)?;
//! let fitted = fit(&examples, &FitOptions::default())?;
//! println!("{:.1} % of held-out examples", 100.0 * fitted.accuracy());
//! # let file = kinglet_formats::kinglet::KingletFile::open("minilm.kinglet".as_ref())?;
//! fitted.write(&file, "topics.kinglet".as_ref())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod minimize;
mod network;
mod write;

use rayon::prelude::*;
use thiserror::Error;

use network::{Network, Standard};

/// Penalties that are tried out where none is given.
const PENALTIES: [f32; 4] = [1e-3, 1e-2, 1e-1, 1.0];
/// Most labels, and most outputs between the two layers.
const MAX_LABELS: usize = 4096;
const MAX_HIDDEN: usize = 4096;

/// What is wrong with examples.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum FitError {
    /// Nothing to tell apart.
    #[error("all examples have the label {only:?}; at least two labels are needed")]
    OneLabel {
        /// The label.
        only: String,
    },
    /// No examples.
    #[error("there are no examples")]
    Empty,
    /// A label that cannot be tried out.
    #[error(
        "the label {label:?} has one example only; two at least are needed to learn it and to try it out"
    )]
    Lonely {
        /// The label.
        label: String,
    },
    /// Lists of different lengths.
    #[error("there are {features} numbers for {labels} examples of {width}")]
    Lengths {
        /// Numbers given.
        features: usize,
        /// Examples.
        labels: usize,
        /// Numbers of each.
        width: usize,
    },
    /// A vector with something else than numbers.
    #[error("the vector of example {example} has numbers that are not finite")]
    NotFinite {
        /// Which one, from 0.
        example: usize,
    },
    /// An option outside its range.
    #[error("{name} is {value}, but must be {range}")]
    Option {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        range: String,
    },
}

/// Vectors with labels.
#[derive(Clone, Debug)]
pub struct Examples<'a> {
    /// `[n][width]`
    features: &'a [f32],
    width: usize,
    /// `[n]`, places in `names`.
    labels: &'a [usize],
    names: Vec<String>,
}

impl<'a> Examples<'a> {
    /// Examples `[n][width]` with their labels, which are places in the list of their names.
    ///
    /// # Errors
    /// If there are none, lengths disagree, a number is not finite, there is one label only or one
    /// with a single example.
    pub fn new(
        features: &'a [f32],
        width: usize,
        labels: &'a [usize],
        names: Vec<String>,
    ) -> Result<Self, FitError> {
        let n = labels.len();
        if n == 0 || width == 0 {
            return Err(FitError::Empty);
        }
        if features.len() != n.saturating_mul(width) {
            return Err(FitError::Lengths { features: features.len(), labels: n, width });
        }
        let range = format!("from 2 to {MAX_LABELS}");
        if names.len() > MAX_LABELS || labels.iter().any(|&label| label >= names.len()) {
            let value = names.len().to_string();
            return Err(FitError::Option { name: "the number of labels", value, range });
        }
        if names.len() < 2 {
            return Err(FitError::OneLabel { only: names[0].clone() });
        }
        let finite = |row: &[f32]| row.iter().all(|x| x.is_finite());
        if let Some(example) = features.chunks_exact(width).position(|row| !finite(row)) {
            return Err(FitError::NotFinite { example });
        }
        let mut counts = vec![0_usize; names.len()];
        labels.iter().for_each(|&label| counts[label] += 1);
        if let Some(lonely) = counts.iter().position(|&count| count < 2) {
            return Err(FitError::Lonely { label: names[lonely].clone() });
        }
        Ok(Self { features, width, labels, names })
    }

    fn row(&self, i: usize) -> &'a [f32] {
        &self.features[i * self.width..][..self.width]
    }

    /// For each example the part of `folds` in which it is held out: each label is spread evenly, in
    /// an order that `seed` shuffles.
    fn folds(&self, folds: usize, seed: u64) -> Vec<usize> {
        let mut random = network::Random(seed);
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, (random.unit() * (i + 1) as f64) as usize);
        }
        order.sort_by_key(|&i| self.labels[i]);
        let mut part = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &i)| part[i] = place % folds);
        part
    }
}

/// How to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct FitOptions {
    /// Outputs between two layers; 0 for one layer.
    pub hidden: usize,
    /// Weight of the squared matrices beside the mean cross-entropy; `None` takes, of a few, the one
    /// with which held-out examples are told apart best.
    pub penalty: Option<f32>,
    /// Into how many parts the examples are divided, each of which is held out once.
    pub folds: usize,
    /// Start of the random order, and of two layers.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self { hidden: 0, penalty: None, folds: 5, seed: 0 }
    }
}

impl FitOptions {
    fn check(&self) -> Result<(), FitError> {
        let wrong =
            |name, value: String, range: String| Err(FitError::Option { name, value, range });
        if !(2..=100).contains(&self.folds) {
            return wrong("folds", self.folds.to_string(), "from 2 to 100".into());
        }
        if self.hidden > MAX_HIDDEN {
            return wrong("hidden", self.hidden.to_string(), format!("at most {MAX_HIDDEN}"));
        }
        match self.penalty {
            Some(p) if !(p >= 0.0 && p.is_finite()) => {
                wrong("penalty", p.to_string(), "0 or more".into())
            }
            _ => Ok(()),
        }
    }
}

/// What was learned, and how well it does.
#[derive(Clone, Debug)]
pub struct Fitted {
    network: Network,
    /// Names of the labels, in the order of the outputs.
    pub labels: Vec<String>,
    /// The penalty that was taken.
    pub penalty: f32,
    /// Of each part of the examples, when it was held out, the share that got its label.
    pub accuracies: Vec<f32>,
    /// `[label][label given]`, numbers of held-out examples.
    pub confusion: Vec<Vec<usize>>,
}

impl Fitted {
    /// The share of all examples that got their label when they were held out.
    pub fn accuracy(&self) -> f32 {
        let right: usize = (0..self.labels.len()).map(|i| self.confusion[i][i]).sum();
        right as f32 / self.confusion.iter().flatten().sum::<usize>() as f32
    }

    /// The share of the most frequent label: what is reached without learning anything.
    pub fn baseline(&self) -> f32 {
        let counts = self.confusion.iter().map(|row| row.iter().sum::<usize>());
        counts.clone().max().unwrap_or(0) as f32 / counts.sum::<usize>() as f32
    }

    /// Logits of the labels for a vector.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        self.network.logits(features)
    }
}

/// What became of the examples of a part when it was held out.
struct Trial {
    penalty: usize,
    part: usize,
    /// Mean cross-entropy.
    loss: f64,
    /// `(label, label given)`
    answers: Vec<(usize, usize)>,
}

/// Learns from examples; on all cores, and with the same result on any number of them.
///
/// # Errors
/// If an option is outside its range.
pub fn fit(examples: &Examples<'_>, options: &FitOptions) -> Result<Fitted, FitError> {
    options.check()?;
    let penalties = options.penalty.map_or(PENALTIES.to_vec(), |penalty| vec![penalty]);
    let n_folds = options.folds.min(examples.labels.len());
    let parts = examples.folds(n_folds, options.seed);
    let jobs: Vec<(usize, usize)> =
        (0..penalties.len()).flat_map(|p| (0..n_folds).map(move |part| (p, part))).collect();
    let trials: Vec<Trial> = jobs
        .into_par_iter()
        .map(|(penalty, part)| {
            let (held_out, rest): (Vec<usize>, Vec<usize>) =
                (0..parts.len()).partition(|&i| parts[i] == part);
            let network = learn(examples, &rest, penalties[penalty], options);
            let mut loss = 0.0;
            let answers = held_out.iter().map(|&i| {
                let (label, logits) = (examples.labels[i], network.logits(examples.row(i)));
                loss += network::cross_entropy(&logits, label) / held_out.len() as f64;
                (label, network::largest(&logits))
            });
            let answers = answers.collect();
            Trial { penalty, part, loss, answers }
        })
        .collect();
    let loss = |penalty: usize| -> f64 {
        trials.iter().filter(|trial| trial.penalty == penalty).map(|trial| trial.loss).sum()
    };
    let best = (0..penalties.len()).min_by(|&a, &b| loss(a).total_cmp(&loss(b))).unwrap_or(0);
    let n_labels = examples.names.len();
    let mut confusion = vec![vec![0; n_labels]; n_labels];
    let mut accuracies = vec![0.0; n_folds];
    for trial in trials.iter().filter(|trial| trial.penalty == best) {
        let right = trial.answers.iter().filter(|(label, given)| label == given).count();
        accuracies[trial.part] = right as f32 / trial.answers.len() as f32;
        trial.answers.iter().for_each(|&(label, given)| confusion[label][given] += 1);
    }
    let all: Vec<usize> = (0..parts.len()).collect();
    let network = learn(examples, &all, penalties[best], options);
    let (labels, penalty) = (examples.names.clone(), penalties[best]);
    Ok(Fitted { network, labels, penalty, accuracies, confusion })
}

/// The network that tells apart the examples numbered `which` best, with small weights.
fn learn(examples: &Examples<'_>, which: &[usize], penalty: f32, options: &FitOptions) -> Network {
    let standard = Standard::of(which.iter().map(|&i| examples.row(i)), examples.width);
    let rows: Vec<f32> = which.iter().flat_map(|&i| standard.apply(examples.row(i))).collect();
    let labels: Vec<usize> = which.iter().map(|&i| examples.labels[i]).collect();
    let sizes: Vec<usize> = match options.hidden {
        0 => vec![examples.width, examples.names.len()],
        hidden => vec![examples.width, hidden, examples.names.len()],
    };
    let mut network = Network::new(&sizes, options.seed);
    network.train(&rows, &labels, penalty);
    network.take_over(&standard);
    network
}

#[cfg(test)]
mod tests;
