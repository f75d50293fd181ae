//! What lies on the disk: damage is noticed, rows are bound to their places, nothing names anybody, and what was erased is nowhere.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use sluis::clock::Timestamp;
use sluis::custody::{Custody, OpenError, Opening, Role};
use sluis::identity::{Codes, Declared, Identifier, Reveal, Sighting};
use sluis::secret::Sensitive;
use sluis::store::{DATABASE, StoreError};
use std::fs;
use std::path::Path;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn open(dir: &Path) -> Custody {
    Custody::open(dir, None, &Opening::new(Role::Serve, NOW)).unwrap()
}

fn seen(custody: &Custody, text: &str) -> Sighting {
    let identifier = Identifier::from_wire(text, Declared::Undeclared);
    Sighting { code: custody.keys.code(&identifier, None), identifier }
}

#[test]
fn damage_is_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let file = dir.path().join(DATABASE);
    let whole = fs::read(&file).unwrap();
    let reopen = || Custody::open(dir.path(), None, &Opening::new(Role::Serve, NOW));
    fs::write(&file, b"this is no database, it only says so, and it goes on for a while so that the header is complete........").unwrap();
    assert!(matches!(reopen().unwrap_err(), OpenError::Store { why: StoreError::Corrupt, .. }));
    let mut holed = whole.clone();
    holed[4096..].fill(0xA5);
    fs::write(&file, &holed).unwrap();
    assert!(reopen().is_err());
    fs::write(&file, &whole).unwrap();
    reopen().unwrap();
}

#[tokio::test]
async fn nothing_on_the_disk_names_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let cards: Vec<String> = (1..=1000u32).map(|n| format!("04{:012X}", u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16)).collect();
    for chunk in cards.chunks(50) {
        let sightings: Vec<_> = chunk.iter().map(|card| seen(&custody, card)).collect();
        custody.vault.record(&sightings).await.unwrap();
    }
    for card in &cards[..100] {
        custody.vault.pin("CS-1", card, custody.keys.current(), NOW).await.unwrap();
        assert_eq!(custody.vault.erase(&Identifier::from_wire(card, Declared::Undeclared), NOW).unwrap(), 1);
    }
    let scan = || {
        let bytes: Vec<u8> = fs::read_dir(dir.path()).unwrap().flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for card in &cards {
            let raw: Vec<u8> = (0..14).step_by(2).map(|at| u8::from_str_radix(&card[at..at + 2], 16).unwrap()).collect();
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let separated = card.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect::<Vec<_>>().join(":");
            let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, bytes).into_bytes();
            let reversed = raw.iter().rev().copied().collect();
            needles.extend([card.clone().into_bytes(), card.to_lowercase().into_bytes(), separated.into_bytes(), reversed]);
            needles.extend([
                hex(card.as_bytes()).into_bytes(),
                hex(card.as_bytes()).to_uppercase().into_bytes(),
                base64(card.as_bytes()),
                base64(&raw),
                raw,
            ]);
        }
        assert!(bytes.len() > 100_000, "something to scan");
        let found = aho_corasick::AhoCorasick::new(&needles).unwrap().find(&bytes);
        assert!(found.is_none(), "a card number at byte {:?}", found.map(|hit| hit.start()));
    };
    scan();
    drop(custody);
    scan();
}

/// Everything in the data directory but the key file.
fn files(dir: &Path) -> Vec<u8> {
    fs::read_dir(dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| !path.ends_with("kek"))
        .flat_map(|path| fs::read(path).unwrap())
        .collect()
}

#[tokio::test]
async fn what_was_erased_or_destroyed_is_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let sightings: Vec<_> = (0..200).map(|n| seen(&custody, &format!("visitor {n}"))).collect();
    custody.vault.record(&sightings).await.unwrap();
    let row = |n: usize| custody.store().vault_row(&sightings[n].code).unwrap();
    let (gone, stays) = (row(7).unwrap().sealed, row(8).unwrap().sealed);
    let root = custody.store().epochs().unwrap()[0].wrapped.clone();
    let holds = |what: &[u8]| memchr::memmem::find(&files(dir.path()), what).is_some();
    assert!(holds(&gone.wrapped) && holds(&root));
    assert_eq!(custody.vault.erase(&sightings[7].identifier, NOW).unwrap(), 1);
    assert!(row(7).is_none() && !holds(&gone.wrapped) && !holds(&gone.text) && holds(&stays.wrapped));
    assert_eq!(custody.vault.sizes().unwrap().vault, 199);
    custody.rotate(NOW).unwrap();
    custody.destroy_epoch(sluis::identity::Epoch(0), NOW).unwrap();
    assert!(!holds(&root) && !holds(&stays.wrapped) && !holds(&stays.text));
    assert_eq!(custody.vault.sizes().unwrap().vault, 0);
}

#[tokio::test]
async fn rows_that_were_swapped_or_altered_do_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let sightings: Vec<_> = ["04A2B3C4", "04A2B3C5", "04A2B3C6", "visitor"].iter().map(|card| seen(&custody, card)).collect();
    custody.vault.record(&sightings).await.unwrap();
    let [a, b, c, d] = [0, 1, 2, 3].map(|n| sightings[n].code.to_string());
    let other = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
    other.execute("UPDATE vault SET (dek, sealed) = (SELECT dek, sealed FROM vault WHERE code = ?2) WHERE code = ?1", [&a, &b]).unwrap();
    other.execute("UPDATE vault SET class = 79 WHERE code = ?", [&c]).unwrap();
    custody.vault.forget_memory();
    for n in [0, 2] {
        assert!(custody.vault.reveal(&sightings[n].code).is_none());
        assert!(custody.vault.record(&sightings[n..=n]).await.is_err(), "what cannot be restored may not leave");
    }
    assert_eq!(custody.vault.reveal(&sightings[1].code).unwrap().expose(), "04A2B3C5");
    assert!(custody.vault.counts().failures >= 2);
    // A root from another epoch's row does not open either.
    custody.rotate(NOW).unwrap();
    other.execute("UPDATE epoch SET wrapped = (SELECT wrapped FROM epoch WHERE counter = 0) WHERE counter = 1", []).unwrap();
    assert_eq!(custody.vault.reveal(&sightings[3].code).unwrap().expose(), "visitor", "{d}");
    drop(custody);
    assert!(matches!(Custody::open(dir.path(), None, &Opening::new(Role::Serve, NOW)).unwrap_err(), OpenError::WrongKey));
}

/// An e-MSP that pushes guessed card numbers could tell by the clock which were seen here before, if those took fewer flushes of the disk.
#[tokio::test]
async fn keeping_a_token_takes_one_change_whether_its_identifiers_were_seen_before_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    custody.vault.record(&[seen(&custody, "04A2B3C4D5E601"), seen(&custody, "NLABCC00000001")]).await.unwrap();
    // A frame of the log that ends a change has the size of the database in its header (SQLite file format, §4.1).
    let changes = || {
        let log = fs::read(dir.path().join(format!("{DATABASE}-wal"))).unwrap();
        let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
        log[32..].chunks_exact(24 + page).filter(|frame| frame[4..8] != [0; 4]).count()
    };
    let owner = sluis::recipient::Party::parse("NL-ABC").unwrap();
    for (uid, contract) in [("04A2B3C4D5E601", "NLABCC00000001"), ("04A2B3C4D5E602", "NLABCC00000002")] {
        let object = serde_json::json!({
            "country_code": "NL", "party_id": "ABC", "uid": uid, "type": "RFID", "contract_id": contract, "issuer": "", "valid": true,
            "whitelist": "ALLOWED", "last_updated": "2026-11-24T10:00:00Z",
        });
        let token = sluis::vault::tokens::EmspToken::from_object(owner, sluis::recipient::Ocpi::V221, &object).unwrap();
        let before = changes();
        custody.vault.keep_token(&token).await.unwrap();
        assert_eq!(changes() - before, 1, "{uid}");
    }
}

/// Whoever can write to the disk cannot hand one e-MSP's token, reference or credentials to another.
#[tokio::test]
async fn tokens_references_and_credentials_that_were_swapped_do_not_open_and_erased_ones_are_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let party = |text: &str| sluis::recipient::Party::parse(text).unwrap();
    let (one, other) = (party("NL-ABC"), party("NL-XYZ"));
    for (owner, uid) in [(one, "04A2B3C4D5E601"), (other, "04A2B3C4D5E602")] {
        let object = serde_json::json!({
            "country_code": owner.country(), "party_id": owner.id(), "uid": uid, "type": "RFID", "contract_id": "c", "issuer": "", "valid": true,
            "whitelist": "ALLOWED", "last_updated": "2026-11-24T10:00:00Z",
        });
        let token = sluis::vault::tokens::EmspToken::from_object(owner, sluis::recipient::Ocpi::V221, &object).unwrap();
        let code = custody.vault.keep_token(&token).await.unwrap().uid;
        custody.vault.keep_reference(code.as_str(), &owner, "reference", NOW).await.unwrap();
        custody.keep_secret(&format!("ocpi {owner}"), &Sensitive::new(format!("credentials of {owner}"))).await.unwrap();
    }
    let rows: Vec<_> = custody.store().tokens_after(None, 10).unwrap();
    let names = custody.store().secret_names("").unwrap();
    let uid = |text: &str| Sensitive::new(text.to_owned());
    let swap = |table: &str, key: &str, pair: [&dyn rusqlite::ToSql; 2]| {
        let other = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
        let sql = format!("UPDATE {table} SET (dek, sealed) = (SELECT dek, sealed FROM {table} WHERE {key} = ?2) WHERE {key} = ?1");
        assert_eq!(other.execute(&sql, pair.as_slice()).unwrap(), 1);
    };
    assert_eq!(custody.vault.token(&other, &uid("04A2B3C4D5E602"), None).unwrap().unwrap().uid.expose(), "04A2B3C4D5E602");
    swap("token", "blind", [&rows[0].blind, &rows[1].blind]);
    assert!(custody.vault.token(&one, &uid("04A2B3C4D5E601"), None).is_err());
    assert_eq!(names.len(), 4);
    swap("secret", "name", [&names[0], &names[1]]);
    swap("secret", "name", [&names[2], &names[3]]);
    let code = names[0].rsplit(' ').next().unwrap();
    assert!(custody.vault.reference(code, &one, NOW).is_err() && custody.secret(&names[2]).is_err() && custody.secret(&names[3]).is_ok());
    // Erased, its bytes are gone too.
    let holds = |what: &[u8]| memchr::memmem::find(&files(dir.path()), what).is_some();
    let sealed = &rows[1].sealed;
    assert!(holds(&sealed.wrapped) && holds(&sealed.text));
    custody.vault.erase(&Identifier::from_wire("04A2B3C4D5E602", Declared::Undeclared), NOW).unwrap();
    custody.vault.erase(&Identifier::from_wire("04A2B3C4D5E601", Declared::Undeclared), NOW).unwrap();
    assert!(!holds(&sealed.wrapped) && !holds(&sealed.text) && custody.store().sizes().unwrap().tokens == 0);
}
