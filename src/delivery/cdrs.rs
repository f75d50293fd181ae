//! CDRs to the e-MSP that owns them: oldest first, one at a time, the same bytes until it has them, in the version that its entry names; but
//! for those aside.
//!
//! **Accepted** is HTTP 200 or 201 with an OCPI status 1xxx; HTTP 201 with a `Location` and no envelope, as some answer (2.2.1 §CDRs asks for
//! the header, and it names what was stored); and HTTP 409, by which some say that they have this id already. An answer that was lost is
//! asked for again with the same id and bytes, which OCPI lets a receiver tell from a new CDR, so each is accepted once.
//!
//! **Refused** is what is the CDR's own fault: HTTP 400, 413 or 422, or an OCPI status 2xxx, though not that of an endpoint which is not
//! there. After some refusals in a row it is set aside for the operator, so that the queue behind it moves on. Everything else is the party's
//! trouble and is tried for ever.
//!
//! **Aside.** A party that answers the CDR in front with a failure again and again may be in trouble, or only in trouble with this one. So
//! from some failures on, every other attempt goes to one behind it. Once such a one is accepted, the one in front is put aside: it stays
//! queued and is tried again from time to time, and the rest goes on. Those of its session stay behind it, for a credit must not come before what
//! it takes back; between sessions the order gives way. What is aside is in memory only: after a start it is in front again.

use super::backoff::Backoff;
use super::{Shared, counts, pause};
use crate::billing::wording;
use crate::ocpi::client::{Reply, Trouble};
use crate::ocpi::directory::Contact;
use crate::store::{CdrRow, CdrState, Op, StoreError};
use bytes::Bytes;
use hyper::Method;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Queued CDRs in memory at a time, of one e-MSP.
const PAGE: usize = 32;
/// CDRs aside at a time, of one e-MSP; with more the one in front stays there, and what is behind it comes through one by one.
const ASIDE: usize = 32;

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
    /// Failures of it that the party answered with, since something was accepted.
    doubts: u32,
    /// Which place of the page is tried next in its stead, if one is.
    scout: Option<usize>,
    /// Where the last one was, so that another one behind the front is tried each time.
    scouted: usize,
    /// In the order of the queue within each session.
    aside: Vec<Aside>,
}

/// A CDR that is stepped over.
struct Aside {
    row: CdrRow,
    /// When it is tried again.
    due: Instant,
    backoff: Backoff,
    refusals: u32,
}

/// Which CDR is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The one at a place of the page: the front is 0.
    Page(usize),
    /// One that is aside.
    Aside(usize),
}

/// Pushes a recipient's CDRs until it is time to stop.
pub(super) async fn push(shared: Arc<Shared>, place: usize, mut stop: watch::Receiver<bool>) {
    let mut cdrs = shared.parts.doorbell.cdrs.subscribe();
    let mut parties = shared.parts.doorbell.parties.subscribe();
    let mut pusher = Pusher::new(shared, place);
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
            Next::Again(wait) => pusher.wait(wait, &mut stop, &mut parties).await,
        };
        if !go_on {
            return;
        }
    }
}

impl Pusher {
    fn new(shared: Arc<Shared>, place: usize) -> Self {
        let (page, aside) = (VecDeque::new(), Vec::new());
        Self { shared, place, page, backoff: Backoff::default(), refusals: 0, doubts: 0, scout: None, scouted: 0, aside }
    }

    async fn turn(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let recipient = shared.recipient(self.place);
        let party = recipient.party;
        if self.page.is_empty()
            && let Err(error) = self.read()
        {
            return self.store_failed(error);
        }
        if self.page.is_empty() && self.aside.is_empty() {
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
        let Some(whose) = self.whose(Instant::now()) else { return Next::Rest };
        let Some(row) = self.row(whose) else { return Next::Rest };
        let verdict = match self.attempt(row, &contact).await {
            Ok(verdict) => verdict,
            // Somebody else has moved it on: an operator.
            Err(StoreError::Conflict) => return self.done(whose),
            Err(error) => return self.store_failed(error),
        };
        let outcome = verdict.code();
        counts::attempt(&party, outcome);
        shared.shut(self.place, matches!(verdict, Verdict::Shut(_)));
        let (cdr, tries) = (row.id.as_str(), row.tries);
        match verdict {
            Verdict::Accepted => {
                tracing::debug!(recipient = %party, cdr, "a CDR was accepted");
                match self.accepted(row).await {
                    Ok(()) => self.accepted_from(whose),
                    // It is sent again, and told to be there already.
                    Err(error) => self.store_failed(error),
                }
            }
            Verdict::Refused(_) if self.refusals(whose) + 1 >= shared.parts.pace.refusals => {
                tracing::error!(recipient = %party, cdr, outcome, tries, "a CDR was refused for good and waits for an operator");
                match self.moves(row, CdrState::Queued, CdrState::Refused).await {
                    Ok(()) | Err(StoreError::Conflict) => self.done(whose),
                    Err(error) => self.store_failed(error),
                }
            }
            Verdict::Refused(_) => {
                tracing::warn!(recipient = %party, cdr, outcome, "a CDR was refused");
                match whose {
                    Whose::Page(0) => self.refusals += 1,
                    // Its refusals count once it is its turn.
                    Whose::Page(_) => {}
                    Whose::Aside(at) => self.aside[at].refusals += 1,
                }
                self.again(whose, None)
            }
            Verdict::Shut(_) => self.again(whose, Some(shared.parts.pace.slow)),
            Verdict::Later(trouble, asked) => {
                if self.backoff.is_first() && matches!(whose, Whose::Page(_)) {
                    tracing::warn!(recipient = %party, cdr, outcome, "a CDR could not be delivered and is tried again");
                }
                // Who asks for time is in trouble and says so; who does not answer is not there.
                if whose == Whose::Page(0) && asked.is_none() && matches!(trouble, Trouble::Http(_) | Trouble::Ocpi(_) | Trouble::Garbage) {
                    self.doubts = self.doubts.saturating_add(1);
                }
                self.again(whose, asked.map(|asked| asked.min(shared.parts.pace.longest_asked)))
            }
        }
    }

    /// Waits so long, or until a bell rings, or until the CDR in front is queued no more: a tool that takes it out of the queue has no bell.
    /// `false` when it is time to stop.
    async fn wait(&self, wait: Duration, stop: &mut watch::Receiver<bool>, bell: &mut watch::Receiver<()>) -> bool {
        let end = Instant::now() + wait;
        loop {
            let begun = Instant::now();
            let slice = end.saturating_duration_since(begun).min(self.shared.parts.pace.tick);
            if !pause(slice, stop, &mut [bell]).await {
                return false;
            }
            let rung = begun.elapsed() < slice;
            if rung || Instant::now() >= end || self.page.front().is_some_and(|row| self.is_gone(&row.id)) {
                return true;
            }
        }
    }

    fn is_gone(&self, cdr: &str) -> bool {
        let row = self.shared.parts.custody.store().cdr(cdr);
        row.is_ok_and(|row| row.is_none_or(|row| row.state != CdrState::Queued))
    }

    /// Reads the next page: the first that are queued and not aside. What is aside and not among them any more was moved on by an operator, or
    /// there is much before it: then it is read again when it is its turn.
    fn read(&mut self) -> Result<(), StoreError> {
        let party = self.shared.recipient(self.place).party.to_string();
        let store = self.shared.parts.custody.store();
        let mut rows = store.cdrs_in(CdrState::Queued, Some(&party), 0, PAGE + self.aside.len())?;
        self.aside.retain(|aside| rows.iter().any(|row| row.id == aside.row.id));
        rows.retain(|row| self.aside.iter().all(|aside| row.id != aside.row.id));
        if self.page.front().map(|row| &row.id) != rows.first().map(|row| &row.id) {
            (self.refusals, self.doubts, self.scout) = (0, 0, None);
        }
        self.page = rows.into();
        Ok(())
    }

    /// Which is tried next, if any may be.
    fn whose(&mut self, now: Instant) -> Option<Whose> {
        if let Some(at) = (0..self.aside.len()).find(|at| self.aside[*at].due <= now && !self.waits(&self.aside[*at].row.session, *at, 0)) {
            return Some(Whose::Aside(at));
        }
        if let Some(at) = self.scout.take().filter(|at| *at < self.page.len()) {
            return Some(Whose::Page(at));
        }
        // What is of a session that has one aside waits aside too.
        while self.aside.len() < ASIDE
            && self.page.front().is_some_and(|row| self.waits(&row.session, self.aside.len(), 0))
            && let Some(row) = self.page.pop_front()
        {
            self.put_aside(row, now);
        }
        let row = self.page.front()?;
        (!self.waits(&row.session, self.aside.len(), 0)).then_some(Whose::Page(0))
    }

    /// Whether a session has one aside before a place there, or in the page before a place there.
    fn waits(&self, session: &str, aside: usize, page: usize) -> bool {
        let aside = self.aside.iter().take(aside).map(|aside| &aside.row);
        aside.chain(self.page.iter().take(page)).any(|row| row.session == session)
    }

    fn row(&self, whose: Whose) -> Option<&CdrRow> {
        match whose {
            Whose::Page(at) => self.page.get(at),
            Whose::Aside(at) => self.aside.get(at).map(|aside| &aside.row),
        }
    }

    fn refusals(&self, whose: Whose) -> u32 {
        match whose {
            Whose::Page(0) => self.refusals,
            Whose::Page(_) => 0,
            Whose::Aside(at) => self.aside[at].refusals,
        }
    }

    fn put_aside(&mut self, row: CdrRow, due: Instant) {
        self.aside.push(Aside { row, due, backoff: Backoff::default(), refusals: 0 });
    }

    /// Logs the disclosure durably, then sends.
    async fn attempt(&self, row: &CdrRow, contact: &Contact) -> Result<Verdict, StoreError> {
        let shared = &self.shared;
        let version = shared.recipient(self.place).version;
        // A credit that waits while its owner moves to a version without credits is a case for the operator.
        let Some(body) = wording(row, version, &shared.parts.custody.vault).map(Cow::into_owned) else {
            return Ok(Verdict::Refused(Trouble::NoWay));
        };
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

    /// What it has, it has: an operator who discarded the CDR while it was on its way was too late.
    async fn accepted(&self, row: &CdrRow) -> Result<(), StoreError> {
        match self.moves(row, CdrState::Queued, CdrState::Delivered).await {
            Err(StoreError::Conflict) => {}
            done => return done,
        }
        match self.moves(row, CdrState::Discarded, CdrState::Delivered).await {
            Err(StoreError::Conflict) => Ok(()), // moved on otherwise, by somebody who knows why
            done => {
                tracing::warn!(cdr = row.id.as_str(), "a CDR that was discarded meanwhile was accepted, and counts as delivered");
                done
            }
        }
    }

    async fn moves(&self, row: &CdrRow, from: CdrState, to: CdrState) -> Result<(), StoreError> {
        let tries = row.tries.saturating_add(1);
        let moved = Op::CdrMove { id: row.id.clone(), from, to, tries };
        self.shared.parts.custody.store().commit(vec![moved]).await
    }

    /// Goes on behind what was accepted. If that was behind the one in front, the party works, and it is the one in front that does not.
    fn accepted_from(&mut self, whose: Whose) -> Next {
        let Whose::Page(at @ 1..) = whose else { return self.done(whose) };
        self.page.remove(at);
        if self.aside.len() >= ASIDE {
            self.backoff.reset();
            return Next::GoOn;
        }
        if let Some(front) = self.page.pop_front() {
            // At once: perhaps the party has just recovered.
            self.put_aside(front, Instant::now());
        }
        self.start_anew()
    }

    fn done(&mut self, whose: Whose) -> Next {
        match whose {
            Whose::Page(0) => {
                self.page.pop_front();
                self.start_anew()
            }
            Whose::Page(at) => {
                self.page.remove(at);
                Next::GoOn
            }
            Whose::Aside(at) => {
                self.aside.remove(at);
                Next::GoOn
            }
        }
    }

    fn start_anew(&mut self) -> Next {
        self.backoff.reset();
        (self.refusals, self.doubts, self.scout, self.scouted) = (0, 0, None, 0);
        Next::GoOn
    }

    fn again(&mut self, whose: Whose, least: Option<Duration>) -> Next {
        let (pace, random) = (self.shared.parts.pace, self.shared.random());
        match whose {
            // Nothing else waits for it.
            Whose::Aside(at) => {
                let (recipient, aside) = (self.shared.recipient(self.place).party, &mut self.aside[at]);
                if aside.backoff.is_first() {
                    let cdr = aside.row.id.as_str();
                    tracing::error!(%recipient, cdr, "a CDR fails while others are accepted: it is tried until it is discarded");
                }
                aside.row.tries = aside.row.tries.saturating_add(1);
                aside.due = Instant::now() + aside.backoff.next(&pace, random).max(least.unwrap_or_default());
                return Next::GoOn;
            }
            Whose::Page(at) => {
                if let Some(row) = self.page.get_mut(at) {
                    row.tries = row.tries.saturating_add(1);
                }
            }
        }
        if whose == Whose::Page(0) && self.doubts >= pace.doubts {
            // What stands behind it may not have been read yet.
            if self.page.len() < 2
                && let Err(error) = self.read()
            {
                return self.store_failed(error);
            }
            self.scout = self.next_scout();
        }
        Next::Again(self.backoff.next(&pace, random).max(least.unwrap_or_default()))
    }

    /// A place behind the front whose CDR may overtake it: not of its session, nor of one that waits; another one each time.
    fn next_scout(&mut self) -> Option<usize> {
        let behind = self.page.len().checked_sub(1).filter(|behind| *behind > 0)?;
        let places = (0..behind).map(|n| 1 + (self.scouted + n) % behind);
        let at = places.into_iter().find(|at| !self.waits(&self.page[*at].session, self.aside.len(), *at))?;
        self.scouted = at;
        Some(at)
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
