//! The noise against its exact distribution, and clipping.

use proptest::prelude::*;
use sluis::stats::{Clip, NoNoise, NoRandomness, Noise, Randomness, TestNoise, Variance, clip};

/// Draws of each scale.
const DRAWS: u32 = 1_000_000;

/// ln Σ exp(−x²/(2σ²)) over all whole x with `from` ≤ x < `to`, times one constant for all; for wide bins with the trapezoid rule's help none is
/// needed: all terms are added.
fn weight(variance: f64, from: i64, to: i64) -> f64 {
    (from..to).map(|x| (-(x as f64) * (x as f64) / (2.0 * variance)).exp()).sum()
}

/// Bins of about 0.4 σ (one whole number at least) within 4.5 σ, and the two tails; for each its exact probability.
struct Bins {
    /// Lower edges; the last is the beginning of the upper tail.
    edges: Vec<i64>,
    /// Of the lower tail, the bins and the upper tail.
    probabilities: Vec<f64>,
}

impl Bins {
    fn of(variance: f64) -> Self {
        let sigma = variance.sqrt();
        let width = ((sigma * 0.4) as i64).max(1);
        let reach = ((sigma * 4.0) as i64 / width + 1) * width;
        // Symmetric around zero: the middle bin begins at half its width below.
        let first = -reach - width / 2;
        let edges: Vec<i64> = (first..=reach + width).step_by(usize::try_from(width).unwrap()).collect();
        let far = (sigma * 12.0) as i64 + 12;
        let last = *edges.last().unwrap();
        let mut weights = vec![weight(variance, -far.max(-first + 1), first)];
        weights.extend(edges.windows(2).map(|pair| weight(variance, pair[0], pair[1])));
        weights.push(weight(variance, last, far.max(last + 1)));
        let all: f64 = weights.iter().sum();
        Self { edges, probabilities: weights.into_iter().map(|w| w / all).collect() }
    }

    /// Chi-square of the counts, and the degrees of freedom. Bins that expect fewer than 10 are put together.
    fn chi_square(&self, counts: &[u64]) -> (f64, u32) {
        let all: u64 = counts.iter().sum();
        let (mut chi, mut cells, mut expected, mut seen) = (0.0, 0_u32, 0.0, 0.0);
        for (count, p) in counts.iter().zip(&self.probabilities) {
            expected += p * all as f64;
            seen += *count as f64;
            if expected >= 10.0 {
                chi += (seen - expected).powi(2) / expected;
                cells += 1;
                (expected, seen) = (0.0, 0.0);
            }
        }
        if expected > 0.0 {
            // The rest joins nothing: its expectation is small, and its weight in the sum too.
            chi += (seen - expected).powi(2) / expected.max(1.0);
            cells += 1;
        }
        (chi, cells - 1)
    }

    fn count(&self, draws: impl Iterator<Item = i64>) -> Vec<u64> {
        let mut counts = vec![0; self.edges.len() + 1];
        for x in draws {
            counts[self.edges.partition_point(|edge| *edge <= x)] += 1;
        }
        counts
    }
}

/// The value that chi-square of `df` degrees exceeds with a chance of one in a hundred thousand (Wilson and Hilferty 1931).
pub(crate) fn rare_chi_square(df: u32) -> f64 {
    let df = f64::from(df);
    let z = 4.265;
    df * (1.0 - 2.0 / (9.0 * df) + z * (2.0 / (9.0 * df)).sqrt()).powi(3)
}

fn draws(variance: Variance, count: u32, seed: u64) -> Vec<i64> {
    let mut source = TestNoise::not_for_publication(seed);
    let mut noise = Noise::new(&mut source);
    (0..count).map(|_| noise.gaussian(variance).unwrap()).collect()
}

/// A million draws of one scale; and the same draws are refused as those of a scale 1 % away, so the test can fail.
fn is_exact(numerator: u64, denominator: u64, seed: u64) {
    let variance = Variance::new(numerator, denominator).unwrap();
    let exact = numerator as f64 / denominator as f64;
    let drawn = draws(variance, DRAWS, seed);
    let bins = Bins::of(exact);
    let (chi, df) = bins.chi_square(&bins.count(drawn.iter().copied()));
    assert!(chi < rare_chi_square(df), "variance {exact}: chi-square {chi:.1} on {df}");
    let (chi, df) = {
        let other = Bins::of(exact * 1.02);
        other.chi_square(&other.count(drawn.iter().copied()))
    };
    assert!(chi > rare_chi_square(df), "a variance of {exact} passes for one of {}: {chi:.1} on {df}", exact * 1.02);
}

#[test]
fn a_small_whole_variance_is_exact() {
    is_exact(25, 1, 1);
}

#[test]
fn a_broken_variance_is_exact() {
    is_exact(7, 3, 2);
}

#[test]
fn a_variance_below_one_is_exact() {
    is_exact(2, 5, 3);
}

#[test]
fn a_middling_variance_is_exact() {
    is_exact(6_400, 1, 4);
}

/// That of contributors in T1: R² of 2, ρ of 0.008, in thousandths.
#[test]
fn the_variance_of_contributors_is_exact() {
    let variance = Variance::costing(2_000_000, sluis::stats::Rho(8_000)).unwrap();
    assert_eq!((variance.numerator(), variance.denominator()), (125_000_000, 1));
    is_exact(125_000_000, 1, 5);
}

/// That of sessions in T0.
#[test]
fn the_variance_of_sessions_is_exact() {
    let variance = Variance::costing(64_000_000, sluis::stats::Rho(3_333)).unwrap();
    assert_eq!((variance.numerator(), variance.denominator()), (9_600_960_097, 1));
    is_exact(variance.numerator(), 1, 6);
}

/// The widest that can be drawn.
#[test]
fn the_largest_variance_is_drawn() {
    let variance = Variance::new(Variance::MOST, 1).unwrap();
    let drawn = draws(variance, 20_000, 7);
    let sigma = (Variance::MOST as f64).sqrt();
    let within = drawn.iter().filter(|x| (**x as f64).abs() < sigma).count() as f64 / 20_000.0;
    assert!((within - 0.682_689).abs() < 0.015, "{within}");
    assert_eq!(Variance::new(Variance::MOST + 1, 1), None);
    // Odd and even numbers alike: the last digits are drawn too.
    let odd = drawn.iter().filter(|x| **x % 2 != 0).count() as f64 / 20_000.0;
    assert!((odd - 0.5).abs() < 0.02, "{odd}");
}

#[test]
fn a_variance_never_costs_more_than_the_budget() {
    // ρ = R² / (2σ²), in millionths.
    for (square, rho) in [(64_000_000, 3_333), (2_000_000, 8_000), (810_000_000_000, 6_000), (1, 1), (3, 7), (90_000_000_000, 8_000)] {
        let variance = Variance::costing(square, sluis::stats::Rho(rho)).unwrap();
        let (p, q) = (u128::from(variance.numerator()), u128::from(variance.denominator()));
        assert!(u128::from(square) * 500_000 * q <= u128::from(rho) * p);
        assert!(u128::from(square) * 500_000 * q > u128::from(rho) * (p - 1), "no more than rounding up to a whole");
    }
    assert_eq!(Variance::costing(1, sluis::stats::Rho(0)), None);
    assert_eq!(Variance::costing(u64::MAX, sluis::stats::Rho(1)), None);
}

/// Works for some bytes, then fails.
struct Failing(usize, TestNoise);

impl Randomness for Failing {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(NoRandomness)?;
        self.1.fill(bytes)
    }

    fn is_fit_for_publication(&self) -> bool {
        true
    }
}

#[test]
fn without_randomness_there_is_no_noise() {
    let mut source = Failing(10_000, TestNoise::not_for_publication(1));
    let mut noise = Noise::new(&mut source);
    let variance = Variance::new(25, 1).unwrap();
    let mut drawn = 0;
    let error = loop {
        match noise.gaussian(variance) {
            Ok(_) => drawn += 1,
            Err(error) => break error,
        }
        assert!(drawn < 10_000);
    };
    assert_eq!(error, NoNoise::NoRandomness(NoRandomness));
    assert!(drawn > 10, "{drawn}");
    assert_eq!(noise.gaussian(variance), Err(NoNoise::NoRandomness(NoRandomness)), "and none later");
}

proptest! {
    /// The norm never exceeds R, however long the vector and however large its parts; and what was within it stays.
    #[test]
    fn a_clipped_vector_is_never_longer_than_the_bound(
        mut vector in proptest::collection::vec(prop_oneof![0_u64..10, 0_u64..5_000_000, any::<u64>()], 0..60),
        square in prop_oneof![1_u64..100, 1_u64..1 << 40, Just(1_u64 << 46), any::<u64>()],
    ) {
        let before = vector.clone();
        clip(&mut vector, Clip { square });
        let norm = |v: &[u64]| v.iter().map(|x| u128::from(*x) * u128::from(*x)).sum::<u128>();
        prop_assert!(norm(&vector) <= u128::from(square));
        prop_assert!(vector.iter().zip(&before).all(|(after, before)| after <= before));
        let short = before.iter().all(|x| *x < 1 << 32) && norm(&before) <= u128::from(square.min(1 << 46));
        prop_assert!(!short || vector == before);
    }

    /// It loses no more than rounding takes: a long vector keeps its direction.
    #[test]
    fn a_clipped_vector_keeps_its_direction(mut vector in proptest::collection::vec(1_000_u64..1_000_000_000, 1..40)) {
        let before = vector.clone();
        let square = 64_000_000;
        clip(&mut vector, Clip { square });
        let norm = before.iter().map(|x| (*x as f64).powi(2)).sum::<f64>().sqrt();
        let scale = (8_000.0 / norm).min(1.0);
        for (after, before) in vector.iter().zip(&before) {
            let exact = *before as f64 * scale;
            prop_assert!(*after as f64 <= exact + 1e-3 && *after as f64 > exact - 1.001, "{after} of {exact}");
        }
    }
}

/// The taxi of the method's description: 20,000 sessions at one place move it by the clip and no more.
#[test]
fn twenty_thousand_sessions_count_as_the_clip() {
    let mut vector = [20_000_000];
    clip(&mut vector, Clip { square: 16_000 * 16_000 });
    assert_eq!(vector, [16_000]);
}
