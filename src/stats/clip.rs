//! Clipping.

/// The bound of a contributor's vector: R², in square contribution units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clip {
    /// R².
    pub square: u64,
}

/// Scales a vector down until its L2 norm is at most R, each part rounded towards zero; a shorter one stays as it is.
pub fn clip(_vector: &mut [u64], _to: Clip) {
    todo!()
}
