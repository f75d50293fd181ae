//! Exact noise.
use super::arithmetic::Variance;

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
    /// A draw so far out that it could not be counted exactly. Its chance is below e⁻²⁰⁰⁰: the source is broken.
    #[error("the source of randomness gave what no working one gives")]
    TooFar,
}

/// Draws from a source of randomness. Its buffer is wiped when it is dropped.
pub struct Noise<'a> {
    source: &'a mut dyn Randomness,
}

impl<'a> Noise<'a> {
    /// Draws from `source`.
    pub fn new(source: &'a mut dyn Randomness) -> Self {
        Self { source }
    }

    /// A draw from the discrete Gaussian of this variance parameter: the chance of x is proportional to exp(−x² / (2σ²)).
    ///
    /// # Errors
    /// There is no randomness.
    pub fn gaussian(&mut self, _variance: Variance) -> Result<i128, NoNoise> {
        todo!()
    }
}

/// Randomness that can be repeated: for tests. Figures drawn with it say that they are not for publication.
pub struct TestNoise(u64);

impl TestNoise {
    /// The stream of this seed.
    pub fn not_for_publication(seed: u64) -> Self {
        Self(seed)
    }
}

impl Randomness for TestNoise {
    fn fill(&mut self, _bytes: &mut [u8]) -> Result<(), NoRandomness> {
        todo!()
    }

    fn is_fit_for_publication(&self) -> bool {
        false
    }
}
