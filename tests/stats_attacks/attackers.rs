//! The attacks. Each says how well it did and how well it may do at most; an attack that did better has won.

use super::houses::Opens;
use super::world::{
    PERIODS, Sums, bounded, contribution, crowd, everyday, geography, heavy, numbers, parameters, period, sigma, unbounded, visit,
};
use sluis::stats::{Contribution, Figures, Kind, Level, Measure, Rho, Table, display};
use std::collections::BTreeMap;

/// What came of an attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) measured: f64,
    /// What it may be at most; where it is measured by chance, with three standard deviations (four and a half where the worst of many counts).
    pub(crate) bound: f64,
}

impl Outcome {
    pub(crate) fn won(self) -> bool {
        self.measured.is_nan() || self.measured > self.bound
    }
}

pub(crate) type Attack = fn(Opens, u32) -> Outcome;

const QUARTER: &str = "2026-Q4";
const MONTH: &str = "2026-10";
/// So many that every cell and every bin of the small town is published.
const ENOUGH: usize = 240;

/// Whether the target is in: somebody who knows every session but the target's, and the target's too, guesses from all figures of a quarter and its three
/// months, by the ratio of likelihoods. Measured is how much more often the guess is "in" when the target is. `effort`: releases with, and as many
/// without, each with noise of its own. The deviation of the measured difference of two shares is at most √(½ / effort).
pub(crate) fn membership(opens: Opens, effort: u32) -> Outcome {
    game(opens, effort, |n, is_in| 2 * n + u64::from(is_in), |_| 0.5)
}

/// The same, but with and without the target under the same noise, so that fewer releases show as much: where the guess differs, it is for the
/// target alone. The share of such pairs is the same advantage a, with a deviation of √(a(1 − a) / effort). Sixty pairs: a is 0.168, so the bound is 0.313;
/// under noise at a quarter it is 0.604 and its deviation 0.063. With other seeds the fault would be missed 2 times in a million, and what is not
/// faulty blamed about once in a thousand.
pub(crate) fn paired_membership(opens: Opens, effort: u32) -> Outcome {
    game(opens, effort, |n, _| n, |advantage| advantage * (1.0 - advantage))
}

/// `seed`: of the noise of the n-th game, with the target or without. `variance`: of one game's difference, by the advantage.
fn game(opens: Opens, effort: u32, seed: fn(u64, bool) -> u64, variance: fn(f64) -> f64) -> Outcome {
    let geography = geography();
    let mut cost = 0;
    // By period: the contributions without the target and with it, what is expected, and what the target adds.
    let games: Vec<_> = PERIODS
        .iter()
        .map(|name| {
            let without = crowd(ENOUGH, name, &geography);
            let target = contribution(&heavy(300, name), name, &geography);
            let (expected, adds) = (bounded(&without), bounded(std::slice::from_ref(&target)));
            let with: Vec<_> = without.iter().cloned().chain([target]).collect();
            cost += Table::of(period(name).is_quarter()).iter().map(|table| parameters().of(*table).rho.0).sum::<u32>();
            (*name, [without, with], expected, adds)
        })
        .collect();
    // The logarithm of the ratio, linear as it is for a discrete Gaussian: above zero the figures are likelier with the target.
    let says_in = |seed: u64, is_in: bool| {
        let mut house = opens(seed);
        let mut evidence = 0.0;
        for (name, people, expected, adds) in &games {
            let numbers = numbers(&house.asked(name, &people[usize::from(is_in)]), &geography);
            for (slot, part) in adds {
                let Some(number) = numbers.get(slot) else { continue };
                let sigma = sigma(slot.0, slot.1);
                evidence += (number - expected.get(slot).unwrap_or(&0.0) - part / 2.0) * part / (sigma * sigma);
            }
        }
        evidence > 0.0
    };
    let share = |is_in: bool| {
        let seeds = (0..u64::from(effort)).map(|n| seed(n, is_in));
        seeds.filter(|seed| says_in(*seed, is_in)).count() as f64 / f64::from(effort)
    };
    let most = display::advantage(Rho(cost));
    Outcome { measured: share(true) - share(false), bound: most + 3.0 * (variance(most) / f64::from(effort)).sqrt() }
}

/// The same period asked for before and after somebody has gone, has objected, or was credited: measured is how many numbers differ.
pub(crate) fn differencing(opens: Opens, _: u32) -> Outcome {
    let geography = geography();
    let mut differ = 0;
    for name in [MONTH, QUARTER] {
        let others = crowd(ENOUGH, name, &geography);
        let with = |visits| others.iter().cloned().chain([contribution(visits, name, &geography)]).collect::<Vec<_>>();
        let visits = heavy(30, name);
        let mut credited = visits.clone();
        credited.iter_mut().for_each(|visit| visit.wh = 0);
        let mut house = opens(7);
        let before = rows(&house.asked(name, &with(&visits)));
        for after in [with(&credited), others.clone(), others[1..].to_vec()] {
            let after = rows(&house.asked(name, &after));
            differ += before.iter().zip(&after).filter(|(one, other)| one != other).count() + before.len().abs_diff(after.len());
        }
    }
    Outcome { measured: differ as f64, bound: 0.0 }
}

fn rows(figures: &Figures) -> Vec<String> {
    let rows = figures.tables.iter().flat_map(|table| &table.rows);
    rows.map(|row| serde_json::to_string(row).unwrap()).collect()
}

/// The same month asked for fifty times, and averaged: measured is how many times smaller the error is than that of one answer.
pub(crate) fn averaging(opens: Opens, effort: u32) -> Outcome {
    let geography = geography();
    let people = crowd(2 * ENOUGH, MONTH, &geography);
    let truth = bounded(&people);
    let slot = (Table::T0, Measure::Sessions, 0, 0);
    let asks = 50;
    let square = |seed: u64| {
        let mut house = opens(seed);
        let sum: f64 = (0..asks).map(|_| numbers(&house.asked(MONTH, &people), &geography)[&slot]).sum();
        (sum / f64::from(asks) - truth[&slot]).powi(2)
    };
    let error = ((0..u64::from(effort)).map(square).sum::<f64>() / f64::from(effort)).sqrt();
    Outcome { measured: sigma(Table::T0, Measure::Sessions) / error, bound: 1.0 / (1.0 - 3.0 / (2.0 * f64::from(effort)).sqrt()) }
}

/// Whether a cell is published, as an oracle for one contributor: asked where k is reached (10 against 9), and where the published threshold is reached
/// (64 against 63), which is where it tells most. Measured is how much more often the cell is there with the one more.
pub(crate) fn threshold(opens: Opens, effort: u32) -> Outcome {
    let told = [10, 64].map(|k| (published(opens, effort, k) - published(opens, effort, k - 1)).abs());
    let bound = display::advantage(parameters().of(Table::T1).rho) + 3.0 * (0.5 / f64::from(effort)).sqrt();
    Outcome { measured: told[0].max(told[1]), bound }
}

/// How often a neighbourhood with `people` contributors is published.
pub(crate) fn published(opens: Opens, effort: u32, people: usize) -> f64 {
    let geography = geography();
    let begun = period(QUARTER).begin(super::world::ZONE).0;
    let once = |place| contribution(&[visit(place, begun, 60, 10)], QUARTER, &geography);
    let known: Vec<_> = (0..people).map(|_| once("N")).chain((0..100).map(|_| once("Z"))).collect();
    let is_there = |seed: &u64| {
        let figures = opens(*seed).asked(QUARTER, &known);
        let mut rows = figures.tables[0].rows.iter().filter(|row| row.kind == Kind::Cell && row.area.level == Level::Neighbourhood);
        rows.any(|row| row.area.path.last().is_some_and(|name| name == "Noord") && row.value.is_some())
    };
    // Other draws for each number of people, or the same luck would decide both.
    let seeds = (0..u64::from(effort)).map(|n| n * 1_000 + people as u64);
    seeds.filter(is_there).count() as f64 / f64::from(effort)
}

/// Somebody with 20,000 sessions a month comes, all noise being equal: measured is by how many times the bound R any table's numbers move, all of them
/// together.
pub(crate) fn heavyweight(opens: Opens, _: u32) -> Outcome {
    let geography = geography();
    let mut moved: BTreeMap<(Table, Measure), (f64, f64)> = BTreeMap::new();
    for name in [MONTH, QUARTER] {
        let without = crowd(ENOUGH, name, &geography);
        let with: Vec<_> = without.iter().cloned().chain([contribution(&heavy(20_000, name), name, &geography)]).collect();
        let [before, after] = [without, with].map(|people| numbers(&opens(11).asked(name, &people), &geography));
        for (slot, number) in &after {
            let by = number - before.get(slot).unwrap_or(&0.0);
            let sum = moved.entry((slot.0, slot.1)).or_default();
            *sum = (sum.0 + by * by, sum.1 + f64::from(u8::from(by != 0.0)));
        }
    }
    let times = moved.iter().map(|((table, measure), (square, numbers))| {
        let of = *parameters().of(*table).of(*measure).unwrap();
        let radius = (of.square as f64).sqrt() / measure.unit().size() as f64;
        // Each number that moved may have been rounded the other way.
        (square.sqrt() - numbers.sqrt()) / radius
    });
    Outcome { measured: times.fold(0.0, f64::max), bound: 1.0 }
}

/// The largest fleet's energy, as the second largest would know it that knows all the others too and takes them and itself off the published number:
/// measured is how often it comes within 10 % of what the largest charged, or of the part of it that is counted.
pub(crate) fn second_largest(opens: Opens, effort: u32) -> Outcome {
    let geography = geography();
    let slot = (Table::T1, Measure::Energy, 0, 0);
    let fleet = |count: usize| {
        let visits: Vec<_> = everyday("N", QUARTER).into_iter().cycle().take(count).collect();
        contribution(&visits, QUARTER, &geography)
    };
    let largest = fleet(3_000);
    let others: Vec<Contribution> = crowd(ENOUGH, QUARTER, &geography).into_iter().chain([fleet(2_500)]).collect();
    let known = [bounded(&others), unbounded(&others)].map(|sums| sums[&slot]);
    let sought = [bounded(std::slice::from_ref(&largest)), unbounded(std::slice::from_ref(&largest))].map(|sums| sums[&slot]);
    let all: Vec<_> = others.into_iter().chain([largest]).collect();
    let mut hits = [0.0; 2];
    for seed in 0..u64::from(effort) {
        let Some(number) = numbers(&opens(seed).asked(QUARTER, &all), &geography).get(&slot).copied() else { continue };
        for (hit, (known, sought)) in hits.iter_mut().zip(known.iter().zip(sought)) {
            *hit += f64::from(u8::from((number - known - sought).abs() <= sought / 10.0)) / f64::from(effort);
        }
    }
    // By chance: that the noise is no more than a tenth of R; the density of a Gaussian is nowhere above 0.4 / σ.
    let chance = 0.4 * (2.0 * sought[0] / 10.0 + 1.0) / sigma(slot.0, slot.1);
    Outcome { measured: hits[0].max(hits[1]), bound: chance + 3.0 * (chance / f64::from(effort)).sqrt() }
}

/// All rows as equations: totals less what is published of their parts, to get at what is withheld; and of areas the best that any row says. Measured is
/// how many times smaller the error of any kind of total is than the noise that it is said to have; infinite if a total less its parts leaves anything.
pub(crate) fn programme(opens: Opens, effort: u32) -> Outcome {
    let geography = geography();
    // So few that a neighbourhood is published now and then, and else both of them together, or nothing.
    let people = crowd(110, QUARTER, &geography);
    let truth = bounded(&people);
    let gated = |measure| matches!(measure, Measure::Sessions | Measure::Energy);
    let mut errors: BTreeMap<(Measure, usize, u32), (f64, f64)> = BTreeMap::new();
    for seed in 0..u64::from(effort) {
        let figures = opens(seed).asked(QUARTER, &people);
        let table = figures.tables.iter().find(|table| table.table == Table::T1).unwrap();
        for total in table.rows.iter().filter(|row| row.kind == Kind::Total && gated(row.measure)) {
            let Some(value) = total.value else { continue };
            let inside = |row: &&sluis::stats::Row| {
                row.kind != Kind::Total
                    && row.measure == total.measure
                    && row.area.path.starts_with(&total.area.path)
                    && (total.class.is_none() || row.class == total.class)
            };
            let parts: i64 = table.rows.iter().filter(inside).filter_map(|row| row.value).sum();
            if parts != value {
                return Outcome { measured: f64::INFINITY, bound: 1.0 };
            }
            // Both neighbourhoods have as many people: which of them is in it makes no difference.
            let sum: f64 = (0..total.cells).map(|cell| truth[&(Table::T1, total.measure, cell, 0)]).sum();
            let error = errors.entry((total.measure, total.area.path.len(), total.cells)).or_default();
            *error = (error.0 + (value as f64 - sum).powi(2), error.1 + 1.0);
        }
    }
    let mut worst = Outcome { measured: 0.0, bound: 1.0 };
    for ((measure, _, cells), (square, count)) in errors.into_iter().filter(|(_, (_, count))| *count >= 30.0) {
        // Relative to what so few can show.
        let times = sigma(Table::T1, measure) * f64::from(cells).sqrt() / (square / count).sqrt() * (1.0 - 4.5 / (2.0 * count).sqrt());
        worst.measured = worst.measured.max(times);
    }
    worst
}

/// Two months of the same people: measured is how much what is off in one tells of the other, as a correlation.
pub(crate) fn linkage(opens: Opens, effort: u32) -> Outcome {
    let geography = geography();
    let people = ["2026-10", "2026-11"].map(|name| {
        let mut people = crowd(ENOUGH, name, &geography);
        people.push(contribution(&heavy(100, name), name, &geography));
        (name, bounded(&people), people)
    });
    let (mut sum, mut count) = (0.0, 0.0);
    for seed in 0..u64::from(effort) {
        let mut house = opens(seed);
        let [one, other] = people.each_ref().map(|(name, truth, people)| off(&house.asked(name, people), truth));
        for (slot, off) in one {
            sum += off * other[&slot];
            count += 1.0;
        }
    }
    Outcome { measured: f64::abs(sum / count), bound: 3.0 / f64::sqrt(count) }
}

/// How far each published number is from the truth, in standard deviations of the noise that it is said to have.
fn off(figures: &Figures, truth: &Sums) -> Sums {
    let numbers = numbers(figures, &geography());
    numbers.into_iter().map(|(slot, number)| (slot, (number - truth.get(&slot).unwrap_or(&0.0)) / sigma(slot.0, slot.1))).collect()
}

/// Whether the noise is what it is said to be: measured is how far the variance of any measure is from that, in standard deviations of what so many draws
/// show.
pub(crate) fn variance(opens: Opens, effort: u32) -> Outcome {
    let mut squares: BTreeMap<(Table, Measure), (f64, f64)> = BTreeMap::new();
    for name in [MONTH, QUARTER] {
        let people = crowd(ENOUGH, name, &geography());
        let truth = bounded(&people);
        for seed in 0..u64::from(effort) {
            for (slot, off) in off(&opens(seed).asked(name, &people), &truth) {
                let sum = squares.entry((slot.0, slot.1)).or_default();
                *sum = (sum.0 + off * off, sum.1 + 1.0);
            }
        }
    }
    let measures = parameters().tables.iter().map(|table| table.measures.len()).sum::<usize>();
    assert_eq!(squares.len(), measures, "all of them are looked at");
    let far = squares.values().map(|(square, count)| (square / count - 1.0).abs() / (2.0 / count).sqrt());
    Outcome { measured: far.fold(0.0, f64::max), bound: 4.5 }
}
