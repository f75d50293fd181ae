//! What stations, central systems and networks do in the field, reproduced on the wire. Each test is named for the failure that it shows
//! (see docs/field.md).

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/wire.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod wire;

#[path = "field/csms.rs"]
mod csms;
#[path = "field/handshakes.rs"]
mod handshakes;
#[path = "field/identity.rs"]
mod identity;
#[path = "field/limits.rs"]
mod limits;
#[path = "field/program.rs"]
mod program;
#[path = "field/stale.rs"]
mod stale;
#[path = "field/storms.rs"]
mod storms;
#[path = "field/versions.rs"]
mod versions;
