//! The CALLs of one side that wait for their answer, and the answers that are owed no more.
//!
//! The standard has one CALL outstanding per direction and every id used once (OCPP-J 1.6 §4.1.1, §4.1.4; OCPP 2.1 Part 4 §4.1.4). Stations
//! retry under the same id, count ids anew, or use one id for everything, and central systems send many CALLs at once. So an id stays as it
//! is, unless the recipient still owes an answer under it to *another* CALL: then the new one goes on under an id of ours, and the two
//! answers cannot be taken for each other. Nor can the caller tell them apart, so the first is not forwarded any more: an acknowledgement of
//! one message taken for that of another would lose a bill.

use super::turn::OwnId;
use crate::identity::Epoch;
use crate::treat::Asked;
use std::collections::VecDeque;

/// Unanswered CALLs remembered per direction: the standard allows one at a time. One more is refused.
pub const MAX_PENDING: usize = 128;
/// Ids per direction whose CALL was given up, by us because its time was up or by its sender, and whose answer may still come.
pub(super) const MAX_LATE: usize = 64;
/// Answered CALLs remembered per direction, for CALLRESULTERROR.
const MAX_ANSWERED: usize = 16;

/// The longest message id that needs no memory of its own: the standard's longest.
const SHORT_ID: usize = 36;

/// A message id. Nearly all have at most 36 bytes; those are kept in place.
#[derive(Clone)]
pub(super) struct Id {
    length: u8,
    short: [u8; SHORT_ID],
    /// One that is longer.
    long: Option<Box<str>>,
}

impl Id {
    pub(super) fn is(&self, text: &str) -> bool {
        match &self.long {
            None => self.short[..usize::from(self.length)] == *text.as_bytes(),
            Some(long) => **long == *text,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.long {
            // What was text when it was kept is text.
            None => std::str::from_utf8(&self.short[..usize::from(self.length)]).unwrap_or_default(),
            Some(long) => long,
        }
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        let mut id = Self { length: 0, short: [0; SHORT_ID], long: None };
        match id.short.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                id.length = text.len() as u8;
            }
            None => id.long = Some(text.into()),
        }
        id
    }
}

/// A CALL that waits for its answer.
pub(super) struct Pending {
    /// The id under which the recipient knows it.
    pub(super) sent: Id,
    /// The sender's own id, where that is another.
    pub(super) own: Option<Box<str>>,
    pub(super) action: &'static str,
    /// Its answer waits for billing facts.
    pub(super) settles: bool,
    /// What few have.
    pub(super) more: Option<Box<More>>,
    /// Tells a retry from another CALL with its id: see [`print`].
    pub(super) print: u64,
    /// When it came, on the session's own clock, in milliseconds.
    pub(super) since: i64,
    /// A CALL of the same bytes was answered meanwhile, and so was this one.
    pub(super) answered: bool,
    /// Its id is a number.
    pub(super) is_number: bool,
}

/// What only some CALLs have for their answer.
#[derive(Default)]
pub(super) struct More {
    /// The vendor message it is.
    pub(super) vendor: Option<Box<(String, String)>>,
    /// The settings it names.
    pub(super) asked: Option<Asked>,
    /// The transaction that it ends.
    pub(super) ends: Option<String>,
    /// The epoch of the transaction that it begins.
    pub(super) begins: Option<Epoch>,
}

impl Pending {
    /// The id under which its sender knows it.
    pub(super) fn own_id(&self) -> OwnId<'_> {
        OwnId { id: self.id(), is_number: self.is_number }
    }

    /// The same as text.
    pub(super) fn id(&self) -> &str {
        self.own.as_deref().unwrap_or_else(|| self.sent.as_str())
    }

    fn has_id(&self, id: &str) -> bool {
        match &self.own {
            Some(own) => **own == *id,
            None => self.sent.is(id),
        }
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

/// What a new CALL is, next to those that wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Nobody owes an answer under its id.
    New,
    /// One of the same bytes waits: it goes on once more, under the id that went on then.
    Retry(String),
    /// Its id is that of another CALL whose answer is owed.
    Collision,
    /// Too many wait already.
    Full,
}

/// What an answer belongs to.
pub(super) enum Match {
    Pending(Pending),
    /// Its CALL was given up.
    Late,
    Nothing,
}

/// The CALLs of one side.
#[derive(Default)]
pub(super) struct Calls {
    /// Oldest first.
    pending: VecDeque<Pending>,
    late: VecDeque<Id>,
    /// (the recipient's id, the sender's id) of CALLs answered lately.
    answered: VecDeque<(Id, Box<str>)>,
}

impl Calls {
    /// Looks at a CALL that would go on under the id `sent`.
    pub(super) fn meet(&mut self, sent: &str, own: &str, print: u64) -> Meeting {
        if self.pending.is_empty() && self.late.is_empty() {
            return Meeting::New;
        }
        if self.pending.len() >= MAX_PENDING {
            // What a retry's answer has settled may go first.
            let Some(at) = self.pending.iter().position(|p| p.answered) else { return Meeting::Full };
            if let Some(pending) = self.pending.remove(at) {
                self.owe(pending.sent);
            }
        }
        if let Some(twin) = self.pending.iter().find(|p| p.print == print && p.has_id(own)) {
            return Meeting::Retry(twin.sent.as_str().to_owned());
        }
        // Whoever uses an id anew has given up what it used it for before, and would take the answer to that for the answer to this.
        while let Some(at) = self.pending.iter().position(|p| p.has_id(own)) {
            if let Some(pending) = self.pending.remove(at) {
                self.owe(pending.sent);
            }
        }
        let owed = self.late.iter().any(|id| id.is(sent)) || self.pending.iter().any(|p| p.sent.is(sent));
        if owed { Meeting::Collision } else { Meeting::New }
    }

    /// Remembers a CALL that goes on.
    #[inline]
    pub(super) fn expect(&mut self, pending: Pending) {
        self.pending.push_back(pending);
    }

    /// Takes the CALL that an answer under `id` belongs to: the oldest, if there are retries. `remember`: for a CALLRESULTERROR.
    pub(super) fn settle(&mut self, id: &str, remember: bool) -> Match {
        let Some(at) = self.pending.iter().position(|p| p.sent.is(id)) else {
            let late = self.late.iter().position(|late| late.is(id));
            return match late.and_then(|at| self.late.remove(at)) {
                Some(_) => Match::Late,
                None => Match::Nothing,
            };
        };
        let Some(pending) = self.pending.remove(at) else { return Match::Nothing };
        self.pending.iter_mut().skip(at).filter(|p| p.sent.is(id)).for_each(|p| p.answered = true);
        if remember {
            if self.answered.len() >= MAX_ANSWERED {
                self.answered.pop_front();
            }
            self.answered.push_back((pending.sent.clone(), pending.id().into()));
        }
        Match::Pending(pending)
    }

    /// Takes the oldest CALL that has waited since before `before`; its answer, should it come, is late.
    /// Since when the one that has waited longest does.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.pending.front().map(|pending| pending.since)
    }

    pub(super) fn give_up(&mut self, before: i64) -> Option<Pending> {
        loop {
            self.pending.front().filter(|p| p.since <= before)?;
            let pending = self.pending.pop_front()?;
            self.owe(pending.sent.clone());
            if !pending.answered {
                return Some(pending);
            }
        }
    }

    /// The id under which the recipient gave the answer that the caller, who knows it as `own`, complains of. Once for each answer.
    pub(super) fn complained(&mut self, own: &str) -> Option<Id> {
        let at = self.answered.iter().position(|(_, id)| **id == *own)?;
        self.answered.remove(at).map(|(sent, _)| sent)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn owe(&mut self, sent: Id) {
        if self.late.len() >= MAX_LATE {
            self.late.pop_front();
        }
        self.late.push_back(sent);
    }
}

/// A number that the same bytes always have, and other bytes hardly ever: of the length, the first 192 bytes and the last 64, which hold
/// all that names an event. Two CALLs of one id that differ only between go on under that one id, as they would without us.
pub(super) fn print(frame: &str) -> u64 {
    let bytes = frame.as_bytes();
    let (head, tail) = match bytes.len() {
        0..=256 => (bytes, &bytes[..0]),
        long => (&bytes[..192], &bytes[long - 64..]),
    };
    let mut print = bytes.len() as u64;
    let mut mix = |word: [u8; 8]| print = (print.rotate_left(29) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for part in [head, tail] {
        let mut words = part.chunks_exact(8);
        for word in &mut words {
            mix(word.try_into().unwrap_or_default());
        }
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        mix(last);
    }
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sent: &str, print: u64, since: i64) -> Pending {
        Pending {
            sent: sent.into(),
            own: None,
            action: "Heartbeat",
            settles: false,
            more: None,
            print,
            since,
            answered: false,
            is_number: false,
        }
    }

    #[test]
    fn a_retry_is_told_from_a_collision_and_both_from_what_is_new() {
        let mut calls = Calls::default();
        assert_eq!(calls.meet("1", "1", 7), Meeting::New);
        calls.expect(call("1", 7, 0));
        assert_eq!(calls.meet("1", "1", 7), Meeting::Retry("1".into()));
        assert_eq!(calls.meet("2", "2", 7), Meeting::New);
        assert_eq!(calls.meet("1", "1", 8), Meeting::Collision);
        assert!(matches!(calls.settle("1", false), Match::Late), "the answer to the first would be taken for that to the second");
        assert_eq!(calls.meet("1", "1", 8), Meeting::New);
    }

    #[test]
    fn an_answer_after_its_time_is_late_once_and_its_id_is_not_used_again_until_it_came() {
        let mut calls = Calls::default();
        calls.expect(call("1", 7, 10));
        assert!(calls.give_up(9).is_none());
        assert_eq!(calls.give_up(10).map(|p| p.since), Some(10));
        assert_eq!(calls.meet("1", "1", 8), Meeting::Collision);
        assert!(matches!(calls.settle("1", false), Match::Late));
        assert!(matches!(calls.settle("1", false), Match::Nothing));
        assert_eq!(calls.meet("1", "1", 8), Meeting::New);
    }

    #[test]
    fn one_more_than_the_bound_is_refused_unless_a_retry_has_settled_one() {
        let mut calls = Calls::default();
        for n in 0..MAX_PENDING {
            let id = format!("{}", n / 2 * 2);
            assert_ne!(calls.meet(&id, &id, n as u64 / 2), Meeting::Full, "{n}");
            calls.expect(call(&id, n as u64 / 2, 0));
        }
        assert_eq!(calls.meet("x", "x", 999), Meeting::Full);
        assert!(matches!(calls.settle("0", false), Match::Pending(_)));
        calls.expect(call("y", 1000, 0));
        assert_eq!(calls.meet("x", "x", 999), Meeting::New, "the retry of 0 makes room");
        assert!(matches!(calls.settle("0", false), Match::Late));
    }

    #[test]
    fn what_is_given_up_is_bounded() {
        let mut calls = Calls::default();
        for n in 0..=MAX_LATE {
            calls.expect(call(&n.to_string(), 0, 0));
            assert!(calls.give_up(0).is_some());
        }
        assert!(matches!(calls.settle("0", false), Match::Nothing), "forgotten");
        assert!(matches!(calls.settle("1", false), Match::Late));
    }

    #[test]
    fn any_byte_at_either_end_makes_another_print() {
        for length in [1, 7, 8, 9, 126, 255, 256, 257, 2000] {
            let text = "a".repeat(length);
            assert_ne!(print(&text), print(&"a".repeat(length + 1)));
            for at in (0..length).filter(|at| length <= 256 || *at < 192 || *at >= length - 64) {
                let mut other = text.clone().into_bytes();
                other[at] = b'b';
                assert_ne!(print(&text), print(std::str::from_utf8(&other).unwrap()), "{at} of {length}");
            }
        }
    }
}
