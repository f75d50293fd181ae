//! OCPI, the protocol between charge-point operators and e-MSPs: who the other parties are and how they prove it, how they are called, and what they
//! may ask of us.
//!
//! To e-MSPs we are the charge-point operator: they pull their CDRs and push their tokens. To the central system we are the e-MSPs: it is told of
//! their tokens, as codes, and asks about one in real time. Whatever a caller may not know, it is told in the words it would hear of what is not there.

mod address;
mod auth;
mod authorize;
mod cdrs;
pub mod client;
mod credentials;
pub mod directory;
mod envelope;
pub mod exchange;
mod listener;
pub mod peer;
mod places;
mod resolve;
pub mod server;
pub mod token;
mod tokens;
mod versions;
