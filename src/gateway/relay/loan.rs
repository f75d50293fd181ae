//! Buffers that connections borrow only while bytes are in their hands: each thread keeps a few, so that an idle connection holds none and a
//! busy one asks the allocator for none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// The room in a buffer, in bytes: several messages of common size. What is bigger comes in pieces.
pub(super) const ROOM: usize = 16 * 1024;
/// Buffers that a thread keeps. One that a connection takes elsewhere is replaced, and one too many is freed.
const KEPT: usize = 8;
/// A buffer that has grown beyond this is freed, not kept.
const MOST_KEPT: usize = 4 * ROOM;

thread_local! {
    static SHELF: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with [`ROOM`].
pub(super) fn take() -> Vec<u8> {
    SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(ROOM))
}

/// Gives a buffer back.
pub(super) fn give(mut buffer: Vec<u8>) {
    if (ROOM..=MOST_KEPT).contains(&buffer.capacity()) {
        buffer.clear();
        SHELF.with_borrow_mut(|shelf| {
            if shelf.len() < KEPT {
                shelf.push(buffer);
            }
        });
    }
}

/// A buffer that goes back by itself.
pub(super) struct Loan(Vec<u8>);

impl Loan {
    pub(super) fn new() -> Self {
        Self(take())
    }

    /// Bytes that were there already, in a buffer of their own.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Loan {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}
