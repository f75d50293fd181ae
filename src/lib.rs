//! Sluis: an inline privacy gateway for EV charging.
pub mod clock;
pub mod custody;
pub mod identity;
pub mod journal;
pub mod keys;
pub mod ocpp;
pub mod policy;
pub mod pseudonym;
pub mod seal;
pub mod secret;
pub mod session;
pub mod store;
pub mod treat;
pub mod vault;
