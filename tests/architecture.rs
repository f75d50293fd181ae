//! The import map, read from the sources: pure rooms take time, randomness and storage as arguments; reporting rooms cannot name a
//! secret (I7); the three faces of the shell do not know each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that import no runtime, file, socket, clock or logger.
const PURE: &[&str] = &[
    "websocket",
    "secret",
    "ocpp",
    "pseudonym",
    "identity",
    "keys",
    "seal",
    "policy",
    "treat",
    "session",
    "charging",
    "cdr",
    "stats",
    "report",
];
/// What a pure room may not name.
const SHELL: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "tracing::",
    "metrics::",
    "rusqlite",
    "crate::clock::now",
    "println!",
    "eprintln!",
];
/// The rooms of the pure half, lowest first: each imports only what stands before it. `clock` lends its `Timestamp` to all.
const ORDER: &[&str] = &[
    "websocket",
    "secret",
    "ocpp",
    "pseudonym",
    "identity",
    "seal",
    "keys",
    "policy",
    "treat",
    "session",
    "charging",
    "cdr",
    "stats",
    "report",
];
/// Rooms that may handle clear identifiers (`crate::secret`, `crate::identity`).
const MAY_NAME_A_SECRET: &[&str] = &[
    "secret", "identity", "seal", "keys", "treat", "session", "vault", "store", "journal", "relay", "gateway", "demo", "config", "cli",
    "custody", "codes", "ocpi", "fuzz", "emsp", // the e-MSP handles its own customers' identifiers, at its own place
];
/// Rooms that bill and report: they never name a clear identifier, nor what could open or make one.
const REPORTING: &[&str] = &["charging", "cdr", "stats", "report", "billing", "publication"];
/// The only way to make a frame that a socket accepts.
const SOCKET_WORDS: &str = "Outgoing { text";

fn sources() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let mut rooms: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for path in files {
        let first = path.strip_prefix(&src).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        // Tests may do as they like.
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code: String = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        rooms.entry(room).or_default().push((path, code));
    }
    rooms
}

#[test]
fn pure_rooms_import_no_shell() {
    for (room, files) in sources().iter().filter(|(room, _)| PURE.contains(&room.as_str())) {
        for (path, code) in files {
            for word in SHELL {
                assert!(!code.contains(word), "{}: the pure room {room} names {word}", path.display());
            }
        }
    }
}

#[test]
fn imports_run_downwards() {
    let rooms = sources();
    for (at, room) in ORDER.iter().enumerate() {
        for (path, code) in rooms.get(*room).into_iter().flatten() {
            for (above, other) in ORDER.iter().enumerate() {
                let named = code.contains(&format!("crate::{other}::")) || code.contains(&format!("crate::{{{other}"));
                assert!(!named || above <= at, "{}: {room} imports {other}, which stands above it", path.display());
            }
        }
    }
}

#[test]
fn only_a_few_rooms_can_name_a_secret() {
    for (room, files) in sources().iter().filter(|(room, _)| !MAY_NAME_A_SECRET.contains(&room.as_str())) {
        for (path, code) in files {
            for door in ["crate::secret", "crate::identity::Identifier", ".expose()"] {
                assert!(!code.contains(door), "{}: the room {room} names {door}", path.display());
            }
        }
    }
}

/// I7: what bills and reports knows codes only, and the class of no identifier either.
#[test]
fn reporting_rooms_cannot_name_a_secret() {
    let rooms = sources();
    for room in REPORTING {
        for (path, code) in rooms.get(*room).into_iter().flatten() {
            for door in ["crate::secret", "crate::identity", "crate::keys", "crate::seal", ".expose()", "Sensitive"] {
                assert!(!code.contains(door), "{}: the reporting room {room} names {door}", path.display());
            }
        }
    }
}

#[test]
fn the_faces_of_the_shell_do_not_know_each_other() {
    let rooms = sources();
    let faces = ["gateway", "ocpi", "admin"];
    for face in faces {
        for (path, code) in rooms.get(face).into_iter().flatten() {
            for other in faces.iter().filter(|other| **other != face) {
                assert!(!code.contains(&format!("crate::{other}")), "{}: {face} imports {other}", path.display());
            }
        }
    }
}

/// What all faces share stands below them.
#[test]
fn the_rooms_below_the_faces_do_not_know_them() {
    let rooms = sources();
    for room in ["tls", "reload", "network"] {
        let files = rooms.get(room).into_iter().flatten();
        for (path, code) in files {
            for above in ["gateway", "ocpi", "admin", "serve", "cli", "config", "custody", "store", "vault"] {
                assert!(!code.contains(&format!("crate::{above}")), "{}: {room} imports {above}", path.display());
            }
        }
    }
}

/// What goes to other parties knows nothing of stations' connections, and they nothing of it.
#[test]
fn delivery_and_the_gateway_do_not_know_each_other() {
    let rooms = sources();
    for (room, others) in [("delivery", ["gateway", "admin"]), ("gateway", ["delivery", "ocpi"])] {
        for (path, code) in rooms.get(room).into_iter().flatten() {
            for other in others {
                assert!(!code.contains(&format!("crate::{other}")), "{}: {room} imports {other}", path.display());
            }
        }
    }
}

/// The attack is an oracle of its own: of the gateway it knows nothing but the facts of OCPP, and the clock.
#[test]
fn the_attack_knows_nothing_of_the_gateway() {
    let rooms = sources();
    for (path, code) in rooms.get("attack").into_iter().flatten() {
        for (at, _) in code.match_indices("crate::") {
            let named = &code[at + "crate::".len()..];
            let allowed = ["ocpp::Version", "ocpp::catalogue::", "clock::now"];
            assert!(allowed.iter().any(|a| named.starts_with(a)), "{}: the attack names {:?}", path.display(), named.lines().next());
        }
    }
}

/// I1: one door out. Only the treatment's own file makes an `Outgoing`.
#[test]
fn only_the_treatment_makes_an_outgoing_frame() {
    for (room, files) in sources() {
        for (path, code) in files {
            assert!(room == "treat" || !code.contains(SOCKET_WORDS), "{}", path.display());
            assert!(
                ["treat", "session"].contains(&room.as_str()) || !code.contains("Outgoing::own"),
                "{}: {room} words a frame itself",
                path.display()
            );
        }
    }
}

/// R21: only the engine makes a release, only publication makes files of one, and nothing else writes what is handed out.
#[test]
fn only_what_the_engine_released_is_published() {
    for (room, files) in sources() {
        for (path, code) in files {
            for (word, rooms) in [
                ("Release { figures", &["stats"][..]),
                ("Publishable(", &["publication"]),
                ("Publishable::of", &["publication"]),
                ("Op::Release(", &["publication", "store"]),
                ("Op::ReleasedAdd(", &["publication", "store"]),
                ("ReleasedFile {", &["publication", "store"]),
            ] {
                assert!(rooms.contains(&room.as_str()) || !code.contains(word), "{}: {room} names {word}", path.display());
            }
        }
    }
    let page = include_str!("../src/publication/sink.rs");
    for word in ["ChargingSession", "Visit", "Stay", "Gathering"] {
        assert!(!page.contains(word), "the sink names {word}");
    }
}

#[test]
fn there_is_no_unsafe_code_and_no_unwrap_of_input() {
    let manifest = include_str!("../Cargo.toml");
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    for (_, files) in sources() {
        for (path, code) in files {
            for word in [".unwrap()", "todo!(", "unimplemented!("] {
                assert!(!code.contains(word), "{}: {word}", path.display());
            }
        }
    }
}
