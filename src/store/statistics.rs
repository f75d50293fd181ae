//! Rows of statistics: periods with their wrapped secrets, visits sealed under them, the ledger of what was released, the released bytes, and
//! who does not want to be counted. Everything here is sealed, a keyed digest, or meant for everybody.

use super::rows::{count, many, one};
use super::schema::kind;
use super::{Op, PAGE, StoreError};
use crate::clock::Timestamp;
use crate::seal::Sealed;
use rusqlite::{Connection, Row, params};

/// A period of statistics as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodRow {
    /// Its name, as `2026-11` or `2026-Q4`.
    pub name: String,
    /// Its secret, wrapped; zeros once destroyed.
    pub wrapped: Vec<u8>,
    /// When its secret was drawn.
    pub opened: Timestamp,
    /// When it was released, and its secret destroyed in the same change; `None` while it is open.
    pub closed: Option<Timestamp>,
    /// Grows with each change of its visits: what was computed of fewer or more is then old.
    pub version: u64,
}

/// What one session adds to a period: sealed, and found by keyed digests under the period's own secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitRow {
    /// The period's name.
    pub period: String,
    /// Keyed digest of the session.
    pub session: [u8; 16],
    /// Keyed digest of the card.
    pub card: [u8; 16],
    /// Keyed digest of the contract, where it was known.
    pub contract: Option<[u8; 16]>,
    /// Where, when and how much.
    pub sealed: Sealed,
}

/// An entry of the ledger as stored: one line of text, chained to the one before it by its own content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Its place, from 1.
    pub seq: u64,
    /// The table that was released.
    pub table: String,
    /// For which period. No table is released for a period twice.
    pub period: String,
    /// The entry.
    pub line: String,
}

/// A released file: every later request gets these bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct ReleasedFile {
    /// The period.
    pub period: String,
    /// The file's name, without a directory.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Prints which and how long, never the bytes.
impl std::fmt::Debug for ReleasedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReleasedFile({}/{}, {} bytes)", self.period, self.name, self.bytes.len())
    }
}

/// A release as it becomes durable: ledger, bytes and the end of the secret in one change.
#[derive(Debug, Clone)]
pub struct ReleaseRow {
    /// The period; it must be open, at this version, if `period_version` is given. Without one there are no visits of ours behind the release.
    pub period: String,
    /// The version of the period that was computed from.
    pub period_version: Option<u64>,
    /// When.
    pub at: Timestamp,
    /// The place of the last entry of the ledger that was computed from.
    pub tip: u64,
    /// The new entries, in order, from `tip + 1` on.
    pub entries: Vec<LedgerRow>,
    /// The released bytes.
    pub files: Vec<ReleasedFile>,
}

/// Somebody who is not to be counted. Says neither who nor what of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptOutRow {
    /// Keyed digest of the card or contract under the standing key.
    pub blind: [u8; 16],
    /// Since when.
    pub at: Timestamp,
    /// A closed word: why.
    pub why: String,
}

pub(super) const TABLES: &str = "
CREATE TABLE period (
    name    TEXT PRIMARY KEY,
    wrapped BLOB NOT NULL,
    opened  INTEGER NOT NULL,
    closed  INTEGER,
    version INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE visit (
    period   TEXT NOT NULL,
    session  BLOB NOT NULL,
    card     BLOB NOT NULL,
    contract BLOB,
    dek      BLOB NOT NULL,
    sealed   BLOB NOT NULL,
    PRIMARY KEY (period, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX visit_card ON visit (period, card);
CREATE INDEX visit_contract ON visit (period, contract) WHERE contract IS NOT NULL;
CREATE TABLE ledger (
    seq    INTEGER PRIMARY KEY,
    part   TEXT NOT NULL,
    period TEXT NOT NULL,
    line   TEXT NOT NULL,
    UNIQUE (part, period)
) STRICT;
CREATE TABLE released (
    period TEXT NOT NULL,
    name   TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (period, name)
) STRICT;
CREATE TABLE opt_out (
    blind BLOB PRIMARY KEY,
    at    INTEGER NOT NULL,
    why   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Does one operation of statistics inside the transaction that is open on `conn`; `false` if it is none of these.
pub(super) fn apply(conn: &Connection, op: &Op) -> Result<bool, StoreError> {
    let run = |sql: &str, with: &[&dyn rusqlite::ToSql]| {
        conn.prepare_cached(sql).and_then(|mut statement| statement.execute(with)).map_err(|e| kind(&e))
    };
    match op {
        Op::PeriodOpen { name, wrapped, at } => {
            run("INSERT INTO period (name, wrapped, opened) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", params![name, wrapped, at.0])?;
        }
        Op::VisitPut { row, unless } => {
            let VisitRow { period, session, card, contract, sealed } = row;
            changed(conn, period)?;
            for blind in unless {
                // Here, where nobody can object in between.
                if opt_out(conn, blind)?.is_some() {
                    return Ok(true);
                }
            }
            run(
                "INSERT INTO visit (period, session, card, contract, dek, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET card = ?3, contract = ?4, dek = ?5, sealed = ?6",
                params![period, session, card, contract, sealed.wrapped, sealed.text],
            )?;
        }
        Op::VisitDrop { period, session } => {
            if run("DELETE FROM visit WHERE period = ? AND session = ?", params![period, session])? > 0 {
                changed(conn, period)?;
            }
        }
        Op::VisitsForget { period, person } => {
            // Also where there is nothing to delete: whoever computes without having seen the objection must begin anew.
            run("UPDATE period SET version = version + 1 WHERE name = ? AND closed IS NULL", params![period])?;
            run("DELETE FROM visit WHERE period = ? AND card = ?", params![period, person])?;
            run("DELETE FROM visit WHERE period = ? AND contract = ?", params![period, person])?;
        }
        Op::Release(row) => release(conn, row)?,
        Op::PeriodDiscard { name, at } => {
            run(
                "UPDATE period SET wrapped = zeroblob(length(wrapped)), closed = ?, version = 0 WHERE name = ? AND closed IS NULL",
                params![at.0, name],
            )?;
        }
        Op::ReleasedAdd(file) => {
            run(
                "INSERT INTO released (period, name, bytes) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                params![file.period, file.name, file.bytes],
            )?;
        }
        Op::VisitsPurge { period, most } => {
            let most = i64::try_from(*most).unwrap_or(i64::MAX);
            run(
                "DELETE FROM visit WHERE period = ?1 AND session IN (SELECT session FROM visit WHERE period = ?1 LIMIT ?2)
                 AND EXISTS (SELECT 1 FROM period WHERE name = ?1 AND closed IS NOT NULL)",
                params![period, most],
            )?;
        }
        Op::OptOutPut(row) => {
            let OptOutRow { blind, at, why } = row;
            run("INSERT INTO opt_out (blind, at, why) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET why = ?3", params![blind, at.0, why])?;
        }
        Op::OptOutDrop(blind) => {
            run("DELETE FROM opt_out WHERE blind = ?", params![blind])?;
        }
        Op::SecretKeep { name, sealed } => {
            run(
                "INSERT INTO secret (name, dek, sealed) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                params![name, sealed.wrapped, sealed.text],
            )?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Notes that the visits of a period change; a period that is not open takes none.
fn changed(conn: &Connection, period: &str) -> Result<(), StoreError> {
    let open = conn
        .prepare_cached("UPDATE period SET version = version + 1 WHERE name = ? AND closed IS NULL")
        .and_then(|mut statement| statement.execute(params![period]))
        .map_err(|e| kind(&e))?;
    if open == 0 { Err(StoreError::Gone) } else { Ok(()) }
}

fn release(conn: &Connection, row: &ReleaseRow) -> Result<(), StoreError> {
    let run = |sql: &str, with: &[&dyn rusqlite::ToSql]| conn.execute(sql, with).map_err(|e| kind(&e));
    let ReleaseRow { period, period_version, at, tip, entries, files } = row;
    if ledger_tip(conn)? != *tip || files.is_empty() {
        return Err(StoreError::Conflict);
    }
    match period_version {
        // The secret goes in the change that brings the release: there is no moment at which both are there. And so does the version, which is
        // almost the number of sessions.
        Some(version) => {
            let closed = run(
                "UPDATE period SET wrapped = zeroblob(length(wrapped)), closed = ?, version = 0 WHERE name = ? AND closed IS NULL AND version = ?",
                params![at.0, period, i64::try_from(*version).unwrap_or(i64::MAX)],
            )?;
            if closed == 0 {
                return Err(StoreError::Conflict);
            }
        }
        None => {
            run(
                "INSERT INTO period (name, wrapped, opened, closed) VALUES (?1, zeroblob(0), ?2, ?2)
                 ON CONFLICT DO UPDATE SET wrapped = zeroblob(length(wrapped)), closed = coalesce(closed, ?2), version = 0",
                params![period, at.0],
            )?;
        }
    }
    for (entry, place) in entries.iter().zip(*tip + 1..) {
        if entry.seq != place {
            return Err(StoreError::Conflict);
        }
        run(
            "INSERT INTO ledger (seq, part, period, line) VALUES (?, ?, ?, ?)",
            params![i64::try_from(entry.seq).unwrap_or(i64::MAX), entry.table, entry.period, entry.line],
        )?;
    }
    for file in files {
        run("INSERT INTO released (period, name, bytes) VALUES (?, ?, ?)", params![file.period, file.name, file.bytes])?;
    }
    Ok(())
}

fn ledger_tip(conn: &Connection) -> Result<u64, StoreError> {
    Ok(one(conn, "SELECT coalesce(max(seq), 0) FROM ledger", &[], |row| count(row, 0))?.unwrap_or(0))
}

const PERIOD: &str = "SELECT name, wrapped, opened, closed, version FROM period";

fn period_row(row: &Row<'_>) -> rusqlite::Result<PeriodRow> {
    Ok(PeriodRow {
        name: row.get(0)?,
        wrapped: row.get(1)?,
        opened: Timestamp(row.get(2)?),
        closed: row.get::<_, Option<i64>>(3)?.map(Timestamp),
        version: count(row, 4)?,
    })
}

pub(super) fn period(conn: &Connection, name: &str) -> Result<Option<PeriodRow>, StoreError> {
    one(conn, &format!("{PERIOD} WHERE name = ?"), &[&name], period_row)
}

pub(super) fn periods(conn: &Connection) -> Result<Vec<PeriodRow>, StoreError> {
    many(conn, &format!("{PERIOD} ORDER BY name"), &[], period_row)
}

pub(super) fn has_visit(conn: &Connection, period: &str, session: &[u8; 16]) -> Result<bool, StoreError> {
    Ok(one(conn, "SELECT 1 FROM visit WHERE period = ? AND session = ?", &[&period, session], |_| Ok(()))?.is_some())
}

pub(super) fn visits_of(conn: &Connection, period: &str, person: &[u8; 16]) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM visit WHERE period = ?1 AND (card = ?2 OR contract = ?2)";
    Ok(one(conn, sql, &[&period, person], |row| count(row, 0))?.unwrap_or(0))
}

pub(super) fn visits_after(conn: &Connection, period: &str, after: Option<&[u8; 16]>) -> Result<Vec<VisitRow>, StoreError> {
    let sql = "SELECT session, card, contract, dek, sealed FROM visit WHERE period = ?1 AND (?2 IS NULL OR session > ?2) ORDER BY session LIMIT ?3";
    let most = i64::try_from(PAGE).unwrap_or(i64::MAX);
    many(conn, sql, &[&period, &after.map(<[u8; 16]>::as_slice), &most], |row| {
        Ok(VisitRow {
            period: period.to_owned(),
            session: row.get(0)?,
            card: row.get(1)?,
            contract: row.get(2)?,
            sealed: Sealed { wrapped: row.get(3)?, text: row.get(4)? },
        })
    })
}

pub(super) fn ledger(conn: &Connection) -> Result<Vec<LedgerRow>, StoreError> {
    many(conn, "SELECT seq, part, period, line FROM ledger ORDER BY seq", &[], |row| {
        Ok(LedgerRow { seq: count(row, 0)?, table: row.get(1)?, period: row.get(2)?, line: row.get(3)? })
    })
}

pub(super) fn released(conn: &Connection, period: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    one(conn, "SELECT bytes FROM released WHERE period = ? AND name = ?", &[&period, &name], |row| row.get(0))
}

pub(super) fn released_names(conn: &Connection) -> Result<Vec<(String, String)>, StoreError> {
    many(conn, "SELECT period, name FROM released ORDER BY period, name", &[], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn opt_out(conn: &Connection, blind: &[u8; 16]) -> Result<Option<OptOutRow>, StoreError> {
    one(conn, "SELECT blind, at, why FROM opt_out WHERE blind = ?", &[blind], opt_out_row)
}

pub(super) fn opt_outs_after(conn: &Connection, after: Option<&[u8; 16]>) -> Result<Vec<OptOutRow>, StoreError> {
    let sql = "SELECT blind, at, why FROM opt_out WHERE ?1 IS NULL OR blind > ?1 ORDER BY blind LIMIT ?2";
    let most = i64::try_from(PAGE).unwrap_or(i64::MAX);
    many(conn, sql, &[&after.map(<[u8; 16]>::as_slice), &most], opt_out_row)
}

fn opt_out_row(row: &Row<'_>) -> rusqlite::Result<OptOutRow> {
    Ok(OptOutRow { blind: row.get(0)?, at: Timestamp(row.get(1)?), why: row.get(2)? })
}
