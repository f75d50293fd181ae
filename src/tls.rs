//! TLS, for all who listen and all who dial: certificates of both kinds side by side, client certificates checked against authorities and
//! revocation lists, everything read again when its files change. Below [`gateway`](crate::gateway), [`ocpi`](crate::ocpi) and
//! [`admin`](crate::admin), which do not know each other. rustls with ring: TLS 1.2 and 1.3, nothing older, no RSA key exchange.

mod certificate;
mod client;
pub mod files;
mod report;
mod server;
mod trouble;

pub use certificate::{Certificate, KeyKind, next_update};
pub use client::{ClientFiles, client};
pub use report::{REQUIRED, report};
pub use server::{Revocation, Server, ServerFiles, Tickets};
pub use trouble::Trouble;

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// Days before the end of a certificate from which on it is warned of.
pub const WARN_DAYS: i64 = 30;
/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
