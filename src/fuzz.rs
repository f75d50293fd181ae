//! Bodies of the fuzz targets: any bytes in, and a panic if something that must always hold does not. They live here and not beside the
//! fuzzer, so that `cargo test` replays the corpus with them (`tests/fuzz_corpus.rs`) and they never rot. Behind the cargo feature `fuzz`;
//! an image for production is built without it. How to run them: `fuzz/README.md`.
//!
//! A new target is a file here with `pub fn run(bytes: &[u8])`, a line in [`TARGETS`], three lines in `fuzz/fuzz_targets/`, an entry in
//! `fuzz/Cargo.toml`, and seeds in `tests/fuzz_corpus.rs`.

pub mod canary;
pub mod choices;
pub mod corpus;
pub mod frame;
pub mod handshake;
mod lock;
pub mod message;
pub mod ocpi;
pub mod policy;
pub mod session;
pub mod treat;
pub mod valid;
pub mod vault;
pub mod websocket;

/// What a target does with an input.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 8] = [
    ("frame", frame::run),
    ("treat", treat::run),
    ("session", session::run),
    ("policy", policy::run),
    ("handshake", handshake::run),
    ("vault", vault::run),
    ("ocpi", ocpi::run),
    ("websocket", websocket::run),
];
