//! The e-MSPs' tokens to the central system, with its own codes in place of identifiers: so it can authorise what it sees.
//!
//! Each token carries in the store the *round* in which the central system was last told of it; a change sets it back to nothing. A round is
//! an epoch and a day, so a new epoch tells of all tokens under their new codes, each day tells of all again, and a restart within the day
//! tells only of what is due. Codes of an epoch that is ending stay valid at the central system: stations still use them. Once the epoch is
//! destroyed nobody can present or resolve them, and nobody can compute them either to withdraw them, so they are not withdrawn.
//!
//! A token that the central system refuses counts as told until the next day, so that it holds up no other; so does one of an e-MSP without a
//! valid agreement, or one whose identifier another e-MSP could own too, of which it is not told.

use super::backoff::Backoff;
use super::{Parts, Shared, counts, pause};
use crate::ocpi::client::{Pass, Trouble, joined, with_query};
use crate::ocpi::directory::Contact;
use crate::ocpi::peer::Who;
use crate::seal::SealError;
use crate::store::{Op, TokenRow};
use crate::vault::VaultError;
use crate::vault::tokens::{EmspToken, TokenCodes};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Tokens in memory at a time.
const PAGE: usize = 32;
/// Tokens under way at a time: a central system far away would take a day for a hundred thousand of them one by one.
const ABREAST: usize = 4;

/// Tells the central system of tokens until it is time to stop.
pub(super) async fn relay(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut tokens = shared.parts.doorbell.tokens.subscribe();
    let mut parties = shared.parts.doorbell.parties.subscribe();
    let mut backoff = Backoff::default();
    let mut contact = None;
    loop {
        tokens.mark_unchanged();
        parties.mark_unchanged();
        let go_on = match page(&shared, &mut contact, &stop).await {
            Ok(0) => pause(shared.parts.pace.tick, &mut stop, &mut [&mut tokens, &mut parties]).await,
            Ok(_) => {
                backoff.reset();
                !*stop.borrow()
            }
            Err(trouble) => {
                if backoff.is_first() {
                    tracing::warn!(outcome = trouble.code(), "the central system could not be told of tokens; tried again");
                }
                contact = None; // where it is now may be another place
                let shut = matches!(trouble, Trouble::Http(300..500) | Trouble::NoWay | Trouble::Address);
                let least = if shut { shared.parts.pace.slow } else { Duration::ZERO };
                let wait = backoff.next(&shared.parts.pace, shared.random()).max(least);
                pause(wait, &mut stop, &mut [&mut parties]).await
            }
        };
        if !go_on {
            return;
        }
    }
}

/// Tells of a page of tokens that are due; says how many there were.
async fn page(shared: &Shared, contact: &mut Option<Contact>, stop: &watch::Receiver<bool>) -> Result<usize, Trouble> {
    let custody = &shared.parts.custody;
    let round = round(shared);
    let due = custody.vault.tokens_due(round, PAGE).map_err(|error| store_failed(error.code()))?;
    if due.is_empty() {
        return Ok(0);
    }
    let contact = match contact {
        Some(contact) => contact,
        None => contact.insert(find(shared).await?),
    };
    let version = contact.version();
    let (mut disclosures, mut told, mut ready) = (Vec::new(), Vec::new(), Vec::new());
    for (row, token) in due {
        if let Some(why) = token.as_ref().and_then(|token| withheld(shared, token).transpose()) {
            counts::told(why.map_err(|error| store_failed(error.code()))?);
            told.push(row);
            continue;
        }
        let codes = match &token {
            Some(token) => custody.vault.known_codes(token).await,
            None => Err(SealError::Broken.into()),
        };
        let (token, codes) = match (token, codes) {
            (Some(token), Ok(codes)) => (token, codes),
            // These will not be better in a minute, and must not hold up the others.
            (_, Err(VaultError::Seal(_) | VaultError::Collision)) => {
                tracing::error!(owner = row.owner, "a token of an e-MSP does not open, or its code is another's: it is not passed on");
                counts::told("broken");
                told.push(row);
                continue;
            }
            (_, Err(error)) => return Err(store_failed(error.code())),
            (None, Ok(_)) => continue,
        };
        let object = token.coded(version, &codes);
        let fields = object.as_object().into_iter().flat_map(|object| object.keys()).map(String::as_str).collect::<Vec<_>>().join(" ");
        let subject = custody.vault.subject(codes.uid.as_str());
        disclosures.push(Op::Disclose(shared.disclosure("csms".to_owned(), "charge", subject, reference(shared, &row), fields)));
        ready.push((row, token, codes, object));
    }
    custody.store().commit(disclosures).await.map_err(|error| store_failed(error.code()))?;
    let count = ready.len() + told.len();
    let mut trouble = None;
    for few in ready.chunks(ABREAST) {
        if *stop.borrow() || trouble.is_some() {
            break;
        }
        let calls = few.iter().map(|(_, token, codes, object)| tell(shared, contact, token, codes, object));
        for ((row, ..), outcome) in few.iter().zip(futures_util::future::join_all(calls).await) {
            match outcome {
                Ok(()) => counts::told("accepted"),
                Err(refused @ (Trouble::Ocpi(2000..3000) | Trouble::Http(400 | 413 | 422))) => counts::told(refused.code()),
                Err(failed) => {
                    counts::told(failed.code());
                    trouble = Some(failed);
                    continue;
                }
            }
            told.push(row.clone());
        }
    }
    let told = told.into_iter().map(|token| Op::TokenTold { token, round }).collect();
    custody.store().commit(told).await.map_err(|error| store_failed(error.code()))?;
    trouble.map_or(Ok(count), Err)
}

/// Why the central system is not told of a token, if it is not: its owner has no agreement that is valid today (R05), or another e-MSP could
/// own its identifier too.
fn withheld(shared: &Shared, token: &EmspToken) -> Result<Option<&'static str>, VaultError> {
    let Parts { custody, recipients, .. } = &shared.parts;
    if !recipients.find(&token.owner).is_some_and(|recipient| shared.may_receive(recipient)) {
        return Ok(Some("no_agreement"));
    }
    Ok(custody.vault.is_disputed(token, recipients)?.then_some("disputed"))
}

/// By an exchange of credentials, else by the configuration.
async fn find(shared: &Shared) -> Result<Contact, Trouble> {
    let directory = &shared.parts.directory;
    match directory.contact(Who::Csms, None, "tokens", "RECEIVER") {
        Ok(Some(contact)) => Ok(contact),
        _ => directory.discover_csms(&shared.parts.client, "tokens", "RECEIVER").await,
    }
}

/// `PUT {tokens}/{country_code}/{party_id}/{code}?type=`, from the e-MSP as far as the central system can tell (2.2.1 §Tokens).
async fn tell(shared: &Shared, contact: &Contact, token: &EmspToken, codes: &TokenCodes, object: &Value) -> Result<(), Trouble> {
    let pass = contact.pass().ok_or(Trouble::NoWay)?;
    let client = &shared.parts.client;
    let pass = Pass { from: Some(token.owner), to: client.party(), ..pass };
    let url = joined(contact.url(), &[token.owner.country(), token.owner.id(), codes.uid.as_str()]);
    let url = with_query(&url, "type", object.get("type").and_then(Value::as_str).unwrap_or_default());
    client.put(&url, &pass, object.to_string()).await.map(|_| ())
}

/// Grows with every epoch and every day.
fn round(shared: &Shared) -> u64 {
    let day = (shared.parts.clock)().seconds().max(0) / 86_400;
    (u64::from(shared.parts.custody.vault.epoch_number()) << 32) | u64::try_from(day).unwrap_or(0)
}

/// The same for a token as long as it has the same code: told again and again, it is one disclosure.
fn reference(shared: &Shared, row: &TokenRow) -> String {
    let digest = row.blind.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    format!("token {} {} {digest} {}", row.owner, row.kind, shared.parts.custody.vault.epoch_number())
}

fn store_failed(reason: &'static str) -> Trouble {
    tracing::error!(reason, "tokens cannot be read or their codes kept");
    Trouble::Unreachable
}
