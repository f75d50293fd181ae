//! Attackers against a release. Each attack is played against the house as it is, which must hold, and against houses with a planted fault, of which
//! each must lose at least one: an attack that no fault can lose proves nothing.
//!
//! The fast part runs with all other tests; the whole game of 2,000 + 2,000 releases:
//! `cargo test --release --test stats_attacks -- --include-ignored --nocapture`
#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "stats_attacks/attackers.rs"]
mod attackers;
#[path = "stats_attacks/books.rs"]
mod books;
#[path = "stats_attacks/houses.rs"]
mod houses;
#[path = "stats_attacks/matrix.rs"]
mod matrix;
#[path = "stats_attacks/world.rs"]
mod world;
