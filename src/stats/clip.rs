//! The bound of what one contributor counts.

use super::contribution::MOST_PER_CELL;

/// The bound of a contributor's vector: R², in square contribution units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clip {
    /// R², at most 2⁴⁶.
    pub square: u64,
}

/// Scales a vector down until its L2 norm is at most R, each part rounded towards zero; one that is no longer stays as it is.
///
/// **Why the norm never exceeds R.** With N the sum of the squares x², each part becomes the largest whole y with y² ≤ x²R²/N, so the squares
/// y² sum up to at most R². Parts count as at most 2⁴⁰ ([`MOST_PER_CELL`]) and R² is at most 2⁴⁶, so x²R² < 2¹²⁷; a table has fewer
/// than 2³² cells and 2⁸ bins, so N < 2¹²⁰.
pub fn clip(vector: &mut [u64], to: Clip) {
    let square = u128::from(to.square.min(1 << 46));
    for part in vector.iter_mut() {
        *part = (*part).min(MOST_PER_CELL);
    }
    let norm: u128 = vector.iter().map(|part| u128::from(*part) * u128::from(*part)).sum();
    if norm <= square {
        return;
    }
    for part in vector.iter_mut() {
        let wide = u128::from(*part);
        // Below R, so below 2²³.
        *part = u64::try_from((wide * wide * square / norm).isqrt()).unwrap_or_default();
    }
}
