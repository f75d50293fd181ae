//! Who calls: the credentials token in the Authorization header, and what it opens.
//!
//! A token is looked up by a keyed digest and then compared in constant time with the one in the vault's store. The digests are in memory; they are
//! read anew when a token is unknown (another process may have exchanged credentials), together for all who wait, and never faster than
//! [`PAUSE`], so that no flood of wrong tokens keeps the store busy.
//!
//! Sources: OCPI 2.2.1 §Transport and format (Authorization header: base64 since 2.2-d2; 2.1.1 and many 2.2 platforms send it as it is),
//! §Credentials (CREDENTIALS_TOKEN_A opens versions and credentials only). The specification's examples encode a line feed behind the token.

use super::peer::{Peer, Peers, Who};
use crate::custody::SecretError;
use crate::network::Network;
use crate::secret::Sensitive;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::HeaderValue;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// Characters of a credentials token (2.2.1 §Credentials object).
pub(super) const LONGEST_TOKEN: usize = 64;
/// How long after one another the digests are read anew.
const PAUSE: Duration = Duration::from_millis(100);
/// Networks whose failures are counted; those beyond share a counter.
const NETWORKS: usize = 1024;
/// Failures of a network in a minute after which CREDENTIALS_TOKEN_A opens nothing for the rest of it. Tokens that we drew ourselves always open:
/// they cannot be guessed, and many parties may come from behind one address.
const FAILURES: u64 = 30;

/// A caller whose token was right.
pub(super) struct Caller {
    /// Who it is.
    pub(super) who: Who,
    /// By what it came in.
    pub(super) by: By,
    /// The token.
    pub(super) token: Sensitive<String>,
    /// Whether the token came as it is rather than in base64.
    pub(super) raw: bool,
}

/// What kind of token was shown.
pub(super) enum By {
    /// One of ours, given in an exchange of credentials: opens everything that is the party's.
    Peer(Peer),
    /// CREDENTIALS_TOKEN_A: opens versions and credentials, and may register.
    Invitation,
    /// One of ours that the party has been offered in an exchange that we began and that has not ended: opens versions and credentials.
    Offer,
}

/// An invitation to register: a party and the digest of its CREDENTIALS_TOKEN_A.
pub(super) struct Invitation {
    pub(super) who: Who,
    pub(super) digest: [u8; 16],
}

/// The door.
pub(super) struct Doors {
    peers: Peers,
    parties: Vec<Who>,
    invitations: Vec<Invitation>,
    digests: RwLock<HashMap<[u8; 16], Who>>,
    read: tokio::sync::Mutex<Option<Instant>>,
    failures: Failures,
}

impl Doors {
    pub(super) fn new(peers: Peers, parties: Vec<Who>, invitations: Vec<Invitation>) -> Self {
        let (digests, failures) = (RwLock::new(HashMap::new()), Failures::new());
        Self { peers, parties, invitations, digests, read: tokio::sync::Mutex::new(None), failures }
    }

    /// Who comes in; `None` for nobody that is known.
    ///
    /// # Errors
    /// The store failed: nothing is known then.
    pub(super) async fn enter(&self, header: Option<&HeaderValue>, from: IpAddr, minute: u64) -> Result<Option<Caller>, SecretError> {
        let shown = header.map(shown).unwrap_or_default();
        if shown.is_empty() {
            return Ok(None);
        }
        let shown: Vec<_> = shown.into_iter().map(|(token, raw)| (self.peers.digest(&token), token, raw)).collect();
        for again in [false, true] {
            if again {
                self.look_again().await?;
            }
            for (digest, token, raw) in &shown {
                let found = self.digests.read().unwrap_or_else(PoisonError::into_inner).get(digest).copied();
                let Some(who) = found else { continue };
                if let Some(by) = self.holds(who, token)? {
                    return Ok(Some(Caller { who, by, token: token.clone(), raw: *raw }));
                }
            }
            if again {
                break;
            }
            if !self.failures.are_too_many(from, minute) {
                for (digest, token, raw) in &shown {
                    let invited = self.invitations.iter().find(|invitation| invitation.digest.ct_eq(digest).into());
                    if let Some(invitation) = invited
                        && !self.peers.is_spent(invitation.who, digest)?
                    {
                        return Ok(Some(Caller { who: invitation.who, by: By::Invitation, token: token.clone(), raw: *raw }));
                    }
                }
            }
        }
        self.failures.count(from, minute);
        Ok(None)
    }

    /// What the token opens now, by the store: it may have been taken back meanwhile.
    fn holds(&self, who: Who, token: &Sensitive<String>) -> Result<Option<By>, SecretError> {
        if let Some(peer) = self.peers.find(who)?
            && peer.theirs.as_ref().is_some_and(|theirs| is_same(theirs, token))
        {
            return Ok(Some(By::Peer(peer)));
        }
        Ok(self.peers.offered(who)?.filter(|offered| is_same(offered, token)).map(|_| By::Offer))
    }

    /// Reads all digests anew, unless that was done since this was called.
    async fn look_again(&self) -> Result<(), SecretError> {
        let asked = Instant::now();
        let mut read = self.read.lock().await;
        if let Some(last) = *read {
            if last > asked {
                return Ok(());
            }
            tokio::time::sleep_until(last + PAUSE).await;
        }
        *read = Some(Instant::now());
        let mut digests = HashMap::new();
        for who in &self.parties {
            let tokens = [self.peers.find(*who)?.and_then(|peer| peer.theirs), self.peers.offered(*who)?];
            digests.extend(tokens.iter().flatten().map(|token| (self.peers.digest(token), *who)));
        }
        *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests;
        Ok(())
    }
}

/// Each reading of an Authorization header that could be a token, and whether it stood there as it is.
fn shown(header: &HeaderValue) -> Vec<(Sensitive<String>, bool)> {
    let Some((scheme, text)) = header.to_str().ok().and_then(|text| text.trim().split_once(' ')) else { return Vec::new() };
    if !scheme.eq_ignore_ascii_case("token") {
        return Vec::new();
    }
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));
    let text = text.trim();
    let decoded = LENIENT.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let readings = [(decoded, false), (Some(text.to_owned()), true)];
    let token = |(text, raw): (Option<String>, bool)| text.and_then(|text| is_token(text.trim_end_matches('\n'))).map(|token| (token, raw));
    readings.into_iter().filter_map(token).collect()
}

/// A credentials token: 1 to 64 characters, U+0021 to U+007E.
pub(super) fn is_token(text: &str) -> Option<Sensitive<String>> {
    let fits = (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    fits.then(|| Sensitive::new(text.to_owned()))
}

fn is_same(one: &Sensitive<String>, other: &Sensitive<String>) -> bool {
    one.expose().as_bytes().ct_eq(other.expose().as_bytes()).into() // in constant time, and nothing leaves
}

/// Failures by network in the current minute. A fixed number of counters: an attacker with many networks fills none of our memory.
struct Failures {
    /// The minute in the upper half, failures in the lower.
    counters: Vec<AtomicU64>,
    hash: RandomState,
}

impl Failures {
    fn new() -> Self {
        Self { counters: (0..NETWORKS).map(|_| AtomicU64::new(0)).collect(), hash: RandomState::new() }
    }

    /// A /24 or a /48.
    fn counter(&self, from: IpAddr) -> Option<&AtomicU64> {
        self.counters.get((self.hash.hash_one(Network::of(from)) % NETWORKS as u64) as usize)
    }

    fn are_too_many(&self, from: IpAddr, minute: u64) -> bool {
        let seen = self.counter(from).map_or(0, |counter| counter.load(Ordering::Relaxed));
        seen >> 32 == minute && seen & 0xffff_ffff >= FAILURES
    }

    fn count(&self, from: IpAddr, minute: u64) {
        let Some(counter) = self.counter(from) else { return };
        let next = |seen: u64| Some(if seen >> 32 == minute { seen.saturating_add(1) } else { minute << 32 | 1 });
        let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(header: &str) -> Vec<(String, bool)> {
        shown(&HeaderValue::from_str(header).unwrap()).into_iter().map(|(token, raw)| (token.expose().clone(), raw)).collect()
    }

    #[test]
    fn a_token_is_read_in_base64_and_as_it_is() {
        let both = [("example-token".to_owned(), false), ("ZXhhbXBsZS10b2tlbgo=".to_owned(), true)];
        // The specification's own example, with the line feed it encodes.
        assert_eq!(readings("Token ZXhhbXBsZS10b2tlbgo="), both);
        assert_eq!(readings("token  ZXhhbXBsZS10b2tlbg")[0], both[0]);
        assert_eq!(readings("TOKEN my-token!"), [("my-token!".to_owned(), true)]);
        for none in ["", "Token", "Token ", "Bearer abc", "Basic YTpi", "Token a b"] {
            assert!(readings(none).is_empty(), "{none}");
        }
        assert!(readings(&format!("Token {}!", "a".repeat(64))).is_empty(), "too long");
    }

    #[test]
    fn failures_are_counted_by_network_and_minute() {
        let failures = Failures::new();
        let (here, near, far) = ("192.0.2.1".parse().unwrap(), "192.0.2.200".parse().unwrap(), "2001:db8::1".parse().unwrap());
        for _ in 0..FAILURES {
            assert!(!failures.are_too_many(here, 7));
            failures.count(here, 7);
        }
        assert!(failures.are_too_many(near, 7) && !failures.are_too_many(here, 8));
        let shared = std::ptr::eq(failures.counter(here).unwrap(), failures.counter(far).unwrap());
        assert_eq!(failures.are_too_many(far, 7), shared);
        failures.count(here, 8);
        assert!(!failures.are_too_many(here, 8));
    }
}
