//! The visits of a period on their way into a release: who is one person is settled, who objects is dropped, and contributions are handed over
//! one after another, so that a million sessions need some 60 MB.

use super::people::People;
use crate::clock::Timestamp;
use crate::stats::{Contribution, Contributor, Geography, Period, Visit};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a session adds, as the period store seals it. Whose it was is beside it, as digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The key of its place.
    #[serde(rename = "p")]
    pub place: String,
    /// When it began.
    #[serde(rename = "b")]
    pub begun: Timestamp,
    /// When it ended.
    #[serde(rename = "e")]
    pub ended: Timestamp,
    /// In Wh.
    #[serde(rename = "w")]
    pub wh: u64,
    /// Seconds in which it charged.
    #[serde(rename = "c")]
    pub charging: u64,
}

impl Stay {
    /// Seconds connected.
    pub fn connected(&self) -> u64 {
        u64::try_from(self.ended.0.saturating_sub(self.begun.0) / 1000).unwrap_or(0)
    }
}

/// A stay in as few bytes as it takes.
struct Light {
    person: u32,
    place: u32,
    begun: Timestamp,
    ended: Timestamp,
    wh: u64,
    charging: u32,
}

/// The visits of one period.
#[derive(Default)]
pub struct Gathering {
    /// Who is one person.
    pub people: People,
    stays: Vec<Light>,
    places: HashMap<String, u32>,
}

impl Gathering {
    /// Takes in a stay of whoever has this card and, where it is known, this contract.
    pub fn add(&mut self, card: [u8; 16], contract: Option<[u8; 16]>, stay: Stay) {
        let person = self.people.number(card);
        if let Some(contract) = contract {
            self.people.join(card, contract);
        }
        let next = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let Stay { begun, ended, wh, charging, place } = stay;
        let place = *self.places.entry(place).or_insert(next);
        let charging = u32::try_from(charging).unwrap_or(u32::MAX);
        self.stays.push(Light { person, place, begun, ended, wh, charging });
    }

    /// The contributions of all who count, one person after another.
    pub fn contributions(self, period: Period, geography: &Geography) -> impl Iterator<Item = Contribution> {
        let Self { mut people, mut stays, places } = self;
        for stay in &mut stays {
            stay.person = people.root(stay.person);
        }
        stays.retain(|stay| people.counts(stay.person));
        stays.sort_unstable_by_key(|stay| stay.person);
        let mut names = vec![String::new(); places.len()];
        for (name, at) in places {
            if let Some(place) = names.get_mut(at as usize) {
                *place = name;
            }
        }
        let mut at = 0;
        std::iter::from_fn(move || {
            let person = stays.get(at)?.person;
            let mut contribution = Contribution::new(period, geography);
            while let Some(stay) = stays.get(at).filter(|stay| stay.person == person) {
                at += 1;
                let connected = u64::try_from(stay.ended.0.saturating_sub(stay.begun.0) / 1000).unwrap_or(0);
                let visit = Visit {
                    // Not looked at any more: all of this contribution are one person's.
                    contributor: Contributor([0; 16]),
                    place: names.get(stay.place as usize).cloned().unwrap_or_default(),
                    begun: stay.begun,
                    ended: stay.ended,
                    known: stay.ended,
                    wh: stay.wh,
                    connected,
                    charging: u64::from(stay.charging),
                };
                // A place that the register has no more counts nowhere.
                contribution.add(&visit, geography);
            }
            Some(contribution)
        })
    }
}
