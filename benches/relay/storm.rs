//! Thousands of stations come back at once, as after a power cut or a restart, while others go on: `cargo bench --bench relay -- storm`.
//! The gateway runs with its default limits, so some are told to come later (503 with Retry-After), and they do as they are told.

use crate::load::{self, Station, Way};
use crate::{MOST_HELD, part, proxies};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    let (told, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let calm = tokio::spawn({
        let way = way.clone();
        async move { load::paced(&way, CALM.0, CALM.1, TIME).await }
    });
    let start = Instant::now();
    let storm: Vec<_> = (0..most)
        .map(|number| {
            let (way, told, failed) = (way.clone(), Arc::clone(&told), Arc::clone(&failed));
            tokio::spawn(async move { (come_back(&way, number, &told, &failed).await, start.elapsed()) })
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
    println!("| told to come later (503 with Retry-After) | {} times |", told.load(Ordering::Relaxed));
    println!("| any other error | {} |", failed.load(Ordering::Relaxed));
    println!(
        "| latency of the {} stations that went on, p50, p99 | {:.1} ms, {:.1} ms |",
        CALM.0,
        part(&light, 0.5) / 1000.0,
        part(&light, 0.99) / 1000.0
    );
    println!("| the same of their transaction messages | {:.1} ms, {:.1} ms |", part(&billed, 0.5) / 1000.0, part(&billed, 0.99) / 1000.0);
}

/// Connects, as often as it takes, and exchanges one message.
async fn come_back(way: &Way, number: usize, told: &AtomicU64, failed: &AtomicU64) -> Station {
    loop {
        match way.try_station(10_000 + number, 2 + (number / 5_000) as u8).await {
            Ok(Ok(mut station)) => match station.exchange().await {
                Ok(_) => return station,
                Err(_) => failed.fetch_add(1, Ordering::Relaxed),
            },
            Ok(Err(refused)) => {
                match (refused.status, refused.retry_after) {
                    (503, Some(_)) => told.fetch_add(1, Ordering::Relaxed),
                    _ => failed.fetch_add(1, Ordering::Relaxed),
                };
                tokio::time::sleep(Duration::from_secs(refused.retry_after.unwrap_or(10))).await;
                continue;
            }
            Err(_) => failed.fetch_add(1, Ordering::Relaxed),
        };
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
