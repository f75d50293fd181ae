//! How many transaction messages a second are acknowledged durably, beside how often this disk flushes: `cargo bench --bench relay -- durable`.

use crate::load::{self, Way};
use crate::process::Process;
use crate::proxies;
use crate::traffic::Says;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Stations that never wait: each sends its next message when the last one is acknowledged.
const STATIONS: [usize; 3] = [16, 64, 256];

/// Runs it and prints what came of it.
#[expect(clippy::print_stdout, reason = "a bench prints its tables")]
pub(crate) async fn run(upstream: SocketAddr, dir: &Path, quick: bool) {
    let time = Duration::from_secs(if quick { 1 } else { 5 });
    println!("\n### Transaction messages acknowledged durably\n");
    println!("This disk flushes 4 KiB {:.0} times a second (write, fdatasync, again).\n", flushes(dir, time));
    println!("| stations that never wait | acknowledged per second | CPU each, µs |\n|---|---|---|");
    let gateway = proxies::sluis(upstream, dir, false);
    let cpu = || gateway.process.as_ref().map_or(f64::NAN, Process::cpu);
    let way = Way { says: Says::Billed, ..Way::plain(gateway.listen) };
    for stations in STATIONS {
        load::saturate(&way, stations, Duration::from_millis(300)).await;
        let before = cpu();
        let rate = load::saturate(&way, stations, time).await;
        println!("| {stations} | {:.0} | {:.1} |", rate.per_second, (cpu() - before) / rate.count as f64);
    }
}

/// Flushes a second of one writer that waits for each.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn flushes(dir: &Path, time: Duration) -> f64 {
    let mut file = File::create(dir.join("flushes")).expect("a file");
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < time {
        file.write_all(&[7; 4096]).expect("a write");
        file.sync_data().expect("a flush");
        count += 1.0;
    }
    count / start.elapsed().as_secs_f64()
}
