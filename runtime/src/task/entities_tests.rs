//! Aggregation by hand.

use super::*;

fn labels() -> Vec<String> {
    ["O", "B-PER", "I-PER", "B-LOC", "DAY"].map(str::to_owned).to_vec()
}

/// Words as the phrases' rules see them: label, score, span.
fn labelled(of: &[(usize, f32)]) -> Vec<Labelled> {
    let one = |(i, &(label, score)): (usize, &(usize, f32))| Labelled {
        label,
        score,
        span: 2 * i..2 * i + 1,
        token: i,
    };
    of.iter().enumerate().map(one).collect()
}

fn phrases_of(of: &[(usize, f32)]) -> Vec<(String, f32, Range<usize>)> {
    let labels = labels();
    let found = phrases(&labelled(of), &|label| labels[label].as_str());
    found.into_iter().map(|f| (f.label, f.score, f.span)).collect()
}

#[test]
fn phrases_begin_with_b_and_continue_with_i() {
    let found = phrases_of(&[(1, 0.5), (2, 1.0), (1, 0.25), (0, 1.0), (2, 0.5), (3, 0.5)]);
    let expected = [("PER", 0.75, 0..3), ("PER", 0.25, 4..5), ("O", 1.0, 6..7), ("PER", 0.5, 8..9)];
    for (found, (label, score, span)) in found.iter().zip(expected) {
        assert_eq!((found.0.as_str(), found.1, found.2.clone()), (label, score, span));
    }
    assert_eq!(found.len(), 5);
    // A label without either continues.
    assert_eq!(phrases_of(&[(4, 0.5), (4, 0.5)]).len(), 1);
}

#[test]
fn a_word_has_one_label() {
    let scores = vec![vec![0.1, 0.5, 0.4], vec![0.0, 0.1, 0.9], vec![0.6, 0.2, 0.2]];
    let label = |aggregation| word_label(&[0, 1, 2], &scores, aggregation).unwrap();
    assert_eq!(label(Aggregation::First), (1, 0.5));
    assert_eq!(label(Aggregation::Max), (2, 0.9));
    let (best, score) = label(Aggregation::Average);
    assert!(best == 2 && (score - 0.5).abs() < 1e-6);
    assert!(word_label(&[7], &scores, Aggregation::First).is_none());
}

#[test]
fn of_overlapping_entities_the_longest_stays() {
    let found = |span: Range<usize>, score| Found { label: "X".to_owned(), score, span, token: 0 };
    let kept = without_overlaps(
        "abcdefghijkl",
        vec![
            found(0..2, 0.5),
            found(1..4, 0.1),
            found(3..5, 0.9),
            found(6..8, 0.2),
            found(6..8, 0.3),
        ],
    );
    let spans: Vec<_> = kept.iter().map(|f| (f.span.clone(), f.score)).collect();
    assert_eq!(spans, [(1..4, 0.1), (6..8, 0.3)]);
}
