//! What all scripts share: the target, the door of the central system, the catalogues, and the counts.

use super::Options;
use super::leaks::Others;
use super::listener::Listener;
use super::messages::Messages;
use super::script::End;
use super::target::Target;
use crate::ocpp::Version;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

pub(super) struct World {
    pub(super) options: Options,
    pub(super) target: Target,
    pub(super) door: Arc<Listener>,
    pub(super) deadline: Duration,
    messages: [Messages; 3],
    numbers: AtomicU64,
    /// Names of stations that nobody uses just now, if the command line gave any.
    names: Mutex<Vec<String>>,
    free: Option<Semaphore>,
    pub(super) others: Mutex<Others>,
    /// Tells this run's stations from those of another.
    run: u64,
    pub(super) stats: Stats,
}

/// What was done, for the summary.
#[derive(Default)]
pub(super) struct Stats {
    pub(super) frames: AtomicU64,
    pub(super) conversations: AtomicU64,
    pub(super) canaries: AtomicU64,
    pub(super) checks: AtomicU64,
    /// Actions that were sent, by version and sender: bounded by the catalogue and the few made-up ones.
    actions: Mutex<BTreeSet<(String, bool, String)>>,
}

impl Stats {
    pub(super) fn played(&self, version: &str, from: End, action: &str) {
        let mut actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (version.to_owned(), from == End::Station, action.to_owned());
        if actions.len() < 4096 {
            actions.insert(key);
        }
    }

    /// Actions sent, by version.
    pub(super) fn actions(&self, known: impl Fn(&str, &str) -> bool) -> usize {
        let actions = self.actions.lock().unwrap_or_else(PoisonError::into_inner);
        actions.iter().filter(|(version, _, action)| known(version, action)).count()
    }
}

impl World {
    pub(super) fn new(options: Options, target: Target, run: u64) -> Self {
        let names = options.stations.clone();
        Self {
            deadline: options.deadline,
            free: (!names.is_empty()).then(|| Semaphore::new(names.len())),
            names: Mutex::new(names),
            others: Mutex::default(),
            options,
            target,
            door: Arc::default(),
            messages: Version::ALL.map(Messages::of),
            numbers: AtomicU64::new(0),
            run,
            stats: Stats::default(),
        }
    }

    /// A number that was not given before.
    pub(super) fn next(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A station's name that nobody else uses: one of those that the command line lists, or a new one.
    pub(super) async fn station(self: &Arc<Self>) -> StationId {
        let listed = match &self.free {
            None => None,
            Some(free) => {
                if let Ok(permit) = free.acquire().await {
                    permit.forget();
                }
                self.names.lock().unwrap_or_else(PoisonError::into_inner).pop()
            }
        };
        let name = listed.unwrap_or_else(|| format!("{}{:x}-{:x}", self.options.id_prefix, self.run & 0xffff, self.next()));
        StationId { name, world: Arc::clone(self) }
    }

    /// A `Sec-WebSocket-Key`: need not be a secret.
    pub(super) fn key(&self) -> String {
        STANDARD.encode([self.run.to_be_bytes(), self.next().to_be_bytes()].concat())
    }

    pub(super) fn messages(&self, version: &str) -> &Messages {
        let at = Version::ALL.iter().position(|v| v.number() == version);
        &self.messages[at.unwrap_or_default()]
    }
}

/// A station's name, given back when it is dropped.
pub(super) struct StationId {
    name: String,
    world: Arc<World>,
}

impl StationId {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for StationId {
    fn drop(&mut self) {
        if let Some(free) = &self.world.free {
            self.world.names.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut self.name));
            free.add_permits(1);
        }
    }
}
