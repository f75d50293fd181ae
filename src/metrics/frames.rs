//! The counters that every frame and every connection moves. Finding one by its labels costs more than a heartbeat's whole treatment, so each thread keeps
//! those it has found; no two threads wait for each other.

use crate::ocpp::{Kind, Side, Version};
use crate::session::{Outcome, Seen};
use metrics::{Counter, Gauge, counter, gauge};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What the labels of a message are made from. The action is known by where its word stands in memory; words are never freed, and there are
/// no more of them than the closed list has, so this stays small.
type Key = (usize, usize, u32);

#[derive(Default)]
struct Handles {
    messages: HashMap<Key, Counter, BuildHasherDefault<Mixed>>,
    by_side: [Option<BySide>; 2],
    connections: [Option<Gauge>; Version::ALL.len()],
}

struct BySide {
    sent: Counter,
    withheld: Counter,
    replaced: Counter,
}

thread_local! {
    static HANDLES: RefCell<Handles> = RefCell::new(Handles::default());
}

/// A message came: counts it by its closed words, with what was withheld from it and replaced in it.
pub(super) fn seen(version: Version, seen: &Seen) {
    let Seen { from, kind, action, outcome, .. } = *seen;
    let small = version as u32 | (from as u32) << 4 | kind.map_or(15, |kind| kind as u32) << 8 | (outcome as u32) << 12;
    HANDLES.with_borrow_mut(|handles| {
        let key = (action.as_ptr() as usize, action.len(), small);
        handles.messages.entry(key).or_insert_with(|| message_counter(version, from, kind, action, outcome)).increment(1);
        if seen.withheld > 0 || seen.replaced > 0 {
            let side = handles.side(from);
            side.withheld.increment(seen.withheld.into());
            side.replaced.increment(seen.replaced.into());
        }
    });
}

/// Bytes of a message went to a side.
pub(super) fn sent(to: Side, bytes: usize) {
    HANDLES.with_borrow_mut(|handles| handles.side(to).sent.increment(bytes as u64));
}

/// Connections that live, of a version.
pub(super) fn connections(version: Version) -> Gauge {
    HANDLES.with_borrow_mut(|handles| {
        let found = &mut handles.connections[version as usize];
        found.get_or_insert_with(|| gauge!("ocpp_connections_active", "version" => version.number())).clone()
    })
}

impl Handles {
    fn side(&mut self, side: Side) -> &BySide {
        self.by_side[side as usize].get_or_insert_with(|| BySide {
            sent: counter!("ocpp_sent_bytes_total", "to" => side.name()),
            withheld: counter!("sluis_withheld_fields_total", "from" => side.name()),
            replaced: counter!("sluis_replaced_identifiers_total", "from" => side.name()),
        })
    }
}

fn message_counter(version: Version, from: Side, kind: Option<Kind>, action: &'static str, outcome: Outcome) -> Counter {
    let kind = kind.map_or("unreadable", Kind::name);
    counter!("ocpp_messages_total", "version" => version.number(), "from" => from.name(), "kind" => kind, "action" => action, "outcome" => outcome.name())
}

/// A hash for keys that nobody outside chooses.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// Every combination has a counter of its own, and counts what the page shows.
    #[test]
    fn each_combination_of_words_is_counted_by_itself() {
        let metrics = Metrics::install().unwrap();
        let message = Seen {
            from: Side::Csms,
            kind: Some(Kind::Call),
            action: "TestOfCounting",
            outcome: Outcome::Treated,
            withheld: 0,
            replaced: 0,
        };
        let others = [
            (Version::V21, message),
            (Version::V16, Seen { from: Side::Station, ..message }),
            (Version::V16, Seen { kind: None, ..message }),
            (Version::V16, Seen { outcome: Outcome::Refused, ..message }),
            (Version::V16, Seen { action: "TestOfCountin", ..message }),
        ];
        for (version, other) in &others {
            seen(*version, other);
        }
        for _ in 0..3 {
            seen(Version::V16, &message);
        }
        std::thread::spawn(move || seen(Version::V16, &message)).join().unwrap();
        let page = metrics.render();
        let lines: Vec<&str> = page.lines().filter(|line| line.contains("TestOfCountin")).collect();
        assert_eq!(lines.len(), 6, "{lines:?}");
        let labels = "version=\"1.6\",from=\"csms\",kind=\"call\",action=\"TestOfCounting\",outcome=\"treated\"";
        assert!(lines.iter().any(|line| line.contains(labels) && line.ends_with(" 4")), "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.ends_with(" 1")).count(), 5, "{lines:?}");
    }
}
