//! Opening a data directory, the life of epochs, and the card list.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use sluis::clock::Timestamp;
use sluis::custody::{Custody, EpochState, KEK_FILE, Notice, OpenError, Opening, Role, RotationError};
use sluis::identity::{Codes, Declared, Epoch, Identifier, Reveal, Sighting};
use sluis::keys::{Domain, KeyError};
use sluis::pseudonym::{Alphabet, Pseudonym};
use sluis::store::{DATABASE, StoreError};
use sluis::vault::VaultError;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn open(dir: &Path, role: Role) -> Result<Custody, OpenError> {
    Custody::open(dir, None, &Opening::new(role, NOW))
}

fn card(text: &str) -> Identifier {
    Identifier::from_wire(text, Declared::Undeclared)
}

fn sighting(custody: &Custody, text: &str) -> Sighting {
    let identifier = card(text);
    Sighting { code: custody.keys.code(&identifier, None), identifier }
}

/// One custody serves all connections.
const _: () = {
    const fn shared<T: Send + Sync + 'static>() {}
    shared::<Custody>();
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_start_makes_what_is_missing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("data");
    let first = open(&dir, Role::Serve).unwrap();
    assert_eq!(first.notices, [Notice::KeyCreated, Notice::KeyBesideData, Notice::FirstEpoch]);
    assert_eq!(first.keys.current(), Epoch(0));
    for file in [KEK_FILE, DATABASE, "sluis.db-wal", "sluis.db-shm", "serve.lock"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(fs::read_to_string(dir.join(KEK_FILE)).unwrap().trim().len(), 64);
    let seen = sighting(&first, "04:a2:b3:c4");
    first.vault.record(std::slice::from_ref(&seen)).await.unwrap();
    first.vault.pin("CS-1", "tx-1", Epoch(0), NOW).await.unwrap();
    let digest = first.keys.digest("serial", "S1");
    drop(first);

    let second = open(&dir, Role::Serve).unwrap();
    assert_eq!(second.notices, [Notice::KeyBesideData]);
    assert_eq!(second.vault.reveal(&seen.code).unwrap().expose(), "04:a2:b3:c4");
    assert_eq!(second.vault.pinned("CS-1", "tx-1"), Some(Epoch(0)));
    assert_eq!((second.vault.pinned("CS-1", "tx-2"), second.vault.pinned("CS-1t", "x-1")), (None, None));
    assert_eq!(second.keys.digest("serial", "S1"), digest);
    second.vault.unpin("CS-1", "tx-1").await.unwrap();
    assert_eq!(second.vault.pinned("CS-1", "tx-1"), None);
}

#[test]
fn a_second_gateway_is_refused_and_a_tool_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let serving = open(dir.path(), Role::Serve).unwrap();
    assert!(matches!(open(dir.path(), Role::Serve), Err(OpenError::Served(_))));
    let tool = open(dir.path(), Role::Beside).unwrap();
    let mut printed = Vec::new();
    tool.codes(&b"04A2B3C4\n"[..], &mut printed, None).unwrap();
    let code = Pseudonym::normalised(std::str::from_utf8(&printed).unwrap().trim().split('\t').nth(1).unwrap()).unwrap();
    assert_eq!(serving.vault.reveal(&code).unwrap().expose(), "04A2B3C4");
    drop(serving);
    open(dir.path(), Role::Serve).unwrap();
}

#[test]
fn key_files_are_private_right_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (data, key) = (dir.path().join("data"), dir.path().join("key"));
    let with_key = |opening: &Opening| Custody::open(&data, Some(&key), opening);
    let opening = Opening::new(Role::Beside, NOW);
    assert!(matches!(with_key(&opening), Err(OpenError::KeyFile { .. })), "a named key file is never made");
    fs::write(&key, [7; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(with_key(&opening), Err(OpenError::KeyReadable { mode: 0o640, .. })));
    let credential = Opening { credentials: Some(dir.path().to_owned()), ..opening.clone() };
    assert_eq!(with_key(&credential).unwrap().notices, [Notice::FirstEpoch]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(with_key(&opening).unwrap().notices.is_empty());
    assert!(matches!(open(&data, Role::Beside), Err(OpenError::KeyMissing(_))), "no new key over old data");
    let other = dir.path().join("other");
    fs::write(&other, "8".repeat(64)).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Custody::open(&data, Some(&other), &opening), Err(OpenError::WrongKey)));
    fs::write(&other, "hunter2").unwrap();
    let error = Custody::open(&data, Some(&other), &opening).unwrap_err();
    assert!(matches!(error, OpenError::KeyForm(_)) && !format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_epochs_life() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Serve).unwrap();
    let old = sighting(&custody, "04A2B3C4");
    custody.vault.record(std::slice::from_ref(&old)).await.unwrap();
    custody.vault.pin("CS-1", "7", Epoch(0), NOW).await.unwrap();
    custody.vault.pin("CS-1", "7", Epoch(1), NOW).await.unwrap();
    assert_eq!(custody.vault.pinned("CS-1", "7"), Some(Epoch(0)), "a transaction keeps the epoch it began in");

    assert_eq!(custody.destroy_epoch(Epoch(0), NOW), Err(RotationError::Store(StoreError::Conflict)), "the current one stays");
    assert_eq!(custody.create_epoch(Alphabet::Hex, NOW).unwrap(), Epoch(1));
    assert_eq!(custody.keys.current(), Epoch(0), "prepared, not used");
    assert_eq!(custody.rotate(NOW).unwrap(), Epoch(1));
    let new = sighting(&custody, "04A2B3C4");
    assert!(new.code.as_str().starts_with("F1") && new.code != old.code);
    custody.vault.record(std::slice::from_ref(&new)).await.unwrap();
    assert_eq!(custody.vault.reveal(&old.code).unwrap().expose(), "04A2B3C4");
    assert_eq!(custody.rotate(NOW).unwrap(), Epoch(2));
    assert_eq!(custody.rotate(NOW), Err(RotationError::Keys(KeyError::TooMany)));
    let states: Vec<_> = custody.epochs().unwrap().iter().map(|e| (e.epoch.0, e.state)).collect();
    assert_eq!(states, [(0, EpochState::Ending), (1, EpochState::Ending), (2, EpochState::Current)]);

    custody.destroy_epoch(Epoch(0), NOW).unwrap();
    custody.destroy_epoch(Epoch(0), NOW).unwrap();
    assert_eq!(custody.destroy_epoch(Epoch(9), NOW), Err(RotationError::Keys(KeyError::NotLive)));
    assert!(custody.vault.reveal(&old.code).is_none() && custody.keys.recognise(old.code.as_str()).is_none());
    assert_eq!(custody.vault.pinned("CS-1", "7"), None);
    assert_eq!(custody.vault.record(&[old]).await, Err(VaultError::NotLive));
    assert_eq!(custody.vault.reveal(&new.code).unwrap().expose(), "04A2B3C4", "other epochs stay");
    assert_eq!(custody.vault.sizes().unwrap().vault, 1);
    for n in 3..12 {
        assert_eq!(custody.rotate(NOW).unwrap(), Epoch(n), "digits come round");
        custody.destroy_epoch(Epoch(n - 2), NOW).unwrap();
    }
    assert_eq!(custody.epochs().unwrap().len(), 12);
}

/// Found by a reader: two prepared epochs, and the second rotation went back to the older one.
#[tokio::test]
async fn a_rotation_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Serve).unwrap();
    custody.create_epoch(Alphabet::Base32, NOW).unwrap();
    assert_eq!(custody.create_epoch(Alphabet::Hex, NOW), Err(RotationError::Keys(KeyError::Prepared)), "one at a time");
    custody.destroy_epoch(Epoch(1), NOW).unwrap();
    assert_eq!(custody.create_epoch(Alphabet::Hex, NOW), Ok(Epoch(2)), "instead of one that was not meant");
    assert_eq!((custody.rotate(NOW), custody.rotate(NOW)), (Ok(Epoch(2)), Ok(Epoch(3))));
}

#[tokio::test]
async fn what_a_tool_does_beside_a_gateway_reaches_it() {
    let dir = tempfile::tempdir().unwrap();
    let serving = open(dir.path(), Role::Serve).unwrap();
    let seen = sighting(&serving, "04A2B3C4");
    serving.vault.record(std::slice::from_ref(&seen)).await.unwrap();
    assert_eq!(serving.refresh(), Ok(false));
    let tool = open(dir.path(), Role::Beside).unwrap();
    assert_eq!(tool.rotate(NOW), Ok(Epoch(1)));
    assert_eq!(serving.refresh(), Ok(true));
    assert_eq!(serving.keys.current(), Epoch(1));
    assert!(serving.vault.reveal(&seen.code).is_some());
    assert_eq!(tool.vault.erase(&card("04-a2-b3-c4"), NOW).unwrap(), 1);
    assert!(serving.vault.reveal(&seen.code).is_some(), "in memory until the refresh");
    assert_eq!(serving.refresh(), Ok(true));
    assert!(serving.vault.reveal(&seen.code).is_none());
    assert_eq!(serving.keys.recognise(seen.code.as_str()), Some(seen.code), "still ours: never coded twice");
    tool.destroy_epoch(Epoch(0), NOW).unwrap();
    assert_eq!(serving.vault.record(std::slice::from_ref(&seen)).await, Err(VaultError::NotLive), "before the refresh too");
    serving.refresh().unwrap();
    assert_eq!(serving.keys.recognise(seen.code.as_str()), None);
}

#[tokio::test]
async fn two_cards_with_one_code_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Serve).unwrap();
    let seen = sighting(&custody, "04A2B3C4");
    let forged = Sighting { code: seen.code, identifier: card("04A2B3C5") };
    assert_eq!(custody.vault.record(&[seen.clone(), forged.clone()]).await, Err(VaultError::Collision), "in one step");
    assert!(custody.vault.reveal(&seen.code).is_none(), "nothing of the step happened");
    custody.vault.record(std::slice::from_ref(&seen)).await.unwrap();
    custody.vault.record(std::slice::from_ref(&seen)).await.unwrap();
    assert_eq!(custody.vault.record(std::slice::from_ref(&forged)).await, Err(VaultError::Collision), "by memory");
    custody.vault.forget_memory();
    assert_eq!(custody.vault.record(std::slice::from_ref(&forged)).await, Err(VaultError::Collision), "by the disk");
    assert_eq!(custody.vault.counts().recorded, 1, "a second sight costs no write");
    assert_eq!(custody.vault.counts().collisions, 3);
}

#[tokio::test]
async fn a_pin_is_coded_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Serve).unwrap();
    let identifier = Identifier::from_wire("4711", Declared::KeyCode);
    let code = custody.keys.code(&identifier, None);
    custody.vault.record(&[Sighting { code, identifier }]).await.unwrap();
    assert!(custody.vault.reveal(&code).is_none() && custody.vault.sizes().unwrap().vault == 0);
}

#[tokio::test]
async fn a_code_translates_to_other_domains_without_an_original() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Serve).unwrap();
    let seen = sighting(&custody, "NL-ABC-C12345678");
    let domain = Domain::emsp("nl", "abc").unwrap();
    assert_eq!(custody.vault.translate(&seen.code, &domain), None);
    custody.vault.record(std::slice::from_ref(&seen)).await.unwrap();
    custody.vault.forget_memory();
    assert_eq!(custody.vault.translate(&seen.code, &domain), Some(custody.keys.code_in(&domain, &card("nlabcc12345678"), None)));
    assert_eq!(custody.vault.issuer(&seen.code).unwrap().1.as_deref(), Some("NLABC"));
}

#[test]
fn the_card_list_is_converted_and_restorable() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Beside).unwrap();
    let many = if cfg!(debug_assertions) { 3_000 } else { 100_000 };
    let list: String =
        (0..many).map(|n| format!("{:02X}:{:02X}:{:02X}:{:02X}\r\n", n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255)).collect();
    let convert = |custody: &Custody, list: &str, epoch| {
        let mut printed = Vec::new();
        let done = custody.codes(list.as_bytes(), &mut printed, epoch).unwrap();
        (done, String::from_utf8(printed).unwrap())
    };
    let (done, printed) = convert(&custody, &list, None);
    assert_eq!((done.identifiers, printed.lines().count()), (many, many as usize));
    custody.vault.forget_memory();
    for line in printed.lines() {
        let (original, code) = line.split_once('\t').unwrap();
        assert_eq!(custody.vault.reveal(&Pseudonym::from_text(code).unwrap()).unwrap().expose(), original);
    }
    assert_eq!(convert(&custody, &list, None), (done, printed.clone()), "a second run changes nothing");

    let first = printed.lines().next().unwrap().split('\t').nth(1).unwrap();
    custody.create_epoch(Alphabet::Base32, NOW).unwrap();
    assert_eq!(convert(&custody, "00000000\n", None).1, format!("00000000\t{first}\n"));
    let ahead = convert(&custody, "00000000\n", Some(Epoch(1))).1;
    custody.rotate(NOW).unwrap();
    let rotating = convert(&custody, &format!("\n00000000\n{first}\n"), None);
    assert_eq!(rotating.1, format!("{}\t{first}\n{first}\t{first}\n", ahead.trim()));
    assert_eq!((rotating.0.identifiers, rotating.0.already, rotating.0.empty), (1, 1, 1));

    let long = format!("ok\n{}\n", "X".repeat(5000));
    let mut before = Vec::new();
    let error = custody.codes(long.as_bytes(), &mut before, None).unwrap_err().to_string();
    assert!(before.starts_with(b"ok\tZ1"), "what came before a bad line is done");
    assert!(error.starts_with("line 2 ") && !error.contains("XX"), "{error}");
    assert!(custody.codes(&b"caf\xE9\n"[..], Vec::new(), None).is_err());
    assert!(custody.codes(&b"x\n"[..], Vec::new(), Some(Epoch(5))).is_err());
}

#[test]
fn nothing_prints_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path(), Role::Beside).unwrap();
    let seen = sighting(&custody, "04A2B3C4");
    custody.vault.record_blocking(std::slice::from_ref(&seen)).unwrap();
    let row = custody.store().vault_row(&seen.code).unwrap().unwrap();
    let kek = fs::read_to_string(dir.path().join(KEK_FILE)).unwrap();
    let printed = format!(
        "{custody:?} {:?} {seen:?} {:?} {row:?} {:?}",
        custody.keys,
        seen.identifier.canonical,
        custody.store().epochs().unwrap()[0].epoch
    );
    for secret in ["04A2B3C4", "04a2b3c4", kek.trim()] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(if cfg!(debug_assertions) { 32 } else { 256 }))]
    #[test]
    fn restore_after_pseudonymise_is_identity(texts in proptest::collection::vec("\\PC{1,40}", 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let custody = open(dir.path(), Role::Beside).unwrap();
        for text in &texts {
            let seen = sighting(&custody, text);
            custody.vault.record_blocking(std::slice::from_ref(&seen)).unwrap();
            custody.vault.forget_memory();
            let restored = custody.vault.reveal(&custody.keys.recognise(&seen.code.as_str().to_ascii_lowercase()).unwrap()).unwrap();
            // The same identifier in the spelling first seen: letter for letter, up to case, separators and check digit.
            proptest::prop_assert_eq!(card(restored.expose()), card(text));
        }
    }
}
