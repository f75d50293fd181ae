//! What waits for an e-MSP that is away waits on the disk, not in memory. A program of its own, since it weighs itself.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/market.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "test code, shared")]
mod market;
#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod party;

use market::*;
use sluis::clock::Timestamp;
use sluis::store::{CdrRow, CdrState, Op};

/// Resident memory of this process, in KiB.
fn weight() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap()
}

#[tokio::test]
async fn a_long_queue_for_an_e_msp_that_is_away_takes_no_memory() {
    let world = World::new();
    for number in 0..600 {
        let id = format!("cdr-{number:05}");
        let row = CdrRow {
            seq: 0,
            id: id.clone(),
            session: format!("s-{id}"),
            owner: Some("NL-AAM".to_owned()),
            state: CdrState::Queued,
            code: None,
            draft: "{}".to_owned(),
            body: Some(format!("{{\"id\":\"{id}\",\"x\":\"{}\"}}", "x".repeat(100 << 10))),
            why: None,
            updated: Timestamp(0),
            tries: 0,
        };
        world.custody.store().commit(vec![Op::CdrInsert(row)]).await.unwrap();
    }
    let before = weight();
    // Nobody listens there.
    let delivering = world.start(&[emsp("NL-AAM", "http://127.0.0.1:1")]);
    let tried = || metric("sluis_delivery_attempts_total{recipient=\"NL-AAM\",outcome=\"unreachable\"}").unwrap_or_default();
    until("it was tried often", || tried() >= 20.0).await;
    let grown = weight().saturating_sub(before);
    delivering.stop(std::time::Duration::from_secs(5)).await;
    // 60 MB wait; a page of them, and what a client and a runtime take, is a quarter of that.
    assert!(grown < 15 << 10, "{grown} KiB more in memory");
    assert_eq!(world.custody.store().cdr_counts().unwrap().iter().find(|(state, _)| *state == CdrState::Queued).unwrap().1, 600);
}
