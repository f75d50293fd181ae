//! The embedded engine: SQLite, one file, one writing thread, a few reading connections.

use super::writer::Writer;
use super::{
    CdrQueue, CdrRow, CdrState, DisclosureRow, EpochRow, JournalRow, LedgerRow, Op, OptOutRow, Pending, PeriodRow, Sizes, StoreError,
    TokenRow, VaultRow, VisitRow, Window, billing, rows, schema, statistics,
};
use crate::clock::Timestamp;
use crate::identity::Epoch;
use crate::pseudonym::Pseudonym;
use crate::seal::Sealed;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The database's name in the data directory. Beside it stand its log and index (`-wal`, `-shm`).
pub const DATABASE: &str = "sluis.db";
/// Reading connections: more would wait for the two or four cores of a usual machine.
const READERS: usize = 4;

/// How large the database may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of the file; beyond it changes fail with [`StoreError::Full`] until rows are purged. `None`: until the disk is full.
    pub max_bytes: Option<u64>,
}

/// The engine. Dropping it finishes what is queued.
pub struct Embedded {
    // Dropped in this order: the last connection to close must be one that may write, or the log would not be moved into the file.
    readers: Vec<Mutex<Connection>>,
    writer: Writer,
}

impl Embedded {
    /// Opens or creates the database in a directory that exists. Files are readable by their owner only.
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, StoreError> {
        let path = dir.join(DATABASE);
        create_private(&path)?;
        let write = {
            let path = path.clone();
            move || -> Result<Connection, StoreError> {
                let mut conn = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
                schema::prepare_writer(&mut conn, limits.max_bytes)?;
                Ok(conn)
            }
        };
        let first = write()?;
        let readers = (0..READERS).map(|_| reader(&path).map(Mutex::new)).collect::<Result<_, _>>()?;
        Ok(Self { writer: Writer::start(first, write)?, readers })
    }

    pub(super) async fn commit(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        self.writer.commit(ops).await
    }

    pub(super) fn commit_blocking(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        self.writer.commit_blocking(ops)
    }

    pub(super) fn enqueue(&self, ops: Vec<Op>) -> Result<Pending, Vec<Op>> {
        self.writer.enqueue(ops)
    }

    pub(super) fn scrub(&self) -> Result<(), StoreError> {
        self.writer.scrub()
    }

    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.writer.probe().await
    }

    pub(super) fn trouble(&self) -> Option<StoreError> {
        self.writer.trouble()
    }

    pub(super) fn vault_row(&self, code: &Pseudonym) -> Result<Option<VaultRow>, StoreError> {
        rows::vault_row(&self.reader(), code)
    }

    pub(super) fn pin(&self, key: &[u8; 16]) -> Result<Option<Epoch>, StoreError> {
        rows::pin(&self.reader(), key)
    }

    pub(super) fn journal_after(&self, seq: u64, most: usize) -> Result<Vec<JournalRow>, StoreError> {
        rows::journal_after(&self.reader(), seq, most)
    }

    pub(super) fn journal_purgeable(&self, before: Timestamp, most: usize, reader: Option<&'static str>) -> Result<bool, StoreError> {
        rows::journal_purgeable(&self.reader(), before, most, reader)
    }

    pub(super) fn has_mark(&self, name: &str) -> Result<bool, StoreError> {
        billing::has_mark(&self.reader(), name)
    }

    pub(super) fn journal_newest(&self) -> Result<u64, StoreError> {
        rows::journal_newest(&self.reader())
    }

    pub(super) fn mark(&self, name: &str) -> Result<u64, StoreError> {
        billing::mark(&self.reader(), name)
    }

    pub(super) fn charging_open(&self, after: &str) -> Result<Vec<(String, String)>, StoreError> {
        billing::charging_open(&self.reader(), after)
    }

    pub(super) fn charging_by_key(&self, station: &str, key: &str) -> Result<Option<String>, StoreError> {
        billing::charging_by_key(&self.reader(), station, key)
    }

    pub(super) fn cdr(&self, id: &str) -> Result<Option<CdrRow>, StoreError> {
        billing::cdr(&self.reader(), id)
    }

    pub(super) fn cdr_by_code(&self, owner: &str, code: &str) -> Result<Option<CdrRow>, StoreError> {
        billing::cdr_by_code(&self.reader(), owner, code)
    }

    pub(super) fn cdrs_of_session(&self, session: &str) -> Result<Vec<CdrRow>, StoreError> {
        billing::cdrs_of_session(&self.reader(), session)
    }

    pub(super) fn cdrs_in(&self, state: CdrState, owner: Option<&str>, after: u64, most: usize) -> Result<Vec<CdrRow>, StoreError> {
        billing::cdrs_in(&self.reader(), state, owner, after, most)
    }

    pub(super) fn cdr_page(&self, owner: &str, window: Window, offset: u64, most: usize) -> Result<Vec<CdrRow>, StoreError> {
        billing::cdr_page(&self.reader(), owner, window, offset, most)
    }

    pub(super) fn cdr_newest(&self, owner: &str, about: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        billing::cdr_newest(&self.reader(), owner, about)
    }

    pub(super) fn cdr_count(&self, owner: &str, window: Window) -> Result<u64, StoreError> {
        billing::cdr_count(&self.reader(), owner, window)
    }

    pub(super) fn cdr_counts(&self) -> Result<Vec<(CdrState, u64)>, StoreError> {
        billing::cdr_counts(&self.reader())
    }

    pub(super) fn tokens_by_blind(&self, blind: &[u8; 16]) -> Result<Vec<TokenRow>, StoreError> {
        billing::tokens_by_blind(&self.reader(), blind)
    }

    pub(super) fn tokens_of(&self, owner: &str) -> Result<u64, StoreError> {
        billing::tokens_of(&self.reader(), owner)
    }

    pub(super) fn tokens_after(&self, after: Option<&TokenRow>, most: usize) -> Result<Vec<TokenRow>, StoreError> {
        billing::tokens_after(&self.reader(), after, most)
    }

    pub(super) fn tokens_due(&self, round: u64, most: usize) -> Result<Vec<TokenRow>, StoreError> {
        billing::tokens_due(&self.reader(), round, most)
    }

    pub(super) fn cdr_queues(&self) -> Result<Vec<CdrQueue>, StoreError> {
        billing::cdr_queues(&self.reader())
    }

    pub(super) fn disclosures(&self, subject: Option<&[u8; 16]>, after: u64) -> Result<Vec<DisclosureRow>, StoreError> {
        billing::disclosures(&self.reader(), subject, after)
    }

    pub(super) fn secret(&self, name: &str) -> Result<Option<Sealed>, StoreError> {
        billing::secret(&self.reader(), name)
    }

    pub(super) fn secret_names(&self, after: &str) -> Result<Vec<String>, StoreError> {
        billing::secret_names(&self.reader(), after)
    }

    pub(super) fn period(&self, name: &str) -> Result<Option<PeriodRow>, StoreError> {
        statistics::period(&self.reader(), name)
    }

    pub(super) fn periods(&self) -> Result<Vec<PeriodRow>, StoreError> {
        statistics::periods(&self.reader())
    }

    pub(super) fn has_visit(&self, period: &str, session: &[u8; 16]) -> Result<bool, StoreError> {
        statistics::has_visit(&self.reader(), period, session)
    }

    pub(super) fn visits_of(&self, period: &str, person: &[u8; 16]) -> Result<u64, StoreError> {
        statistics::visits_of(&self.reader(), period, person)
    }

    pub(super) fn visits_after(&self, period: &str, after: Option<&[u8; 16]>) -> Result<Vec<VisitRow>, StoreError> {
        statistics::visits_after(&self.reader(), period, after)
    }

    pub(super) fn ledger(&self) -> Result<Vec<LedgerRow>, StoreError> {
        statistics::ledger(&self.reader())
    }

    pub(super) fn released(&self, period: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        statistics::released(&self.reader(), period, name)
    }

    pub(super) fn released_names(&self) -> Result<Vec<(String, String)>, StoreError> {
        statistics::released_names(&self.reader())
    }

    pub(super) fn opt_out(&self, blind: &[u8; 16]) -> Result<Option<OptOutRow>, StoreError> {
        statistics::opt_out(&self.reader(), blind)
    }

    pub(super) fn opt_outs_after(&self, after: Option<&[u8; 16]>) -> Result<Vec<OptOutRow>, StoreError> {
        statistics::opt_outs_after(&self.reader(), after)
    }

    pub(super) fn epochs(&self) -> Result<Vec<EpochRow>, StoreError> {
        rows::epochs(&self.reader())
    }

    pub(super) fn standing(&self) -> Result<Option<Vec<u8>>, StoreError> {
        rows::standing(&self.reader())
    }

    pub(super) fn generation(&self) -> Result<u64, StoreError> {
        rows::generation(&self.reader())
    }

    pub(super) fn sizes(&self) -> Result<Sizes, StoreError> {
        rows::sizes(&self.reader())
    }

    /// A free reading connection, or the first when all are busy: reads take microseconds.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        for reader in &self.readers {
            match reader.try_lock() {
                Ok(free) => return free,
                Err(TryLockError::Poisoned(free)) => return free.into_inner(), // a read that panicked left nothing half done
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.readers[0].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the file before SQLite does, so that it is never readable by others; its log and index take over the mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let made = (|| {
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        // The name too must outlive a power cut.
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    made.map_err(|e| if e.kind() == std::io::ErrorKind::StorageFull { StoreError::Full } else { StoreError::ReadOnly })
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(|e| schema::kind(&e))?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(conn)
}

fn reader(path: &Path) -> Result<Connection, StoreError> {
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    schema::patience(&mut conn)?;
    Ok(conn)
}
