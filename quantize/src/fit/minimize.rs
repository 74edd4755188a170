//! The least value of a smooth function: L-BFGS (Nocedal and Wright, "Numerical Optimization", 7.2).

use std::collections::VecDeque;

/// Of a fixed order of additions, so that results are the same on every machine.
const LANES: usize = 16;

/// Steps that are remembered, most steps, and most halvings of one.
const MEMORY: usize = 10;
const MOST_STEPS: usize = 200;
const MOST_HALVINGS: usize = 25;
/// A step is taken when the value falls by this share of what the slope promises.
const SUFFICIENT: f64 = 1e-4;
/// It is over when the value falls by less than this share in a step.
const STILL: f64 = 1e-6;

/// Where `function`, which gives its value and writes its gradient, is least; from `at` downwards.
pub(super) fn minimize(
    mut at: Vec<f32>,
    function: &mut dyn FnMut(&[f32], &mut [f32]) -> f64,
) -> Vec<f32> {
    let mut gradient = vec![0.0; at.len()];
    let mut value = function(&at, &mut gradient);
    let (mut next, mut next_gradient) = (at.clone(), gradient.clone());
    // (step, change of the gradient, 1 / their product)
    let mut memory: VecDeque<(Vec<f32>, Vec<f32>, f32)> = VecDeque::new();
    for _ in 0..MOST_STEPS {
        let mut direction = direction(&gradient, &memory);
        let mut slope = f64::from(dot(&direction, &gradient));
        if slope >= 0.0 {
            memory.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = f64::from(dot(&direction, &gradient));
        }
        if slope == 0.0 {
            break;
        }
        // Without memory nothing is known of how far to go.
        let mut length = match memory.is_empty() {
            true => 1.0 / (-slope).sqrt().max(1.0) as f32,
            false => 1.0,
        };
        let mut fallen = None;
        for _ in 0..MOST_HALVINGS {
            for ((next, at), step) in next.iter_mut().zip(&at).zip(&direction) {
                *next = at + length * step;
            }
            let new = function(&next, &mut next_gradient);
            if new <= value + SUFFICIENT * f64::from(length) * slope {
                fallen = Some(value - new);
                value = new;
                break;
            }
            length *= 0.5;
        }
        let Some(fallen) = fallen else { break };
        let step: Vec<f32> = next.iter().zip(&at).map(|(a, b)| a - b).collect();
        let change: Vec<f32> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let product = dot(&step, &change);
        if product > 1e-12 {
            memory.truncate(MEMORY - 1);
            memory.push_front((step, change, 1.0 / product));
        }
        std::mem::swap(&mut at, &mut next);
        std::mem::swap(&mut gradient, &mut next_gradient);
        if fallen <= STILL * value.abs() {
            break;
        }
    }
    at
}

/// The way down, by what the last steps say of the curvature: the newest comes first.
fn direction(gradient: &[f32], memory: &VecDeque<(Vec<f32>, Vec<f32>, f32)>) -> Vec<f32> {
    let mut direction: Vec<f32> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(memory.len());
    for (step, change, inverse) in memory {
        let share = inverse * dot(step, &direction);
        direction.iter_mut().zip(change).for_each(|(d, c)| *d -= share * c);
        shares.push(share);
    }
    if let Some((_, change, inverse)) = memory.front() {
        let scale = 1.0 / (inverse * dot(change, change));
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for ((step, change, inverse), share) in memory.iter().zip(shares).rev() {
        let back = inverse * dot(change, &direction);
        direction.iter_mut().zip(step).for_each(|(d, s)| *d += (share - back) * s);
    }
    direction
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a_runs, a_rest) = a.as_chunks::<LANES>();
    let (b_runs, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_runs.iter().zip(b_runs) {
        for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}
