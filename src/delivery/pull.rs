//! Tokens of an e-MSP, pulled from where it offers them (2.2.1 §Tokens, GET of the sender interface): what changed since the last pull, page
//! by page. A page is followed only on the same scheme, host and port. An object that cannot be read is skipped and counted.
//!
//! How far a pull came is in the store: the newest `last_updated` that was seen, by the e-MSP's own clock, so that a wrong clock of ours
//! misses nothing; but never a moment still to come, which would hide all changes until then.

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

/// One pull, from the mark to the end.
async fn all(shared: &Shared, party: &Party, contact: &Contact, stop: &watch::Receiver<bool>) -> Result<(), Trouble> {
    let store = shared.parts.custody.store();
    let name = format!("tokens {party}");
    let mark = store.mark(&name).map_err(store_failed)?;
    let started = (shared.parts.clock)().0;
    let pass = contact.pass().ok_or(Trouble::NoWay)?;
    let mut first = contact.url().to_owned();
    if mark > 0 {
        let from = crate::clock::Timestamp(i64::try_from(mark).unwrap_or(i64::MAX));
        first = with_query(&first, "date_from", &from.rfc3339());
    }
    let page_at = |offset: usize| with_query(&with_query(&first, "offset", &offset.to_string()), "limit", &PAGE.to_string());
    let (mut url, mut seen, mut newest) = (page_at(0), 0, 0);
    for _ in 0..MOST_PAGES {
        let answer = shared.parts.client.get(&url, &pass).await?;
        let objects = match &answer.data {
            Value::Array(objects) => objects.as_slice(),
            Value::Null => &[],
            _ => return Err(Trouble::Garbage),
        };
        for object in objects {
            match keep(shared, party, contact, object).await? {
                Some(updated) => newest = newest.max(updated),
                None => counts::pulled(party, "skipped"),
            }
        }
        seen += objects.len();
        url = match answer.next {
            Some(next) if next == url || !same_origin(contact.url(), &next) => return Err(Trouble::Garbage),
            Some(next) => next,
            // Some have more and say so only by the count.
            None if !objects.is_empty() && answer.total.is_some_and(|total| total > seen as u64) => page_at(seen),
            None => {
                let to = u64::try_from(newest.min(started)).unwrap_or(0).max(mark);
                let moved = vec![Op::MarkMove { name, from: mark, to }];
                return store.commit(moved).await.map_err(store_failed);
            }
        };
        if *stop.borrow() {
            return Ok(()); // the mark stays, and the pull begins again
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
