//! The embedded engine's tables and the settings that make `Ok` mean durable.

use super::{StoreError, billing, statistics};
use rusqlite::{Connection, ErrorCode};
use std::time::Duration;

/// Marks the file as ours (`SLUI`).
const APPLICATION: i32 = 0x534C_5549;
/// The tables' version. A newer file is refused, not guessed at.
const VERSION: i32 = 5;
/// How long a writer waits for another process's write lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the log may stay after a checkpoint, in bytes.
const LOG_LIMIT: i64 = 16 << 20;
/// Pages in the log from which on the writer moves them into the file, which takes two flushes more: 16 MiB, so that pages that change again and
/// again (the end of the journal) are moved once.
pub(super) const CHECKPOINT: i32 = 4096;

const TABLES: &str = "
CREATE TABLE vault (
    code   TEXT PRIMARY KEY,
    epoch  INTEGER NOT NULL,
    class  INTEGER NOT NULL,
    blind  BLOB NOT NULL,
    dek    BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE pin (
    key   BLOB PRIMARY KEY,
    epoch INTEGER NOT NULL,
    at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pin_at ON pin (at);
CREATE TABLE journal (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint BLOB NOT NULL UNIQUE,
    station     TEXT NOT NULL,
    version     TEXT NOT NULL,
    at          INTEGER NOT NULL,
    action      TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    payload     TEXT NOT NULL
) STRICT;
CREATE TABLE epoch (
    counter   INTEGER PRIMARY KEY,
    mark      INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    retired   INTEGER,
    destroyed INTEGER,
    wrapped   BLOB NOT NULL,
    current   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX one_current ON epoch (current) WHERE current = 1;
CREATE TABLE standing (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    wrapped BLOB NOT NULL
) STRICT;
CREATE TABLE generation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    n   INTEGER NOT NULL
) STRICT;
INSERT INTO generation VALUES (1, 0);
-- Counting ten million rows takes seconds; these are always right, and read in microseconds. The writer counts the journal's new rows itself.
CREATE TABLE tally (
    what TEXT PRIMARY KEY,
    n    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tally VALUES ('vault', 0), ('pin', 0), ('journal', 0);
CREATE TRIGGER vault_in AFTER INSERT ON vault BEGIN UPDATE tally SET n = n + 1 WHERE what = 'vault'; END;
CREATE TRIGGER vault_out AFTER DELETE ON vault BEGIN UPDATE tally SET n = n - 1 WHERE what = 'vault'; END;
CREATE TRIGGER pin_in AFTER INSERT ON pin BEGIN UPDATE tally SET n = n + 1 WHERE what = 'pin'; END;
CREATE TRIGGER pin_out AFTER DELETE ON pin BEGIN UPDATE tally SET n = n - 1 WHERE what = 'pin'; END;
CREATE TRIGGER journal_out AFTER DELETE ON journal BEGIN UPDATE tally SET n = n - 1 WHERE what = 'journal'; END;
";

/// What was counted by a trigger is counted by the writer.
const UNTRIGGERED: &str = "DROP TRIGGER IF EXISTS journal_in";
/// What is purged goes by its own time, whatever stands before it: the order of the rows is that of time only as long as the clock is right. A
/// new fact costs some two microseconds and 20 bytes more.
const BY_TIME: &str = "CREATE INDEX IF NOT EXISTS journal_at ON journal (at); CREATE INDEX IF NOT EXISTS disclosure_at ON disclosure (at);";

/// Settings of the writing connection, then the tables if the file is new.
pub(super) fn prepare_writer(conn: &mut Connection, max_bytes: Option<u64>) -> Result<(), StoreError> {
    patience(conn)?;
    // Before the first table, or it has no effect.
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(|e| kind(&e))?;
    conn.pragma_update(None, "journal_mode", "WAL").map_err(|e| kind(&e))?;
    // WAL's habitual NORMAL would let the last commits go with the power.
    conn.pragma_update(None, "synchronous", "FULL").map_err(|e| kind(&e))?;
    // Deleted rows would stay readable in free pages.
    conn.pragma_update(None, "secure_delete", "ON").map_err(|e| kind(&e))?;
    conn.pragma_update(None, "journal_size_limit", LOG_LIMIT).map_err(|e| kind(&e))?;
    if let Some(bytes) = max_bytes {
        let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(|e| kind(&e))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
        conn.pragma_update(None, "max_page_count", pages.max(1)).map_err(|e| kind(&e))?;
    }
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(|e| kind(&e))?;
    let version: i32 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| kind(&e))?;
    let application: i32 = tx.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(|e| kind(&e))?;
    match (application, version) {
        (0, 0) => {
            tx.execute_batch(TABLES).map_err(|e| kind(&e))?;
            tx.execute_batch(billing::TABLES).map_err(|e| kind(&e))?;
            tx.execute_batch(statistics::TABLES).map_err(|e| kind(&e))?;
            tx.execute_batch(BY_TIME).map_err(|e| kind(&e))?;
            tx.pragma_update(None, "application_id", APPLICATION).map_err(|e| kind(&e))?;
        }
        // Before there were bills.
        (APPLICATION, 1) => {
            tx.execute_batch(billing::TABLES).map_err(|e| kind(&e))?;
            tx.execute_batch(statistics::TABLES).map_err(|e| kind(&e))?;
            tx.execute_batch(UNTRIGGERED).map_err(|e| kind(&e))?;
            tx.execute_batch(BY_TIME).map_err(|e| kind(&e))?;
        }
        // Before there were statistics.
        (APPLICATION, 2) => {
            tx.execute_batch(statistics::TABLES).map_err(|e| kind(&e))?;
            tx.execute_batch(UNTRIGGERED).map_err(|e| kind(&e))?;
            tx.execute_batch(BY_TIME).map_err(|e| kind(&e))?;
        }
        // When a trigger counted the journal's rows.
        (APPLICATION, 3) => {
            tx.execute_batch(UNTRIGGERED).map_err(|e| kind(&e))?;
            tx.execute_batch(BY_TIME).map_err(|e| kind(&e))?;
        }
        // When rows were purged in the order in which they were stored.
        (APPLICATION, 4) => tx.execute_batch(BY_TIME).map_err(|e| kind(&e))?,
        (APPLICATION, VERSION) => {}
        _ => return Err(StoreError::Corrupt),
    }
    if version != VERSION {
        tx.pragma_update(None, "user_version", VERSION).map_err(|e| kind(&e))?;
    }
    tx.commit().map_err(|e| kind(&e))
}

/// Waits for another process's lock in steps of a millisecond. SQLite's own steps grow to 100 ms, in which a tool beside the server takes
/// the lock again and again.
pub(super) fn patience(conn: &mut Connection) -> Result<(), StoreError> {
    let wait = |tries: i32| {
        std::thread::sleep(Duration::from_millis(1));
        u128::try_from(tries).unwrap_or(0) < PATIENCE.as_millis()
    };
    conn.busy_handler(Some(wait)).map_err(|e| kind(&e))
}

/// What kind of failure, and nothing of its text: that may quote a row.
pub(super) fn kind(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::TooBig) => StoreError::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen | ErrorCode::AuthorizationForStatementDenied) => {
            StoreError::ReadOnly
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked,
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict,
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => StoreError::Io,
        _ => StoreError::Corrupt,
    }
}
