//! Statistics on their way out: what counts, what is dropped before it is kept, one release or none whatever instant the process dies at, and nothing
//! left of what it was made from.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]
#![allow(unreachable_pub, missing_docs, reason = "test code in several files")]
#![allow(dead_code, reason = "two worlds, of which each is used in part")]

#[path = "billing/world.rs"]
mod billing;
#[path = "publication/counting.rs"]
mod counting;
#[path = "publication/disk.rs"]
mod disk;
#[path = "publication/kills.rs"]
mod kills;
#[path = "publication/objections.rs"]
mod objections;
#[path = "publication/offline.rs"]
mod offline;
#[path = "publication/release.rs"]
mod release;
#[path = "publication/world.rs"]
mod world;
