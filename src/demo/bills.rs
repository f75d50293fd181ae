//! What became of the sessions as bills: CDRs that the e-MSPs accepted, and CDRs that the gateway holds because nobody's customer can be
//! told. Laid beside what the stations' meters measured and who had charged.

use super::cast::{Customer, EMSPS, Token, UNITS};
use super::emsp::{self, Emsp, Received};
use super::screen::{Ink, Screen};
use super::wire::Trouble;
use super::world::World;
use crate::billing::Draft;
use crate::store::{CdrState, PAGE, Store};
use rust_decimal::Decimal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How long the last bills are waited for: the gateway looks for finished sessions every two seconds, and for CDRs to push every five.
const PATIENCE: Duration = Duration::from_secs(40);
/// Bills listed of each e-MSP at most: a demo that ran all night has many.
const MAX_LISTED: usize = 24;

/// A session that somebody charged in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charged {
    /// Who.
    pub(super) token: Token,
    /// What the meter measured, in Wh.
    pub(super) energy: i64,
}

/// A CDR that goes to nobody.
struct Held {
    /// The driver, as the central system knows it.
    code: String,
    energy: Decimal,
    why: String,
}

/// All bills.
pub(super) struct Bills {
    received: Vec<Vec<Received>>,
    held: Vec<Held>,
    /// In the order of [`CdrState::ALL`].
    states: Vec<(CdrState, u64)>,
    /// Codes by which the central system knows the drivers, beside each CDR.
    csms: Vec<Vec<Option<String>>>,
    /// CDRs that an e-MSP can read and that are not its own.
    strays: usize,
    shared: usize,
    lost: u64,
    again: u64,
    refused: u64,
    /// Rows of the log of disclosures: to whom, and the CDR it was or the random reference of a key.
    disclosed: BTreeSet<(String, String)>,
    /// Keys that were handed out.
    keys: usize,
}

impl Bills {
    /// Waits until there is a bill for every session and none is on its way, or patience ends; then gathers them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn gather(world: &World) -> Result<Self, Trouble> {
        let store = world.gateway.gateway.custody.store();
        let all = async {
            while !Self::is_complete(world, store).unwrap_or(true) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, all).await; // what is missing is told by the checks
        let received: Vec<Vec<Received>> = world.emsps.iter().map(|emsp| emsp.received()).collect();
        let known = |(emsp, all): (&Arc<Emsp>, &Vec<Received>)| all.iter().map(|cdr| emsp.known_to_csms(cdr)).collect();
        let csms = world.emsps.iter().zip(&received).map(known).collect();
        let strays = |(place, emsp): (usize, &Arc<Emsp>)| {
            let others = received.iter().enumerate().filter(|(other, _)| *other != place).flat_map(|(_, all)| all);
            others.filter(|cdr| emsp.can_read(&cdr.bill)).count()
        };
        let names: Vec<BTreeSet<String>> = world.emsps.iter().map(|emsp| emsp.names()).collect();
        let shared = |place: usize| names[..place].iter().map(|other| other.intersection(&names[place]).count()).sum::<usize>();
        let counts: Vec<emsp::Counts> = world.emsps.iter().map(|emsp| emsp.counts()).collect();
        Ok(Self {
            csms,
            strays: world.emsps.iter().enumerate().map(strays).sum(),
            shared: (0..names.len()).map(shared).sum(),
            lost: counts.iter().map(|counts| counts.lost).sum(),
            again: counts.iter().map(|counts| counts.again).sum(),
            refused: counts.iter().map(|counts| counts.refused).sum(),
            held: held(store)?,
            disclosed: disclosed(store)?,
            keys: world.emsps.len(),
            states: store.cdr_counts().map_err(unreadable)?,
            received,
        })
    }

    fn is_complete(world: &World, store: &Store) -> Result<bool, Trouble> {
        let (mut delivered, mut answered) = (0, true);
        for emsp in &world.emsps {
            let counts = emsp.counts();
            delivered += emsp.received().len();
            answered &= counts.again >= counts.lost;
        }
        let queued = store.cdr_counts().map_err(unreadable)?.iter().any(|(state, n)| *state == CdrState::Queued && *n > 0);
        Ok(answered && !queued && delivered + held(store)?.len() >= world.played.charged.len())
    }

    /// Energy in all of them, in kWh.
    pub(super) fn energy(&self) -> Decimal {
        let delivered = self.received.iter().flatten().filter_map(|cdr| cdr.bill.energy_kwh);
        delivered.chain(self.held.iter().map(|held| held.energy)).sum()
    }

    /// The drivers in all of them, by the codes that the central system knows; sorted.
    pub(super) fn drivers(&self) -> Vec<String> {
        let delivered = self.csms.iter().flatten().flatten().cloned();
        let mut all: Vec<String> = delivered.chain(self.held.iter().map(|held| held.code.clone())).collect();
        all.sort();
        all
    }

    fn delivered(&self) -> usize {
        self.received.iter().map(Vec::len).sum()
    }

    fn resolved(&self) -> usize {
        self.received.iter().flatten().filter(|cdr| cdr.customer.is_some()).count()
    }

    /// The bills, e-MSP by e-MSP.
    pub(super) fn show(&self, screen: &mut Screen) {
        for ((cast, received), csms) in EMSPS.iter().zip(&self.received).zip(&self.csms) {
            screen.heading(&format!(
                "{} ({}, OCPI {}) was sent {} CDRs. It reads the codes in them with its own key and list of customers, and bills:",
                cast.name,
                cast.party,
                cast.version.number(),
                received.len()
            ));
            for (cdr, csms) in received.iter().zip(csms).take(MAX_LISTED) {
                emsp::show(screen, cast, cdr, csms.as_deref());
            }
            if received.len() > MAX_LISTED {
                screen.text(&format!("  … and {} more", received.len() - MAX_LISTED));
            }
        }
        if !self.held.is_empty() {
            screen.heading("Sent to nobody, until somebody decides (`sluis cdr quarantine`):");
        }
        for held in self.held.iter().take(MAX_LISTED) {
            let gloss = if held.why == "unknown_owner" { ": no e-MSP has said that this is a customer of its own" } else { "" };
            let line = format!("{:>7.3} kWh  {}{gloss}", held.energy, held.why);
            screen.line(&[(Ink::Code, &format!("  {}", held.code)), (Ink::Held, &format!("  {line}"))]);
        }
    }

    /// One line of the counts.
    pub(super) fn counted(&self) -> String {
        let of = |state| self.states.iter().find(|(other, _)| *other == state).map_or(0, |(_, n)| *n);
        format!(
            "{} made, {} accepted by e-MSPs, {} resolved to customers; {} quarantined, {} refused, {} on their way",
            self.states.iter().map(|(_, n)| n).sum::<u64>(),
            of(CdrState::Delivered),
            self.resolved(),
            of(CdrState::Quarantined),
            of(CdrState::Refused),
            of(CdrState::Queued)
        )
    }

    /// What was promised of bills.
    pub(super) fn checks(&self, charged: &[Charged]) -> Vec<(bool, String)> {
        let ids: BTreeSet<&str> = self.received.iter().flatten().map(|cdr| cdr.bill.id.as_str()).collect();
        let mut due: Vec<(Option<Customer>, Decimal)> = charged.iter().map(|it| (it.token.customer, Decimal::new(it.energy, 3))).collect();
        let billed = self.received.iter().flatten().map(|cdr| (cdr.customer, cdr.bill.energy_kwh.unwrap_or_default()));
        let mut billed: Vec<_> = billed.chain(self.held.iter().map(|held| (None, held.energy))).collect();
        due.sort();
        billed.sort();
        let in_its_owners_hands = self.received.iter().enumerate().all(|(place, all)| {
            all.iter().all(|cdr| cdr.customer.is_some_and(|customer| customer.emsp == place)) // its own, and told by itself
        });
        let logged = EMSPS.iter().zip(&self.received).flat_map(|(cast, all)| all.iter().map(move |cdr| (cast.party, &cdr.bill.id)));
        let logged = logged.filter(|(party, id)| self.disclosed.contains(&((*party).to_owned(), (*id).clone()))).count();
        let (delivered, held) = (self.delivered(), self.held.len());
        let each: Vec<String> = EMSPS.iter().zip(&self.received).map(|(cast, all)| format!("{} by {}", all.len(), cast.name)).collect();
        vec![
            (
                delivered + held == charged.len() && ids.len() == delivered,
                format!(
                    "{} of {} sessions billed once: CDRs accepted {}; {held} held, for nobody knows whose customer it is",
                    ids.len() + held,
                    charged.len(),
                    each.join(", ")
                ),
            ),
            (
                due == billed && in_its_owners_hands && self.resolved() == delivered,
                format!(
                    "{} of {delivered} CDRs resolved by their e-MSP, each to the customer who charged, for what the meter measured",
                    self.resolved()
                ),
            ),
            (
                self.again == self.lost && self.refused == 0,
                format!("{} answers of an e-MSP were lost: {} CDRs came again, and none was billed twice", self.lost, self.again),
            ),
            (
                logged == delivered && self.disclosed.len() == delivered + self.keys,
                format!(
                    "{logged} CDRs and {} keys in the log of disclosures: all that left, and nothing that did not",
                    self.disclosed.len() - logged
                ),
            ),
            (
                self.strays == 0 && self.shared == 0 && delivered > 0,
                format!(
                    "an e-MSP can read {} of the other's CDRs, and the {} have {} identifiers in common",
                    self.strays,
                    if EMSPS.len() == 2 { "two" } else { "e-MSPs" },
                    self.shared
                ),
            ),
        ]
    }
}

/// What is logged as given to e-MSPs.
fn disclosed(store: &Store) -> Result<BTreeSet<(String, String)>, Trouble> {
    let (mut all, mut after) = (BTreeSet::new(), 0);
    loop {
        let page = store.disclosures(None, after).map_err(unreadable)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.seq;
        all.extend(page.into_iter().map(|row| (row.recipient, row.reference)));
    }
}

/// The CDRs of the demo's own stations that go to nobody.
fn held(store: &Store) -> Result<Vec<Held>, Trouble> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = store.cdrs_in(CdrState::Quarantined, None, after, PAGE).map_err(unreadable)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.seq;
        for row in &page {
            let Some(draft) = Draft::read(&row.draft) else { continue };
            if UNITS.iter().any(|unit| unit.id == draft.session.station) {
                let energy = draft.session.readings.last().map(|reading| reading.wh / Decimal::ONE_THOUSAND).unwrap_or_default();
                all.push(Held {
                    code: draft.code().unwrap_or_default().to_owned(),
                    energy: energy.normalize(),
                    why: row.why.clone().unwrap_or_default(),
                });
            }
        }
    }
}

fn unreadable(error: crate::store::StoreError) -> Trouble {
    Trouble::Surroundings("the gateway's store cannot be read", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emsp::Bill;

    /// Two sessions of customers of each e-MSP, and one of nobody's.
    fn world() -> (Bills, Vec<Charged>) {
        let of = |emsp: usize| super::super::cast::customers().filter(move |(_, customer)| customer.emsp == emsp).take(2);
        let nobodys = UNITS.iter().flat_map(|unit| unit.visitors).find(|token| token.customer.is_none()).unwrap();
        let tokens = of(0).chain(of(1)).map(|(token, _)| token).chain([nobodys]);
        let charged: Vec<Charged> = tokens.enumerate().map(|(n, token)| Charged { token, energy: 9000 + n as i64 }).collect();
        let cdr = |n: usize| Received {
            bill: Bill { id: n.to_string(), energy_kwh: Some(Decimal::new(charged[n].energy, 3)), ..Bill::default() },
            customer: charged[n].token.customer,
        };
        let received = vec![vec![cdr(0), cdr(1)], vec![cdr(2), cdr(3)]];
        let held = vec![Held { code: String::new(), energy: Decimal::new(charged[4].energy, 3), why: String::new() }];
        let disclosed = [("NL-DYK", "0"), ("NL-DYK", "1"), ("DE-ELB", "2"), ("DE-ELB", "3"), ("NL-DYK", "key"), ("DE-ELB", "key")];
        let disclosed = disclosed.map(|(party, what)| (party.to_owned(), what.to_owned())).into();
        let (states, csms) = (Vec::new(), Vec::new());
        (Bills { received, held, states, csms, strays: 0, shared: 0, lost: 1, again: 1, refused: 0, disclosed, keys: 2 }, charged)
    }

    type Spoil = fn(&mut Bills);

    fn broken(spoil: impl FnOnce(&mut Bills)) -> Vec<String> {
        let (mut bills, charged) = world();
        spoil(&mut bills);
        bills.checks(&charged).into_iter().filter(|(kept, _)| !kept).map(|(_, what)| what).collect()
    }

    /// A check that cannot fail proves nothing.
    #[test]
    fn every_fault_of_a_bill_breaks_a_promise() {
        assert!(broken(|_| {}).is_empty());
        let faults: [(&str, Spoil); 9] = [
            ("a CDR is missing", |bills| drop(bills.received[0].pop())),
            ("a session is billed twice", |bills| {
                let twice = Received { bill: Bill { id: "9".into(), ..bills.received[0][0].bill.clone() }, ..bills.received[0][0].clone() };
                bills.received[0].push(twice);
            }),
            ("the wrong customer is billed", |bills| bills.received[0][0].customer = bills.received[0][1].customer),
            ("the wrong energy is billed", |bills| bills.received[1][0].bill.energy_kwh = Some(Decimal::ONE)),
            ("a CDR went to the wrong e-MSP", |bills| {
                let strayed = bills.received[0].remove(0);
                bills.received[1].push(strayed);
            }),
            ("nobody's CDR was sent to somebody", |bills| {
                bills.held.clear();
                bills.received[0].push(Received { bill: Bill { id: "4".into(), ..Bill::default() }, customer: None });
            }),
            ("an e-MSP reads the other's", |bills| bills.strays = 1),
            ("the e-MSPs have something to join on", |bills| bills.shared = 1),
            ("a CDR left unlogged", |bills| drop(bills.disclosed.pop_first())),
        ];
        for (fault, spoil) in faults {
            assert!(!broken(spoil).is_empty(), "{fault}");
        }
    }
}
