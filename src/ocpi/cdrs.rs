//! The CDRs module, pulled: a page of what belongs to the caller, oldest first, the same bytes as at a push; in the version that the caller's
//! entry names, also what was written while it named another.
//!
//! Whatever is answered was written into the disclosure log before (I4). An e-MSP that pulls has a CDR for certain once it asks for what comes
//! after it: by an `offset` beyond it, or by a `date_from` after it. Only then does the CDR count as delivered; until then, and after, every pull hands
//! it out again, so an answer that is lost on its way loses nothing. For an e-MSP that is pushed to, a pull changes nothing.
//!
//! Sources: OCPI 2.2.1 §CDRs (GET, Sender interface), §Transport and format (pagination).

use super::envelope::Outcome;
use super::server::{Query, Surface};
use super::token::moment;
use crate::billing::wording;
use crate::clock::Timestamp;
use crate::ocpp::catalogue::Purpose;
use crate::recipient::{Ocpi, Recipient};
use crate::store::{CdrRow, CdrState, DisclosureRow, Op, StoreError, Window};
use hyper::header::{HeaderName, HeaderValue, LINK};
use serde_json::Value;
use std::borrow::Cow;

/// CDRs of one page at most: `X-Limit`.
pub(super) const LIMIT: u64 = 100;
/// Queued CDRs that one request looks through for those it shows to have arrived: more than it can have been handed since the last one.
const LOOKED_THROUGH: usize = 500;

impl Surface {
    pub(super) async fn cdrs(&self, recipient: &Recipient, version: Ocpi, query: &Query) -> Result<Outcome, StoreError> {
        let page = match Page::read(query) {
            Ok(page) => page,
            Err(what) => return Ok(Outcome::invalid(what)),
        };
        let (store, owner) = (self.custody.store(), recipient.party.to_string());
        if !recipient.push {
            self.arrived(&owner, &page).await?;
        }
        let rows = store.cdr_page(&owner, page.window, page.offset, page.limit as usize)?;
        let total = store.cdr_count(&owner, page.window)?;
        let worded = |row| wording(row, version, &self.custody.vault).map(|body| (row, body));
        let told: Vec<(&CdrRow, Cow<'_, str>)> = rows.iter().filter_map(worded).collect();
        if told.len() < rows.len() {
            tracing::warn!(recipient = %recipient.party, cdrs = rows.len() - told.len(), "credits cannot be told in the e-MSP's version: settle them by hand");
        }
        self.hand_out(&told, recipient).await?;
        let bodies: Vec<&str> = told.iter().map(|(_, body)| body.as_ref()).collect();
        let outcome = Outcome::text(format!("[{}]", bodies.join(",")))
            .header(HeaderName::from_static("x-total-count"), total.into())
            .header(HeaderName::from_static("x-limit"), LIMIT.into());
        let next = page.offset.saturating_add(rows.len() as u64);
        if rows.is_empty() || next >= total {
            return Ok(outcome);
        }
        let url = format!("{}/{}/cdrs?{}offset={next}&limit={}", self.us.url, version.number(), page.filters, page.limit);
        let link = HeaderValue::from_str(&format!("<{url}>; rel=\"next\"")).map_err(|_| StoreError::Corrupt)?;
        Ok(outcome.header(LINK, link))
    }

    /// Writes down who gets what, before it goes out; CDRs that wait for a pull are marked as handed out.
    async fn hand_out(&self, told: &[(&CdrRow, Cow<'_, str>)], recipient: &Recipient) -> Result<(), StoreError> {
        let now = self.now();
        let disclosures = told.iter().map(|(row, body)| {
            Op::Disclose(DisclosureRow {
                seq: 0,
                at: now,
                recipient: recipient.party.to_string(),
                purpose: Purpose::Bill.name().to_owned(),
                subject: csms_code(row).and_then(|code| self.custody.vault.subject(&code)),
                reference: row.id.clone(),
                fields: fields(body),
            })
        });
        let disclosures: Vec<Op> = disclosures.collect();
        if disclosures.is_empty() {
            return Ok(());
        }
        let fresh = told.iter().map(|(row, _)| row).filter(|row| !recipient.push && row.state == CdrState::Queued && row.tries == 0);
        let handed = fresh.map(|row| Op::CdrMove { id: row.id.clone(), from: CdrState::Queued, to: CdrState::Queued, tries: 1 });
        let store = self.custody.store();
        match store.commit(disclosures.iter().cloned().chain(handed).collect()).await {
            // Something became of one of them meanwhile: what was handed out is written down all the same.
            Err(StoreError::Conflict) => store.commit(disclosures).await,
            other => other,
        }
    }

    /// CDRs that were handed out and that this request asks for no more have arrived.
    async fn arrived(&self, owner: &str, page: &Page) -> Result<(), StoreError> {
        if page.offset == 0 && page.window.from == Window::default().from {
            return Ok(());
        }
        let store = self.custody.store();
        let first = store.cdr_page(owner, page.window, page.offset, 1)?.first().map(|row| (row.updated, row.seq));
        let bound = first.unwrap_or((page.window.to, 0));
        let has = |row: &&CdrRow| {
            let before_page = page.offset > 0 && row.updated >= page.window.from && (row.updated, row.seq) < bound;
            row.tries > 0 && (row.updated < page.window.from || before_page)
        };
        let queued = store.cdrs_in(CdrState::Queued, Some(owner), 0, LOOKED_THROUGH)?;
        for row in queued.iter().filter(has) {
            let moved = Op::CdrMove { id: row.id.clone(), from: CdrState::Queued, to: CdrState::Delivered, tries: row.tries };
            match store.enqueue(vec![moved]) {
                // Each by itself: an operator may have taken one of them back.
                Ok(_) => {}
                Err(_) => break, // the disk is busy: the next request shows the same again
            }
        }
        Ok(())
    }
}

/// What page is asked for.
struct Page {
    window: Window,
    offset: u64,
    limit: u64,
    /// The filters as they stand in the link to the next page.
    filters: String,
}

impl Page {
    fn read(query: &Query) -> Result<Self, &'static str> {
        let mut filters = String::new();
        let mut date = |name: &'static str, default: Timestamp| -> Result<Timestamp, &'static str> {
            let Some(text) = query.find(name) else { return Ok(default) };
            let at = moment(text).ok_or(name)?;
            // Written anew: what the caller wrote might not be fit for a header.
            filters.push_str(&format!("{name}={}&", precise(at)));
            Ok(at)
        };
        let whole = Window::default();
        let window = Window { from: date("date_from", whole.from)?, to: date("date_to", whole.to)? };
        let number = |name: &'static str, default: u64| query.find(name).map_or(Ok(default), |text| text.parse::<u64>().map_err(|_| name));
        let limit = number("limit", LIMIT)?;
        if limit == 0 {
            return Err("limit");
        }
        // Beyond what the store can count there is nothing.
        let offset = number("offset", 0)?.min(i64::MAX as u64);
        Ok(Self { window, offset, limit: limit.min(LIMIT), filters })
    }
}

/// RFC 3339 in UTC, with milliseconds where there are some.
fn precise(at: Timestamp) -> String {
    match at.0.rem_euclid(1000) {
        0 => at.rfc3339(),
        milliseconds => format!("{}.{milliseconds:03}Z", at.rfc3339().trim_end_matches('Z')),
    }
}

/// The names of the fields of a CDR.
fn fields(body: &str) -> String {
    let object: Value = serde_json::from_str(body).unwrap_or_default();
    let names: Vec<&str> = object.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

/// The code of the central system's domain that the CDR's driver has; in the neutral record behind it.
pub(super) fn csms_code(row: &CdrRow) -> Option<String> {
    let draft: Value = serde_json::from_str(&row.draft).ok()?;
    draft.pointer("/session/token/code").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_strictly() {
        let page = Page::read(&Query::read("date_from=2026-11-24T10:00:00%2B01:00&offset=5&limit=1000&what=ever")).unwrap();
        assert_eq!((page.window.from, page.window.to), (moment("2026-11-24T09:00:00Z").unwrap(), Window::default().to));
        assert_eq!((page.offset, page.limit, page.filters.as_str()), (5, LIMIT, "date_from=2026-11-24T09:00:00Z&"));
        assert_eq!(Page::read(&Query::read("date_to=2026-11-24T10:00:00.250")).unwrap().filters, "date_to=2026-11-24T10:00:00.250Z&");
        for (query, what) in [
            ("date_from=yesterday", "date_from"),
            ("date_to=", "date_to"),
            ("offset=-1", "offset"),
            ("offset=99999999999999999999", "offset"),
            ("limit=0", "limit"),
            ("limit=x", "limit"),
        ] {
            assert_eq!(Page::read(&Query::read(query)).err(), Some(what), "{query}");
        }
    }
}
