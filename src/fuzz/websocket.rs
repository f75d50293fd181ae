//! The framing of the WebSocket, whose properties live beside it.

pub use crate::websocket::fuzz::run;
