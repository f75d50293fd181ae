//! Sealed rows with bytes changed: a row opens to what was sealed in it or not at all. The rows are in a real store, changed behind its back.

use super::choices::Choices;
use super::lock::{Same, kek, keyring};
use crate::clock::Timestamp;
use crate::identity::{Class, Codes, Declared, Epoch, Identifier, Reveal, Sighting};
use crate::keys::{Domain, EpochKey, Keyring, StandingKey};
use crate::pseudonym::{Alphabet, Pseudonym};
use crate::seal::{self, Entropy, Sealed, WrappingKey};
use crate::secret::Sensitive;
use crate::store::{DATABASE, Embedded, EpochRow, Limits, Op, Store};
use crate::vault::Vault;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// What is in the vault, with what each was declared as.
const IDENTIFIERS: [(&str, Declared); 6] = [
    ("04:A2:B3:C4:D5:E6:F7", Declared::Undeclared),
    ("04A2B3C4", Declared::Undeclared),
    ("NL-ABC-C12345678-X", Declared::Undeclared),
    ("WVWZZZ1JZ3W386752", Declared::Vehicle),
    ("tx-04A2B3C4", Declared::Reference),
    ("Visitor \u{e9}", Declared::Undeclared),
];

/// Changes a row, or what is sealed in none.
///
/// # Panics
/// If it opens to something else.
pub fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    match choices.below(4) {
        0 => sealed(&mut choices),
        1 => wrapped(&mut choices),
        _ => SHELF.lock().unwrap_or_else(PoisonError::into_inner).change(&mut choices),
    }
}

/// Changes bytes: flipped, cut off, put in, or all others. Gives back whether anything is another now.
fn damage(choices: &mut Choices<'_>, bytes: &mut Vec<u8>) -> bool {
    let before = bytes.clone();
    for _ in 0..=choices.below(3) {
        let at = choices.below(bytes.len().max(1));
        match choices.below(5) {
            0 | 1 if !bytes.is_empty() => bytes[at] ^= choices.byte(),
            2 => bytes.truncate(at),
            3 => bytes.splice(at..at, choices.some(40).iter().copied()).for_each(drop),
            _ => *bytes = choices.some(200).to_vec(),
        }
    }
    *bytes != before
}

fn sealed(choices: &mut Choices<'_>) {
    let entropy = Same::default();
    let key = WrappingKey::new(&[7; seal::KEY]);
    let place = format!("v1|vault|{}", choices.byte());
    let text = String::from_utf8_lossy(choices.some(250)).into_owned();
    let Ok(mut row) = seal::seal(&Sensitive::new(text.clone()), place.as_bytes(), &key, &entropy) else { return };
    let opened = |row: &Sealed, place: &[u8], key: &WrappingKey| seal::open(row, place, key).ok().map(|clear| clear.expose().clone());
    assert_eq!(opened(&row, place.as_bytes(), &key).as_deref(), Some(&*text), "does not open again");
    let mut other_place = place.clone().into_bytes();
    let changed = [damage(choices, &mut row.wrapped), damage(choices, &mut row.text), damage(choices, &mut other_place)];
    if changed.contains(&true) {
        assert_eq!(opened(&row, &other_place, &key), None, "opens although it was changed");
    }
    assert_eq!(opened(&row, place.as_bytes(), &WrappingKey::new(&[8; seal::KEY])), None, "opens with another key");
}

fn wrapped(choices: &mut Choices<'_>) {
    let entropy = Same::default();
    let kek = kek();
    let mut bytes = choices.byte();
    let alphabet = if bytes & 1 == 0 { Alphabet::Base32 } else { Alphabet::Hex };
    bytes >>= 1;
    let epoch = Epoch(u32::from(bytes));
    let wrapped = EpochKey::generate(epoch, alphabet, &entropy).and_then(|key| key.wrap(&kek, &entropy));
    let standing = StandingKey::generate(&entropy).and_then(|key| key.wrap(&kek, &entropy));
    let (Ok(wrapped), Ok(standing)) = (wrapped, standing) else { panic!("there are always bytes") };
    let (mut root, mut standing) = (wrapped.to_vec(), standing.to_vec());
    assert!(EpochKey::unwrap(Epoch(epoch.0 + 1), alphabet, &root, &kek).is_err(), "a root opens in another epoch");
    assert!(StandingKey::unwrap(&root, &kek).is_err(), "a root opens as the standing key");
    if damage(choices, &mut root) {
        assert!(EpochKey::unwrap(epoch, alphabet, &root, &kek).is_err(), "a root opens although it was changed");
    }
    if damage(choices, &mut standing) {
        assert!(StandingKey::unwrap(&standing, &kek).is_err(), "the standing key opens although it was changed");
    }
}

/// A vault in a store, and a hand that reaches behind it.
struct Shelf {
    vault: Vault,
    keys: Arc<Keyring>,
    hand: Connection,
    rows: Vec<(Pseudonym, Identifier)>,
}

static SHELF: LazyLock<Mutex<Shelf>> = LazyLock::new(|| Mutex::new(Shelf::new()));

/// A directory of this process's own. Those of processes that are gone are removed.
pub(super) fn scratch(name: &str) -> PathBuf {
    const PREFIX: &str = "sluis-fuzz-";
    let all = std::env::temp_dir();
    for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let there = entry.file_name().to_string_lossy().into_owned();
        let process = there.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let dir = all.join(format!("{PREFIX}{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    dir
}

impl Shelf {
    fn new() -> Self {
        let dir = scratch("vault");
        let store = Store::embedded(Embedded::open(&dir, Limits::default()).expect("a new store"));
        let hand = Connection::open(dir.join(DATABASE)).expect("the store's file");
        hand.pragma_update(None, "synchronous", "OFF").expect("a setting");
        let (keys, entropy): (_, Arc<dyn Entropy>) = (Arc::new(keyring(2, 1)), Arc::new(Same::default()));
        for epoch in [0, 1] {
            let row = EpochRow {
                epoch: Epoch(epoch),
                mark: b'Z',
                created: Timestamp(0),
                retired: None,
                destroyed: None,
                wrapped: vec![0; seal::WRAPPED],
                current: epoch == 1,
            };
            store.commit_blocking(vec![Op::EpochInsert(row)]).expect("a new row");
        }
        let vault = Vault::new(store, Arc::clone(&keys), entropy);
        let mut rows = Vec::new();
        for (text, declared) in IDENTIFIERS {
            let identifier = Identifier::from_wire(text, declared);
            let code = keys.code(&identifier, None);
            vault.record_blocking(&[Sighting { code, identifier: identifier.clone() }]).expect("a new row");
            rows.push((code, identifier));
        }
        Self { vault, keys, hand, rows }
    }

    /// Changes a row, reads it in every way, and puts it back.
    fn change(&mut self, choices: &mut Choices<'_>) {
        let (code, identifier) = choices.one_of(&self.rows).clone();
        let read = "SELECT epoch, class, blind, dek, sealed FROM vault WHERE code = ?";
        let was: (i64, i64, Vec<u8>, Vec<u8>, Vec<u8>) = self
            .hand
            .query_row(read, [code.as_str()], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .expect("the row is there");
        let mut now = was.clone();
        let which = choices.byte();
        if which & 1 != 0 {
            now.0 = [0, 1, 2, -1, i64::MAX][choices.below(5)];
        }
        if which & 2 != 0 {
            now.1 = [i64::from(choices.byte()), 300, -1][choices.below(3)];
        }
        for (bit, column) in [(4, &mut now.2), (8, &mut now.3), (16, &mut now.4)] {
            if which & bit != 0 {
                damage(choices, column);
            }
        }
        if which & 32 != 0 {
            // What another row has: opened here, it would be another's card.
            let (other, _) = choices.one_of(&self.rows);
            let theirs: (Vec<u8>, Vec<u8>) = self
                .hand
                .query_row("SELECT dek, sealed FROM vault WHERE code = ?", [other.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))
                .expect("a row");
            if which & 64 != 0 {
                now.3 = theirs.0;
            }
            now.4 = theirs.1;
        }
        self.write(&code, &now);
        self.vault.forget_memory();
        // An index of another length cannot be read.
        let whole = (now.0, now.1, now.2.len(), &now.3, &now.4) == (was.0, was.1, was.2.len(), &was.3, &was.4);
        let original = identifier.original.expose();
        let revealed = self.vault.reveal(&code).map(|clear| clear.expose().clone());
        assert_eq!(revealed.as_deref(), whole.then_some(&**original), "a changed row opens, or a whole one does not");
        let domain = Domain::emsp("NL", "ABC").expect("a party");
        assert_eq!(self.vault.translate(&code, &domain).is_some(), whole);
        let issuer = self.vault.issuer(&code);
        assert_eq!(issuer.map(|(class, _)| class), whole.then_some(identifier.class));
        // A second sight of the same card finds it whole, or the frame does not go up.
        self.vault.forget_memory();
        let recorded = self.vault.record_blocking(&[Sighting { code, identifier: identifier.clone() }]);
        assert!(recorded.is_err() || whole, "recorded over a row that does not restore");
        // The code of another epoch is another code, and has no row.
        let elsewhere = self.keys.code(&identifier, Some(Epoch(0)));
        assert!(self.vault.reveal(&elsewhere).is_none() && Class::from_byte(identifier.class.byte()) == Some(identifier.class));
        self.write(&code, &was);
    }

    fn write(&self, code: &Pseudonym, row: &(i64, i64, Vec<u8>, Vec<u8>, Vec<u8>)) {
        let mut statement = self
            .hand
            .prepare_cached("UPDATE vault SET epoch = ?, class = ?, blind = ?, dek = ?, sealed = ? WHERE code = ?")
            .expect("a statement");
        statement.execute(params![row.0, row.1, row.2, row.3, row.4, code.as_str()]).expect("a change");
    }
}
