//! CDRs to the e-MSP that owns them: oldest first, one at a time, the same bytes until it has them.
//!
//! **Accepted** is HTTP 200 or 201 with an OCPI status 1xxx; HTTP 201 with a `Location` and no envelope, as some answer (2.2.1 §CDRs asks for
//! the header, and it names what was stored); and HTTP 409, by which some say that they have this id already. An answer that was lost is
//! asked for again with the same id and bytes, which OCPI lets a receiver tell from a new CDR, so each is accepted once.
//!
//! **Refused** is what is the CDR's own fault: HTTP 400, 413 or 422, or an OCPI status 2xxx, though not that of an endpoint which is not there. After some refusals in a row it is set aside for
//! the operator, so that the queue behind it moves on. Everything else is the party's trouble and is tried for ever.

use super::backoff::Backoff;
use super::{Shared, counts, pause};
use crate::ocpi::client::{Reply, Trouble};
use crate::ocpi::directory::Contact;
use crate::store::{CdrRow, CdrState, Op, StoreError};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Queued CDRs in memory at a time, of one e-MSP.
const PAGE: usize = 32;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It has the CDR.
    Accepted,
    /// It will not have this CDR.
    Refused(Trouble),
    /// It does not let us in: token or URL are wrong.
    Shut(Trouble),
    /// It does not work now; and how long it asks us to wait.
    Later(Trouble, Option<Duration>),
}

/// What is done next.
enum Next {
    /// Nothing is queued, or nothing may be sent.
    Rest,
    /// The next CDR, at once.
    GoOn,
    /// The same CDR, after a while.
    Again(Duration),
}

struct Pusher {
    shared: Arc<Shared>,
    place: usize,
    page: VecDeque<CdrRow>,
    backoff: Backoff,
    /// Refusals in a row of the CDR in front.
    refusals: u32,
}

/// Pushes a recipient's CDRs until it is time to stop.
pub(super) async fn push(shared: Arc<Shared>, place: usize, mut stop: watch::Receiver<bool>) {
    let mut cdrs = shared.parts.doorbell.cdrs.subscribe();
    let mut parties = shared.parts.doorbell.parties.subscribe();
    let mut pusher = Pusher { shared, place, page: VecDeque::new(), backoff: Backoff::default(), refusals: 0 };
    loop {
        if *stop.borrow() {
            return;
        }
        cdrs.mark_unchanged();
        parties.mark_unchanged();
        let go_on = match pusher.turn().await {
            Next::GoOn => true,
            Next::Rest => {
                let pace = pusher.shared.parts.pace;
                pause(pace.tick, &mut stop, &mut [&mut cdrs, &mut parties]).await && pause(pace.gather, &mut stop, &mut []).await
            }
            // A new CDR does not make the party work again; new credentials may.
            Next::Again(wait) => pause(wait, &mut stop, &mut [&mut parties]).await,
        };
        if !go_on {
            return;
        }
    }
}

impl Pusher {
    async fn turn(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let recipient = shared.recipient(self.place);
        let party = recipient.party;
        if self.page.is_empty() {
            self.refusals = 0;
            match shared.parts.custody.store().cdrs_in(CdrState::Queued, Some(&party.to_string()), 0, PAGE) {
                Ok(rows) => self.page = rows.into(),
                Err(error) => return self.store_failed(error),
            }
        }
        if self.page.is_empty() {
            counts::held(&party, None);
            shared.shut(self.place, false);
            return Next::Rest;
        }
        // Looked at anew before each CDR: an agreement ends in the middle of a page too (R05).
        let contact = if shared.may_receive(recipient) {
            shared.contact(party, Some(recipient.version), "cdrs", "RECEIVER").ok_or("no_way")
        } else {
            Err("agreement")
        };
        counts::held(&party, contact.as_ref().err().copied());
        let Ok(contact) = contact else {
            self.page.clear();
            shared.shut(self.place, false);
            return Next::Rest;
        };
        let Some(row) = self.page.front() else { return Next::Rest };
        let verdict = match self.attempt(row, &contact).await {
            Ok(verdict) => verdict,
            // Somebody else has moved it on: an operator.
            Err(StoreError::Conflict) => return self.done(),
            Err(error) => return self.store_failed(error),
        };
        let outcome = verdict.code();
        counts::attempt(&party, outcome);
        shared.shut(self.place, matches!(verdict, Verdict::Shut(_)));
        let (cdr, tries) = (row.id.as_str(), row.tries);
        match verdict {
            Verdict::Accepted => {
                tracing::debug!(recipient = %party, cdr, "a CDR was accepted");
                match self.moves(row, CdrState::Delivered).await {
                    Ok(()) | Err(StoreError::Conflict) => self.done(),
                    // It is sent again, and told to be there already.
                    Err(error) => self.store_failed(error),
                }
            }
            Verdict::Refused(_) if self.refusals + 1 >= shared.parts.pace.refusals => {
                tracing::error!(recipient = %party, cdr, outcome, tries, "a CDR was refused for good and waits for an operator");
                match self.moves(row, CdrState::Refused).await {
                    Ok(()) | Err(StoreError::Conflict) => self.done(),
                    Err(error) => self.store_failed(error),
                }
            }
            Verdict::Refused(_) => {
                tracing::warn!(recipient = %party, cdr, outcome, "a CDR was refused");
                self.refusals += 1;
                self.again(None)
            }
            Verdict::Shut(_) => self.again(Some(shared.parts.pace.slow)),
            Verdict::Later(_, asked) => {
                if self.backoff.is_first() {
                    tracing::warn!(recipient = %party, cdr, outcome, "a CDR could not be delivered and is tried again");
                }
                self.again(asked.map(|asked| asked.min(shared.parts.pace.longest_asked)))
            }
        }
    }

    /// Logs the disclosure durably, then sends.
    async fn attempt(&self, row: &CdrRow, contact: &Contact) -> Result<Verdict, StoreError> {
        let shared = &self.shared;
        let body = row.body.clone().unwrap_or_default();
        let Ok(fields) = serde_json::from_str::<Map<String, Value>>(&body) else { return Ok(Verdict::Refused(Trouble::NoWay)) };
        let Some(pass) = contact.pass() else { return Ok(Verdict::Shut(Trouble::NoWay)) };
        let fields = fields.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
        let subject = driver(&row.draft).and_then(|code| shared.parts.custody.vault.subject(&code));
        let party = shared.recipient(self.place).party.to_string();
        let disclosed = Op::Disclose(shared.disclosure(party, "bill", subject, row.id.clone(), fields));
        // From queued to queued: fails if an operator has taken it out of the queue meanwhile.
        let tried = Op::CdrMove { id: row.id.clone(), from: CdrState::Queued, to: CdrState::Queued, tries: row.tries.saturating_add(1) };
        shared.parts.custody.store().commit(vec![tried, disclosed]).await?;
        let reply = shared.parts.client.call(Method::POST, contact.url(), &pass, Bytes::from(body)).await;
        Ok(reply.map_or_else(|trouble| Verdict::Later(trouble, None), |reply| Verdict::of(&reply)))
    }

    async fn moves(&self, row: &CdrRow, to: CdrState) -> Result<(), StoreError> {
        let tries = row.tries.saturating_add(1);
        let moved = Op::CdrMove { id: row.id.clone(), from: CdrState::Queued, to, tries };
        self.shared.parts.custody.store().commit(vec![moved]).await
    }

    fn done(&mut self) -> Next {
        self.page.pop_front();
        self.backoff.reset();
        self.refusals = 0;
        Next::GoOn
    }

    fn again(&mut self, least: Option<Duration>) -> Next {
        if let Some(row) = self.page.front_mut() {
            row.tries = row.tries.saturating_add(1);
        }
        let wait = self.backoff.next(&self.shared.parts.pace, self.shared.random());
        Next::Again(wait.max(least.unwrap_or_default()))
    }

    fn store_failed(&mut self, error: StoreError) -> Next {
        tracing::error!(reason = error.code(), "the store failed: nothing is delivered until it works");
        self.page.clear();
        Next::Again(self.backoff.next(&self.shared.parts.pace, self.shared.random()))
    }
}

impl Verdict {
    fn of(reply: &Reply) -> Self {
        match (reply.http, reply.ocpi) {
            (200 | 201, Some(1000..2000)) | (409, _) => Self::Accepted,
            (201, None) if reply.located => Self::Accepted,
            (401 | 403, _) => Self::Shut(Trouble::Http(reply.http)),
            (429, _) => Self::Later(Trouble::Http(429), reply.retry_after),
            // Nothing is where we were told to go, whatever envelope that is told in; unless it is what the CDR names that is not there.
            (404 | 405 | 410, code) if !matches!(code, Some(2003 | 2004)) => Self::Shut(Trouble::Http(reply.http)),
            (200..500, Some(code @ 2000..3000)) => Self::Refused(Trouble::Ocpi(code)),
            (400 | 413 | 422, _) => Self::Refused(Trouble::Http(reply.http)),
            // Redirects are not followed.
            (300..400, _) => Self::Shut(Trouble::Http(reply.http)),
            (200..300, Some(code)) => Self::Later(Trouble::Ocpi(code), reply.retry_after),
            // Perhaps it has it, perhaps not: the same bytes again will tell.
            (200..300, None) => Self::Later(Trouble::Garbage, None),
            (http, _) => Self::Later(Trouble::Http(http), reply.retry_after),
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused(trouble) | Self::Shut(trouble) | Self::Later(trouble, _) => trouble.code(),
        }
    }
}

/// The driver's code in the central system's domain, from the neutral record.
fn driver(draft: &str) -> Option<String> {
    let draft: Value = serde_json::from_str(draft).ok()?;
    draft.pointer("/session/token/code").and_then(Value::as_str).map(str::to_owned)
}
