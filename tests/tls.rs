//! TLS and identity on real sockets: security profiles, certificates of every kind, reloading under a live connection, and what a station
//! that may not come in finds. A central system that counts who reached it stands behind.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

mod common;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/passwords.rs"]
mod passwords;
#[path = "tls/ports.rs"]
mod ports;
#[path = "tls/profiles.rs"]
mod profiles;
#[path = "tls/reload.rs"]
mod reload;
#[path = "tls/upstream.rs"]
mod upstream;
#[path = "tls/world.rs"]
mod world;
