//! OCPP 2.0.1 and 2.1: a transaction names itself in every event (Part 2, block E).

use super::Entry;
use super::assembler::{Placed, Turn};
use super::facts::{Event, EventKind};

impl Turn<'_> {
    /// A TransactionEvent. Each event says all it has to say, so they are taken in whatever order they come; a repeated one changes nothing.
    /// What the central system answers about the cost is not read: the price is ours.
    pub(super) fn event(&mut self, entry: &Entry<'_>, event: Event) -> Placed {
        let key = format!("x:{}", event.transaction);
        let at = self.find(&key).filter(|at| {
            // A station that was reset may count its transactions anew.
            let known = &self.station.sessions[*at].known;
            let again = known.start.is_some_and(|start| start.at == event.when.at);
            let over =
                known.start.is_some() && !again && known.end.as_ref().is_some_and(|end| !end.when.odd && end.when.at < event.when.at);
            !(over && !event.when.odd && event.kind == EventKind::Started)
        });
        let at = at.unwrap_or_else(|| self.begin(entry));
        self.claim(at, key);
        let placed = event.kind == EventKind::Started || event.evse.is_some();
        self.learn(entry, at, |known| known.event(event));
        if placed {
            self.follow(entry, at);
        }
        Placed::Yes
    }
}
