//! A lock without water: the pure core between a station and a central system that are only texts. Real keys, a vault in memory.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, missing_docs, reason = "test code, shared with the benches")]

pub mod messages;

use sluis::clock::Timestamp;
use sluis::identity::{Epoch, Reveal};
use sluis::keys::{EpochKey, Keyring, StandingKey};
use sluis::ocpp::{Side, Version};
use sluis::policy::{Namespace, Rules};
use sluis::pseudonym::{Alphabet, Pseudonym};
use sluis::seal::{Entropy, Kek, SealError};
use sluis::secret::Sensitive;
use sluis::session::{Session, Step};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Random bytes enough for a test, the same in every run.
pub struct Counter(pub std::sync::Mutex<u8>);

impl Entropy for Counter {
    fn fill(&self, to: &mut [u8]) -> Result<(), SealError> {
        let mut next = self.0.lock().unwrap();
        for byte in to {
            *next = next.wrapping_mul(167).wrapping_add(13);
            *byte = *next;
        }
        Ok(())
    }
}

pub fn kek() -> Kek {
    Kek::from_file_content(&[7; 32]).unwrap()
}

pub fn keyring(epochs: &[u32], current: u32) -> Keyring {
    let entropy = Counter(std::sync::Mutex::new(1));
    let keys = epoch_keys(epochs, &entropy);
    Keyring::new(keys, Epoch(current), StandingKey::generate(&entropy).unwrap(), &kek()).unwrap()
}

fn epoch_keys(epochs: &[u32], entropy: &Counter) -> Vec<EpochKey> {
    epochs.iter().map(|e| EpochKey::generate(Epoch(*e), Alphabet::Base32, entropy).unwrap()).collect()
}

/// Rotates a live keyring: the first epochs keep their roots, as in [`keyring`].
pub fn rotate(keys: &Keyring, epochs: &[u32], current: u32) {
    let entropy = Counter(std::sync::Mutex::new(1));
    keys.replace(epoch_keys(epochs, &entropy), Epoch(current), &kek()).unwrap();
}

#[derive(Default)]
pub struct Memory {
    pub codes: HashMap<Pseudonym, String>,
    pub pins: HashMap<(String, String), Epoch>,
}

impl Reveal for Memory {
    fn reveal(&self, code: &Pseudonym) -> Option<Sensitive<String>> {
        self.codes.get(code).cloned().map(Sensitive::new)
    }

    fn pinned(&self, station: &str, transaction: &str) -> Option<Epoch> {
        self.pins.get(&(station.to_owned(), transaction.to_owned())).copied()
    }
}

static STRICT: LazyLock<Arc<Rules>> =
    LazyLock::new(|| Arc::new(Rules::compile("strict", vec![Namespace::parse("WEB-*").unwrap()]).unwrap()));
static ALLOW_ALL: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::allow_all()));

pub fn strict() -> Arc<Rules> {
    Arc::clone(&STRICT)
}

pub fn allow_all() -> Arc<Rules> {
    Arc::clone(&ALLOW_ALL)
}

/// One station's lock.
pub struct Lock {
    pub session: Session,
    pub vault: Memory,
    pub keys: Arc<Keyring>,
    pub facts: Vec<sluis::treat::Fact>,
}

impl Lock {
    pub fn new(version: Version) -> Self {
        Self::with(version, strict(), Arc::new(keyring(&[0], 0)))
    }

    pub fn with(version: Version, rules: Arc<Rules>, keys: Arc<Keyring>) -> Self {
        let session = Session::new(version, "CP-1", rules, keys.clone());
        Self { session, vault: Memory::default(), keys, facts: Vec::new() }
    }

    /// One frame in; all frames out, each with the side it goes to.
    pub fn pass(&mut self, from: Side, frame: &[u8]) -> (Vec<(Side, String)>, Step) {
        let mut step = self.session.on_frame(from, frame, Timestamp(1_795_514_400_000), &self.vault);
        for sighting in &step.sightings {
            self.vault.codes.entry(sighting.code).or_insert_with(|| sighting.identifier.original.expose().clone());
        }
        for (transaction, epoch) in &step.pins {
            let key = ("CP-1".to_owned(), transaction.clone());
            match epoch {
                Some(epoch) => drop(self.vault.pins.insert(key, *epoch)),
                None => drop(self.vault.pins.remove(&key)),
            }
        }
        self.facts.append(&mut step.facts.clone());
        let sent = std::mem::take(&mut step.send).into_iter().map(|(side, out)| (side, out.into_text())).collect();
        (sent, step)
    }

    /// What the central system sees of a station's frame. Panics unless exactly that goes on.
    pub fn station_sends(&mut self, frame: &str) -> String {
        self.only(Side::Station, frame, Side::Csms)
    }

    /// What the station sees of the central system's frame.
    pub fn csms_sends(&mut self, frame: &str) -> String {
        self.only(Side::Csms, frame, Side::Station)
    }

    /// The answer that a side gets here, when nothing crosses.
    pub fn answered_here(&mut self, from: Side, frame: &str) -> String {
        self.only(from, frame, from)
    }

    fn only(&mut self, from: Side, frame: &str, to: Side) -> String {
        let (mut sent, _) = self.pass(from, frame.as_bytes());
        assert_eq!(sent.len(), 1, "exactly one frame comes of {frame}");
        let (side, text) = sent.remove(0);
        assert_eq!(side, to, "{frame} became {text}");
        text
    }

    /// The code under which the central system knows a card after a station has shown it.
    pub fn station_authorizes(&mut self, card: &str) -> String {
        let seen = self.station_sends(&format!(r#"[2,"a1","Authorize",{{"idTag":"{card}"}}]"#));
        let code = seen.split('"').nth(7).unwrap().to_owned();
        self.csms_sends(r#"[3,"a1",{"idTagInfo":{"status":"Accepted"}}]"#);
        code
    }
}
