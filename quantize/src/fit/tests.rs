use super::network::{Network, Random};
use super::*;

/// `n` points of `width` numbers around a centre for each label.
fn clouds(n: usize, width: usize, n_labels: usize, spread: f64) -> (Vec<f32>, Vec<usize>) {
    let mut random = Random(7);
    let centres: Vec<f64> = (0..n_labels * width).map(|_| random.unit() * 4.0 - 2.0).collect();
    let mut features = Vec::new();
    let labels: Vec<usize> = (0..n).map(|i| i % n_labels).collect();
    for &label in &labels {
        for centre in &centres[label * width..][..width] {
            features.push((centre + spread * (random.unit() - 0.5)) as f32 + 3.0);
        }
    }
    (features, labels)
}

fn names(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("label {i}")).collect()
}

#[test]
fn what_can_be_told_apart_is() {
    let (features, labels) = clouds(90, 20, 3, 3.0);
    let examples = Examples::new(&features, 20, &labels, names(3)).unwrap();
    let fitted = fit(&examples, &FitOptions::default()).unwrap();
    assert!(fitted.accuracy() > 0.97, "{}", fitted.accuracy());
    assert!((fitted.baseline() - 1.0 / 3.0).abs() < 1e-6);
    for (row, &label) in features.chunks_exact(20).zip(&labels) {
        assert_eq!(network::largest(&fitted.logits(row)), label);
    }
}

/// Labels by chance are found by chance, whatever the network learns by heart.
#[test]
fn noise_is_not_taken_for_knowledge() {
    let (features, _) = clouds(200, 30, 2, 4.0);
    let mut random = Random(3);
    let labels: Vec<usize> = (0..200).map(|_| usize::from(random.unit() < 0.5)).collect();
    let examples = Examples::new(&features, 30, &labels, names(2)).unwrap();
    let accuracy = fit(&examples, &FitOptions::default()).unwrap().accuracy();
    assert!((0.38..0.62).contains(&accuracy), "{accuracy}");
}

/// No line divides the corners of a square; two layers do.
#[test]
fn two_layers_learn_what_one_cannot() {
    let mut random = Random(1);
    let points: Vec<[f32; 2]> =
        (0..200).map(|_| [random.unit() as f32 - 0.5, random.unit() as f32 - 0.5]).collect();
    let labels: Vec<usize> = points.iter().map(|[x, y]| usize::from(x * y > 0.0)).collect();
    let features: Vec<f32> = points.into_iter().flatten().collect();
    let examples = Examples::new(&features, 2, &labels, names(2)).unwrap();
    let accuracy = |hidden| {
        let options = FitOptions { hidden, ..FitOptions::default() };
        fit(&examples, &options).unwrap().accuracy()
    };
    assert!(accuracy(0) < 0.7, "{}", accuracy(0));
    assert!(accuracy(16) > 0.9, "{}", accuracy(16));
}

/// As differences measure them.
#[test]
fn gradients_are_those_of_the_loss() {
    let (features, labels) = clouds(12, 5, 3, 6.0);
    for sizes in [&[5, 3][..], &[5, 4, 3]] {
        let mut network = Network::new(sizes, 11);
        let loss = |network: &Network| network.loss_and_gradient(&features, &labels, 0.1);
        let (_, gradient) = loss(&network);
        let values = network.values();
        for (i, &slope) in gradient.iter().enumerate() {
            let mut at = |delta: f32| {
                let mut moved = values.clone();
                moved[i] += delta;
                network.set(&moved);
                loss(&network).0
            };
            let (above, below) = (at(1e-2), at(-1e-2));
            let measured = (above - below) / 2e-2;
            assert!((measured - f64::from(slope)).abs() < 2e-3, "{i}: {measured}, {slope}");
        }
    }
}

#[test]
fn the_same_on_any_number_of_cores() {
    let (features, labels) = clouds(60, 8, 4, 5.0);
    let examples = Examples::new(&features, 8, &labels, names(4)).unwrap();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit(&examples, &FitOptions::default()).unwrap().logits(&features[..8]))
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn odd_examples_are_refused() {
    let refused = |features: &[f32], width, labels: &[usize], n: usize| {
        Examples::new(features, width, labels, names(n)).unwrap_err().to_string()
    };
    assert!(refused(&[], 2, &[], 0).contains("no examples"));
    assert!(refused(&[1.0; 5], 2, &[0, 1], 2).contains("5 numbers"));
    assert!(refused(&[1.0; 4], 2, &[0, 0], 1).contains("two labels"));
    assert!(refused(&[1.0; 6], 2, &[0, 0, 1], 2).contains("one example only"));
    assert!(refused(&[1.0, 1.0, f32::NAN, 1.0], 2, &[0, 1], 2).contains("example 1"));
    let (features, labels) = clouds(8, 2, 2, 1.0);
    let examples = Examples::new(&features, 2, &labels, names(2)).unwrap();
    for (options, name) in [
        (FitOptions { folds: 1, ..FitOptions::default() }, "folds"),
        (FitOptions { penalty: Some(-1.0), ..FitOptions::default() }, "penalty"),
        (FitOptions { hidden: 1 << 20, ..FitOptions::default() }, "hidden"),
    ] {
        assert!(fit(&examples, &options).unwrap_err().to_string().contains(name));
    }
}
