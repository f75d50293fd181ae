//! The end of the demo: what the e-MSPs bill, what was counted, and the check that nothing leaked.

use super::bills::Bills;
use super::cast::UNITS;
use super::ledger::{Counts, Ledger, Verdict};
use super::screen::{Ink, Screen};
use super::wire::Trouble;
use super::world::{WAITING, World};
use crate::ocpp::{Side, Version};
use rust_decimal::Decimal;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// The ledger that the log of this process goes to.
static LOG: OnceLock<RwLock<Arc<Ledger>>> = OnceLock::new();

/// Has everything that the gateway logs, at every level, searched by the ledger instead of written.
pub(super) fn listen_to_the_log(ledger: &Arc<Ledger>) {
    let slot = LOG.get_or_init(|| RwLock::new(Arc::clone(ledger)));
    *slot.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(ledger);
    let log = tracing_subscriber::fmt().json().with_env_filter("sluis=trace").with_writer(|| Tap);
    // Failing means that a log is set up already, which only happens in tests.
    let _ = log.try_init();
}

struct Tap;

impl std::io::Write for Tap {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if let Some(ledger) = LOG.get() {
            ledger.read().unwrap_or_else(PoisonError::into_inner).log(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Closes the gateway, searches everything, and tells. Returns whether every promise was kept.
pub(super) async fn tell(mut world: World) -> Result<bool, Trouble> {
    let ours = |station: &str| UNITS.iter().any(|unit| unit.id == station);
    world.ledger.say(|screen| screen.heading(WAITING));
    let bills = Bills::gather(&world).await?;
    let figures = (&mut world.figures).await.map_err(|e| Trouble::Surroundings("the statistics were not made", e.to_string()))??;
    let World { ledger, csms, data, played, .. } = &world;
    ledger.metrics(&world.metrics().await?);
    let sales = csms.sales();
    ledger.files(data).map_err(|e| Trouble::Surroundings("a file of the gateway cannot be read", e.to_string()))?;
    let (counts, unanswered) = (ledger.counts(), ledger.unanswered());
    let ended: Vec<_> = sales.iter().filter(|sale| ours(&sale.station)).collect();
    let mut named: Vec<String> = ended.iter().map(|sale| sale.code.clone()).collect();
    named.sort();
    let sold: i64 = ended.iter().filter_map(|sale| Some(sale.to? - sale.from)).sum();
    let measured: i64 = played.charged.iter().map(|charged| charged.energy).sum();
    let (drivers, codes) = ledger.drivers();
    let closed = ended.iter().filter(|sale| sale.to.is_some()).count();
    let sessions = played.charged.len();
    let (ledger, played, data) = (Arc::clone(ledger), played.clone(), data.clone());
    ledger.say(|screen| {
        bills.show(screen);
        count(screen, &counts, closed, &bills.counted());
        figures.show(screen);
    });
    world.gateway.stop().await;
    // Once more, now that all is written that ever will be, and the log has its last line.
    ledger.files(&data).map_err(|e| Trouble::Surroundings("a file of the gateway cannot be read", e.to_string()))?;
    let Verdict { places, leaks, shown, all } = ledger.searched();
    let mut checks = vec![
        (
            leaks.is_empty(),
            format!("nothing leaked: {} of {all} identifiers were found outside their owners' own sockets, in any spelling", leaks.len()),
        ),
        (
            shown == all,
            format!("the search finds what is there: {shown} of {all} identifiers found in what stations and e-MSPs said themselves"),
        ),
        (closed == sessions && ended.len() == closed, format!("{closed} of {sessions} sessions ended at the central system")),
        (
            sold == measured && bills.energy() == Decimal::new(measured, 3) && bills.drivers() == named,
            format!(
                "kWh measured at the stations {}, counted by the central system {}, in CDRs {:.3}",
                kwh(measured),
                kwh(sold),
                bills.energy()
            ),
        ),
    ];
    checks.extend(bills.checks(&played.charged));
    checks.extend([
        (
            drivers == codes && drivers > 0,
            format!("{drivers} drivers have {codes} codes: one each, at every station, in every version and spelling"),
        ),
        (
            unanswered == 0 && counts.strays == 0,
            format!("every call answered once: {unanswered} without an answer, {} answers too many", counts.strays),
        ),
        (
            counts.remote_starts == played.remote_starts && counts.misdirected == 0,
            format!("{} of {} remote starts reached their station with the real card", counts.remote_starts, played.remote_starts),
        ),
        (
            played.guesses_refused == played.guesses && counts.guessed == 0,
            format!("{} of {} guessed card numbers refused: the central system learns no pairing", played.guesses_refused, played.guesses),
        ),
    ]);
    checks.extend(figures.checks());
    ledger.say(|screen| {
        screen.heading("Searched for every card, contract, serial and SIM number, as text, in hexadecimal and in base64:");
        for (place, pieces, bytes) in &places {
            screen.text(&format!("  {place:<38} {pieces:>6} pieces {bytes:>9} bytes"));
        }
        for leak in &leaks {
            screen.line(&[(Ink::Clear, &format!("  LEAKED: {leak}"))]);
        }
        screen.heading("Promises");
        for (kept, what) in &checks {
            let mark = if *kept { (Ink::Code, "  kept    ") } else { (Ink::Clear, "  BROKEN  ") };
            screen.line(&[mark, (Ink::Plain, what)]);
        }
    });
    Ok(checks.iter().all(|(kept, _)| *kept))
}

fn count(screen: &mut Screen, counts: &Counts, sessions: usize, cdrs: &str) {
    let of = |version| UNITS.iter().filter(|unit| unit.version == version).count();
    let stations: Vec<String> = Version::ALL.iter().map(|v| format!("{} of OCPP {}", of(*v), v.number())).collect();
    let [station, csms] = [Side::Station as usize, Side::Csms as usize];
    let withheld: u64 = counts.withheld.values().sum();
    screen.heading("Counted");
    screen.text(&format!("  stations              {}", stations.join(", ")));
    screen.text(&format!("  sessions              {sessions}"));
    screen.text(&format!("  CDRs                  {cdrs}"));
    screen.text(&format!(
        "  frames up             {} sent by stations, {} reached the central system",
        counts.sent[station], counts.received[csms]
    ));
    screen.text(&format!(
        "  frames down           {} sent by the central system, {} reached stations (with the gateway's own answers)",
        counts.sent[csms], counts.received[station]
    ));
    screen.text(&format!(
        "  identifiers           {} replaced by codes on the way up, {} put back on the way down",
        counts.coded, counts.restored
    ));
    screen.text(&format!("  messages held back    {}, answered at the gateway", counts.stayed));
    screen.text(&format!("  fields held back      {withheld}"));
    let mut classes: Vec<_> = counts.withheld.iter().collect();
    classes.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    for (class, number) in classes {
        screen.text(&format!("    {class:<20}{number:>6}"));
    }
    let untouched: Vec<String> = screen.untouched().map(str::to_owned).collect();
    screen.text("  passed as they were:");
    let mut row = String::new();
    for kind in untouched {
        if row.len() + kind.len() > 100 {
            screen.line(&[(Ink::Faint, &format!("    {row}"))]);
            row.clear();
        }
        row.push_str(if row.is_empty() { "" } else { ", " });
        row.push_str(&kind);
    }
    screen.line(&[(Ink::Faint, &format!("    {row}"))]);
}

fn kwh(wh: i64) -> String {
    format!("{}.{:03}", wh / 1000, wh % 1000)
}
