//! What lies on the disk: before the release only what is sealed, after it nothing at all of what the release was made from.

use crate::world::*;
use base64::Engine;
use hkdf::Hkdf;
use sha2::Sha256;
use sluis::publication::SystemNoise;
use sluis::seal::WrappingKey;
use sluis::store::Store;
use std::fs;
use std::path::Path;

/// Everything under a directory.
pub fn everything(dir: &Path) -> Vec<u8> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { everything(&path) } else { fs::read(path).unwrap() })
        .collect()
}

/// In the ways that bytes are written.
fn spellings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    vec![bytes.to_vec(), hex.clone().into_bytes(), hex.to_uppercase().into_bytes(), base64.into_bytes(), url.into_bytes()]
}

fn holds(content: &[u8], bytes: &[u8]) -> bool {
    spellings(bytes).iter().any(|spelling| memchr::memmem::find(content, spelling).is_some())
}

/// [`holds`] for many at once, in one pass over the content: the number of the first that is there.
pub fn holds_any<'a>(content: &[u8], all: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let spelt: Vec<Vec<u8>> = all.flat_map(spellings).collect();
    let search = aho_corasick::AhoCorasick::new(&spelt).unwrap();
    search.find(content).map(|found| found.pattern().as_usize() / 5)
}

/// The period's secret, opened with what the data directory and the key file have: derived here once more, from the description.
pub fn secret(data: &Path, store: &Store, name: &str) -> [u8; 32] {
    let kek = fs::read_to_string(data.join("kek")).unwrap();
    let kek: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&kek[2 * at..2 * at + 2], 16).unwrap()).collect();
    let standing = store.standing().unwrap().unwrap();
    let standing = WrappingKey::new(kek.as_slice().try_into().unwrap()).unwrap(&standing, b"v1|standing").unwrap();
    let mut wrapping = [0; 32];
    Hkdf::<Sha256>::new(Some(&kek), standing.expose()).expand(b"sluis 20261124 standing record keys", &mut wrapping).unwrap();
    let wrapped = store.period(name).unwrap().unwrap().wrapped;
    *WrappingKey::new(&wrapping).unwrap(&wrapped, format!("v1|period|{name}").as_bytes()).unwrap().expose()
}

#[test]
fn before_a_release_everything_is_sealed_and_after_it_nothing_is_left() {
    let world = World::new();
    world.lives(20);
    let secrets = [MONTH, QUARTER].map(|name| secret(&world.data(), world.custody.store(), name));
    let wrapped = [MONTH, QUARTER].map(|name| world.custody.store().period(name).unwrap().unwrap().wrapped);
    let visits: Vec<_> = [MONTH, QUARTER].into_iter().flat_map(|name| world.visits(name)).collect();
    assert_eq!(visits.len(), 200);
    let disk = everything(&world.data());
    assert!(secrets.iter().all(|secret| !holds(&disk, secret)), "a secret lies open");
    for open in ["EVSE-", "HPC-", "AC-1", "session-", "\"w\":"] {
        assert!(memchr::memmem::find(&disk, open.as_bytes()).is_none(), "{open} lies open");
    }
    assert!(
        wrapped.iter().chain(visits.iter().map(|visit| &visit.sealed.text)).all(|bytes| holds(&disk, bytes)),
        "the search finds what is there"
    );
    for name in [MONTH, QUARTER] {
        world.publication.close(period(name), CLOSED, &mut SystemNoise::new()).unwrap();
    }
    for when in ["beside the running gateway", "after it was stopped"] {
        let disk = everything(&world.data());
        let keys = secrets.iter().map(<[u8; 32]>::as_slice).chain(wrapped.iter().map(Vec::as_slice));
        let parts = visits.iter().flat_map(|visit| [&visit.sealed.text[..], &visit.sealed.wrapped, &visit.session, &visit.card]);
        assert_eq!(holds_any(&disk, keys.chain(parts)), None, "a secret or a visit, {when}");
        // The released bytes themselves are there.
        assert!(memchr::memmem::find(&disk, b"\"format\": \"sluis statistics release 1\"").is_some());
        if when.starts_with("beside") {
            world.custody.store().scrub().unwrap();
        }
    }
    let World { dir, publication, custody, .. } = world;
    drop((publication, custody));
    let disk = everything(&dir.path().join("data"));
    let parts = secrets.iter().map(<[u8; 32]>::as_slice).chain(visits.iter().map(|visit| &visit.sealed.text[..]));
    assert_eq!(holds_any(&disk, parts), None);
}

/// Nothing that is released, and nothing that is kept of it, says how many sessions or contributors there were.
#[test]
fn no_exact_number_of_sessions_is_kept() {
    let world = World::new();
    world.lives(123);
    world.publication.close(period(QUARTER), CLOSED, &mut SystemNoise::new()).unwrap();
    let row = world.custody.store().period(QUARTER).unwrap().unwrap();
    assert_eq!(row.version, 0);
    for (name, bytes) in world.publication.released(period(QUARTER)).unwrap().unwrap() {
        let text = String::from_utf8(bytes).unwrap();
        let numbers: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        assert!(!numbers.contains(&"615") && !numbers.contains(&"123"), "{name}");
    }
}

/// A data directory from before there were statistics is taken over as it is.
#[test]
fn a_store_from_before_there_were_statistics_counts_from_now_on() {
    let world = World::new();
    let data = world.data();
    let World { dir, publication, custody, .. } = world;
    drop((publication, custody));
    let old = rusqlite::Connection::open(data.join(sluis::store::DATABASE)).unwrap();
    old.execute_batch(
        "DROP TABLE period; DROP TABLE visit; DROP TABLE ledger; DROP TABLE released; DROP TABLE opt_out; PRAGMA user_version = 2",
    )
    .unwrap();
    drop(old);
    let custody = crate::world::custody(&data, sluis::custody::Role::Serve);
    custody.store().commit_blocking(vec![custody.vault.new_period(MONTH, THEN).unwrap()]).unwrap();
    assert!(custody.vault.period_key(MONTH).unwrap().is_some());
    drop(dir);
}
