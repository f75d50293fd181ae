//! The desk: what a session costs and whose it is; from both the row of its CDR is made. Asks the vault for codes and looks up sites and
//! tariffs; keeps nothing and sends nothing.

use super::Draft;
use crate::cdr::price::{self, Bill, Terms};
use crate::cdr::site::{Place, Site, Sites};
use crate::cdr::tariff::Tariffs;
use crate::cdr::{self, AuthMethod, Cdr, CdrToken, TokenKind};
use crate::charging::{ChargingSession, Remark, Token};
use crate::clock::Timestamp;
use crate::config::BillingConfig;
use crate::custody::Custody;
use crate::recipient::{Ocpi, Party, Recipient, Recipients};
use crate::store::{CdrRow, CdrState, StoreError};
use crate::vault::tokens::Ownership;
use crate::vault::{Vault, VaultError};
use rust_decimal::Decimal;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The currency of a bill where nothing is charged and no tariff says otherwise.
const CURRENCY: &str = "EUR";
/// In milliseconds: who is refused is gone by then.
const REFUSED_BY: i64 = 2 * 60_000;

/// Why a CDR is held. Closed words, beside those of [`Unowned`](crate::vault::tokens::Unowned); they stand in the operator's list.
pub mod why {
    /// Nobody was authorised: there is no code to name to anybody.
    pub const NO_TOKEN: &str = "no_token";
    /// The owner is known, but has no entry in the register that is valid today (R05).
    pub const NO_AGREEMENT: &str = "no_agreement";
    /// The connector is not in the site register.
    pub const UNKNOWN_SITE: &str = "unknown_site";
    /// It has no price.
    pub const UNBILLABLE: &str = "unbillable";
    /// Nobody knows what it took: no register was told, or one that fell and nothing else.
    pub const UNKNOWN_ENERGY: &str = "unknown_energy";
    /// The owner was billed wrongly before and cannot be sent a credit CDR: to be settled with it by hand.
    pub const NEEDS_MANUAL_CREDIT: &str = "needs_manual_credit";
    /// The owner's token is kept but does not open.
    pub const BROKEN_TOKEN: &str = "broken_token";
}

/// By what sessions are billed: read once, without mistakes.
pub struct Desk {
    cpo: cdr::Party,
    /// In Wh.
    least: Decimal,
    sites: Sites,
    tariffs: Tariffs,
    recipients: Recipients,
}

/// What became of a session.
pub(super) enum Made {
    /// A CDR, queued for its owner or quarantined.
    Row(Box<CdrRow>, Box<Draft>),
    /// Nothing: it took too little.
    TooLittle,
}

/// A CDR as its owner gets it.
pub(super) struct Written {
    pub(super) owner: String,
    pub(super) code: String,
    pub(super) draft: String,
    pub(super) body: String,
    /// `last_updated`, as in the body.
    pub(super) updated: Timestamp,
}

impl Desk {
    /// Reads the site register and the tariffs.
    ///
    /// # Errors
    /// All mistakes, each with its key and file; no value is quoted.
    pub fn open(config: &BillingConfig, recipients: Recipients) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let sites = read("billing.sites", &config.sites, &mut mistakes, |text| Sites::parse(text, config.zone));
        let tariffs = config.tariffs.as_deref().map(|path| read("billing.tariffs", path, &mut mistakes, Tariffs::parse));
        let tariffs = tariffs.unwrap_or_default();
        // Told once each, and not at all if the tariffs could not be read.
        if mistakes.is_empty() {
            let missing = |site: &Site| site.tariff.as_deref().is_some_and(|id| tariffs.find(id).is_none());
            let mut stations: Vec<&str> = sites.iter().filter(|(_, site)| missing(site)).map(|(station, _)| station).collect();
            stations.sort_unstable();
            stations.dedup();
            let say =
                |station| format!("billing.sites: {}: station {station} names a tariff that billing.tariffs lacks", config.sites.display());
            mistakes.extend(stations.into_iter().map(say));
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let cpo = party(&config.cpo);
        Ok(Self { cpo, least: Decimal::from(config.least_wh), sites, tariffs, recipients })
    }

    /// The ids of homes and of their EVSEs, in upper case.
    pub fn homes(&self) -> HashSet<String> {
        self.sites.homes()
    }

    /// Where a session was, by the register.
    pub(super) fn site(&self, session: &ChargingSession) -> Option<&Site> {
        self.sites.find(&session.station, session.evse, session.connector)
    }

    /// The site register.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Makes the CDR of a session. `earlier` is where an earlier CDR of it said it was, if it still is there.
    ///
    /// # Errors
    /// The store cannot be read: nothing is known then.
    pub(super) fn make(
        &self,
        session: &ChargingSession,
        id: String,
        earlier: Option<&Place>,
        custody: &Custody,
        now: Timestamp,
    ) -> Result<Made, StoreError> {
        let taken = session.readings.last().map_or(Decimal::ZERO, |reading| reading.wh);
        if taken < self.least && !is_untold(session) {
            return Ok(Made::TooLittle);
        }
        let mut draft = Draft { session: session.clone(), cdr: None, token: None, version: None };
        let (bill, place) = match self.price(session, earlier) {
            Ok(priced) => priced,
            Err(why::UNBILLABLE) if taken.is_zero() => return Ok(Made::TooLittle),
            Err(why) => return Ok(held(id, draft, why, now)),
        };
        let cdr = self.cdr(id.clone(), session, bill, place, now);
        draft.cdr = Some(cdr.clone());
        let (party, token) = match self.owner(session.token.as_ref(), None, &custody.vault)? {
            Ok(owner) => owner,
            Err(why) => return Ok(held(id, draft, why, now)),
        };
        draft.token = Some(token);
        let Some(recipient) = self.recipient(&party, now) else { return Ok(held(id, draft, why::NO_AGREEMENT, now)) };
        let Some(Written { owner, code, draft: text, body, updated }) = self.write(&mut draft, recipient, custody)? else {
            return Ok(held(id, draft, why::UNBILLABLE, now));
        };
        let row = CdrRow {
            seq: 0,
            id,
            session: session.id.clone(),
            owner: Some(owner),
            state: CdrState::Queued,
            code: Some(code),
            draft: text,
            body: Some(body),
            why: None,
            updated,
            tries: 0,
        };
        Ok(Made::Row(Box::new(row), Box::new(draft)))
    }

    /// The price of a session, and where it was.
    pub(super) fn price(&self, session: &ChargingSession, earlier: Option<&Place>) -> Result<(Bill, Place), &'static str> {
        if is_untold(session) {
            return Err(why::UNKNOWN_ENERGY);
        }
        let site = self.sites.find(&session.station, session.evse, session.connector).ok_or(why::UNKNOWN_SITE)?;
        let tariff = site.tariff.as_deref().map(|id| self.tariffs.at(id, session.started).ok_or(why::UNBILLABLE)).transpose()?;
        let currency = self.tariffs.iter().next().map_or(CURRENCY, |tariff| tariff.currency.as_str());
        let terms = Terms { tariff, zone: site.zone, currency };
        // One session that the library of tariffs stumbles over must not stop the bills of all others.
        let bill = catch_unwind(AssertUnwindSafe(|| price::bill(session, &terms))).unwrap_or(Err(price::Unbillable::Unpriced));
        match bill {
            Ok(bill) => Ok((bill, earlier.unwrap_or(&site.place).clone())),
            Err(reason) => {
                tracing::warn!(reason = ?reason, "a session cannot be billed");
                Err(why::UNBILLABLE)
            }
        }
    }

    pub(super) fn cdr(&self, id: String, session: &ChargingSession, bill: Bill, place: Place, now: Timestamp) -> Cdr {
        Cdr {
            id,
            session_id: session.id.clone(),
            cpo: self.cpo.clone(),
            bill,
            place,
            // By the list of tokens that the e-MSP pushed: how else a driver was authorised is between the station and the central system.
            auth_method: AuthMethod::Whitelist,
            authorization_reference: None,
            credit_of: None,
            last_updated: now,
        }
    }

    /// Whose a session is, and what that e-MSP is told of the driver: by what is known, or by an operator's decision. Says nothing of whether
    /// it may have it.
    pub(super) fn owner(
        &self,
        token: Option<&Token>,
        decided: Option<Party>,
        vault: &Vault,
    ) -> Result<Result<(Party, CdrToken), &'static str>, StoreError> {
        let Some(Token { code, .. }) = token else { return Ok(Err(why::NO_TOKEN)) };
        let found = match decided {
            Some(party) => vault.owned_by(code, party).map(|owned| owned.ok_or(crate::vault::tokens::Unowned::Erased)),
            None => vault.owner(code, &self.recipients),
        };
        match found {
            Ok(Ok(ownership)) => Ok(Ok((ownership.party, told(&ownership)))),
            Ok(Err(unowned)) => Ok(Err(unowned.code())),
            Err(VaultError::Store(error)) => Err(error),
            Err(_) => Ok(Err(why::BROKEN_TOKEN)),
        }
    }

    /// An e-MSP's entry in the register, if it may receive anything now (R05).
    pub(super) fn recipient(&self, party: &Party, now: Timestamp) -> Option<&Recipient> {
        self.recipients.find(party).filter(|recipient| recipient.may_receive(&now.date()))
    }

    /// The version that an e-MSP's entry names, whether or not it is valid now.
    pub(super) fn version(&self, party: &Party) -> Option<Ocpi> {
        self.recipients.find(party).map(|recipient| recipient.version)
    }

    /// Writes a CDR for its owner, in the owner's version and with its own codes. `None` if the draft has no bill or names nobody, or if a
    /// credit would have to be written in 2.1.1, which has none.
    ///
    /// `last_updated` is never before that of another of the owner's CDRs, whatever the clock says: an e-MSP that pulls asks for what has
    /// changed since the newest that it has.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn write(&self, draft: &mut Draft, recipient: &Recipient, custody: &Custody) -> Result<Option<Written>, StoreError> {
        let (Some(cdr), Some(token)) = (draft.cdr.as_mut(), draft.token.as_ref()) else { return Ok(None) };
        let (vault, owner) = (&custody.vault, recipient.party.to_string());
        // The driver may have been authorised after the cable was plugged in. A credit repeats what it takes back.
        let authorised = draft.session.named.map_or(draft.session.started, |named| named.max(draft.session.started));
        if cdr.credit_of.is_none()
            && let Some(token) = &draft.session.token
            && let Ok(Some(reference)) = vault.reference(&token.code, &recipient.party, authorised)
        {
            cdr.authorization_reference = Some(reference);
            cdr.auth_method = AuthMethod::AuthRequest;
        }
        if cdr.credit_of.is_some() && recipient.version == Ocpi::V211 {
            return Ok(None);
        }
        let mut updated = cdr.last_updated;
        while let Some(newest) = custody.store().cdr_newest(&owner, updated)?.filter(|newest| *newest > updated) {
            updated = newest;
        }
        cdr.last_updated = updated;
        let body = cdr.write(token, recipient.version, &|text| vault.alias(&recipient.party, text));
        let code = token.uid.clone();
        draft.version = Some(recipient.version.number().to_owned());
        Ok(Some(Written { owner, code, draft: draft.text(), body, updated }))
    }
}

/// Whether nobody knows what somebody's session took: no register was told, or one that fell and nothing else. It is listed and not taken for
/// nothing. Who was refused at once took nothing, and where nobody was named there is nobody to bill.
pub(super) fn is_untold(session: &ChargingSession) -> bool {
    let says = |remark| session.remarks.contains(&remark);
    let lasted = session.ended.map_or(0, |ended| ended.0.saturating_sub(session.started.0));
    let untold =
        says(Remark::NoEnergy) || (says(Remark::RegisterFell) && session.readings.last().is_none_or(|reading| reading.wh.is_zero()));
    untold && session.token.is_some() && lasted >= REFUSED_BY
}

/// A row that waits for an operator. Nobody's, so that nobody can pull it.
pub(super) fn held(id: String, draft: Draft, why: &'static str, now: Timestamp) -> Made {
    let row = CdrRow {
        seq: 0,
        id,
        session: draft.session.id.clone(),
        owner: None,
        state: CdrState::Quarantined,
        code: None,
        draft: draft.text(),
        body: None,
        why: Some(why.to_owned()),
        updated: now,
        tries: 0,
    };
    Made::Row(Box::new(row), Box::new(draft))
}

fn told(ownership: &Ownership) -> CdrToken {
    let cdr::Party { country_code, party_id } = party(&ownership.party);
    let kind = match ownership.kind.as_str() {
        "AD_HOC_USER" => TokenKind::AdHocUser,
        "APP_USER" => TokenKind::AppUser,
        "EMAID" => TokenKind::Emaid,
        "RFID" => TokenKind::Rfid,
        _ => TokenKind::Other,
    };
    CdrToken { country_code, party_id, uid: ownership.uid.to_string(), kind, contract_id: ownership.contract.to_string() }
}

fn party(party: &Party) -> cdr::Party {
    cdr::Party { country_code: party.country().to_owned(), party_id: party.id().to_owned() }
}

fn read<T: Default>(key: &str, path: &Path, mistakes: &mut Vec<String>, parse: impl FnOnce(&str) -> Result<T, Vec<String>>) -> T {
    let text = std::fs::read_to_string(path).map_err(|error| vec![format!("cannot be read: {}", error.kind())]);
    // Spreadsheets and some editors write a mark before the first character.
    text.and_then(|text| parse(text.trim_start_matches('\u{feff}'))).unwrap_or_else(|found| {
        mistakes.extend(found.into_iter().map(|mistake| format!("{key}: {}: {mistake}", path.display())));
        T::default()
    })
}
