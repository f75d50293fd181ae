//! Secrecy as a type with one door. A [`Sensitive`] value cannot be printed, serialised or compared by accident, and is
//! wiped when dropped; [`Sensitive::expose`] is the only way in, and each use of it says why.

use std::fmt;
use zeroize::Zeroize;

/// A value that must not be printed, logged or serialised. Wiped from memory when dropped.
///
/// ```
/// let card = sluis::secret::Sensitive::new(String::from("04A2B3C4"));
/// assert_eq!(format!("{card:?}"), "[sensitive]");
/// ```
/// It has no `Display`, cannot be compared and cannot be serialised:
/// ```compile_fail
/// let card = sluis::secret::Sensitive::new(String::from("04A2B3C4"));
/// println!("{card}");
/// ```
/// ```compile_fail
/// let card = sluis::secret::Sensitive::new(String::from("04A2B3C4"));
/// assert!(card == card);
/// ```
/// ```compile_fail
/// let card = sluis::secret::Sensitive::new(String::from("04A2B3C4"));
/// serde_json::to_string(&card).unwrap();
/// ```
#[derive(Clone)]
pub struct Sensitive<T: Zeroize>(T);

impl<T: Zeroize> Sensitive<T> {
    /// Takes a clear value into custody.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The one door: hands out the clear value. Say at the call why it is needed there.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[sensitive]")
    }
}

impl<T: Zeroize> Drop for Sensitive<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
