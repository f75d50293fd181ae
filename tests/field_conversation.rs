//! Field failures of the conversation, each reproduced and named for its row in docs/field.md: at the level of the session, and on the
//! wire through a running gateway where the wire matters.

#[path = "field_conversation/calls.rs"]
mod calls;
mod common;
#[path = "field_conversation/limits.rs"]
mod limits;
#[path = "field_conversation/replay.rs"]
mod replay;
#[path = "field_conversation/sloppy.rs"]
mod sloppy;
#[path = "field_conversation/tags.rs"]
mod tags;
#[path = "field_conversation/wire.rs"]
mod wire;
