//! Reads choices off the bytes of an input, so that a fuzzer which changes a byte changes a choice. When the bytes have run out every choice
//! is the first, so a short input is a simple case.

/// The bytes that are left.
#[derive(Debug, Clone)]
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    /// Choices from an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether none are left: all further ones are 0.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number below `end`, which is at most 65,536; two bytes only if one has not enough values. 0 if `end` is.
    pub fn below(&mut self, end: usize) -> usize {
        let number = if end > 256 { usize::from(self.byte()) << 8 | usize::from(self.byte()) } else { usize::from(self.byte()) };
        number.checked_rem(end).unwrap_or(0)
    }

    /// One of these; the first when the bytes have run out.
    pub fn one_of<'t, T>(&mut self, these: &'t [T]) -> &'t T {
        &these[self.below(these.len())]
    }

    /// True `of` times in 256, and never when the bytes have run out.
    pub fn rarely(&mut self, of: u8) -> bool {
        // The high values, so that 0 is no.
        self.byte() > 255 - of
    }

    /// Up to `most` bytes, as many as the next byte says.
    pub fn some(&mut self, most: usize) -> &'a [u8] {
        let length = self.below(most + 1).min(self.bytes.len());
        let (some, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        some
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.bytes
    }
}
