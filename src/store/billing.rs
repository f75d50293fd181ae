//! Rows of billing: charging sessions as they are assembled, CDRs and their way to the e-MSP, tokens that e-MSPs own, the disclosure log.
//! Everything here is pseudonymous or sealed.

mod tables;

use super::rows::{count, many, one};
use super::schema::kind;
use super::{Op, PAGE, StoreError};
use crate::clock::Timestamp;
use crate::seal::Sealed;
use rusqlite::{Connection, Row, params};
pub(super) use tables::TABLES;

/// A charging session as stored: the assembler's own text, and the keys by which a later fact finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargingRow {
    /// The session's id.
    pub id: String,
    /// The charging station.
    pub station: String,
    /// The assembler's text.
    pub row: String,
    /// Keys, unique within the station; a key that another session had is this one's from now on.
    pub keys: Vec<String>,
    /// When it was closed; `None` while it is open.
    pub closed: Option<Timestamp>,
}

/// Where a CDR is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CdrState {
    /// Nobody knows whose it is, or whose it is may not have it: waits for an operator.
    Quarantined,
    /// Waits to be pushed; its owner may pull it.
    Queued,
    /// The e-MSP has accepted it.
    Delivered,
    /// The e-MSP has refused it for good: waits for an operator. Its owner may pull it.
    Refused,
    /// An operator decided that it goes to nobody.
    Discarded,
}

impl CdrState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Quarantined, Self::Queued, Self::Delivered, Self::Refused, Self::Discarded];

    /// The word in the store, in metrics and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Discarded => "discarded",
        }
    }

    /// The state a word stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A CDR as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct CdrRow {
    /// Its place in the order of CDRs, from 1, never used twice; 0 before it is stored. One owner's CDRs go out in this order; only one
    /// that it fails to take again and again is overtaken by those of other sessions.
    pub seq: u64,
    /// The CDR's id.
    pub id: String,
    /// The charging session it bills.
    pub session: String,
    /// The e-MSP that it belongs to, as `NL-ABC`; `None` while nobody knows.
    pub owner: Option<String>,
    /// Where it is on its way.
    pub state: CdrState,
    /// The code of the driver's identifier in the owner's domain; `None` while quarantined.
    pub code: Option<String>,
    /// The neutral record, JSON: from it the CDR is written for its owner.
    pub draft: String,
    /// The CDR as its owner gets it, JSON: the same bytes at every push and pull, while the owner speaks the version that it was written in.
    /// `None` while quarantined.
    pub body: Option<String>,
    /// Why it is where it is: a closed word.
    pub why: Option<String>,
    /// When it was last changed: OCPI's `last_updated`.
    pub updated: Timestamp,
    /// How often it was pushed.
    pub tries: u32,
}

/// Prints which and where, never the record.
impl std::fmt::Debug for CdrRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CdrRow({}, {})", self.id, self.state.name())
    }
}

/// A token that an e-MSP owns, as stored: found by a keyed digest, its content sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The e-MSP, as `NL-ABC`.
    pub owner: String,
    /// The OCPI token type: `RFID`, `APP_USER`, …
    pub kind: String,
    /// Keyed digest of the identifier: the same card has the same in every epoch.
    pub blind: [u8; 16],
    /// When it was last updated, by the e-MSP's word.
    pub updated: Timestamp,
    /// The token, sealed.
    pub sealed: Sealed,
}

/// What waits for one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrQueue {
    /// The e-MSP, as `NL-ABC`.
    pub owner: String,
    /// Queued CDRs.
    pub length: u64,
    /// `last_updated` of the first of them.
    pub oldest: Timestamp,
}

/// Something that was given to a recipient. No content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisclosureRow {
    /// Its place in the log, from 1; 0 before it is stored.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// To whom, as `NL-ABC` or `csms`.
    pub recipient: String,
    /// For which purpose.
    pub purpose: String,
    /// Whom it was about: a keyed digest; `None` if nobody in particular.
    pub subject: Option<[u8; 16]>,
    /// What it was: the id of a CDR, a keyed digest of a token, or a random id. The same recipient, purpose and reference is one disclosure,
    /// of all fields that were ever given by it.
    pub reference: String,
    /// The names of the fields, separated by spaces.
    pub fields: String,
}

/// What a page of an owner's CDRs is chosen by: `last_updated` from (included) and to (excluded).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From this moment on.
    pub from: Timestamp,
    /// Before this moment.
    pub to: Timestamp,
}

impl Default for Window {
    fn default() -> Self {
        Self { from: Timestamp(i64::MIN), to: Timestamp(i64::MAX) }
    }
}

/// Does one operation of billing inside the transaction that is open on `conn`; `false` if it is none of these.
pub(super) fn apply(conn: &Connection, op: &Op) -> Result<bool, StoreError> {
    let run = |sql: &str, with: &[&dyn rusqlite::ToSql]| {
        conn.prepare_cached(sql).and_then(|mut statement| statement.execute(with)).map_err(|e| kind(&e))
    };
    match op {
        Op::MarkMove { name, from, to } => {
            let (from, to) = (signed(*from), signed(*to));
            let there = one(conn, "SELECT at FROM mark WHERE name = ?", &[name], |row| row.get::<_, i64>(0))?.unwrap_or(0);
            if there != from && there != to {
                return Err(StoreError::Conflict);
            }
            run("INSERT INTO mark (name, at) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET at = ?2", params![name, to])?;
        }
        Op::ChargingPut(row) => {
            let ChargingRow { id, station, row, keys, closed } = row;
            run(
                "INSERT INTO charging (id, station, row, closed) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET row = ?3, closed = ?4",
                params![id, station, row, closed.map(|at| at.0)],
            )?;
            for key in keys {
                run(
                    "INSERT INTO charging_key (station, key, id) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET id = ?3",
                    params![station, key, id],
                )?;
            }
        }
        Op::ChargingDrop(id) => {
            run("DELETE FROM charging_key WHERE id = ?", params![id])?;
            run("DELETE FROM charging WHERE id = ?", params![id])?;
        }
        Op::CdrInsert(row) => {
            let CdrRow { id, session, owner, state, code, draft, body, why, updated, .. } = row;
            if let Some(owner) = owner {
                in_order(conn, id, owner, *updated)?;
            }
            run(
                "INSERT INTO cdr (id, session, owner, state, code, draft, body, why, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![id, session, owner, state.name(), code, draft, body, why, updated.0],
            )?;
        }
        Op::CdrMove { id, from, to, tries } => {
            let moved = run(
                "UPDATE cdr SET state = ?1, why = NULL, tries = max(tries, ?2) WHERE id = ?3 AND state IN (?4, ?1)",
                params![to.name(), tries, id, from.name()],
            )?;
            if moved == 0 {
                return Err(StoreError::Conflict);
            }
        }
        Op::CdrAssign { id, owner, code, draft, body, updated } => {
            in_order(conn, id, owner, *updated)?;
            let moved = run(
                "UPDATE cdr SET state = 'queued', owner = ?2, body = ?3, updated = ?4, code = ?5, draft = ?6, why = NULL, tries = 0
                 WHERE id = ?1 AND (state = 'quarantined' OR (state = 'queued' AND owner = ?2 AND body = ?3))",
                params![id, owner, body, updated.0, code, draft],
            )?;
            if moved == 0 {
                return Err(StoreError::Conflict);
            }
        }
        Op::Disclose(row) => {
            let DisclosureRow { at, recipient, purpose, subject, reference, fields, .. } = row;
            let fresh = run(
                "INSERT INTO disclosure (at, recipient, purpose, subject, reference, fields) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![at.0, recipient, purpose, subject, reference, fields],
            )?;
            if fresh == 0 {
                let (row, key) = ("WHERE recipient = ?1 AND purpose = ?2 AND reference = ?3", params![recipient, purpose, reference]);
                let told: String = one(conn, &format!("SELECT fields FROM disclosure {row}"), key, |row| row.get(0))?.unwrap_or_default();
                let more: Vec<&str> = fields.split(' ').filter(|field| told.split(' ').all(|other| other != *field)).collect();
                if !more.is_empty() {
                    let all = format!("{told} {}", more.join(" "));
                    run(&format!("UPDATE disclosure SET fields = ?4 {row}"), params![recipient, purpose, reference, all])?;
                }
            }
        }
        Op::TokenPut(row) => {
            let TokenRow { owner, kind, blind, updated, sealed } = row;
            run(
                "INSERT INTO token (owner, kind, blind, updated, dek, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET updated = ?4, dek = ?5, sealed = ?6, told = 0",
                params![owner, kind, blind, updated.0, sealed.wrapped, sealed.text],
            )?;
        }
        Op::TokenErase(TokenRow { owner, kind, blind, .. }) => {
            run("UPDATE token SET dek = zeroblob(length(dek)) WHERE owner = ? AND kind = ? AND blind = ?", params![owner, kind, blind])?;
            run("DELETE FROM token WHERE owner = ? AND kind = ? AND blind = ?", params![owner, kind, blind])?;
        }
        Op::TokenTold { token, round } => {
            // Each sealing is under a key of its own: other bytes are a later word of its owner.
            run(
                "UPDATE token SET told = max(told, ?1) WHERE owner = ?2 AND kind = ?3 AND blind = ?4 AND sealed = ?5",
                params![signed(*round), token.owner, token.kind, token.blind, token.sealed.text],
            )?;
        }
        Op::SecretPut { name, sealed } => {
            run(
                "INSERT INTO secret (name, dek, sealed) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET dek = ?2, sealed = ?3",
                params![name, sealed.wrapped, sealed.text],
            )?;
        }
        Op::SecretDrop(name) => {
            run("DELETE FROM secret WHERE name = ?", params![name])?;
        }
        Op::PurgeBilling { before, most } => {
            let (before, most) = (before.0, signed(*most as u64));
            let old = "SELECT id FROM charging WHERE closed < ? ORDER BY closed LIMIT ?";
            run(&format!("DELETE FROM charging_key WHERE id IN ({old})"), params![before, most])?;
            run(&format!("DELETE FROM charging WHERE id IN ({old})"), params![before, most])?;
            // As long as something may still come late of a session, what was billed of it is known: else it would be billed twice.
            run(
                "DELETE FROM cdr WHERE seq IN (SELECT seq FROM cdr WHERE state IN ('delivered', 'discarded') AND updated < ?
                 AND NOT EXISTS (SELECT 1 FROM charging WHERE charging.id = cdr.session) ORDER BY updated LIMIT ?)",
                params![before, most],
            )?;
            run(
                "DELETE FROM disclosure WHERE seq IN (SELECT seq FROM disclosure WHERE at < ? ORDER BY at LIMIT ?)",
                params![before, most],
            )?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

pub(super) fn mark(conn: &Connection, name: &str) -> Result<u64, StoreError> {
    Ok(one(conn, "SELECT at FROM mark WHERE name = ?", &[&name], |row| count(row, 0))?.unwrap_or(0))
}

pub(super) fn has_mark(conn: &Connection, name: &str) -> Result<bool, StoreError> {
    Ok(one(conn, "SELECT 1 FROM mark WHERE name = ?", &[&name], |_| Ok(()))?.is_some())
}

pub(super) fn charging_open(conn: &Connection, after: &str) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT id, row FROM charging WHERE closed IS NULL AND id > ? ORDER BY id LIMIT ?";
    many(conn, sql, &[&after, &signed(PAGE as u64)], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn charging_by_key(conn: &Connection, station: &str, key: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT c.row FROM charging_key k JOIN charging c ON c.id = k.id WHERE k.station = ? AND k.key = ?";
    one(conn, sql, &[&station, &key], |row| row.get(0))
}

const CDR: &str = "SELECT seq, id, session, owner, state, code, draft, body, why, updated, tries FROM cdr";

fn cdr_row(row: &Row<'_>) -> rusqlite::Result<CdrRow> {
    let state: String = row.get(4)?;
    Ok(CdrRow {
        seq: count(row, 0)?,
        id: row.get(1)?,
        session: row.get(2)?,
        owner: row.get(3)?,
        // A word that is none of ours cannot be sent by mistake.
        state: CdrState::from_name(&state).unwrap_or(CdrState::Quarantined),
        code: row.get(5)?,
        draft: row.get(6)?,
        body: row.get(7)?,
        why: row.get(8)?,
        updated: Timestamp(row.get(9)?),
        tries: row.get(10)?,
    })
}

pub(super) fn cdr(conn: &Connection, id: &str) -> Result<Option<CdrRow>, StoreError> {
    one(conn, &format!("{CDR} WHERE id = ?"), &[&id], cdr_row)
}

pub(super) fn cdr_by_code(conn: &Connection, owner: &str, code: &str) -> Result<Option<CdrRow>, StoreError> {
    one(conn, &format!("{CDR} WHERE owner = ? AND code = ? ORDER BY seq DESC LIMIT 1"), &[&owner, &code], cdr_row)
}

pub(super) fn cdrs_of_session(conn: &Connection, session: &str) -> Result<Vec<CdrRow>, StoreError> {
    many(conn, &format!("{CDR} WHERE session = ? ORDER BY seq"), &[&session], cdr_row)
}

pub(super) fn cdrs_in(conn: &Connection, state: CdrState, owner: Option<&str>, after: u64, most: usize) -> Result<Vec<CdrRow>, StoreError> {
    let (after, most) = (signed(after), signed(most.min(PAGE) as u64));
    match owner {
        Some(owner) => {
            let sql = format!("{CDR} WHERE state = ? AND owner = ? AND seq > ? ORDER BY seq LIMIT ?");
            many(conn, &sql, &[&state.name(), &owner, &after, &most], cdr_row)
        }
        None => many(conn, &format!("{CDR} WHERE state = ? AND seq > ? ORDER BY seq LIMIT ?"), &[&state.name(), &after, &most], cdr_row),
    }
}

const VISIBLE: &str = "owner = ? AND state IN ('queued', 'delivered', 'refused') AND updated >= ? AND updated < ?";

pub(super) fn cdr_page(conn: &Connection, owner: &str, window: Window, offset: u64, most: usize) -> Result<Vec<CdrRow>, StoreError> {
    let sql = format!("{CDR} WHERE {VISIBLE} ORDER BY updated, seq LIMIT ? OFFSET ?");
    let (most, offset) = (signed(most.min(PAGE) as u64), signed(offset));
    many(conn, &sql, &[&owner, &window.from.0, &window.to.0, &most, &offset], cdr_row)
}

/// In milliseconds.
const DAY: i64 = 86_400_000;

/// Refuses a CDR that would be new to its owner and older than what the owner may have seen.
fn in_order(conn: &Connection, id: &str, owner: &str, updated: Timestamp) -> Result<(), StoreError> {
    // Done again, it changes nothing, whatever has come since.
    let there = one(conn, "SELECT 1 FROM cdr WHERE id = ? AND owner = ?", &[&id, &owner], |_| Ok(()))?;
    let late = there.is_none() && cdr_newest(conn, owner, updated)?.is_some_and(|newest| updated < newest);
    if late { Err(StoreError::Conflict) } else { Ok(()) }
}

pub(super) fn cdr_newest(conn: &Connection, owner: &str, about: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let until = about.0.saturating_add(DAY);
    let sql = "SELECT max(updated) FROM cdr WHERE owner = ? AND updated <= ?";
    let newest = one(conn, sql, &[&owner, &until], |row| row.get::<_, Option<i64>>(0))?;
    Ok(newest.flatten().map(Timestamp))
}

pub(super) fn cdr_count(conn: &Connection, owner: &str, window: Window) -> Result<u64, StoreError> {
    let sql = format!("SELECT count(*) FROM cdr WHERE {VISIBLE}");
    Ok(one(conn, &sql, &[&owner, &window.from.0, &window.to.0], |row| count(row, 0))?.unwrap_or(0))
}

pub(super) fn cdr_counts(conn: &Connection) -> Result<Vec<(CdrState, u64)>, StoreError> {
    let sql = "SELECT substr(what, 5), n FROM tally WHERE what LIKE 'cdr %'";
    let found = many(conn, sql, &[], |row| Ok((row.get::<_, String>(0)?, count(row, 1)?)))?;
    Ok(CdrState::ALL.map(|state| (state, found.iter().find(|(name, _)| name == state.name()).map_or(0, |(_, n)| *n))).to_vec())
}

fn token_row(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        owner: row.get(0)?,
        kind: row.get(1)?,
        blind: row.get(2)?,
        updated: Timestamp(row.get(3)?),
        sealed: Sealed { wrapped: row.get(4)?, text: row.get(5)? },
    })
}

const TOKEN: &str = "SELECT owner, kind, blind, updated, dek, sealed FROM token";

pub(super) fn tokens_by_blind(conn: &Connection, blind: &[u8; 16]) -> Result<Vec<TokenRow>, StoreError> {
    many(conn, &format!("{TOKEN} WHERE blind = ? ORDER BY owner, kind LIMIT 64"), &[blind], token_row)
}

pub(super) fn tokens_of(conn: &Connection, owner: &str) -> Result<u64, StoreError> {
    // By the small index, which holds the whole primary key, and not by the rows.
    let sql = "SELECT count(*) FROM token INDEXED BY token_blind WHERE owner = ?";
    Ok(one(conn, sql, &[&owner], |row| count(row, 0))?.unwrap_or(0))
}

pub(super) fn tokens_after(conn: &Connection, after: Option<&TokenRow>, most: usize) -> Result<Vec<TokenRow>, StoreError> {
    let most = signed(most.min(PAGE) as u64);
    match after {
        Some(TokenRow { owner, kind, blind, .. }) => {
            let sql = format!("{TOKEN} WHERE (owner, kind, blind) > (?, ?, ?) ORDER BY owner, kind, blind LIMIT ?");
            many(conn, &sql, &[owner, kind, blind, &most], token_row)
        }
        None => many(conn, &format!("{TOKEN} ORDER BY owner, kind, blind LIMIT ?"), &[&most], token_row),
    }
}

pub(super) fn tokens_due(conn: &Connection, round: u64, most: usize) -> Result<Vec<TokenRow>, StoreError> {
    let sql = format!("{TOKEN} WHERE told < ? ORDER BY told LIMIT ?");
    many(conn, &sql, &[&signed(round), &signed(most.min(PAGE) as u64)], token_row)
}

pub(super) fn cdr_queues(conn: &Connection) -> Result<Vec<CdrQueue>, StoreError> {
    let sql = "SELECT q.owner, q.n, c.updated FROM
        (SELECT owner, count(*) AS n, min(seq) AS first FROM cdr WHERE state = 'queued' AND owner IS NOT NULL GROUP BY owner) q
        JOIN cdr c ON c.seq = q.first ORDER BY q.owner";
    many(conn, sql, &[], |row| Ok(CdrQueue { owner: row.get(0)?, length: count(row, 1)?, oldest: Timestamp(row.get(2)?) }))
}

pub(super) fn disclosures(conn: &Connection, subject: Option<&[u8; 16]>, after: u64) -> Result<Vec<DisclosureRow>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(DisclosureRow {
            seq: count(row, 0)?,
            at: Timestamp(row.get(1)?),
            recipient: row.get(2)?,
            purpose: row.get(3)?,
            subject: row.get(4)?,
            reference: row.get(5)?,
            fields: row.get(6)?,
        })
    };
    let columns = "SELECT seq, at, recipient, purpose, subject, reference, fields FROM disclosure";
    let (after, most) = (signed(after), signed(PAGE as u64));
    match subject {
        Some(subject) => {
            many(conn, &format!("{columns} WHERE subject = ? AND seq > ? ORDER BY seq LIMIT ?"), &[subject, &after, &most], read)
        }
        None => many(conn, &format!("{columns} WHERE seq > ? ORDER BY seq LIMIT ?"), &[&after, &most], read),
    }
}

pub(super) fn secret(conn: &Connection, name: &str) -> Result<Option<Sealed>, StoreError> {
    one(conn, "SELECT dek, sealed FROM secret WHERE name = ?", &[&name], |row| Ok(Sealed { wrapped: row.get(0)?, text: row.get(1)? }))
}

pub(super) fn secret_names(conn: &Connection, after: &str) -> Result<Vec<String>, StoreError> {
    many(conn, "SELECT name FROM secret WHERE name > ? ORDER BY name LIMIT ?", &[&after, &signed(PAGE as u64)], |row| row.get(0))
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
