//! Thousands of stations come back at once, as after a power cut or a restart, while others go on: `cargo bench --bench relay -- storm`.
//! The gateway runs with its default limits, so some are told to come later (503 with Retry-After), and they do as they are told.

use crate::load::{self, Station, Way};
use crate::{MOST_HELD, part, proxies};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Stations that go on meanwhile, and exchanges of each in a second.
const CALM: (usize, u32) = (40, 25);
/// How long each is measured.
const TIME: Duration = Duration::from_secs(30);

/// Runs it and prints what came of it.
#[expect(clippy::print_stdout, reason = "a bench prints its tables")]
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) async fn run(upstream: SocketAddr, dir: &Path, quick: bool) {
    let most = if quick { 500 } else { MOST_HELD - 2 * CALM.0 };
    let gateway = proxies::sluis_as_it_comes(upstream, dir);
    let way = Way::plain(gateway.listen);
    let heard = Arc::new(Heard::default());
    // On a thread of their own, so that they do not wait behind thousands of stations that they share nothing with but the gateway.
    let (connected, ready) = oneshot::channel();
    let (done, calm) = oneshot::channel();
    let there = way.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let others = load::under_way(&there, CALM.0).await;
            let _ = connected.send(());
            let _ = done.send(load::paced_by(others, CALM.1, TIME).await);
        });
    });
    ready.await.expect("the others are connected");
    let start = Instant::now();
    let storm: Vec<_> = (0..most)
        .map(|number| {
            let (way, heard) = (way.clone(), Arc::clone(&heard));
            tokio::spawn(async move { (come_back(&way, number, &heard).await, start.elapsed()) })
        })
        .collect();
    let (mut served, mut held) = (Vec::new(), Vec::new());
    for station in storm {
        let (station, when) = station.await.expect("a station ends");
        served.push(when.as_secs_f64());
        held.push(station);
    }
    let [light, billed] = calm.await.expect("the others go on");
    served.sort_by(f64::total_cmp);
    println!("\n### {most} stations come back at once, default limits\n");
    println!("| | |\n|---|---|");
    println!(
        "| half of them, 99 of 100, all of them served after | {:.1} s, {:.1} s, {:.1} s |",
        part(&served, 0.5),
        part(&served, 0.99),
        served[most - 1]
    );
    for (what, times) in &*heard.0.lock().expect("nobody panics with it") {
        println!("| {what} | {times} times |");
    }
    println!(
        "| latency of the {} stations that went on, p50, p99 | {:.1} ms, {:.1} ms |",
        CALM.0,
        part(&light, 0.5) / 1000.0,
        part(&light, 0.99) / 1000.0
    );
    println!("| the same of their transaction messages | {:.1} ms, {:.1} ms |", part(&billed, 0.5) / 1000.0, part(&billed, 0.99) / 1000.0);
}

/// What stations heard instead of being served, and how often.
#[derive(Default)]
struct Heard(Mutex<BTreeMap<String, u64>>);

impl Heard {
    fn note(&self, what: String) {
        *self.0.lock().expect("nobody panics with it").entry(what).or_default() += 1;
    }
}

/// Connects, as often as it takes, and exchanges one message.
async fn come_back(way: &Way, number: usize, heard: &Heard) -> Station {
    loop {
        let wait = match way.try_station(10_000 + number, 2 + (number / 5_000) as u8).await {
            Ok(Ok(mut station)) => match station.exchange().await {
                Ok(_) => return station,
                Err(error) => {
                    heard.note(format!("an end after the upgrade ({})", error.kind()));
                    5
                }
            },
            Ok(Err(refused)) => {
                let later = if refused.retry_after.is_some() { " with Retry-After" } else { "" };
                heard.note(format!("told to come later: {}{later}", refused.status));
                refused.retry_after.unwrap_or(10)
            }
            Err(error) => {
                heard.note(format!("no answer ({})", error.kind()));
                5
            }
        };
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
}
