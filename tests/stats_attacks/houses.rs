//! Houses that publish: as it is done, and with faults planted in what they do. What they say of themselves is the same.

use super::world::{ZONE, bounded, geography, parameters, period};
use sluis::stats::{
    Contribution, Figures, Geography, Kind, Ledger, MeasureParameters, NoRelease, Parameters, Period, Refused, Rho, Rules, Table,
    TestNoise, release, release_exact,
};
use std::sync::OnceLock;

/// Somebody who publishes figures of those that it knows.
pub(crate) trait House {
    /// Somebody asks for a period of which the house knows these contributions by now. What they get.
    fn asked(&mut self, name: &str, known: &[Contribution]) -> Figures;
}

/// Opens a house whose noise has nothing to do with that of any other seed.
pub(crate) type Opens = fn(u64) -> Box<dyn House>;

/// The geography, made once.
fn town() -> &'static Geography {
    static TOWN: OnceLock<Geography> = OnceLock::new();
    TOWN.get_or_init(geography)
}

/// What is shared by all.
struct Desk {
    geography: Geography,
    parameters: Parameters,
    noise: TestNoise,
    seed: u64,
}

impl Desk {
    fn new(seed: u64) -> Self {
        let seed = seed.wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(32) ^ 0x2026;
        Self { geography: town().clone(), parameters: parameters(), noise: TestNoise::not_for_publication(seed), seed }
    }

    fn draw(
        &mut self,
        period: Period,
        tables: &[Table],
        known: &[Contribution],
        with: &Parameters,
        ledger: &Ledger,
    ) -> Result<sluis::stats::Release, NoRelease> {
        release(period, tables, &self.geography, known, with, ledger, period.close(ZONE), "test", &mut self.noise)
    }

    /// Measures with parameters of their own, changed by `fault`, in no ledger that anybody keeps; said to be made with the usual ones. As many at once
    /// as a year's budget allows.
    fn pretend(&mut self, name: &str, known: &[Contribution], fault: fn(&mut MeasureParameters)) -> Figures {
        let period = period(name);
        let mut figures: Option<Figures> = None;
        for table in Table::of(period.is_quarter()) {
            let honest = self.parameters.of(*table).clone();
            let mut whole: Option<Figures> = None;
            for several in at_once(&honest.measures, fault, self.parameters.cap) {
                let mut with = self.parameters.clone();
                let of = &mut with.tables[*table as usize];
                several.iter().for_each(|number| fault(&mut of.measures[*number]));
                of.rho = Rho(of.measures.iter().map(|measure| measure.rho.0).sum());
                let mut made = self.draw(period, &[*table], known, &with, &Ledger::default()).unwrap().figures;
                let is_one = |measure| several.iter().any(|number| honest.measures[*number].measure == measure);
                made.tables[0].rows.retain(|row| is_one(row.measure));
                for (said, honest) in made.tables[0].measures.iter_mut().zip(&honest.measures) {
                    (said.square, said.variance, said.rho) = (honest.square, honest.variance(), honest.rho);
                }
                made.tables[0].rho = honest.rho;
                match &mut whole {
                    None => whole = Some(made),
                    Some(all) => all.tables[0].rows.append(&mut made.tables[0].rows),
                }
            }
            match &mut figures {
                None => figures = whole,
                Some(all) => all.tables.append(&mut whole.unwrap().tables),
            }
        }
        figures.unwrap()
    }
}

/// The measures of a table, by their numbers, in lots that fit under the cap with the fault in them.
fn at_once(measures: &[MeasureParameters], fault: fn(&mut MeasureParameters), cap: Rho) -> Vec<Vec<usize>> {
    let mut lots: Vec<Vec<usize>> = Vec::new();
    for number in 0..measures.len() {
        let cost = |lot: &[usize]| {
            let with = measures.iter().enumerate().map(|(at, measure)| {
                let mut measure = *measure;
                if lot.contains(&at) {
                    fault(&mut measure);
                }
                measure.rho.0
            });
            with.sum::<u32>()
        };
        match lots.last_mut() {
            Some(lot) if cost(&[&lot[..], &[number]].concat()) <= cap.0 => lot.push(number),
            _ => lots.push(vec![number]),
        }
    }
    lots
}

/// As it is done: one ledger, one draw, and what was released before is handed out again.
struct Honest {
    desk: Desk,
    ledger: Ledger,
    released: Vec<Figures>,
}

pub(crate) fn honest(seed: u64) -> Box<dyn House> {
    Box::new(Honest { desk: Desk::new(seed), ledger: Ledger::default(), released: Vec::new() })
}

impl House for Honest {
    fn asked(&mut self, name: &str, known: &[Contribution]) -> Figures {
        let period = period(name);
        let (tables, with) = (Table::of(period.is_quarter()), self.desk.parameters.clone());
        match self.desk.draw(period, tables, known, &with, &self.ledger) {
            Ok(made) => {
                made.entries.into_iter().for_each(|entry| self.ledger.append(entry).unwrap());
                self.released.push(made.figures.clone());
                made.figures
            }
            Err(NoRelease::Refused(Refused::Released(..))) => self.released.iter().find(|made| made.period == period).unwrap().clone(),
            Err(why) => panic!("{why}"),
        }
    }
}

/// With a fault.
struct Faulty(Desk, fn(&mut Desk, &str, &[Contribution]) -> Figures);

impl House for Faulty {
    fn asked(&mut self, name: &str, known: &[Contribution]) -> Figures {
        (self.1)(&mut self.0, name, known)
    }
}

/// All noise has a quarter of its standard deviation.
pub(crate) fn quarter_noise(seed: u64) -> Box<dyn House> {
    Box::new(Faulty(Desk::new(seed), |desk, name, known| desk.pretend(name, known, |measure| measure.rho = Rho(measure.rho.0 * 16))))
}

/// The clip lets four times as much through; the noise is as it should be.
pub(crate) fn unclipped(seed: u64) -> Box<dyn House> {
    Box::new(Faulty(Desk::new(seed), |desk, name, known| {
        desk.pretend(name, known, |measure| (measure.square, measure.rho) = (measure.square * 16, Rho(measure.rho.0 * 16)))
    }))
}

/// Whether a cell is published hangs on how many are in it, without noise: the exact mode.
pub(crate) fn hard_threshold(seed: u64) -> Box<dyn House> {
    Box::new(Faulty(Desk::new(seed), |desk, name, known| {
        let period = period(name);
        let table = if period.is_quarter() { Table::T1 } else { Table::T0 };
        let (known, rules, ledger) = (known.iter().cloned(), Rules::default(), Ledger::default());
        release_exact(period, table, &desk.geography, known, rules, &ledger, period.close(ZONE), "test").unwrap().figures
    }))
}

/// Every request gets noise of its own.
pub(crate) fn fresh_noise(seed: u64) -> Box<dyn House> {
    Box::new(Faulty(Desk::new(seed), |desk, name, known| {
        let with = desk.parameters.clone();
        desk.draw(period(name), Table::of(period(name).is_quarter()), known, &with, &Ledger::default()).unwrap().figures
    }))
}

/// A request after somebody is gone gets the numbers without them, under the noise of the first.
pub(crate) fn revisions(seed: u64) -> Box<dyn House> {
    Box::new(Faulty(Desk::new(seed), |desk, name, known| {
        let with = desk.parameters.clone();
        desk.noise = TestNoise::not_for_publication(desk.seed);
        desk.draw(period(name), Table::of(period(name).is_quarter()), known, &with, &Ledger::default()).unwrap().figures
    }))
}

/// Totals are counted from what is true rather than added up from what is published.
pub(crate) fn true_totals(seed: u64) -> Box<dyn House> {
    Box::new(Faulty(Desk::new(seed), |desk, name, known| {
        let with = desk.parameters.clone();
        let tables = Table::of(period(name).is_quarter());
        let mut figures = desk.draw(period(name), tables, known, &with, &Ledger::default()).unwrap().figures;
        let truth = bounded(known);
        for table in &mut figures.tables {
            for row in table.rows.iter_mut().filter(|row| row.kind == Kind::Total) {
                let cells = desk.geography.list(table.table).enumerate();
                let inside =
                    cells.filter(|(_, (area, class, _))| area.path.starts_with(&row.area.path) && row.class.is_none_or(|of| of == *class));
                let bin = row.bin.unwrap_or(0);
                let sum: f64 = inside.filter_map(|(n, _)| truth.get(&(table.table, row.measure, u32::try_from(n).unwrap(), bin))).sum();
                row.value = Some(sum.round() as i64);
            }
        }
        figures
    }))
}
