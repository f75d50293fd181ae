//! A conversation under test: the pure core between two ends that are only texts, with everything that must hold of each step. It can be
//! played twice at once, and both must say the same (I9).

use super::canary::{Planted, plain};
use super::message::{BOOK, Known};
use super::valid;
use crate::clock::Timestamp;
use crate::identity::{Class, Epoch, Reveal};
use crate::keys::{EpochKey, Keyring, StandingKey};
use crate::ocpp::frame::Frame;
use crate::ocpp::{Kind, Side, Version};
use crate::policy::{Namespace, Rules};
use crate::pseudonym::{Alphabet, Pseudonym};
use crate::seal::{Entropy, Kek, SealError};
use crate::secret::Sensitive;
use crate::session::{Outcome, Session, Step};
use crate::treat::MAX_WATCHED;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// 2026-11-24T10:00:00Z
pub(super) const NOON: i64 = 1_795_514_400_000;
/// The station's id.
const STATION: &str = "CP-1";
/// Identifiers that later messages name again.
const MOST_KNOWN: usize = 8;

/// Random bytes that are the same in every run.
#[derive(Default)]
pub(super) struct Same(AtomicU64);

impl Entropy for Same {
    fn fill(&self, to: &mut [u8]) -> Result<(), SealError> {
        for (place, byte) in to.iter_mut().enumerate() {
            *byte = (self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8 ^ place as u8;
        }
        Ok(())
    }
}

/// The key-encryption key of the tests.
pub(super) fn kek() -> Kek {
    Kek::from_file_content(&[7; 32]).expect("32 bytes are a key")
}

/// Keys of some epochs, the same in every run.
pub(super) fn keyring(epochs: u32, current: u32) -> Keyring {
    let entropy = Same::default();
    let key = |epoch| EpochKey::generate(Epoch(epoch), Alphabet::Base32, &entropy).expect("there are always bytes");
    let standing = StandingKey::generate(&entropy).expect("there are always bytes");
    Keyring::new((0..epochs).map(key).collect(), Epoch(current), standing, &kek()).expect("the epochs differ")
}

static KEYS: LazyLock<Arc<Keyring>> = LazyLock::new(|| Arc::new(keyring(2, 1)));

/// A policy and how strictly its output is looked at.
pub(super) struct Profile {
    pub(super) rules: Arc<Rules>,
    /// Only what stood in the place of a token is looked for: all purposes are enabled.
    wide: bool,
}

const WIDE: &str = "name = \"wide\"\n[csms]\npurposes = [\"charge\", \"bill\", \"operate\", \"assets\", \"smart-charging\", \"plug-and-charge\", \
    \"quality\", \"statistics\", \"security\"]\n[station]\npurposes = [\"charge\", \"bill\", \"operate\", \"assets\", \"smart-charging\", \
    \"plug-and-charge\", \"quality\", \"statistics\", \"security\"]\n";

/// The built-in profiles that treat, one with nearly every purpose, and the one that lets all pass.
pub(super) static PROFILES: LazyLock<[Profile; 4]> = LazyLock::new(|| {
    let namespaces = || vec![Namespace::parse("WEB-*").expect("a namespace")];
    let compiled = |name| Arc::new(Rules::compile(name, namespaces()).expect("a policy without mistakes"));
    [
        Profile { rules: compiled("strict"), wide: false },
        Profile { rules: compiled("smart-charging"), wide: false },
        Profile { rules: compiled(WIDE), wide: true },
        Profile { rules: Arc::new(Rules::allow_all()), wide: true },
    ]
});

/// The vault, in memory.
#[derive(Default)]
struct Memory {
    codes: HashMap<Pseudonym, String>,
    pins: HashMap<String, Epoch>,
}

impl Reveal for Memory {
    fn reveal(&self, code: &Pseudonym) -> Option<Sensitive<String>> {
        self.codes.get(code).cloned().map(Sensitive::new)
    }

    fn pinned(&self, _: &str, transaction: &str) -> Option<Epoch> {
        self.pins.get(transaction).copied()
    }
}

/// One conversation.
pub(super) struct Lock<'p> {
    pub(super) version: Version,
    profile: &'p Profile,
    session: Session,
    twin: Option<Session>,
    vault: Memory,
    pub(super) now: Timestamp,
    /// What the station has said, and whether in another coding.
    of_station: Vec<Said>,
    /// Identifiers that were replaced so far, in either direction.
    replaced: u32,
    /// What it has said where no rule can tell it from what belongs there.
    excused: Vec<String>,
    /// What the central system has said where a token belongs.
    of_csms: Vec<Planted>,
    pub(super) known: Known,
}

/// What the station has said.
struct Said {
    planted: Planted,
    /// In another coding than its own.
    coded: bool,
    /// Identifiers that had been replaced by then: the tripwire watches the latest few.
    before: u32,
    /// Whether its message was treated, so that it may have brought up an identifier; `None` until that is known.
    heard: Option<bool>,
}

/// What became of a frame.
pub(super) struct Passed {
    pub(super) sent: Vec<(Side, String)>,
    pub(super) outcome: Outcome,
}

impl<'p> Lock<'p> {
    pub(super) fn new(version: Version, profile: &'p Profile) -> Self {
        let session = Session::new(version, STATION, Arc::clone(&profile.rules), Arc::clone(&*KEYS) as _);
        Self {
            version,
            profile,
            session,
            twin: None,
            vault: Memory::default(),
            now: Timestamp(NOON),
            of_station: Vec::new(),
            replaced: 0,
            excused: Vec::new(),
            of_csms: Vec::new(),
            known: Known::default(),
        }
    }

    /// The same, played twice.
    pub(super) fn twice(version: Version, profile: &'p Profile) -> Self {
        let mut lock = Self::new(version, profile);
        lock.twin = Some(Session::new(version, STATION, Arc::clone(&profile.rules), Arc::clone(&*KEYS) as _));
        lock
    }

    /// Remembers what a side is about to say.
    pub(super) fn plant(&mut self, from: Side, planted: Vec<(Planted, bool)>) {
        match from {
            Side::Station => {
                for (planted, coded) in planted {
                    let excused = planted.is_excused(coded);
                    if excused {
                        // The same text elsewhere cannot be told from it.
                        self.of_station.retain(|said| said.planted.text != planted.text);
                        self.excused.push(planted.text);
                    } else if !self.excused.contains(&planted.text) {
                        self.of_station.push(Said { planted, coded, before: self.replaced, heard: None });
                    }
                }
            }
            Side::Csms => self.of_csms.extend(planted.into_iter().map(|(p, _)| p).filter(|p| p.field == "token")),
        }
        // The last hundred, so that a long conversation stays quick.
        self.of_station.drain(..self.of_station.len().saturating_sub(100));
        self.of_csms.drain(..self.of_csms.len().saturating_sub(100));
    }

    /// CALLs of a side that wait for their answer.
    pub(super) fn waiting(&self, from: Side) -> usize {
        self.session.waiting(from)
    }

    pub(super) fn allows_all(&self) -> bool {
        self.profile.rules.allow_all
    }

    /// One frame in.
    ///
    /// # Panics
    /// If what comes out breaks a promise.
    pub(super) fn pass(&mut self, from: Side, frame: &[u8]) -> Passed {
        let step = self.session.on_frame(from, frame, self.now, &self.vault);
        if let Some(twin) = &mut self.twin {
            let again = twin.on_frame(from, frame, self.now, &self.vault);
            assert_eq!(same(&step), same(&again), "the same input made another step");
        }
        let Step { send, sightings, facts, pins, seen, .. } = step;
        for sighting in sightings {
            // Why exposed: this is the vault of the test.
            self.vault.codes.entry(sighting.code).or_insert_with(|| sighting.identifier.original.expose().clone());
            if matches!(sighting.identifier.class, Class::Rfid | Class::Emaid) && self.known.cards.len() < MOST_KNOWN {
                self.known.cards.push(sighting.identifier.original.expose().clone());
                self.known.codes.push(sighting.code.as_str().to_owned());
            }
        }
        for (transaction, epoch) in pins {
            self.clean(&transaction, "a pin");
            match epoch {
                Some(epoch) => drop(self.vault.pins.insert(transaction, epoch)),
                None => drop(self.vault.pins.remove(&transaction)),
            }
        }
        for fact in facts {
            self.clean(&fact.payload, "a fact");
            self.clean(&fact.message_id, "the message id of a fact");
        }
        let mut sent = Vec::with_capacity(send.len());
        for (to, outgoing) in send {
            let text = outgoing.into_text();
            well_formed(&text, self.allows_all());
            match to {
                Side::Csms if from == Side::Station => self.clean(&text, "a frame"),
                Side::Station if from == Side::Csms && !self.allows_all() => {
                    let plain = plain(&text);
                    let guess = self.of_csms.iter().find(|planted| planted.is_in(&plain));
                    assert!(guess.is_none(), "a guess came down: {guess:?} in {text}");
                }
                _ => {}
            }
            sent.push((to, text));
        }
        self.replaced += seen.as_ref().map_or(0, |seen| seen.replaced);
        let outcome = seen.map_or(Outcome::Refused, |seen| seen.outcome);
        // Answers to nothing and what cannot be read go no further than their head.
        if from == Side::Station {
            let heard = !matches!(outcome, Outcome::Unmatched | Outcome::Late | Outcome::Refused);
            self.of_station.iter_mut().for_each(|said| said.heard = said.heard.or(Some(heard)));
        }
        Passed { sent, outcome }
    }

    /// Nothing that the station said is in a text that goes up or is kept.
    fn clean(&self, text: &str, what: &str) {
        if self.allows_all() || self.of_station.is_empty() {
            return;
        }
        let plain = plain(text);
        let heard = |said: &Said| said.planted.field == "token" && !said.coded && said.heard != Some(false);
        // Signs between groups are no part of a card or contract number; of any other name they are.
        let grouped =
            |said: &Said| said.planted.class.is_grouped() || text.to_ascii_uppercase().contains(&said.planted.text.to_ascii_uppercase());
        let active = |said: &Said| heard(said) && grouped(said) && self.replaced - said.before < MAX_WATCHED as u32;
        let leak = self.of_station.iter().find(|said| (!self.profile.wide || active(said)) && said.planted.is_in(&plain));
        let leak = leak.map(|said| &said.planted);
        assert!(leak.is_none(), "{what} leaks {leak:?}: {text}");
    }

    /// Whether the payload of a CALL or its answer is as the catalogue says.
    pub(super) fn check_valid(&self, frame: &str, action: &str) {
        let parts: Vec<Value> = serde_json::from_str(frame).expect("checked before");
        let spec = BOOK.message(self.version, action);
        let (payload, fields) = match parts[0].as_u64() {
            Some(2 | 6) => (&parts[3], &spec.request),
            Some(3) => (&parts[2], &spec.response),
            _ => return,
        };
        if let Err(what) = valid::payload(self.version, fields, payload) {
            // A station whose own card is longer than the field in any spelling, or whose own reference is, gets back what it wrote.
            let own = |Said { planted, .. }: &Said| {
                let shortest = if planted.field == "token" { plain(&planted.text).len() } else { planted.text.len() };
                shortest > 20 && frame.contains(planted.text.as_str())
            };
            if what.ends_with("is too long") && self.of_station.iter().any(own) {
                return;
            }
            panic!("a valid {action} became an invalid one: {what} in {frame}");
        }
    }
}

/// All of a step that can be compared.
fn same(step: &Step) -> impl PartialEq + std::fmt::Debug + use<'_> {
    let send: Vec<_> = step.send.iter().map(|(to, outgoing)| (*to, outgoing.as_str())).collect();
    let sightings: Vec<_> = step.sightings.iter().map(|s| (s.code, &s.identifier)).collect();
    (send, sightings, &step.facts, step.settles, &step.pins, step.seen)
}

/// Every frame that is sent is one: its kind, an id, and as many parts as the kind has. `as_it_came`: old firmware leaves parts away.
fn well_formed(text: &str, as_it_came: bool) {
    let parts: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON list: {text}"));
    let Ok(frame) = Frame::read(text) else { panic!("no frame: {text}") };
    let fits = match frame.kind {
        Kind::Call | Kind::Send => parts.len() == 4 && (as_it_came || parts[3].get().starts_with('{')),
        Kind::CallResult => parts.len() == 3 && (as_it_came || parts[2].get().starts_with('{')),
        Kind::CallError | Kind::CallResultError => (3..=5).contains(&parts.len()),
    };
    assert!(fits, "not in form: {text}");
}
