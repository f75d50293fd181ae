//! OCPP 2.0.1 and 2.1: a transaction names itself in every event (Part 2, block E).

use super::Entry;
use super::assembler::{Placed, Turn};
use super::facts::{Event, EventKind};

impl Turn<'_> {
    /// A TransactionEvent. Each event says all it has to say, so they are taken in whatever order they come; a repeated one changes nothing.
    /// What the central system answers about the cost is not read: the price is ours.
    pub(super) fn event(&mut self, entry: &Entry<'_>, event: Event) -> Placed {
        let key = format!("x:{}", event.transaction);
        let begins = event.kind == EventKind::Started && !event.when.odd;
        // The same beginning again is of the same transaction, whoever has its id by now.
        let print = begins.then(|| format!("y:{}:{}", event.transaction, event.when.at.0));
        let again = print.as_ref().and_then(|print| self.find(print));
        let mut earlier = false;
        let at = again.or_else(|| self.find(&key)).filter(|at| {
            let known = &self.station.sessions[*at].known;
            // Numbers that it had already, after its end: the beginning of another is still on its way. But some write the time of sending into what
            // they send again, and then its end says that it ends.
            let again_later = !event.when.odd
                && event.kind != EventKind::Started
                && event.seq.is_some_and(|seq| known.has_number(seq))
                && known.end.as_ref().is_some_and(|end| {
                    let again = event.kind == EventKind::Ended && event.seq == Some(end.seq);
                    !again && !end.when.odd && end.when.at < event.when.at
                });
            if again_later {
                return false;
            }
            let Some(start) = known.start.filter(|start| begins && again.is_none() && start.at != event.when.at) else { return true };
            // A station that was reset may count its transactions anew: after one that has ended, or with numbers that this one had already.
            let over = known.end.as_ref().is_some_and(|end| !end.when.odd && end.when.at < event.when.at);
            let anew = !start.odd && event.seq.is_some_and(|seq| known.has_number(seq));
            earlier = anew && event.when.at < start.at;
            !(over || anew)
        });
        let at = at.unwrap_or_else(|| self.begin(entry));
        if again.is_none() && !earlier {
            self.claim(at, key);
        }
        if let Some(print) = print {
            self.claim(at, print);
        }
        let placed = event.kind == EventKind::Started || event.evse.is_some();
        self.learn(entry, at, |known| known.event(event));
        if placed {
            self.follow(entry, at);
        }
        Placed::Yes
    }
}
