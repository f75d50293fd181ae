//! The shell around the pure core, without sockets and disk: what is durable, what a crash takes, and the order of recording and writing as
//! the relay has it. Planted faults are switched on here, to see that the simulation finds them.

use super::books::Row;
use sluis::clock::Timestamp;
use sluis::identity::{Epoch, Reveal};
use sluis::ocpp::{Side, Version};
use sluis::pseudonym::Pseudonym;
use sluis::secret::Sensitive;
use sluis::session::{Outcome, Session, Step};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// What is deliberately wrong with the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// A code leaves before its mapping is durable.
    SkipsTheRecord,
    /// An acknowledgement goes back before the facts are durable.
    AcknowledgesEarly,
    /// Transactions are not pinned to their epoch.
    ForgetsPins,
    /// Answers that match nothing go on.
    ForwardsTheUnmatched,
    /// Each answer goes out twice.
    AnswersTwice,
    /// An answer gets lost.
    LosesAnAnswer,
    /// A frame goes up as it came.
    PassesAFrameRaw,
    /// CALLs wait for ever.
    NeverGivesUp,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::SkipsTheRecord,
        Self::AcknowledgesEarly,
        Self::ForgetsPins,
        Self::ForwardsTheUnmatched,
        Self::AnswersTwice,
        Self::LosesAnAnswer,
        Self::PassesAFrameRaw,
        Self::NeverGivesUp,
    ];
}

/// What survives a crash.
#[derive(Default)]
pub(crate) struct Durable {
    pub(crate) codes: HashMap<Pseudonym, String>,
    pub(crate) pins: HashMap<(String, String), Epoch>,
    pub(crate) journal: Vec<Row>,
    prints: BTreeSet<(String, &'static str, String, String, i64)>,
}

impl Reveal for Durable {
    fn reveal(&self, code: &Pseudonym) -> Option<Sensitive<String>> {
        self.codes.get(code).cloned().map(Sensitive::new)
    }

    fn pinned(&self, station: &str, transaction: &str) -> Option<Epoch> {
        self.pins.get(&(station.to_owned(), transaction.to_owned())).copied()
    }
}

/// How the disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It takes nothing.
    Full,
}

/// Why a step was not carried out.
pub(crate) enum Stopped {
    /// The connection has to end.
    Connection,
    /// The gateway died.
    Crash,
}

/// The store: what is durable, and the facts on their way.
pub(crate) struct Store {
    pub(crate) durable: Durable,
    pub(crate) mood: Mood,
    /// Facts submitted, by link, in order.
    pub(crate) queue: VecDeque<(u64, Row)>,
    /// Links of which a fact was not stored: what they settle next fails.
    failed: BTreeSet<u64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { durable: Durable::default(), mood: Mood::Well, queue: VecDeque::new(), failed: BTreeSet::new() }
    }

    /// All that is queued becomes durable, or none of it.
    pub(crate) fn flush(&mut self) {
        if self.mood == Mood::Full {
            self.failed.extend(self.queue.drain(..).map(|(link, _)| link));
            return;
        }
        for (_, row) in self.queue.drain(..) {
            let at = if row.action.ends_with("Response") { row.at.0 } else { 0 };
            let print = (row.station.clone(), row.action, row.message.clone(), row.payload.clone(), at);
            if self.durable.prints.insert(print) {
                self.durable.journal.push(row);
            }
        }
    }

    /// Returns when all facts of a link are durable.
    fn settle(&mut self, link: u64) -> Result<(), Stopped> {
        self.flush();
        if self.failed.remove(&link) { Err(Stopped::Connection) } else { Ok(()) }
    }
}

/// How often a CALL was sent on a link, and how often it was answered.
#[derive(Default)]
pub(crate) struct Count {
    /// Whether it was sent after its last answer.
    pub(crate) open: bool,
    pub(crate) sent: u32,
    pub(crate) answered: u32,
}

/// One connection: a session and the four pipes around it.
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) station: usize,
    pub(crate) session: Session,
    pub(crate) from_station: VecDeque<String>,
    pub(crate) from_csms: VecDeque<String>,
    pub(crate) to_station: VecDeque<String>,
    pub(crate) to_csms: VecDeque<String>,
    /// By the side that calls and the id it uses.
    pub(crate) calls: BTreeMap<(Side, String), Count>,
}

impl Link {
    /// Carries a step out as the relay does: record, pin, submit, wait, write. The gateway may die between any two.
    #[expect(clippy::too_many_arguments, reason = "all that a step touches")]
    pub(crate) fn take(
        &mut self,
        store: &mut Store,
        step: Step,
        from: Side,
        raw: &str,
        place: (&str, Version, Timestamp),
        fault: (Fault, bool),
        mut dies: impl FnMut() -> bool,
    ) -> Result<(), Stopped> {
        let (name, version, now) = place;
        let (fault, strikes) = fault;
        let mut stop = |store: &Store, needed: bool| {
            if dies() {
                return Err(Stopped::Crash);
            }
            if needed && store.mood == Mood::Full { Err(Stopped::Connection) } else { Ok(()) }
        };
        if !step.sightings.is_empty() && fault != Fault::SkipsTheRecord {
            stop(store, true)?;
            for sighting in &step.sightings {
                store.durable.codes.entry(sighting.code).or_insert_with(|| sighting.identifier.original.expose().clone());
            }
        }
        if fault != Fault::ForgetsPins {
            for (transaction, epoch) in &step.pins {
                stop(store, true)?;
                let key = (name.to_owned(), transaction.clone());
                match epoch {
                    Some(epoch) => drop(store.durable.pins.entry(key).or_insert(*epoch)),
                    None => drop(store.durable.pins.remove(&key)),
                }
            }
        }
        stop(store, false)?;
        for fact in step.facts {
            let row =
                Row { station: name.to_owned(), version, at: now, action: fact.action, message: fact.message_id, payload: fact.payload };
            store.queue.push_back((self.number, row));
        }
        if step.settles && fault != Fault::AcknowledgesEarly {
            store.settle(self.number)?;
        }
        stop(store, false)?;
        let unmatched = step.seen.is_some_and(|seen| matches!(seen.outcome, Outcome::Unmatched | Outcome::Late));
        if fault == Fault::ForwardsTheUnmatched && unmatched {
            self.pipe(from.other()).push_back(raw.to_owned());
        }
        for (to, frame) in step.send {
            let answer = !frame.as_str().starts_with("[2");
            if fault == Fault::LosesAnAnswer && answer && strikes {
                continue;
            }
            let mut text = frame.into_text();
            if fault == Fault::PassesAFrameRaw && to == Side::Csms && strikes {
                raw.clone_into(&mut text);
            }
            if fault == Fault::AnswersTwice && answer {
                self.pipe(to).push_back(text.clone());
            }
            self.pipe(to).push_back(text);
        }
        Ok(())
    }

    fn pipe(&mut self, to: Side) -> &mut VecDeque<String> {
        if to == Side::Station { &mut self.to_station } else { &mut self.to_csms }
    }
}
