//! Facts become CDRs: each session exactly one, for its owner and nobody else, whatever instant the process dies at.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]
#![allow(unreachable_pub, missing_docs, reason = "test code in several files")]

#[path = "billing/deaths.rs"]
mod deaths;
#[path = "billing/late.rs"]
mod late;
#[path = "billing/load.rs"]
mod load;
#[path = "billing/owners.rs"]
mod owners;
#[path = "billing/program.rs"]
mod program;
#[path = "cdr/recomputation.rs"]
mod recomputation;
#[path = "billing/world.rs"]
mod world;

/// With `SLUIS_SESSIONS` as many as that; ten thousand where code is fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_stations_is_billed_to_the_cent_across_fifty_deaths() {
    let usual = if cfg!(debug_assertions) { 1000 } else { 10_000 };
    let count = load::asked("SLUIS_SESSIONS").map_or(usual, |count| count as usize);
    load::run(count, 50.min(count / 40)).await;
}
