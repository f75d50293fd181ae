//! Exact arithmetic of budget, variance, thresholds and margins. Integers only.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A budget of zero-concentrated differential privacy, in millionths: ρ = `Rho(10_000)` is 0.010.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Rho(pub u32);

impl Rho {
    /// The sum, if it can be counted.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Display for Rho {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A variance, `numerator` / `denominator`, in square units of what it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variance {
    numerator: u64,
    denominator: u64,
}

impl Variance {
    /// The largest numerator and denominator: 2⁵². With it all products of the sampler stay below 2¹²⁸ (`noise.rs` has the proof).
    pub const MOST: u64 = 1 << 52;

    /// `numerator` / `denominator`, reduced; `None` if either is zero or, reduced, above [`Variance::MOST`].
    pub fn new(numerator: u64, denominator: u64) -> Option<Self> {
        let (mut a, mut b) = (numerator, denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let (numerator, denominator) = (numerator.checked_div(a)?, denominator.checked_div(a)?);
        let fits = |part: u64| (1..=Self::MOST).contains(&part);
        (fits(numerator) && fits(denominator)).then_some(Self { numerator, denominator })
    }

    /// The variance R² / (2ρ), rounded up to a whole square unit, with which a vector whose norm is at most R = √`square` costs no more than
    /// `rho`; `None` for a budget of zero or more than [`Variance::MOST`].
    pub fn costing(square: u64, rho: Rho) -> Option<Self> {
        let exact = u128::from(square) * 500_000;
        let whole = exact.checked_add(u128::from(rho.0).checked_sub(1)?)? / u128::from(rho.0);
        Self::new(u64::try_from(whole).ok()?, 1)
    }

    /// The numerator, reduced.
    pub fn numerator(self) -> u64 {
        self.numerator
    }

    /// The denominator, reduced.
    pub fn denominator(self) -> u64 {
        self.denominator
    }

    /// Whole square units, rounded up.
    pub fn ceil(self) -> u64 {
        self.numerator.div_ceil(self.denominator)
    }
}

/// √n, rounded up.
pub(super) fn root_up(n: u128) -> u128 {
    let root = n.isqrt();
    if root * root == n { root } else { root + 1 }
}

/// An upper bound of the 1 − 10⁻⁶ quantile of the standard normal distribution, 4.753424308822…, in millionths.
pub(super) const Z_OF_ONE_IN_A_MILLION: u128 = 4_753_425;
/// The 97.5 % quantile of the standard normal distribution, 1.959963984540…, in millionths: 95 % lie within it on both sides.
pub(super) const Z_OF_95_PERCENT: u128 = 1_959_964;

/// The most that the parts of `parts` cells and bins can add up to in a vector whose norm is at most √`square`: √(`parts` × `square`), rounded up.
pub(super) fn most_in(parts: u64, square: u64) -> u128 {
    root_up(u128::from(parts) * u128::from(square))
}

/// What the noise of `parts` independent draws of this variance exceeds with a chance of at most one in a million, in contribution units. The
/// chance that a discrete Gaussian is at least m is at most that of a continuous one to be at least m − 1 (Canonne, Kamath and Steinke,
/// proposition 25); a sum of them is as one of the sum of their variances but for e⁻¹⁰⁰⁰, as no variance here is below 100.
pub(super) fn rare_excess(parts: u64, variance: Variance) -> u128 {
    let root = root_up(u128::from(parts) * u128::from(variance.ceil()) * Z_OF_ONE_IN_A_MILLION * Z_OF_ONE_IN_A_MILLION);
    root.div_ceil(1_000_000) + u128::from(parts)
}

/// The 95 % margin, in published units of `size` contribution units, of a sum of `draws` draws of `variance` (`None`: without noise) and of
/// `rounded` numbers rounded to multiples of `base` published units; rounded up.
pub(super) fn margin(draws: u64, variance: Option<Variance>, rounded: u64, base: u64, size: u64) -> u64 {
    let step = u128::from(base) * u128::from(size);
    let of_noise = u128::from(draws) * u128::from(variance.map_or(0, Variance::ceil));
    // What is rounded to the nearest multiple is off by a twelfth of the square on average.
    let of_rounding = (u128::from(rounded) * step * step).div_ceil(12);
    let root = root_up((of_noise + of_rounding) * Z_OF_95_PERCENT * Z_OF_95_PERCENT);
    u64::try_from(root.div_ceil(1_000_000 * u128::from(size))).unwrap_or(u64::MAX)
}

/// `value` to the nearest multiple of `base`, halves upwards.
pub(super) fn round_to(value: i128, base: u64) -> i128 {
    let base = i128::from(base.max(1));
    (value + base / 2).div_euclid(base) * base
}
