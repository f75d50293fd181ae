//! The list of cards that a station accepts by itself. During a rotation the central system knows two codes of one card, and both may be in its
//! list; the station knows one card. Sent twice, it may refuse the list, and of "the new code is added, the old one removed" it would be left
//! without the card. So of the entries that restore to one card one goes down.
//!
//! Other lists of tokens need no such care: in a tariff's `idTokens`, in `additionalInfo` and in `prioritizedEMAIDs` a token only stands there or does
//! not, and one that stands there twice changes nothing.

use super::Rewriter;
use crate::ocpp::json::Cursor;
use crate::pseudonym::Pseudonym;
use std::cmp::Ordering;
use std::ops::Range;

/// One entry that goes down. Each has two elements at least, so that a frame has at most half of [`MAX_ELEMENTS`](crate::ocpp::json::MAX_ELEMENTS).
#[derive(Default)]
pub(super) struct Entry {
    /// Where it stands in what is written, with the white space before it.
    place: Range<usize>,
    /// Where its card does, and in 2.x the card's type; empty if the card is not one that was restored.
    card: Range<usize>,
    kind: Range<usize>,
    /// Where the card, or the object that names it, stands in what the central system wrote.
    source: Range<usize>,
    /// Whether it says anything of the card; one that does not takes it away.
    pub(super) informs: bool,
}

impl Rewriter<'_, '_> {
    /// Takes note of the card that the entry at hand is about. It stands at `span` in the source and from `from` on in what is written.
    ///
    /// Where nothing was restored, it is one of the central system's own, who means what it says, however often.
    pub(super) fn name_card(&mut self, from: usize, span: &Range<usize>) {
        if self.copied <= span.start {
            return;
        }
        self.flush(span.end);
        let written = &self.out[from..];
        let placed = |range: Range<usize>| from + range.start..from + range.end;
        let (card, kind) = if written.starts_with('"') {
            (from..self.out.len(), 0..0)
        } else {
            let token = Cursor::new(written);
            (token.peek("idToken").map_or(0..0, placed), token.peek("type").map_or(0..0, placed))
        };
        let entry = self.entry.get_or_insert_default();
        (entry.card, entry.kind, entry.source) = (card, kind, span.clone());
    }

    /// The entry that was just written, from `from` on.
    pub(super) fn entered(&mut self, from: usize) -> Entry {
        Entry { place: from..self.place(self.cursor.at()), ..self.entry.take().map_or_else(Entry::default, |entry| *entry) }
    }

    /// Leaves one entry of each card, in its place, once the list is written.
    pub(super) fn merge(&mut self, entries: &[Entry]) {
        let named = entries.iter().enumerate().filter(|(_, entry)| !entry.card.is_empty());
        let mut order: Vec<(u64, usize)> = named.map(|(at, entry)| (self.print(entry), at)).collect();
        // Those of one card next to each other, in the order of the list.
        order.sort_unstable_by(|(a_print, a), (b_print, b)| {
            a_print.cmp(b_print).then_with(|| self.compare(&entries[*a], &entries[*b])).then(a.cmp(b))
        });
        let mut lost = Vec::new();
        for of_one in order.chunk_by(|(a_print, a), (b_print, b)| a_print == b_print && self.compare(&entries[*a], &entries[*b]).is_eq()) {
            let mut standing = of_one[0].1;
            for (_, next) in &of_one[1..] {
                if self.outdoes(&entries[*next], &entries[standing]) {
                    lost.push(std::mem::replace(&mut standing, *next));
                } else {
                    lost.push(*next);
                }
            }
        }
        if !lost.is_empty() {
            lost.sort_unstable();
            self.leave_out(entries, &lost);
        }
    }

    /// Whether of two entries of a card the later one is what holds. One with information outdoes one without: under one of its codes the card is to
    /// be accepted. Else the last word holds, as it would with the station.
    fn outdoes(&self, later: &Entry, earlier: &Entry) -> bool {
        later.informs || !earlier.informs || self.code(later) == self.code(earlier)
    }

    /// The code that the central system wrote. That it is one of ours was found when it was restored.
    fn code(&self, entry: &Entry) -> Option<Pseudonym> {
        let mut source = Cursor::new(&self.cursor.text()[entry.source.clone()]);
        let text = match source.string() {
            Ok(token) => Some(source.content(&token)),
            Err(_) => source.peek_string("idToken"),
        };
        Pseudonym::normalised(&text?)
    }

    /// A number by which most cards are told apart, the same for all that are compared as equal (FNV-1a). Whoever makes up cards of one number
    /// only has them sorted by their letters.
    fn print(&self, entry: &Entry) -> u64 {
        let letters = self.out[entry.card.clone()].bytes();
        letters.fold(0xcbf2_9ce4_8422_2325, |print, b| (print ^ u64::from(b.to_ascii_lowercase())).wrapping_mul(0x100_0000_01b3))
    }

    /// Two cards as a station compares them: without case (1.6 `CiString`, 2.x `identifierString`), in 2.x with the type.
    fn compare(&self, a: &Entry, b: &Entry) -> Ordering {
        let folded = |range: &Range<usize>| self.out.as_bytes()[range.clone()].iter().map(u8::to_ascii_lowercase);
        folded(&a.card).cmp(folded(&b.card)).then_with(|| folded(&a.kind).cmp(folded(&b.kind)))
    }

    /// Writes the list again without the entries at `lost`, which are in order; at least one stays.
    fn leave_out(&mut self, entries: &[Entry], lost: &[usize]) {
        self.flush(self.cursor.at());
        let start = entries[0].place.start;
        let written = self.out.split_off(start);
        let mut lost = lost.iter().peekable();
        // Up to `from` it is written again or left out; the last entry ended at `end`.
        let (mut from, mut end, mut kept) = (start, start, false);
        for (at, entry) in entries.iter().enumerate() {
            if lost.next_if_eq(&&at).is_none() {
                from = if kept { from } else { entry.place.start };
                kept = true;
            } else {
                self.tally.withheld += 1;
                if kept {
                    self.out.push_str(&written[from - start..end - start]);
                    from = entry.place.end;
                }
            }
            end = entry.place.end;
        }
        self.out.push_str(&written[from - start..]);
    }
}
