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

/// Ten thousand sessions, or as many as `SLUIS_SESSIONS` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_stations_is_billed_to_the_cent_across_fifty_deaths() {
    let count = load::asked("SLUIS_SESSIONS").map_or(10_000, |count| count as usize);
    load::run(count, 50.min(count / 40)).await;
}
