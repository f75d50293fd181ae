//! Exact noise: the discrete Gaussian of Canonne, Kamath and Steinke („The Discrete Gaussian for Differential Privacy”, 2020, algorithms 1 to 3),
//! with whole numbers only. No draw is approximated, cut off or replaced: where randomness fails there is no number.
//!
//! **Why 128 bits suffice.** With σ² = p/q, both at most 2⁵², and t = ⌊σ⌋ + 1, a candidate y of scale t is taken with a chance of
//! exp(−(|y| − σ²/t)² / (2σ²)) = exp(−(|y|tq − p)² / (2pqt²)). As t²q ≤ (σ + 1)²q ≤ 4 max(p, q) ≤ 2⁵⁴, the divisor is below 2¹⁰⁷. The dividend
//! is below 2¹²⁶ as long as |y|tq < 2⁶³. That leaves out only candidates of more than 2⁶³ / (t²q) ≥ 2⁹ scales, which come with a chance
//! below e⁻⁵⁰⁰, and such a draw is an error, not a number.

use super::arithmetic::Variance;
use zeroize::Zeroize;

/// Bytes taken from the source at once.
const BUFFER: usize = 512;

/// Where random bytes come from. The shell gives the operating system's generator; a source that can be repeated says so.
pub trait Randomness {
    /// Fills `bytes` with uniform, independent random bytes.
    ///
    /// # Errors
    /// There are none: nothing is released then.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness>;

    /// Whether figures drawn with it may be published. Only a source that nobody can repeat may say so.
    fn is_fit_for_publication(&self) -> bool;
}

/// The source of randomness failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source of randomness failed")]
pub struct NoRandomness;

/// Why a draw was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoNoise {
    /// The source failed.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// A draw so far out that it could not be counted exactly. Its chance is below e⁻⁵⁰⁰: the source is broken.
    #[error("the source of randomness gave what no working one gives")]
    TooFar,
}

/// Draws from a source of randomness. What it has read of it and not used is wiped when it is dropped, and what it has used as it is used:
/// who knows the noise knows the number.
pub struct Noise<'a> {
    source: &'a mut dyn Randomness,
    buffer: [u8; BUFFER],
    /// Of the buffer, used.
    used: usize,
    /// Bits of a byte that coins were tossed with, and how many are left.
    coins: (u8, u8),
}

impl<'a> Noise<'a> {
    /// Draws from `source`.
    pub fn new(source: &'a mut dyn Randomness) -> Self {
        Self { source, buffer: [0; BUFFER], used: BUFFER, coins: (0, 0) }
    }

    /// A draw from the discrete Gaussian of this variance parameter: the chance of x is proportional to exp(−x² / (2σ²)).
    ///
    /// # Errors
    /// There is no randomness.
    pub fn gaussian(&mut self, variance: Variance) -> Result<i64, NoNoise> {
        let (p, q) = (u128::from(variance.numerator()), u128::from(variance.denominator()));
        // ⌊√(p/q)⌋ + 1; the floor of a root of a fraction is that of the root of its floor.
        let t = (p / q).isqrt() + 1;
        let divisor = 2_u128.checked_mul(p * q).and_then(|d| d.checked_mul(t * t)).ok_or(NoNoise::TooFar)?;
        loop {
            let y = self.laplace(t)?;
            let far = u128::from(y.unsigned_abs()).checked_mul(t * q).filter(|far| *far < 1 << 63).ok_or(NoNoise::TooFar)?;
            let off = far.abs_diff(p);
            if self.happens_exp_minus(off * off, divisor)? {
                return Ok(y);
            }
        }
    }

    /// A draw from the discrete Laplace distribution: the chance of x is proportional to exp(−|x| / t). `t` from 1 to 2⁴⁰.
    fn laplace(&mut self, t: u128) -> Result<i64, NoNoise> {
        loop {
            let u = self.below(t)?;
            if !self.happens_exp_minus(u, t)? {
                continue;
            }
            let mut v: u128 = 0;
            while self.happens_exp_minus(1, 1)? {
                v += 1;
            }
            let magnitude = v.checked_mul(t).and_then(|v| v.checked_add(u)).and_then(|m| i64::try_from(m).ok()).ok_or(NoNoise::TooFar)?;
            let negative = self.coin()?;
            // Else zero would be twice as likely.
            if !(negative && magnitude == 0) {
                return Ok(if negative { -magnitude } else { magnitude });
            }
        }
    }

    /// True with a chance of exp(−`a` / `b`).
    fn happens_exp_minus(&mut self, a: u128, b: u128) -> Result<bool, NoNoise> {
        for _ in 0..a / b {
            if !self.happens_exp_minus_fraction(1, 1)? {
                return Ok(false);
            }
        }
        self.happens_exp_minus_fraction(a % b, b)
    }

    /// The same for `a` ≤ `b`: with k the first of 1, 2, 3, … for which a chance of a/(bk) fails, k is odd with a chance of exp(−a/b).
    fn happens_exp_minus_fraction(&mut self, a: u128, b: u128) -> Result<bool, NoNoise> {
        let mut k: u128 = 1;
        // A chance of a/(bk) is one of a/b and one of 1/k together: no product outgrows 128 bits.
        while self.below(b)? < a && self.below(k)? == 0 {
            k += 1;
        }
        Ok(k % 2 == 1)
    }

    /// Uniform from 0 to `n` − 1, `n` at least 1: as many bits as n − 1 has, drawn again until they are below `n`.
    fn below(&mut self, n: u128) -> Result<u128, NoNoise> {
        let bits = u128::BITS - (n - 1).leading_zeros();
        if bits <= 1 {
            return Ok(if bits == 1 { u128::from(self.coin()?) } else { 0 });
        }
        let count = bits.div_ceil(8) as usize;
        let mask = u128::MAX >> (u128::BITS - bits);
        loop {
            let mut bytes = [0; 16];
            self.take(&mut bytes[..count])?;
            let candidate = u128::from_le_bytes(bytes) & mask;
            if candidate < n {
                return Ok(candidate);
            }
        }
    }

    /// True with a chance of a half.
    fn coin(&mut self) -> Result<bool, NoNoise> {
        if self.coins.1 == 0 {
            let mut byte = [0];
            self.take(&mut byte)?;
            self.coins = (byte[0], 8);
        }
        let up = self.coins.0 & 1 == 1;
        self.coins = (self.coins.0 >> 1, self.coins.1 - 1);
        Ok(up)
    }

    /// The next bytes of the source.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), NoNoise> {
        if BUFFER - self.used < bytes.len() {
            self.source.fill(&mut self.buffer)?;
            self.used = 0;
        }
        let from = &mut self.buffer[self.used..self.used + bytes.len()];
        bytes.copy_from_slice(from);
        from.zeroize();
        self.used += bytes.len();
        Ok(())
    }
}

impl Drop for Noise<'_> {
    fn drop(&mut self) {
        self.buffer.zeroize();
        self.coins.0.zeroize();
    }
}

/// Randomness that can be repeated (SplitMix64): for tests. Figures drawn with it say that they are not for publication.
pub struct TestNoise(u64);

impl TestNoise {
    /// The stream of this seed.
    pub fn not_for_publication(seed: u64) -> Self {
        Self(seed)
    }
}

impl Randomness for TestNoise {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }

    fn is_fit_for_publication(&self) -> bool {
        false
    }
}
