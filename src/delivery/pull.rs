//! Tokens of an e-MSP, pulled from where it offers them (2.2.1 §Tokens, GET of the sender interface): what changed since the last pull, page
//! by page, and all of them once a day. A page is followed only on the same scheme, host and port. An object that cannot be read is skipped and counted.
//!
//! How far a pull came is in the store: the newest `last_updated` that was seen, by the e-MSP's own clock, so that a wrong clock of ours
//! misses nothing; but never a moment still to come, which would hide all changes until then.
//!
//! Pages go by offset: whatever leaves its place between two of them moves the rest up by one, and the first of the next page is skipped. A
//! token that is updated may do that, and so may one that is taken away. So a pull of several pages in which the count changed, or with a token
//! that was updated since it began, is made again, and the mark stays until one was quiet. What no pull could tell (clocks far apart, no count)
//! is found by a pull of all tokens, once a day; with that the mark moves on in any case.

use super::backoff::Backoff;
use super::{Shared, counts, pause};
use crate::ocpi::client::{Trouble, same_origin, with_query};
use crate::ocpi::directory::Contact;
use crate::recipient::Party;
use crate::store::{Op, StoreError};
use crate::vault::VaultError;
use crate::vault::tokens::EmspToken;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

/// Tokens asked for at a time; a party may give fewer, or more up to the size that an answer may have.
const PAGE: usize = 100;
/// Pages of one pull: ten million tokens at our page, and an end to a party whose pages go in a circle.
const MOST_PAGES: usize = 100_000;
/// How often a pull that was not quiet is made at once. An e-MSP that never is costs so many times the pages, and its mark a day at most.
const ROUNDS: usize = 3;
/// How far an e-MSP's clock may be behind ours, in milliseconds, so that it still shows that a token was updated since a pull began.
const SKEW: i64 = 120_000;

/// Pulls a recipient's tokens until it is time to stop.
pub(super) async fn pull(shared: Arc<Shared>, place: usize, mut stop: watch::Receiver<bool>) {
    let mut parties = shared.parts.doorbell.parties.subscribe();
    let mut backoff = Backoff::default();
    let recipient = shared.recipient(place).clone();
    loop {
        parties.mark_unchanged();
        let mut wait = shared.parts.pace.pull;
        let contact = if shared.may_receive(&recipient) { shared.contact(recipient.party, None, "tokens", "SENDER") } else { None };
        if let Some(contact) = contact {
            let outcome = all(&shared, &recipient.party, &contact, &stop).await;
            counts::pull(&recipient.party, outcome.err().map_or("done", Trouble::code));
            match outcome {
                Ok(()) => backoff.reset(),
                Err(trouble) => {
                    if backoff.is_first() {
                        tracing::warn!(recipient = %recipient.party, outcome = trouble.code(), "tokens could not be pulled; tried again");
                    }
                    let shut = matches!(trouble, Trouble::Http(300..500) | Trouble::NoWay | Trouble::Address);
                    let again = backoff.next(&shared.parts.pace, shared.random());
                    wait = if shut { again.max(shared.parts.pace.slow) } else { again };
                }
            }
        }
        if !pause(wait, &mut stop, &mut [&mut parties]).await {
            return;
        }
    }
}

/// What came of the pages of one pull.
struct Pages {
    /// The newest `last_updated`.
    newest: i64,
    /// The newest that is not of a time to come: a token that says 2099 was not updated meanwhile.
    newest_by_now: i64,
    /// Whether something may have been skipped for which the count speaks.
    uneven: bool,
    /// Whether there was more than one.
    several: bool,
}

/// One pull, from the mark to the end, or of all tokens if it is time for that.
async fn all(shared: &Shared, party: &Party, contact: &Contact, stop: &watch::Receiver<bool>) -> Result<(), Trouble> {
    let store = shared.parts.custody.store();
    let (name, whole_name) = (format!("tokens {party}"), format!("tokens {party} whole"));
    let (mark, last_whole) = (store.mark(&name).map_err(store_failed)?, store.mark(&whole_name).map_err(store_failed)?);
    let started = (shared.parts.clock)().0;
    let now = u64::try_from(started).unwrap_or(0);
    // By the wall clock, for it holds across restarts; a moment still to come is from a clock that was wrong.
    let whole = mark == 0 || last_whole > now || u128::from(now - last_whole) >= shared.parts.pace.whole.as_millis();
    let (mut newest, mut known, mut quiet) = (0, started.saturating_sub(SKEW), false);
    for _ in 0..ROUNDS {
        let Some(pages) = pages(shared, party, contact, if whole { 0 } else { mark }, stop).await? else {
            return Ok(()); // the mark stays, and the pull begins again
        };
        newest = newest.max(pages.newest);
        quiet = !pages.several || !(pages.uneven || pages.newest_by_now > known);
        known = known.max(pages.newest_by_now);
        if quiet {
            break;
        }
        counts::pull(party, "unquiet");
    }
    let mut moved = Vec::new();
    if quiet || whole {
        let to = u64::try_from(newest.min(started)).unwrap_or(0).max(mark);
        moved.push(Op::MarkMove { name, from: mark, to });
    }
    if whole {
        moved.push(Op::MarkMove { name: whole_name, from: last_whole, to: now });
    }
    if moved.is_empty() { Ok(()) } else { store.commit(moved).await.map_err(store_failed) }
}

/// All pages from a moment on; `None` if it was time to stop before the end.
async fn pages(
    shared: &Shared,
    party: &Party,
    contact: &Contact,
    from: u64,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Pages>, Trouble> {
    let pass = contact.pass().ok_or(Trouble::NoWay)?;
    let mut first = contact.url().to_owned();
    if from > 0 {
        let from = crate::clock::Timestamp(i64::try_from(from).unwrap_or(i64::MAX));
        first = with_query(&first, "date_from", &from.rfc3339());
    }
    let page_at = |offset: usize| with_query(&with_query(&first, "offset", &offset.to_string()), "limit", &PAGE.to_string());
    let (mut url, mut seen, mut total) = (page_at(0), 0, None);
    let mut pages = Pages { newest: 0, newest_by_now: 0, uneven: false, several: false };
    for number in 0..MOST_PAGES {
        let answer = shared.parts.client.get(&url, &pass).await?;
        let objects = match &answer.data {
            Value::Array(objects) => objects.as_slice(),
            Value::Null => &[],
            _ => return Err(Trouble::Garbage),
        };
        let by_now = (shared.parts.clock)().0.saturating_add(SKEW);
        for object in objects {
            match keep(shared, party, contact, object).await? {
                Some(updated) => {
                    pages.newest = pages.newest.max(updated);
                    pages.newest_by_now = pages.newest_by_now.max(if updated <= by_now { updated } else { 0 });
                }
                None => counts::pulled(party, "skipped"),
            }
        }
        seen += objects.len();
        pages.uneven |= number > 0 && answer.total != total;
        (total, pages.several) = (answer.total, number > 0);
        url = match answer.next {
            Some(next) if next == url || !same_origin(contact.url(), &next) => return Err(Trouble::Garbage),
            Some(next) => next,
            // Some have more and say so only by the count.
            None if !objects.is_empty() && answer.total.is_some_and(|total| total > seen as u64) => page_at(seen),
            None => return Ok(Some(pages)),
        };
        if *stop.borrow() {
            return Ok(None);
        }
    }
    Err(Trouble::TooLarge)
}

/// Keeps a token unless a later word of its owner is there already; gives back its `last_updated`, or nothing if it cannot be read.
async fn keep(shared: &Shared, party: &Party, contact: &Contact, object: &Value) -> Result<Option<i64>, Trouble> {
    let version = contact.version();
    let Ok(token) = EmspToken::from_object(*party, version, object) else { return Ok(None) };
    let vault = &shared.parts.custody.vault;
    if vault.coded_field(&token).is_some() {
        return Ok(None);
    }
    let there = vault.token(party, &token.uid, Some(&token.kind)).map_err(vault_failed)?;
    if there.is_some_and(|there| there.updated > token.updated || there.to_object(version) == token.to_object(version)) {
        counts::pulled(party, "unchanged");
        return Ok(Some(token.updated.0));
    }
    match vault.keep_token(&token).await {
        Ok(_) => {
            counts::pulled(party, "kept");
            shared.parts.doorbell.tokens();
            Ok(Some(token.updated.0))
        }
        Err(VaultError::Erased) => {
            counts::pulled(party, "unchanged");
            Ok(Some(token.updated.0))
        }
        // This one cannot be kept: too long to be sealed, its code is another's, or its owner has too many.
        Err(VaultError::Seal(_) | VaultError::Collision | VaultError::TooMany) => Ok(None),
        Err(error) => Err(vault_failed(error)),
    }
}

fn vault_failed(error: VaultError) -> Trouble {
    tracing::error!(reason = error.code(), "tokens that were pulled cannot be kept");
    Trouble::Unreachable
}

fn store_failed(error: StoreError) -> Trouble {
    vault_failed(error.into())
}
