//! The journal: billing facts, durable before the CSMS's acknowledgement goes back to the station (I4). Facts are pseudonymous when they
//! come here, and are read in the order they were stored by the rooms that assemble charging sessions.

use crate::clock::Timestamp;
use crate::ocpp::Version;
use crate::store::{JournalRow, Op, Pending, Store, StoreError};
use crate::treat::{Fact, time};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::Notify;

/// The journal. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Journal {
    store: Store,
    stored: Arc<Notify>,
}

/// Facts on their way to the disk.
#[must_use = "an acknowledgement may go back only after `durable` has returned"]
pub struct Ticket {
    way: Way,
    stored: Arc<Notify>,
}

enum Way {
    /// Nothing to store.
    Done,
    /// Queued; the answer comes here.
    Queued(Pending),
    /// The queue was full: waits in [`Ticket::durable`].
    Waiting(Store, Vec<Op>),
}

impl Journal {
    /// A journal in a store.
    pub fn new(store: Store) -> Self {
        Self { store, stored: Arc::new(Notify::new()) }
    }

    /// Queues facts in the order of the calls and returns at once. A fact that is there already (same station, action, message id and
    /// payload; of an answer also the time) is not stored twice, so a station's retry and our own are both safe.
    ///
    /// When the disk does not keep up and the queue is full, the facts stay in the ticket and are queued by [`Ticket::durable`], which then
    /// waits for room: await a connection's tickets in the order they were made.
    pub fn submit(&self, station: &str, version: Version, at: Timestamp, facts: Vec<Fact>) -> Ticket {
        if facts.is_empty() {
            return Ticket { way: Way::Done, stored: Arc::clone(&self.stored) };
        }
        let row = |fact: Fact| {
            Op::Append(JournalRow {
                seq: 0,
                fingerprint: fingerprint(station, at, &fact),
                station: station.to_owned(),
                version: version.number().to_owned(),
                at,
                action: fact.action.to_owned(),
                message_id: fact.message_id,
                payload: fact.payload,
            })
        };
        let way = match self.store.enqueue(facts.into_iter().map(row).collect()) {
            Ok(pending) => Way::Queued(pending),
            Err(ops) => Way::Waiting(self.store.clone(), ops),
        };
        Ticket { way, stored: Arc::clone(&self.stored) }
    }

    /// Returns when facts were stored since the last call, at once if there were some in between. For one reader; facts whose ticket nobody
    /// awaits do not wake it, so it looks by itself from time to time too.
    pub async fn stored(&self) {
        self.stored.notified().await;
    }

    /// Facts after a place in the journal, in order. At most `most`, and at most [`PAGE`](crate::store::PAGE). A reader that remembers the last
    /// [`seq`](JournalRow::seq) it worked on sees each fact once.
    pub fn after(&self, seq: u64, most: usize) -> Result<Vec<JournalRow>, StoreError> {
        self.store.journal_after(seq, most)
    }

    /// Drops facts from before a moment (and pins of transactions that never ended), oldest first, at most `most` of each. Each goes by its own
    /// time: one that was stored while the clock was ahead goes when its time has come, and keeps no other from going. Facts that `reader` has
    /// not worked on yet stay, however old they are: what is not billed yet is never lost. Sequence numbers are not used again.
    /// Returns whether there is more to drop.
    pub async fn purge(&self, before: Timestamp, most: usize, reader: Option<&'static str>) -> Result<bool, StoreError> {
        self.store.commit(vec![Op::Purge { before, most, reader }]).await?;
        self.store.journal_purgeable(before, most, reader)
    }
}

impl Ticket {
    /// Returns when the facts are on the disk.
    ///
    /// # Errors
    /// The facts are not stored: do not acknowledge; the station will send them again.
    pub async fn durable(self) -> Result<(), StoreError> {
        match self.way {
            Way::Done => return Ok(()),
            Way::Queued(pending) => pending.await.map_err(|_| StoreError::Closed)??,
            Way::Waiting(store, ops) => store.commit(ops).await?,
        }
        self.stored.notify_one();
        Ok(())
    }
}

/// The same for a retry, different for anything else. Lengths are absorbed too, so that no two facts give one text. What the central system
/// answers holds no time of its own: both sides may count anew after a restart, and then the same words are of another transaction.
///
/// It begins with the second that the fact tells (of an answer, that in which it came), and twelve bytes of SHA-256 follow: facts of one time are
/// neighbours in the index, which otherwise had to be read and written somewhere else for each.
fn fingerprint(station: &str, at: Timestamp, fact: &Fact) -> [u8; 16] {
    let answer = fact.action.ends_with("Response");
    let mut hash = Sha256::new();
    for part in [station, fact.action, &fact.message_id, &fact.payload] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    if answer {
        hash.update(at.0.to_be_bytes());
    }
    let second = if answer { at.seconds() } else { told(&fact.payload).unwrap_or(0) };
    let mut fingerprint = [0; 16];
    fingerprint[..4].copy_from_slice(&u32::try_from(second).unwrap_or(0).to_be_bytes()); // until 2106; then all lie together
    fingerprint[4..].copy_from_slice(&hash.finalize()[..12]);
    fingerprint
}

/// The first time in a payload, in seconds. Any will do, as long as a retry gives the same.
fn told(payload: &str) -> Option<i64> {
    let name = "\"timestamp\":\"";
    let from = memchr::memmem::find(payload.as_bytes(), name.as_bytes())? + name.len();
    time(payload[from..].split('"').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(action: &'static str, payload: &str, at: i64) -> [u8; 16] {
        fingerprint("CS-1", Timestamp(at), &Fact { action, message_id: "1".into(), payload: payload.into() })
    }

    #[test]
    fn a_retry_has_the_same_fingerprint_and_facts_of_one_time_are_neighbours() {
        let payload = r#"{"connectorId":1,"meterValue":[{"timestamp":"2026-11-24T10:00:00Z","sampledValue":[]}]}"#;
        let first = print("MeterValues", payload, 1);
        assert_eq!(first, print("MeterValues", payload, 999_999), "whenever it comes");
        let other = print("MeterValues", &payload.replace(":1,", ":2,"), 1);
        assert_ne!(first, other);
        assert_eq!(first[..4], other[..4]);
        let later = print("MeterValues", &payload.replace("10:00:00Z", "11:00:01+01:00"), 1);
        assert!(later[..4] > first[..4], "in the order of their time, whatever the zone");
    }

    #[test]
    fn facts_without_a_time_and_answers_have_fingerprints_too() {
        for odd in ["{}", r#"{"timestamp":""#, r#"{"timestamp":"soon"}"#, r#"{"timestamp":"1066-10-14T09:00:00Z"}"#, r#"{"timestamp":"é"}"#]
        {
            let all = ["1", "2"].map(|n| print("StopTransaction", &odd.replacen('{', &format!("{{\"transactionId\":{n},"), 1), 5));
            assert_ne!(all[0], all[1], "{odd}");
            assert_eq!(all[0][..4], [0; 4], "{odd}");
        }
        let answer = |at| print("StartTransactionResponse", r#"{"transactionId":7}"#, at);
        assert_eq!(answer(1_795_000_000_000), answer(1_795_000_000_000));
        assert_ne!(answer(1_795_000_000_000), answer(1_795_000_000_001), "both sides may count anew");
    }
}
