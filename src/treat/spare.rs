//! Room for the frames that are made: each thread keeps the room of a few that were written, so that a frame that goes on as another did asks
//! the allocator for nothing. What they said is gone from a [`String`] that is handed out, though not wiped, as it is not from freed memory.

use std::cell::RefCell;

/// The least room that is kept, in bytes: a usual frame fits into it.
const LEAST: usize = 2048;
/// Room beyond this is freed, so that one big frame does not stay.
const MOST: usize = 16 * 1024;
/// Frames' room that a thread keeps. More are only made at a time where many frames wait for the disk or for a slow peer.
const KEPT: usize = 16;

thread_local! {
    static SHELF: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// An empty text with room for `length` bytes at least.
pub(super) fn take(length: usize) -> String {
    let kept = if length <= LEAST { SHELF.try_with(|shelf| shelf.borrow_mut().pop()).ok().flatten() } else { None };
    kept.unwrap_or_else(|| String::with_capacity(length.max(LEAST)))
}

/// Keeps the room of a text that is done with, if there is place for it.
pub(super) fn give(mut text: String) {
    if !(LEAST..=MOST).contains(&text.capacity()) {
        return;
    }
    text.clear();
    // A thread that ends keeps nothing.
    let _ = SHELF.try_with(|shelf| {
        let mut shelf = shelf.borrow_mut();
        if shelf.len() < KEPT {
            shelf.push(text);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_used_again_but_neither_big_nor_small_and_no_more_of_it_than_the_bound() {
        let text = take(10);
        let place = text.as_ptr();
        give(text);
        let again = take(LEAST);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        give(again);
        give(String::with_capacity(MOST + 1));
        give(String::with_capacity(LEAST - 1));
        let held: Vec<_> = (0..=KEPT).map(|_| take(1)).collect();
        assert!(held.iter().all(|text| (LEAST..=MOST).contains(&text.capacity())));
        held.into_iter().for_each(give);
        SHELF.with_borrow(|shelf| assert_eq!(shelf.len(), KEPT));
    }
}
