//! kill -9 at many instants of the close, of the real program: no release or exactly one, the ledger whole, the budget right, and the secret there
//! exactly as long as there is no release. Once of the command, and once of a gateway that closes its periods by itself. `SLUIS_KILLS` sets how often
//! (40 and 30 unless told).

use crate::disk::{everything, holds_any, secret};
use crate::world::*;
use sluis::clock;
use sluis::custody::{Custody, Role};
use sluis::publication::close::{ledger, released};
use sluis::publication::files::{MANIFEST, RECEIPT};
use sluis::publication::verify::verify;
use sluis::stats::{Period, Rho, Table};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for (name, bytes) in files(from) {
        fs::write(to.join(&name), bytes).unwrap();
    }
    std::os::unix::fs::PermissionsExt::set_mode(&mut fs::metadata(to.join("kek")).unwrap().permissions(), 0o600);
    fs::set_permissions(to.join("kek"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that kills at chosen instants")]
fn whatever_instant_it_is_killed_at_there_is_no_release_or_exactly_one() {
    let kills: u32 = std::env::var("SLUIS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let world = World::new();
    world.lives(400);
    let data = world.data();
    let World { dir, publication, custody, .. } = world;
    drop((publication, custody));
    let (before, there, out) = (dir.path().join("before"), dir.path().join("there"), dir.path().join("out"));
    copy(&data, &before);
    let config = dir.path().join("sluis.toml");
    let sites = dir.path().join("sites.csv");
    fs::write(
        &config,
        format!("data_dir = {there:?}\n[cpo]\nparty = \"NL-CPO\"\n[billing]\nsites = {sites:?}\n[statistics]\nenabled = true\nneighbourhood_points = 10\n"),
    )
    .unwrap();
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_sluis"))
            .args(["stats", "release", "--period", QUARTER, "--out", out.to_str().unwrap(), "--config", config.to_str().unwrap()])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    copy(&before, &there);
    let began = Instant::now();
    assert!(start().wait().unwrap().success());
    let whole = began.elapsed();
    let (mut none, mut half, mut done) = (0, 0, 0);
    // The machine may be busier than it was then, or less: longer if nothing was released so late, shorter if all was so early.
    let mut pace = 1.0;
    for kill in 0..kills {
        copy(&before, &there);
        let _ = fs::remove_dir_all(&out);
        let mut child = start();
        // Evenly over the whole run, and as often again over its second half, where the release becomes durable.
        let part = if kill % 2 == 0 { f64::from(kill) / f64::from(kills) } else { 0.5 + 0.55 * f64::from(kill) / f64::from(kills) };
        std::thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * part * pace));
        let _ = child.kill(); // SIGKILL
        let _ = child.wait();
        let custody = crate::world::custody(&there, Role::Beside);
        let store = custody.store();
        let (chain, period) = (ledger(store).unwrap(), store.period(QUARTER).unwrap().unwrap());
        let kept = released(store, QUARTER).unwrap();
        let opens = custody.vault.period_key(QUARTER).unwrap().is_some();
        match &kept {
            None => {
                none += 1;
                assert!(chain.entries().is_empty() && opens && period.closed.is_none(), "kill {kill}");
                assert_eq!(store.visits_after(QUARTER, None).unwrap().len(), 1000, "kill {kill}");
                assert!(!out.exists() || files(&out).is_empty(), "bytes left before they were durable");
                pace *= if part > 0.8 { 1.2 } else { 1.0 };
            }
            Some(files) => {
                assert_eq!(chain.entries().len(), Table::of(true).len(), "kill {kill}");
                assert!(!opens && period.wrapped.iter().all(|byte| *byte == 0), "kill {kill}");
                if files.iter().any(|(name, _)| name == RECEIPT) {
                    done += 1;
                    pace *= if part < 0.7 { 0.9 } else { 1.0 };
                } else {
                    half += 1;
                };
            }
        }
        assert_eq!(chain.spent(2025), if kept.is_some() { Rho(60_000) } else { Rho(0) }, "kill {kill}");
        drop(custody);
        // Whatever there was, the next run brings it to its end; what was released stays what it was.
        let complete = start().wait().unwrap();
        assert!(complete.success(), "kill {kill}");
        let custody = crate::world::custody(&there, Role::Beside);
        let now = released(custody.store(), QUARTER).unwrap().unwrap();
        if let Some(kept) = kept {
            assert!(kept.iter().all(|file| now.contains(file)), "kill {kill}: other bytes than before");
        }
        assert_eq!(ledger(custody.store()).unwrap().spent(2025), Rho(60_000), "kill {kill}");
        assert!(custody.store().visits_after(QUARTER, None).unwrap().is_empty());
        assert_eq!(verify(&out, None).failures, Vec::<String>::new(), "kill {kill}");
        assert_eq!(fs::read(out.join(MANIFEST)).unwrap(), now.iter().find(|(name, _)| name == MANIFEST).unwrap().1);
    }
    println!("{kills} kills: {none} without a release, {half} with one and without its receipt, {done} complete");
    assert!(none > kills / 8 && half + done > kills / 8, "the kills did not reach both sides: {none}, {half}, {done}");
}

/// The periods that a gateway of today closes by itself if it was last at home in the last quarter that is over: that quarter, its last month and
/// all later months that are due. The first is that month.
fn due() -> Vec<Period> {
    let now = clock::now();
    let years = Period::month_of(now, ZONE).unwrap().year() - 1..=Period::month_of(now, ZONE).unwrap().year();
    let quarters = years.flat_map(|year| (1..=4).map(move |quarter| Period::quarter(year, quarter).unwrap()));
    let quarter = quarters.filter(|quarter| quarter.close(ZONE) <= now).max().unwrap();
    let mut due = vec![quarter.months()[2]];
    while due[due.len() - 1].next().unwrap().close(ZONE) <= now {
        due.push(due[due.len() - 1].next().unwrap());
    }
    due.push(quarter);
    due
}

/// A gateway over a data directory, killed when it is dropped.
struct Served(Child);

impl Served {
    fn kill(&mut self) {
        let _ = self.0.kill(); // SIGKILL
        let _ = self.0.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A house whose last quarter is due, and what a copy of it must do.
struct Due {
    dir: tempfile::TempDir,
    before: PathBuf,
    there: PathBuf,
    published: PathBuf,
    periods: Vec<Period>,
    visits: usize,
}

impl Due {
    fn new() -> Self {
        let (world, periods) = (World::new(), due());
        world.lives_in(200, periods[0].begin(ZONE).0);
        let visits = world.visits(&periods[0].to_string()).len();
        assert_eq!(visits, world.visits(&periods[periods.len() - 1].to_string()).len());
        let data = world.data();
        let World { dir, publication, custody, .. } = world;
        drop((publication, custody));
        let [before, there, published] = ["before", "there", "published"].map(|name| dir.path().join(name));
        copy(&data, &before);
        let sites = dir.path().join("sites.csv");
        let config = format!(
            "data_dir = {there:?}\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\npolicy = \"strict\"\n[upstream]\nurl = \"ws://127.0.0.1:1/\"\n[cpo]\nparty = \"NL-CPO\"\n[billing]\nsites = {sites:?}\n[statistics]\nenabled = true\nneighbourhood_points = 10\ndir = {published:?}\n"
        );
        fs::write(dir.path().join("sluis.toml"), config).unwrap();
        Self { dir, before, there, published, periods, visits }
    }

    fn again(&self) {
        copy(&self.before, &self.there);
        let _ = fs::remove_dir_all(&self.published);
    }

    /// `sluis serve`, of which nobody asks anything.
    fn serves(&self) -> Served {
        let config = self.dir.path().join("sluis.toml");
        let command = Command::new(env!("CARGO_BIN_EXE_sluis"))
            .args(["serve", "--config", config.to_str().unwrap()])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Served(command.unwrap())
    }

    fn looks(&self) -> std::sync::Arc<Custody> {
        crate::world::custody(&self.there, Role::Beside)
    }

    /// Waits until a running gateway has come so far.
    #[expect(clippy::disallowed_methods, reason = "a test waits for a condition")]
    fn waits(&self, served: &mut Served, what: &str, so_far: impl Fn(&Custody) -> bool) -> Duration {
        let (began, custody) = (Instant::now(), self.looks());
        while !so_far(&custody) {
            assert!(began.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
            assert!(served.0.try_wait().unwrap().is_none(), "the gateway ended by itself");
            std::thread::sleep(Duration::from_millis(3));
        }
        began.elapsed()
    }

    fn has(custody: &Custody, period: Period, file: &str) -> bool {
        custody.store().released(&period.to_string(), file).unwrap().is_some()
    }

    /// Whether all is released, with its receipt, and written where people look for it.
    fn is_done(&self, custody: &Custody) -> bool {
        let names = custody.store().released_names().unwrap();
        let written = names.iter().all(|(period, name)| self.published.join(period).join(name).exists());
        written && self.periods.iter().all(|period| Self::has(custody, *period, RECEIPT))
    }

    /// What must hold at every instant: of each period no release or exactly one, and the budget of what is released. Returns how many are.
    fn is_whole(&self, kill: u32) -> usize {
        let custody = self.looks();
        let (store, mut costs) = (custody.store(), std::collections::BTreeMap::<u16, u32>::new());
        let (chain, mut count) = (ledger(store).unwrap(), 0);
        for period in &self.periods {
            let name = period.to_string();
            let entries = chain.entries().iter().filter(|entry| entry.period == *period).count();
            let row = store.period(&name).unwrap();
            match released(store, &name).unwrap() {
                None => {
                    assert_eq!(entries, 0, "kill {kill}: {period} is in the ledger and not released");
                    assert!(row.as_ref().is_none_or(|row| row.closed.is_none()), "kill {kill}: {period} is closed without a release");
                    if [self.periods[0], self.periods[self.periods.len() - 1]].contains(period) {
                        assert!(custody.vault.period_key(&name).unwrap().is_some(), "kill {kill}: the secret of {period} is gone");
                        assert_eq!(store.visits_after(&name, None).unwrap().len(), self.visits, "kill {kill}: visits of {period} are gone");
                    }
                    let written = self.published.join(&name);
                    assert!(
                        !written.exists() || files(&written).is_empty(),
                        "kill {kill}: bytes of {period} left before they were durable"
                    );
                }
                Some(_) => {
                    count += 1;
                    *costs.entry(period.year()).or_default() += if period.is_quarter() { 60_000 } else { 10_000 };
                    assert_eq!(entries, Table::of(period.is_quarter()).len(), "kill {kill}: {period}");
                    let row = row.unwrap();
                    assert!(
                        row.closed.is_some() && row.wrapped.iter().all(|byte| *byte == 0),
                        "kill {kill}: the secret of {period} is there"
                    );
                }
            }
        }
        for (year, cost) in costs {
            assert_eq!(chain.spent(year), Rho(cost), "kill {kill}: the budget of {year}");
        }
        count
    }
}

/// The gateway closes what is due by itself, and is killed while it does: whenever that is, each period is released once, and the next gateway
/// brings to its end what the last one began. Nothing of what the releases were made from is left.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test that kills at chosen instants, as often as it is told")]
fn a_gateway_that_is_killed_while_it_closes_its_periods_releases_each_of_them_once() {
    let kills: u32 = std::env::var("SLUIS_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let house = Due::new();
    let (first, last) = (house.periods[0], house.periods[house.periods.len() - 1]);
    // What must be gone afterwards: secrets, open and wrapped, and some of the visits.
    let gone: Vec<Vec<u8>> = {
        let custody = crate::world::custody(&house.before, Role::Beside);
        let of = |period: Period| {
            let (store, name) = (custody.store(), period.to_string());
            let visits = store.visits_after(&name, None).unwrap().into_iter().step_by(50);
            let parts = visits.flat_map(|visit| [visit.sealed.text, visit.sealed.wrapped, visit.session.to_vec(), visit.card.to_vec()]);
            [secret(&house.before, store, &name).to_vec(), store.period(&name).unwrap().unwrap().wrapped]
                .into_iter()
                .chain(parts)
                .collect::<Vec<_>>()
        };
        [first, last].into_iter().flat_map(of).collect()
    };
    let left = |data: &Path| holds_any(&everything(data), gone.iter().map(Vec::as_slice));
    assert!(left(&house.before).is_some(), "the search finds what is there");
    // How long it takes from the first release to the end of all, counted from the start of the process.
    house.again();
    let mut served = house.serves();
    let begins = house.waits(&mut served, "the first release", |custody| Due::has(custody, first, MANIFEST));
    let ends = begins + house.waits(&mut served, "all releases", |custody| house.is_done(custody));
    served.kill();
    let gap = (ends - begins) / u32::try_from(house.periods.len()).unwrap();
    let mut counts = vec![0; house.periods.len() + 1];
    for kill in 0..kills {
        house.again();
        let mut served = house.serves();
        // Before the first release, or within the time that a release takes after the first, the second, …; spread evenly by the golden ratio.
        let part = (f64::from(kill) * 0.618_034).fract();
        match (kill as usize % (house.periods.len() + 1)).checked_sub(1) {
            None => std::thread::sleep(begins.mul_f64(part)),
            Some(at) => {
                house.waits(&mut served, "a release", |custody| Due::has(custody, house.periods[at], MANIFEST));
                std::thread::sleep(gap.mul_f64(part));
            }
        }
        served.kill();
        counts[house.is_whole(kill)] += 1;
        let kept: Vec<_> = house.periods.iter().map(|period| released(house.looks().store(), &period.to_string()).unwrap()).collect();
        // A second death, as soon as there is any more to lose, and then a gateway that is let be.
        let mut served = house.serves();
        if kill % 3 == 0 {
            house.waits(&mut served, "any release", |custody| house.periods.iter().any(|period| Due::has(custody, *period, MANIFEST)));
            served.kill();
            house.is_whole(kill);
            served = house.serves();
        }
        house.waits(&mut served, "all releases", |custody| house.is_done(custody));
        served.kill();
        assert_eq!(house.is_whole(kill), house.periods.len());
        assert_eq!(left(&house.there), None, "kill {kill}: what the releases were made from");
        let custody = house.looks();
        for (period, kept) in house.periods.iter().zip(kept) {
            let now = released(custody.store(), &period.to_string()).unwrap().unwrap();
            assert!(kept.is_none_or(|kept| kept.iter().all(|file| now.contains(file))), "kill {kill}: other bytes of {period} than before");
            let written = house.published.join(period.to_string());
            assert_eq!(verify(&written, None).failures, Vec::<String>::new(), "kill {kill}: {period}");
            assert!(now.iter().all(|(name, bytes)| fs::read(written.join(name)).unwrap() == *bytes), "kill {kill}: {period}");
        }
    }
    let names: Vec<String> = house.periods.iter().map(Period::to_string).collect();
    println!("{kills} kills of a gateway that closes {}: with none, one, … of them released {counts:?}", names.join(", "));
    assert!(counts.iter().filter(|count| **count > 0).count() > 2, "the kills fell on one side: {counts:?}");
}
