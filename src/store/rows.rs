//! The statements: what each [`Op`] does to the tables, and the reads.

use super::schema::kind;
use super::{EpochRow, JournalRow, Op, Sizes, StoreError, VaultRow};
use crate::clock::Timestamp;
use crate::identity::Epoch;
use crate::pseudonym::Pseudonym;
use crate::seal::Sealed;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Journal rows from before ?1, the oldest by their own time and ?2 at most, that the reader ?3 has passed. One that never began has passed
/// nothing. At most so many are looked at, however many there are that it has not passed.
const PURGEABLE: &str = "SELECT seq FROM (SELECT seq FROM journal WHERE at < ?1 ORDER BY at LIMIT ?2)
    WHERE ?3 IS NULL OR seq <= coalesce((SELECT at FROM mark WHERE name = ?3), 0)";

/// Does one operation inside the transaction that is open on `conn`.
pub(super) fn apply(conn: &Connection, op: &Op) -> Result<(), StoreError> {
    let run = |sql: &str, with: &[&dyn rusqlite::ToSql]| {
        conn.prepare_cached(sql).and_then(|mut statement| statement.execute(with)).map_err(|e| kind(&e))
    };
    if super::billing::apply(conn, op)? || super::statistics::apply(conn, op)? {
        return Ok(());
    }
    match op {
        Op::VaultInsert(row) => {
            let VaultRow { code, epoch, class, blind, sealed } = row;
            let added = run(
                "INSERT INTO vault (code, epoch, class, blind, dek, sealed) SELECT ?1, ?2, ?3, ?4, ?5, ?6
                 WHERE EXISTS (SELECT 1 FROM epoch WHERE counter = ?2 AND destroyed IS NULL) ON CONFLICT DO NOTHING",
                params![code.as_str(), epoch.0, class, blind, sealed.wrapped, sealed.text],
            )?;
            if added == 0 {
                let there = vault_row(conn, code)?.ok_or(StoreError::Gone)?;
                if there.blind != *blind || there.class != *class {
                    return Err(StoreError::Conflict);
                }
            }
        }
        Op::VaultErase(code) => {
            // Over the old bytes first: secure_delete clears the page too, but the key is what matters.
            run("UPDATE vault SET dek = zeroblob(length(dek)) WHERE code = ?", params![code.as_str()])?;
            if run("DELETE FROM vault WHERE code = ?", params![code.as_str()])? > 0 {
                next_generation(conn)?;
            }
        }
        Op::Pin { key, epoch, at } => {
            run("INSERT INTO pin (key, epoch, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", params![key, epoch.0, at.0])?;
        }
        Op::Unpin(key) => {
            run("DELETE FROM pin WHERE key = ?", params![key])?;
        }
        Op::Append(row) => {
            let JournalRow { fingerprint, station, version, at, action, message_id, payload, .. } = row;
            run(
                "INSERT INTO journal (fingerprint, station, version, at, action, message_id, payload) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                params![fingerprint, station, version, at.0, action, message_id, payload],
            )?;
        }
        Op::StandingInsert(wrapped) => {
            run("INSERT INTO standing (one, wrapped) VALUES (1, ?) ON CONFLICT DO NOTHING", params![wrapped])?;
        }
        Op::EpochInsert(row) => {
            run(
                "INSERT INTO epoch (counter, mark, created, wrapped) VALUES (?, ?, ?, ?)",
                params![row.epoch.0, row.mark, row.created.0, row.wrapped],
            )?;
            next_generation(conn)?;
        }
        Op::EpochCurrent { from, to, at } => {
            let rows = epochs(conn)?;
            let now = rows.iter().find(|row| row.current).map(|row| row.epoch);
            let live = rows.iter().any(|row| row.epoch == *to && row.destroyed.is_none());
            if now == Some(*to) {
                return Ok(());
            }
            if now != *from || !live {
                return Err(StoreError::Conflict);
            }
            run("UPDATE epoch SET current = 0, retired = ? WHERE current = 1", params![at.0])?;
            run("UPDATE epoch SET current = 1, retired = NULL WHERE counter = ?", params![to.0])?;
            next_generation(conn)?;
        }
        Op::EpochDestroy(epoch, at) => {
            if epochs(conn)?.iter().any(|row| row.epoch == *epoch && row.current) {
                return Err(StoreError::Conflict);
            }
            run(
                "UPDATE epoch SET wrapped = zeroblob(length(wrapped)), destroyed = coalesce(destroyed, ?) WHERE counter = ?",
                params![at.0, epoch.0],
            )?;
            run("DELETE FROM vault WHERE epoch = ?", params![epoch.0])?;
            run("DELETE FROM pin WHERE epoch = ?", params![epoch.0])?;
            next_generation(conn)?;
        }
        Op::Purge { before, most, reader } => {
            let most = i64::try_from(*most).unwrap_or(i64::MAX);
            run(&format!("DELETE FROM journal WHERE seq IN ({PURGEABLE})"), params![before.0, most, reader])?;
            run("DELETE FROM pin WHERE key IN (SELECT key FROM pin WHERE at < ? ORDER BY at LIMIT ?)", params![before.0, most])?;
        }
        // Done above.
        Op::MarkMove { .. }
        | Op::ChargingPut(_)
        | Op::ChargingDrop(_)
        | Op::CdrInsert(_)
        | Op::CdrMove { .. }
        | Op::CdrAssign { .. }
        | Op::Disclose(_)
        | Op::TokenPut(_)
        | Op::TokenTold { .. }
        | Op::SecretPut { .. }
        | Op::TokenErase(_)
        | Op::SecretDrop(_)
        | Op::PurgeBilling { .. }
        | Op::SecretKeep { .. }
        | Op::PeriodOpen { .. }
        | Op::PeriodDiscard { .. }
        | Op::VisitPut { .. }
        | Op::VisitDrop { .. }
        | Op::VisitsForget { .. }
        | Op::Release(_)
        | Op::ReleasedAdd(_)
        | Op::VisitsPurge { .. }
        | Op::OptOutPut(_)
        | Op::OptOutDrop(_) => {}
    }
    Ok(())
}

/// Adds to the count of the journal's rows: once for a transaction, since a trigger would do it for each row.
pub(super) fn count_appended(conn: &Connection, rows: u64) -> Result<(), StoreError> {
    let done = conn
        .prepare_cached("UPDATE tally SET n = n + ? WHERE what = 'journal'")
        .and_then(|mut statement| statement.execute([i64::try_from(rows).unwrap_or(i64::MAX)]));
    done.map(|_| ()).map_err(|e| kind(&e))
}

/// Writes so many bytes and deletes them, inside the transaction that is open on `conn`. Deleted pages are overwritten (`secure_delete`), so
/// they are in the transaction like any others.
pub(super) fn write_and_erase(conn: &Connection, bytes: usize) -> Result<(), StoreError> {
    let name = "probe";
    let run = |sql: &str, with: &[&dyn rusqlite::ToSql]| conn.prepare_cached(sql).and_then(|mut statement| statement.execute(with));
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    run("INSERT OR REPLACE INTO secret (name, dek, sealed) VALUES (?, x'', zeroblob(?))", params![name, bytes]).map_err(|e| kind(&e))?;
    run("DELETE FROM secret WHERE name = ?", params![name]).map_err(|e| kind(&e)).map(|_| ())
}

fn next_generation(conn: &Connection) -> Result<(), StoreError> {
    conn.execute("UPDATE generation SET n = n + 1", []).map(|_| ()).map_err(|e| kind(&e))
}

pub(super) fn vault_row(conn: &Connection, code: &Pseudonym) -> Result<Option<VaultRow>, StoreError> {
    one(conn, "SELECT epoch, class, blind, dek, sealed FROM vault WHERE code = ?", &[&code.as_str()], |row| {
        Ok(VaultRow {
            code: *code,
            epoch: Epoch(row.get(0)?),
            class: row.get(1)?,
            blind: row.get(2)?,
            sealed: Sealed { wrapped: row.get(3)?, text: row.get(4)? },
        })
    })
}

pub(super) fn pin(conn: &Connection, key: &[u8; 16]) -> Result<Option<Epoch>, StoreError> {
    one(conn, "SELECT epoch FROM pin WHERE key = ?", &[key], |row| row.get(0).map(Epoch))
}

pub(super) fn standing(conn: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    one(conn, "SELECT wrapped FROM standing", &[], |row| row.get(0))
}

pub(super) fn generation(conn: &Connection) -> Result<u64, StoreError> {
    Ok(one(conn, "SELECT n FROM generation", &[], |row| count(row, 0))?.unwrap_or(0))
}

pub(super) fn journal_after(conn: &Connection, seq: u64, most: usize) -> Result<Vec<JournalRow>, StoreError> {
    let sql = "SELECT seq, fingerprint, station, version, at, action, message_id, payload FROM journal WHERE seq > ? ORDER BY seq LIMIT ?";
    let (seq, most) = (i64::try_from(seq).unwrap_or(i64::MAX), i64::try_from(most).unwrap_or(i64::MAX));
    many(conn, sql, &[&seq, &most], |row| {
        Ok(JournalRow {
            seq: count(row, 0)?,
            fingerprint: row.get(1)?,
            station: row.get(2)?,
            version: row.get(3)?,
            at: Timestamp(row.get(4)?),
            action: row.get(5)?,
            message_id: row.get(6)?,
            payload: row.get(7)?,
        })
    })
}

pub(super) fn journal_purgeable(
    conn: &Connection,
    before: Timestamp,
    most: usize,
    reader: Option<&'static str>,
) -> Result<bool, StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    Ok(one(conn, &format!("{PURGEABLE} LIMIT 1"), params![before.0, most, reader], |_| Ok(()))?.is_some())
}

pub(super) fn journal_newest(conn: &Connection) -> Result<u64, StoreError> {
    Ok(one(conn, "SELECT seq FROM sqlite_sequence WHERE name = 'journal'", &[], |row| count(row, 0))?.unwrap_or(0))
}

pub(super) fn epochs(conn: &Connection) -> Result<Vec<EpochRow>, StoreError> {
    many(conn, "SELECT counter, mark, created, retired, destroyed, wrapped, current FROM epoch ORDER BY counter", &[], |row| {
        Ok(EpochRow {
            epoch: Epoch(row.get(0)?),
            mark: row.get(1)?,
            created: Timestamp(row.get(2)?),
            retired: row.get::<_, Option<i64>>(3)?.map(Timestamp),
            destroyed: row.get::<_, Option<i64>>(4)?.map(Timestamp),
            wrapped: row.get(5)?,
            current: row.get(6)?,
        })
    })
}

pub(super) fn sizes(conn: &Connection) -> Result<Sizes, StoreError> {
    let sql = "SELECT (SELECT n FROM tally WHERE what = 'vault'), (SELECT n FROM tally WHERE what = 'pin'), (SELECT n FROM tally WHERE what = 'journal'),
        (SELECT n FROM tally WHERE what = 'charging'), (SELECT n FROM tally WHERE what = 'token'), (SELECT n FROM tally WHERE what = 'disclosure'),
        (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)";
    let sizes = one(conn, sql, &[], |row| {
        Ok(Sizes {
            vault: count(row, 0)?,
            pins: count(row, 1)?,
            journal: count(row, 2)?,
            charging: count(row, 3)?,
            tokens: count(row, 4)?,
            disclosures: count(row, 5)?,
            bytes: count(row, 6)?,
        })
    })?;
    Ok(sizes.unwrap_or_default())
}

/// SQLite's integers are signed; none of ours is below zero.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0))
}

pub(super) fn one<T>(
    conn: &Connection,
    sql: &str,
    with: &[&dyn rusqlite::ToSql],
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.query_row(with, read).optional()).map_err(|e| kind(&e))
}

pub(super) fn many<T>(
    conn: &Connection,
    sql: &str,
    with: &[&dyn rusqlite::ToSql],
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.query_map(with, read)?.collect()).map_err(|e| kind(&e))
}
