//! The ledger: both ends of every line report to it what they send and what they receive, and from that alone it tells what the gateway
//! did. Every CALL is followed to its one answer, every code to the card it came from.

use super::cast::{self, GUESS, UNITS};
use super::differ::{After, Change, Differ};
use super::leaks::{Finder, Search};
use super::screen::Screen;
use crate::ocpp::{Kind, Side, Version};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Places that are searched for leaks.
pub(super) const AT_CSMS: &str = "what the central system received";
const IN_LOGS: &str = "the gateway's log";
const IN_METRICS: &str = "/metrics";
const IN_FILES: &str = "the gateway's files";
/// Frames on their way at any time: far more than the stations can have, so that a gateway that swallows all of them is still bounded.
const MAX_FLYING: usize = 4096;

/// What has been counted.
#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    /// Frames that each end sent: station, csms.
    pub(super) sent: [u64; 2],
    /// Frames that each end received.
    pub(super) received: [u64; 2],
    /// Identifiers replaced on the way up, and codes restored on the way down.
    pub(super) coded: u64,
    pub(super) restored: u64,
    /// Fields that stayed behind, by class of data.
    pub(super) withheld: BTreeMap<&'static str, u64>,
    /// Messages that stayed behind whole.
    pub(super) stayed: u64,
    /// Answers that nobody waited for.
    pub(super) strays: u64,
    /// Remote starts that reached a station with the right card.
    pub(super) remote_starts: u64,
    /// Identifiers that came down as another than the one that had gone up.
    pub(super) misdirected: u64,
    /// Guessed card numbers that reached a station.
    pub(super) guessed: u64,
}

/// What the leak check has found.
pub(super) struct Verdict {
    /// Place, pieces and bytes that were searched.
    pub(super) places: Vec<(&'static str, u64, u64)>,
    /// What leaked, in words.
    pub(super) leaks: Vec<String>,
    /// Of how many identifiers how many were said by the stations or by the e-MSPs that own them.
    pub(super) shown: usize,
    pub(super) all: usize,
}

/// The ledger, shared by all ends.
pub(super) struct Ledger {
    finder: Finder,
    inner: Mutex<Inner>,
}

struct Inner {
    screen: Screen,
    differ: Differ,
    counts: Counts,
    /// Sent and not yet received: by station, sender and id, calls and answers apart.
    flying: HashMap<(String, Side, bool, String), Flying>,
    /// CALLs whose answer is awaited: by station, caller and id.
    open: HashMap<(String, Side, String), String>,
    /// Which card stands behind a code, learned from what went up.
    cards: HashMap<String, String>,
    search: Search,
    /// The same search over the stations' own sockets, where everything must be found: else the check would prove nothing.
    control: Search,
}

struct Flying {
    action: String,
    frame: Value,
}

/// A frame in its parts.
struct Parts<'a> {
    kind: Kind,
    id: &'a str,
    /// The payload, or for an error the whole of what follows the id.
    body: Value,
}

fn parts(frame: &Value) -> Option<Parts<'_>> {
    let id = frame.get(1)?.as_str()?;
    let (kind, body) = match frame.get(0)?.as_u64()? {
        2 => (Kind::Call, frame.get(3)?.clone()),
        6 => (Kind::Send, frame.get(3)?.clone()),
        3 => (Kind::CallResult, frame.get(2)?.clone()),
        4 => (Kind::CallError, Value::Array(frame.as_array()?[2..].to_vec())),
        5 => (Kind::CallResultError, Value::Array(frame.as_array()?[2..].to_vec())),
        _ => return None,
    };
    Some(Parts { kind, id, body })
}

fn version_of(station: &str) -> Option<Version> {
    UNITS.iter().find(|unit| unit.id == station).map(|unit| unit.version)
}

impl Ledger {
    /// An empty ledger that shows what it learns on `screen`.
    pub(super) fn new(finder: Finder, screen: Screen, policy: &str) -> Arc<Self> {
        let inner = Inner {
            screen,
            differ: Differ::new(policy),
            counts: Counts::default(),
            flying: HashMap::new(),
            open: HashMap::new(),
            cards: HashMap::new(),
            search: Search::default(),
            control: Search::default(),
        };
        Arc::new(Self { finder, inner: Mutex::new(inner) })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Something to say to whoever looks on.
    pub(super) fn say(&self, work: impl FnOnce(&mut Screen)) {
        self.with(|inner| work(&mut inner.screen));
    }

    /// One end is about to write a frame.
    pub(super) fn sent(&self, station: &str, from: Side, text: &str) {
        self.with(|inner| {
            inner.counts.sent[from as usize] += 1;
            if from == Side::Station {
                inner.control.look(&self.finder, "the stations' sockets", text.as_bytes());
            }
            let Ok(frame) = serde_json::from_str::<Value>(text) else { return };
            let Some(parts) = parts(&frame) else { return };
            let is_call = matches!(parts.kind, Kind::Call | Kind::Send);
            let action = if is_call {
                frame[2].as_str().unwrap_or_default().to_owned()
            } else {
                inner.open.get(&(station.to_owned(), from.other(), parts.id.to_owned())).cloned().unwrap_or_default()
            };
            if parts.kind == Kind::Call {
                inner.open.insert((station.to_owned(), from, parts.id.to_owned()), action.clone());
            }
            if version_of(station).is_some() && inner.flying.len() < MAX_FLYING {
                let key = (station.to_owned(), from, is_call, parts.id.to_owned());
                inner.flying.insert(key, Flying { action, frame });
            }
        });
    }

    /// One end has read a frame.
    pub(super) fn received(&self, station: &str, to: Side, text: &str) {
        self.with(|inner| {
            inner.counts.received[to as usize] += 1;
            if to == Side::Csms {
                inner.search.look(&self.finder, AT_CSMS, text.as_bytes());
            } else {
                inner.counts.guessed += u64::from(cast::bare(text).contains(GUESS));
            }
            let Ok(frame) = serde_json::from_str::<Value>(text) else { return };
            let Some(parts) = parts(&frame) else { return };
            let is_call = matches!(parts.kind, Kind::Call | Kind::Send);
            let flown = inner.flying.remove(&(station.to_owned(), to.other(), is_call, parts.id.to_owned()));
            let Some(version) = version_of(station) else {
                if is_call && to == Side::Csms {
                    inner.screen.visitor(station, frame[2].as_str().unwrap_or_default(), &parts.body);
                }
                return;
            };
            if let Some(flown) = flown {
                inner.arrived(station, version, to, &flown, &parts);
            }
            if is_call {
                return;
            }
            match inner.open.remove(&(station.to_owned(), to, parts.id.to_owned())) {
                None => inner.counts.strays += 1,
                Some(_) => {
                    if let Some(stayed) = inner.flying.remove(&(station.to_owned(), to, true, parts.id.to_owned())) {
                        inner.stayed(station, version, to.other(), &stayed, &parts.body);
                    }
                }
            }
        });
    }

    /// A line of the gateway's log.
    pub(super) fn log(&self, line: &[u8]) {
        self.with(|inner| inner.search.look(&self.finder, IN_LOGS, line));
    }

    /// A page of metrics.
    pub(super) fn metrics(&self, page: &[u8]) {
        self.with(|inner| inner.search.look(&self.finder, IN_METRICS, page));
    }

    /// How an upgrade request of the gateway arrived at the central system.
    pub(super) fn handshake(&self, request: &[u8]) {
        self.with(|inner| inner.search.look(&self.finder, AT_CSMS, request));
    }

    /// What an e-MSP received: the head and the body of a request.
    pub(super) fn at_emsp(&self, place: &'static str, request: &[u8]) {
        self.with(|inner| inner.search.look(&self.finder, place, request));
    }

    /// What an e-MSP told the gateway of its own customers: where their contracts must be found, else the check would prove nothing of them.
    pub(super) fn told_by_emsp(&self, tokens: &[u8]) {
        self.with(|inner| inner.control.look(&self.finder, "the e-MSPs' own tokens", tokens));
    }

    /// The code that the central system was given for a card, in any spelling.
    pub(super) fn code_of(&self, card: &str) -> Option<String> {
        let card = cast::bare(card);
        self.with(|inner| inner.cards.iter().find(|(_, known)| **known == card).map(|(code, _)| code.clone()))
    }

    /// Searches the files of a directory.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn files(&self, dir: &Path) -> std::io::Result<()> {
        self.with(|inner| inner.search.files(&self.finder, IN_FILES, dir))
    }

    /// CALLs that have had no answer.
    pub(super) fn unanswered(&self) -> usize {
        self.with(|inner| inner.open.keys().filter(|(station, ..)| version_of(station).is_some()).count())
    }

    /// What was counted so far.
    pub(super) fn counts(&self) -> Counts {
        self.with(|inner| inner.counts.clone())
    }

    /// Drivers seen, and the codes they were given.
    pub(super) fn drivers(&self) -> (usize, usize) {
        self.with(|inner| {
            let cards: std::collections::BTreeSet<&String> = inner.cards.values().collect();
            (cards.len(), inner.cards.len())
        })
    }

    /// What the leak check has found.
    pub(super) fn searched(&self) -> Verdict {
        self.with(|inner| {
            let places = inner.search.places().map(|(place, searched)| (place, searched.pieces, searched.bytes)).collect();
            let shown = inner.control.places().flat_map(|(_, searched)| searched.found.iter().map(|found| found.secret));
            let shown: std::collections::BTreeSet<usize> = shown.collect();
            Verdict { places, leaks: inner.search.leaks(&self.finder), shown: shown.len(), all: self.finder.len() }
        })
    }
}

impl Inner {
    fn arrived(&mut self, station: &str, version: Version, to: Side, flown: &Flying, now: &Parts<'_>) {
        let Some(was) = parts(&flown.frame) else { return };
        let mut changes = self.differ.compare(version, &flown.action, now.kind, to, &was.body, &now.body);
        for change in &changes {
            self.count(change);
        }
        let remote = to == Side::Station && matches!(flown.action.as_str(), "RemoteStartTransaction" | "RequestStartTransaction");
        if remote && now.kind == Kind::Call {
            let right = changes.iter().any(|change| matches!(&change.after, After::Restored(card) if self.is_right(&change.before, card)));
            self.counts.remote_starts += u64::from(right);
        }
        changes.sort_by_key(|change| matches!(change.after, After::Withheld(..)));
        let event = now.body["eventType"].as_str().unwrap_or_default();
        self.screen.frame(station, version, to, &format!("{} {event}", flown.action), now.kind, &changes);
    }

    fn stayed(&mut self, station: &str, version: Version, to: Side, flown: &Flying, answer: &Value) {
        let Some(was) = parts(&flown.frame) else { return };
        let (why, changes) = self.differ.stayed(version, &flown.action, to, &was.body);
        changes.iter().for_each(|change| self.count(change));
        self.counts.stayed += 1;
        self.screen.stayed(station, version, to, &flown.action, &why, &changes, answer);
    }

    fn count(&mut self, change: &Change) {
        let is_driver = change.field.to_ascii_lowercase().contains("idt");
        match &change.after {
            After::Coded(code) => {
                self.counts.coded += 1;
                if is_driver {
                    self.cards.insert(cast::bare(code), cast::bare(&change.before));
                }
            }
            After::Restored(card) => {
                self.counts.restored += 1;
                // A visitor's card may be on a list for all stations; whose it is, the demo does not know.
                let known = self.cards.contains_key(&cast::bare(&change.before));
                self.counts.misdirected += u64::from(is_driver && known && !self.is_right(&change.before, card));
            }
            After::Withheld(_, class) => *self.counts.withheld.entry(class).or_default() += 1,
            After::Neutral(..) => *self.counts.withheld.entry("other").or_default() += 1,
        }
    }

    /// Whether the card is the one that the code was made of: whatever the spelling, since one card is one code.
    fn is_right(&self, code: &str, card: &str) -> bool {
        self.cards.get(&cast::bare(code)).is_some_and(|known| *known == cast::bare(card))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Arc<Ledger> {
        Ledger::new(Finder::new(&cast::secrets()).unwrap(), Screen::new(Box::new(std::io::sink()), false), "strict")
    }

    fn passes(ledger: &Ledger, from: Side, sent: &str, received: &str) {
        ledger.sent("UTR-0101", from, sent);
        ledger.received("UTR-0101", from.other(), received);
    }

    #[test]
    fn follows_a_card_up_and_down_again() {
        let ledger = ledger();
        passes(
            &ledger,
            Side::Station,
            r#"[2,"1","Authorize",{"idTag":"04A22B6A5C1180"}]"#,
            r#"[2,"1","Authorize",{"idTag":"Z0K3V9QF6T2M8XC4R7HA"}]"#,
        );
        assert_eq!(ledger.unanswered(), 1);
        passes(&ledger, Side::Csms, r#"[3,"1",{"idTagInfo":{"status":"Accepted"}}]"#, r#"[3,"1",{"idTagInfo":{"status":"Accepted"}}]"#);
        let start = |tag: &str| format!(r#"[2,"2","RemoteStartTransaction",{{"idTag":"{tag}"}}]"#);
        passes(&ledger, Side::Csms, &start("z0k3v9qf6t2m8xc4r7ha"), &start("04:a2:2b:6a:5c:11:80"));
        passes(&ledger, Side::Csms, &start("Z0K3V9QF6T2M8XC4R7HA").replace("\"2\"", "\"3\""), &start("7BE9D1F4").replace("\"2\"", "\"3\""));
        let counts = ledger.counts();
        assert_eq!((counts.coded, counts.restored, counts.remote_starts, counts.misdirected), (1, 2, 1, 1));
        assert_eq!((ledger.unanswered(), counts.strays), (2, 0));
        assert!(ledger.searched().leaks.is_empty());
    }

    #[test]
    fn sees_a_leak_a_stray_answer_and_a_message_that_stayed_behind() {
        let ledger = ledger();
        passes(
            &ledger,
            Side::Station,
            r#"[2,"1","Authorize",{"idTag":"04A22B6A5C1180"}]"#,
            r#"[2,"1","Authorize",{"idTag":"04a22b6a5c1180"}]"#,
        );
        ledger.received("UTR-0101", Side::Station, r#"[3,"1",{}]"#);
        ledger.received("UTR-0101", Side::Station, r#"[3,"1",{}]"#);
        ledger.sent("UTR-0101", Side::Station, r#"[2,"2","DataTransfer",{"vendorId":"x"}]"#);
        ledger.received("UTR-0101", Side::Station, r#"[3,"2",{"status":"UnknownVendorId"}]"#);
        assert_eq!((ledger.counts().strays, ledger.counts().stayed), (1, 1));
        assert_eq!(ledger.searched().leaks, [format!("card number as text in {AT_CSMS}")]);
    }
}
