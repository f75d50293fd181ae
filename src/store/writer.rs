//! The one thread that writes: takes what is queued, up to [`GROUP`] batches, into one transaction, and wakes those who wait once it is
//! on the disk. So a hundred drivers at one moment cost one flush.
//!
//! A batch goes to the disk at once, unless it comes right after a flush of [`COMPANY`] or more: then it waits for company, the longer the more were
//! in that flush ([`EACH`]). A flush costs more than the rows in it, and under load there are fewer of them so. Where few come at a time, waiting
//! would cost each more than it spares all, and nobody waits.
//!
//! Those who wait on one runtime are woken together ([`tell`]), and the log is moved into the file when they have been told.

use super::rows::{apply, count_appended, write_and_erase};
use super::schema::{CHECKPOINT, kind};
use super::{Op, Pending, StoreError};
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tokio::time::Instant;

/// Most batches in one transaction: beyond it the flush is cheap already, and the first to come would wait for the last.
pub(super) const GROUP: usize = 512;
/// Most batches waiting for the writer.
pub(super) const QUEUE: usize = 4096;
/// From how many batches in the last flush on the next one waits for others.
const COMPANY: u32 = 4;
/// How long a batch waits for others, for each that was in the last flush. Less spares less work, and more takes acknowledgements from stations
/// that send nothing else (docs/performance.md).
const EACH: Duration = Duration::from_micros(20);
/// The longest that a batch waits for others.
const PAUSE: Duration = Duration::from_millis(4);
/// After how long without a flush a batch does not wait.
const CALM: Duration = Duration::from_millis(2);
/// Free pages handed back to the file system after a transaction that deleted much, so that each purge shrinks the file a bit (1 MiB).
const GIVE_BACK: usize = 256;
/// Bytes of a probe: as much as a hundred usual facts need, so that a disk on which a single page fits does not pass for one with room.
const PROBE: usize = 64 << 10;

/// Handle on the writer. Dropping the last one lets it finish what is queued and end.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Job>>,
    room: Arc<Semaphore>,
    trouble: Arc<AtomicU8>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Where somebody waits for an answer.
type Done = oneshot::Sender<Result<(), StoreError>>;

struct Job {
    work: Work,
    done: Done,
    /// The runtime on which the answer is awaited, if it may be told there.
    home: Option<Handle>,
    /// Given back when the job leaves the queue's account, done or not.
    _room: OwnedSemaphorePermit,
}

enum Work {
    Change(Vec<Op>),
    Scrub,
    Probe,
}

impl Writer {
    /// `open` makes the connection; it is called again when the old one is beyond use.
    pub(super) fn start(conn: Connection, open: impl Fn() -> Result<Connection, StoreError> + Send + 'static) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel();
        let trouble = Arc::new(AtomicU8::new(0));
        let shared = Arc::clone(&trouble);
        let thread = std::thread::Builder::new()
            .name("sluis-store".into())
            .spawn(move || run(conn, &jobs, &shared, open))
            .map_err(|_| StoreError::Io)?;
        Ok(Self { queue: Some(queue), room: Arc::new(Semaphore::new(QUEUE)), trouble, thread: Some(thread) })
    }

    pub(super) async fn commit(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        self.send(Work::Change(ops), None, room).await.map_err(|_| StoreError::Closed)?
    }

    /// The answer must be awaited on the runtime that this is called on, if on one.
    pub(super) fn enqueue(&self, ops: Vec<Op>) -> Result<Pending, Vec<Op>> {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => Ok(self.send(Work::Change(ops), Handle::try_current().ok(), room)),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => Err(ops),
        }
    }

    pub(super) fn commit_blocking(&self, ops: Vec<Op>) -> Result<(), StoreError> {
        self.wait(Work::Change(ops))
    }

    pub(super) fn scrub(&self) -> Result<(), StoreError> {
        self.wait(Work::Scrub)
    }

    /// Writes something of some size durably and takes it away again, to find out whether the disk takes writes.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        self.send(Work::Probe, None, room).await.map_err(|_| StoreError::Closed)?
    }

    /// Waits without a runtime; also allowed on a runtime's thread, for the few operations of an administrator.
    fn wait(&self, work: Work) -> Result<(), StoreError> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let mut answer = self.send(work, None, room);
        loop {
            match answer.try_recv() {
                Ok(result) => return result,
                Err(oneshot::error::TryRecvError::Closed) => return Err(StoreError::Closed),
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(std::time::Duration::from_micros(100)),
            }
        }
    }

    fn send(&self, work: Work, home: Option<Handle>, room: OwnedSemaphorePermit) -> Pending {
        let (done, answer) = oneshot::channel();
        // A writer that is gone drops the job, and with it `done`: whoever waits reads `Closed`.
        let _ = self.queue.as_ref().map(|queue| queue.send(Job { work, done, home, _room: room }));
        answer
    }

    /// What the last transaction came to.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        let all = [StoreError::Full, StoreError::ReadOnly, StoreError::Corrupt, StoreError::Locked, StoreError::Io];
        usize::from(self.trouble.load(Ordering::Relaxed)).checked_sub(1).and_then(|n| all.get(n).copied())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // what is queued gets to the disk
        }
    }
}

fn run(mut conn: Connection, jobs: &mpsc::Receiver<Job>, trouble: &AtomicU8, open: impl Fn() -> Result<Connection, StoreError>) {
    let long = Arc::new(AtomicBool::new(false));
    watch_log(&mut conn, &long);
    // When the last flush of many batches ended, and how many they were.
    let mut last: Option<(Instant, u32)> = None;
    while let Ok(first) = jobs.recv() {
        if let Some((ended, many)) = last
            && ended.elapsed() < CALM
        {
            // Not by waiting for the queue: each batch would wake this thread.
            std::thread::sleep((EACH * many).min(PAUSE));
        }
        let mut group = vec![first];
        while group.len() < GROUP {
            match jobs.try_recv() {
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        let many = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let failed = write(&conn, group, trouble);
        last = (many >= COMPANY).then(|| (Instant::now(), many));
        if long.swap(false, Ordering::Relaxed) {
            // What fails here fails again at the next commit, where it is told.
            let _ = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
        if matches!(failed, Some(StoreError::Io | StoreError::ReadOnly | StoreError::Corrupt)) {
            // A failed disk may leave a connection that fails for ever; a new one works as soon as the disk does.
            if let Ok(fresh) = open() {
                conn = fresh;
                watch_log(&mut conn, &long);
            }
        }
    }
}

/// Has `long` set by each commit after which the log is due to be moved into the file. SQLite's own way is to move it before the commit returns, while
/// all wait.
fn watch_log(conn: &mut Connection, long: &Arc<AtomicBool>) {
    let long = Arc::clone(long);
    let note = move |_: &mut rusqlite::hooks::Wal, pages| {
        if pages >= CHECKPOINT {
            long.store(true, Ordering::Relaxed);
        }
        Ok(())
    };
    let _ = conn.wal_hook(Some(note)); // fails only on a connection that is closed
}

/// Writes a group and answers each of its jobs. Returns what went wrong with the whole, if anything did.
fn write(conn: &Connection, group: Vec<Job>, trouble: &AtomicU8) -> Option<StoreError> {
    let mut results = Vec::with_capacity(group.len());
    let (mut scrub, mut freed) = (false, false);
    let whole = (|| {
        run_cached(conn, "BEGIN IMMEDIATE")?;
        let mut appended = 0;
        for job in &group {
            match &job.work {
                Work::Change(ops) => {
                    freed |= ops
                        .iter()
                        .any(|op| matches!(op, Op::Purge { .. } | Op::PurgeBilling { .. } | Op::VisitsPurge { .. } | Op::EpochDestroy(..)));
                    results.push(change(conn, ops, &mut appended)?);
                }
                Work::Scrub => {
                    scrub = true;
                    results.push(Ok(()));
                }
                // It must not take others down with it that need less room; in company, they are the probe.
                Work::Probe => {
                    if group.len() == 1 {
                        write_and_erase(conn, PROBE)?;
                    }
                    results.push(Ok(()));
                }
            }
        }
        if appended > 0 {
            count_appended(conn, appended)?;
        }
        run_cached(conn, "COMMIT")
    })();
    if whole.is_err() && !conn.is_autocommit() {
        let _ = conn.execute_batch("ROLLBACK"); // if this fails, the connection is replaced or the next BEGIN fails: no acknowledgement either way
    }
    let scrubbed = if whole.is_ok() && scrub { checkpoint(conn) } else { Ok(()) };
    trouble.store(whole.err().map_or(0, number), Ordering::Relaxed); // before the answers, so that whoever asks why finds it
    let answers = group.into_iter().enumerate().map(|(place, job)| {
        let own = match job.work {
            Work::Scrub => scrubbed,
            Work::Change(_) | Work::Probe => results.get(place).copied().unwrap_or(Ok(())),
        };
        (job.home, Answer { done: job.done, result: whole.and(own) })
    });
    tell(answers);
    if whole.is_ok() && freed {
        let _ = conn.execute_batch(&format!("PRAGMA incremental_vacuum({GIVE_BACK})")); // housekeeping: the next purge tries again
    }
    whole.err()
}

/// What somebody who waits is to hear.
struct Answer {
    done: Done,
    result: Result<(), StoreError>,
}

impl Answer {
    fn give(self) {
        let _ = self.done.send(self.result); // whoever does not wait any more does not need to know
    }
}

/// Tells everybody. To wake a runtime from outside is a system call, after which its thread finds one answer and falls asleep before the next has come:
/// where several wait on one, a task there tells them all.
fn tell(answers: impl Iterator<Item = (Option<Handle>, Answer)>) {
    let mut homes: Vec<(Handle, Vec<Answer>)> = Vec::new();
    for (home, answer) in answers {
        match home {
            None => answer.give(),
            Some(home) => match homes.iter_mut().find(|(known, _)| known.id() == home.id()) {
                Some((_, waiting)) => waiting.push(answer),
                None => homes.push((home, vec![answer])),
            },
        }
    }
    for (home, waiting) in homes {
        let several = waiting.len() > 1;
        let all = || waiting.into_iter().for_each(Answer::give);
        if several { drop(home.spawn(async { all() })) } else { all() }
    }
}

/// One batch, whole or not at all. The outer error is the disk's and ends the group; the inner one is this batch's own.
fn change(conn: &Connection, ops: &[Op], appended: &mut u64) -> Result<Result<(), StoreError>, StoreError> {
    let mut added = 0;
    let mut all = || {
        ops.iter().try_for_each(|op| {
            apply(conn, op)?;
            added += if matches!(op, Op::Append(_)) { conn.changes() } else { 0 };
            Ok(())
        })
    };
    // Facts, which are nearly all that is written, meet no conflict: there is nothing to go back to.
    let done = if ops.iter().all(|op| matches!(op, Op::Append(_))) {
        Ok(all()?)
    } else {
        run_cached(conn, "SAVEPOINT batch")?;
        let done = all();
        match done {
            Ok(()) => {}
            Err(StoreError::Conflict | StoreError::Gone) => {
                added = 0;
                run_cached(conn, "ROLLBACK TO batch")?;
            }
            Err(disk) => return Err(disk),
        }
        run_cached(conn, "RELEASE batch")?;
        done
    };
    *appended += added;
    Ok(done)
}

fn run_cached(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map(|_| ()).map_err(|e| kind(&e))
}

/// Moves the log into the file and empties it. `Locked` when a reader is in the way.
fn checkpoint(conn: &Connection) -> Result<(), StoreError> {
    let busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(|e| kind(&e))?;
    if busy { Err(StoreError::Locked) } else { Ok(()) }
}

fn number(error: StoreError) -> u8 {
    match error {
        StoreError::Full => 1,
        StoreError::ReadOnly => 2,
        StoreError::Corrupt => 3,
        StoreError::Locked => 4,
        StoreError::Io | StoreError::Busy | StoreError::Closed | StoreError::Conflict | StoreError::Gone => 5,
    }
}
