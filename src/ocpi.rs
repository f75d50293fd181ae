//! OCPI, the protocol between charge-point operators and e-MSPs: who the other parties are and how they prove it.

mod address;
pub mod client;
pub mod directory;
pub mod peer;
pub mod token;
