//! Billing: turns the facts of the journal into charging sessions, and sessions that ended into CDRs of their owners. A task beside the
//! stations' connections; names nobody (I7): whose a session is, the vault says, by codes.
//!
//! ```text
//! journal ──▶ clerk ──▶ charging (assembles) ──▶ desk (price, owner, words) ──▶ store: one batch ──▶ delivery
//!                                                  └──▶ quarantine ──▶ operator (`sluis cdr`)
//! ```
//! Sessions, CDRs and the place in the journal move in one batch. A failure throws away what is in memory and begins again from the store,
//! so what is in memory never differs from what is on the disk.

mod clerk;
mod corrections;
mod desk;
mod draft;
pub mod office;

use crate::charging::Patience;
use crate::clock::{self, Timestamp};
use crate::custody::Custody;
use crate::metrics::Metrics;
use crate::publication::Gate;
use crate::store::{CdrState, Op, StoreError};
pub use clerk::{BATCH, Clerk, READER, Turn};
pub use corrections::NoCredit;
pub use desk::{Desk, why};
pub use draft::{Draft, wording};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// After facts came, others are given so long to come too: one batch then costs one flush, and a bill is in no hurry.
const GATHER: Duration = Duration::from_millis(200);
/// How often sessions are looked at that wait for the clock.
const TICK: Duration = Duration::from_secs(2);
/// The first wait after a failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Without a sign of life for so long, billing counts as stuck: longer than the longest wait.
const STUCK: Duration = Duration::from_secs(90);

/// Gives billing its place in the journal, the first time that it is switched on: behind what is there. Sessions from before were billed in
/// another way, and a second bill is worse than none. Before any station is served, or facts would be passed over. Returns how many facts
/// are left behind.
///
/// # Errors
/// The store failed.
pub async fn begin(custody: &Custody) -> Result<u64, StoreError> {
    let store = custody.store();
    if store.has_mark(READER)? {
        return Ok(0);
    }
    let newest = store.journal_newest()?;
    store.commit(vec![Op::MarkMove { name: READER.to_owned(), from: 0, to: newest }]).await?;
    Ok(newest)
}

/// Why billing could not go on. It begins again from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoEntropy,
    /// A fact could not be worked on: our own fault, and it is passed over from now on.
    #[error("a fact of the journal could not be worked on")]
    Fact(u64),
    /// It came to an end that should not be: our own fault.
    #[error("billing broke off")]
    Broken,
}

impl Trouble {
    /// One word, for logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::NoEntropy => "no_entropy",
            Self::Fact(_) => "fact",
            Self::Broken => "broken",
        }
    }
}

/// Whether billing goes on, for the admin pages.
#[derive(Debug)]
pub struct Pulse {
    failing: AtomicBool,
    beat: AtomicI64,
}

impl Pulse {
    /// Beats from `now` on.
    pub fn new(now: Timestamp) -> Self {
        Self { failing: AtomicBool::new(false), beat: AtomicI64::new(now.0) }
    }

    /// Whether billing does not go on: it fails, or nothing was heard of it for too long.
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        let silent = now.0.saturating_sub(self.beat.load(Ordering::Relaxed));
        self.failing.load(Ordering::Relaxed) || silent > i64::try_from(STUCK.as_millis()).unwrap_or(i64::MAX)
    }

    fn alive(&self) {
        self.beat.store(clock::now().0, Ordering::Relaxed);
    }

    fn beats(&self, fine: bool) {
        self.failing.store(!fine, Ordering::Relaxed);
        self.alive();
    }
}

/// The running billing of a gateway.
pub struct Billing {
    /// By what is billed.
    pub desk: Arc<Desk>,
    /// Keys, vault, journal and store.
    pub custody: Arc<Custody>,
    /// How long sessions are waited for.
    pub patience: Patience,
    /// What counts for statistics; `None` where none are made.
    pub gate: Option<Gate>,
    /// Counters.
    pub metrics: Metrics,
    /// Where it shows that it is alive.
    pub pulse: Arc<Pulse>,
    /// Called when CDRs have been queued: delivery need not wait for its next look.
    pub queued: Box<dyn Fn() + Send + Sync>,
}

impl Billing {
    /// Works for as long as it is polled; dropping it at any instant loses nothing.
    pub async fn run(self) {
        let journal = self.custody.journal.clone();
        let mut clerk = None;
        let mut skip = BTreeSet::new();
        let mut wait = FIRST_WAIT;
        loop {
            match self.work(clerk.take(), &skip).await {
                Ok((worked, more)) => {
                    clerk = Some(worked);
                    wait = FIRST_WAIT;
                    skip.clear();
                    self.pulse.beats(true);
                    if more {
                        continue;
                    }
                    tokio::select! {
                        () = journal.stored() => tokio::time::sleep(GATHER).await,
                        () = tokio::time::sleep(TICK) => {}
                    }
                }
                Err(trouble) => {
                    self.pulse.beats(false);
                    tracing::error!(reason = trouble.code(), "billing cannot go on and tries again");
                    if let Trouble::Fact(seq) = trouble {
                        skip.insert(seq);
                    } else {
                        tokio::time::sleep(wait).await;
                        wait = LONGEST_WAIT.min(wait * 2);
                    }
                }
            }
        }
    }

    /// One batch, off the threads that serve stations. Gives the clerk back only if all went well.
    async fn work(&self, clerk: Option<Clerk>, skip: &BTreeSet<u64>) -> Result<(Clerk, bool), Trouble> {
        let (desk, custody, patience, skip) = (Arc::clone(&self.desk), Arc::clone(&self.custody), self.patience, skip.clone());
        let (pulse, gate) = (Arc::clone(&self.pulse), self.gate);
        let turn = move || -> Result<(Clerk, Turn), Trouble> {
            let mut clerk = match clerk {
                Some(clerk) => clerk,
                None => Clerk::open(desk, custody, patience, clock::now())?.counting(gate),
            };
            pulse.alive();
            let turn = clerk.turn(clock::now(), BATCH, &skip)?;
            Ok((clerk, turn))
        };
        let (mut clerk, mut turn) = tokio::task::spawn_blocking(turn).await.map_err(|_| Trouble::Broken)??;
        if !turn.ops.is_empty() {
            let queued = turn.ops.iter().any(|op| matches!(op, Op::CdrInsert(row) if row.state == CdrState::Queued));
            self.custody.store().commit(std::mem::take(&mut turn.ops)).await?;
            if queued {
                (self.queued)();
            }
        }
        clerk.done(&turn);
        let tally = &turn.tally;
        tally.strays.iter().for_each(|reason| self.metrics.stray(reason.name()));
        self.metrics.billed(clerk.open_sessions(), clerk.unreadable(), tally.corrections, tally.too_little);
        Ok((clerk, turn.more))
    }
}

/// Makes random ids (UUID, version 4): they say nothing about station, driver or time.
pub(crate) struct Ids<'a> {
    custody: &'a Custody,
    /// There were no random bytes: nothing of what was made may be kept.
    failed: bool,
}

impl<'a> Ids<'a> {
    fn new(custody: &'a Custody) -> Self {
        Self { custody, failed: false }
    }

    fn next(&mut self) -> String {
        let bytes = self.custody.random().unwrap_or_else(|_| {
            self.failed = true;
            [0; 16]
        });
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}
