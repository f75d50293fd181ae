//! OpenDP as an oracle: a second implementation of the same mechanism agrees on what it costs and on how it is distributed.

use super::noise::rare_chi_square;
use opendp::domains::{AtomDomain, VectorDomain};
use opendp::measurements::make_gaussian;
use opendp::measures::ZeroConcentratedDivergence;
use opendp::metrics::L2Distance;
use sluis::stats::{Noise, Parameters, Rho, TestNoise, Variance, display};

/// What OpenDP says a vector whose norm changes by at most `sensitivity` costs with noise of this variance.
fn cost(sensitivity: i64, variance: Variance) -> f64 {
    let scale = (variance.numerator() as f64 / variance.denominator() as f64).sqrt();
    let space = (VectorDomain::new(AtomDomain::<i64>::default()), L2Distance::<i64>::default());
    make_gaussian::<_, _, ZeroConcentratedDivergence>(space.0, space.1, scale, None).unwrap().map(&sensitivity).unwrap()
}

#[test]
fn the_privacy_map_agrees() {
    for table in Parameters::default().tables {
        let mut sum = 0.0;
        for measure in table.measures {
            let sensitivity = measure.square.isqrt();
            // Of contributors, whose R is √2, the next whole number above it: OpenDP counts distances in whole numbers.
            let whole = if sensitivity * sensitivity == measure.square { sensitivity } else { sensitivity + 1 };
            let theirs = cost(i64::try_from(whole).unwrap(), measure.variance().unwrap());
            let ours = f64::from(measure.rho.0) / 1e6;
            let exact = whole == sensitivity;
            assert!(theirs <= ours * if exact { 1.0 + 1e-9 } else { 1.002 }, "{:?}: {theirs} where we say {ours}", measure.measure);
            assert!(theirs >= ours * (1.0 - 1e-6), "{:?}: {theirs} where we say {ours}", measure.measure);
            sum += theirs;
        }
        assert!(sum <= f64::from(table.rho.0) / 1e6 * 1.001);
    }
}

/// ε by OpenDP's conversion from ρ is no larger than the simple bound that we show, and not much smaller.
#[test]
fn epsilon_is_no_smaller_than_opendp_s() {
    use opendp::combinators::{make_fix_delta, make_zCDP_to_approxDP};
    for rho in [10_000, 60_000, 360_000] {
        let scale = (500_000.0 / f64::from(rho)).sqrt();
        let space = (VectorDomain::new(AtomDomain::<i64>::default()), L2Distance::<i64>::default());
        let gaussian = make_gaussian::<_, _, ZeroConcentratedDivergence>(space.0, space.1, scale, None).unwrap();
        let (theirs, delta) = make_fix_delta(&make_zCDP_to_approxDP(gaussian).unwrap(), 1e-6).unwrap().map(&1).unwrap();
        let ours = display::epsilon(Rho(rho));
        assert!(delta == 1e-6 && theirs <= ours && theirs > ours * 0.75, "{rho}: {theirs} where we say {ours}");
    }
}

/// Two samples, one of each: chi-square over bins that both fill.
fn alike(variance: (u64, u64), scale: f64, bins: i64, count: usize, seed: u64) {
    let space = (VectorDomain::new(AtomDomain::<i64>::default()), L2Distance::<i64>::default());
    let theirs = make_gaussian::<_, _, ZeroConcentratedDivergence>(space.0, space.1, scale, None).unwrap();
    let theirs = theirs.invoke(&vec![0_i64; count]).unwrap();
    let mut source = TestNoise::not_for_publication(seed);
    let mut noise = Noise::new(&mut source);
    let variance = Variance::new(variance.0, variance.1).unwrap();
    let ours: Vec<i64> = (0..count).map(|_| noise.gaussian(variance).unwrap()).collect();
    let (chi, df) = two_samples(&ours, &theirs, bins);
    assert!(chi < rare_chi_square(df), "scale {scale}: chi-square {chi:.1} on {df}");
    // And the comparison can fail: a tenth more noise is told apart.
    let wider: Vec<i64> = ours.iter().map(|x| x * 11 / 10).collect();
    let (chi, df) = two_samples(&wider, &theirs, bins);
    assert!(chi > rare_chi_square(df), "a tenth more passes: {chi:.1} on {df}");
}

fn two_samples(ours: &[i64], theirs: &[i64], width: i64) -> (f64, u32) {
    let mut counts = std::collections::BTreeMap::<i64, [f64; 2]>::new();
    for (side, sample) in [ours, theirs].into_iter().enumerate() {
        for x in sample {
            counts.entry((x + width / 2).div_euclid(width)).or_default()[side] += 1.0;
        }
    }
    let (mut chi, mut cells, mut rest) = (0.0, 0_u32, [0.0, 0.0]);
    for [a, b] in counts.into_values() {
        if a + b >= 20.0 {
            chi += (a - b).powi(2) / (a + b);
            cells += 1;
        } else {
            rest = [rest[0] + a, rest[1] + b];
        }
    }
    if rest[0] + rest[1] > 0.0 {
        chi += (rest[0] - rest[1]).powi(2) / (rest[0] + rest[1]);
        cells += 1;
    }
    (chi, cells - 1)
}

#[test]
fn noise_of_a_small_scale_is_alike() {
    alike((25, 1), 5.0, 1, 100_000, 11);
}

#[test]
fn noise_of_a_middling_scale_is_alike() {
    alike((6_400, 1), 80.0, 16, 100_000, 12);
}

/// About that of sessions in T0: 98 sessions, in thousandths.
#[test]
fn noise_of_a_large_scale_is_alike() {
    alike((98_000 * 98_000, 1), 98_000.0, 20_000, 60_000, 13);
}
