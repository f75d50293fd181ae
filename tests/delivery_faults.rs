//! Whatever fails, and whenever the gateway is killed: each CDR is accepted once and in order, and the disclosure log misses nothing.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/market.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "test code, shared")]
mod market;
#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod party;

use market::*;
use serde_json::Value;
use sluis::delivery::Pace;
use sluis::store::CdrState;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// Tells the re-executed test binary to be the gateway that gets killed: its data and the e-MSP's URL.
const CHILD: &str = "SLUIS_TEST_DELIVERS";

/// Not a test by itself: delivers until it is killed, when told what and where to.
#[tokio::test]
async fn gateway_that_gets_killed() {
    let Some(told) = std::env::var_os(CHILD) else { return };
    let (dir, url) = told.to_str().unwrap().split_once('|').unwrap();
    let world = World { custody: open(Path::new(dir)), ..World::new() };
    let _delivering = world.start(&[emsp("NL-ABJ", url)]);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_and_logs_everything() {
    let world = World::new();
    let dice = Mutex::new(Dice(7));
    let (books, server) = books_of(move |_, asked, books| {
        let way = dice.lock().unwrap().roll(6);
        let said = books.accept(asked);
        if way == 0 { Say::Reset } else { said }
    })
    .await;
    let ids = world.queue("NL-ABJ", 0..600).await;
    let told = format!("{}|{}", world.dir.path().display(), server.url);
    let mut kills = 0;
    while world.in_state(CdrState::Delivered, "NL-ABJ") < ids.len() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "gateway_that_gets_killed", "--nocapture"]).env(CHILD, &told);
        let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // Killed in the middle of its work, wherever that is: after a random number of further requests.
        let until_kill = server.count() + 20 + (kills * 37) % 60;
        until("it works", || server.count() >= until_kill || world.in_state(CdrState::Queued, "NL-ABJ") == 0).await;
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let disclosed = world.disclosed("NL-ABJ");
        let missing: Vec<_> = books.seen.lock().unwrap().iter().filter(|id| !disclosed.contains(*id)).cloned().collect();
        assert!(missing.is_empty(), "seen by the e-MSP and not in the log: {missing:?}");
    }
    eprintln!("{kills} kills, {} requests for {} CDRs", server.count(), ids.len());
    assert!(kills >= 5);
    assert_eq!(books.accepted(), ids);
    assert_eq!(world.disclosed("NL-ABJ"), ids.into_iter().collect());
}

/// Faults by seed: each request fails in a random way before or after it was processed, the gateway is stopped and started in between, one
/// time with its data opened anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_each_cdr_is_accepted_once_and_in_order() {
    for seed in [1, 20_261_124, 0xDEAD_BEEF] {
        eprintln!("seed {seed}");
        let mut world = World::new();
        world.bounds.whole = Duration::from_millis(400);
        world.pace =
            Pace { first: Duration::from_micros(100), longest: Duration::from_millis(1), slow: Duration::from_micros(200), ..world.pace };
        world.pace.longest_asked = Duration::from_millis(1);
        // So many failures in a row are chance here.
        world.pace.doubts = u32::MAX;
        let dice = Mutex::new(Dice(seed));
        let (books, server) = books_of(move |_, asked, books| {
            let (fails, late, way) = {
                let mut dice = dice.lock().unwrap();
                (dice.roll(10) < 6, dice.roll(2) == 0, dice.roll(400))
            };
            if !fails {
                return books.accept(asked);
            }
            if late {
                books.accept(asked);
            }
            match way {
                0 => Say::Drip,
                1 => Say::Http(201, Vec::new(), vec![b'x'; 2 << 20]),
                2..100 => Say::Reset,
                100..150 => Say::status(500),
                150..200 => Say::status(429).with("retry-after", "7"),
                200..230 => Say::status(401),
                230..260 => Say::status(204),
                260..290 => Say::status(201),
                290..320 => Say::ocpi(200, 3001, Value::Null),
                320..350 => Say::Http(200, Vec::new(), b"{\"status_code\":".to_vec()),
                350..380 => Say::status(302).with("location", "http://127.0.0.1:1/"),
                _ => Say::status(503),
            }
        })
        .await;
        let parties = [emsp("NL-AAP", &server.url), emsp("NL-AAQ", &server.url)];
        let names = ["NL-AAP", "NL-AAQ"];
        let mut ids = [Vec::new(), Vec::new()];
        let mut chance = Dice(seed ^ 0x5555);
        let mut delivering = world.start(&parties);
        for batch in 0..10 {
            for (name, ids) in names.iter().zip(&mut ids) {
                ids.extend(world.queue(name, 25 * batch..25 * batch + 25).await);
            }
            if chance.roll(2) == 0 {
                delivering.stop(Duration::from_millis(chance.roll(3))).await;
                delivering = world.start(&parties);
            }
            if batch == 5 {
                delivering.stop(Duration::ZERO).await;
                drop(std::mem::replace(&mut world.custody, open(tempfile::tempdir().unwrap().path())));
                world.custody = open(world.dir.path());
                delivering = world.start(&parties);
            }
        }
        for name in names {
            until(&format!("seed {seed}: {name} has all"), || world.in_state(CdrState::Delivered, name) == 250).await;
        }
        delivering.stop(Duration::from_secs(5)).await;
        let accepted = books.accepted();
        for (name, ids) in names.iter().zip(&ids) {
            let theirs: Vec<_> = accepted.iter().filter(|id| id.contains(name)).cloned().collect();
            assert_eq!(theirs, *ids, "seed {seed}: {name}");
            assert_eq!(world.disclosed(name), ids.iter().cloned().collect(), "seed {seed}: {name}");
        }
    }
}
