//! What the process dies of, and what it must not stumble over.

use crate::world::*;
use sluis::billing::office::Entry;
use sluis::clock::Timestamp;
use sluis::custody::Role;
use sluis::ocpp::Version;
use sluis::store::CdrState;
use std::collections::BTreeSet;

/// One batch after the other of every size, with the process gone before and after each commit.
#[tokio::test]
async fn whatever_instant_it_dies_at_each_session_has_one_cdr() {
    for most in [1, 2, 3, 7] {
        let world = World::new();
        world.owns(ABC, "RFID", CARD, "c").await;
        for (name, version) in [("CS-1", Version::V16), ("CS-2", Version::V201), ("CS-3", Version::V21)] {
            let mut pole = Pole::new(&world, name, version);
            for n in 0..3 {
                pole.charges(if n == 1 { "04C0FFEE" } else { CARD }, 60 * n, 2000 + 100 * n as u32).await;
            }
        }
        // And one that is put right later.
        let mut pole = Pole::new(&world, "CS-1", Version::V201);
        pole.event(400, "tx", 0, "Started", Some(CARD), 1000).await;
        world.bill_at(Timestamp(TEN + 401 * MINUTE)).await;
        assert_eq!(world.cdrs().len(), 9);
        pole.event(430, "tx", 1, "Ended", None, 8000).await;
        let (mut deaths, mut quiet) = (0, 0);
        // Once more from the beginning of the journal, in a house that has not billed yet.
        let mut world2 = World::new();
        world2.owns(ABC, "RFID", CARD, "c").await;
        for card in [CARD, "04C0FFEE"] {
            world2.code(card).await;
        }
        copy_journal(&world, &world2).await;
        while quiet < 2 {
            let mut clerk = world2.clerk();
            let turn = clerk.turn(LATER, most, &BTreeSet::new()).unwrap();
            match deaths % 3 {
                // Before the commit.
                0 => {}
                // After the commit, before it is known to be done.
                1 => world2.custody.store().commit(turn.ops.clone()).await.unwrap(),
                // It goes on for a while.
                _ => {
                    world2.custody.store().commit(turn.ops.clone()).await.unwrap();
                    clerk.done(&turn);
                    let next = clerk.turn(LATER, most, &BTreeSet::new()).unwrap();
                    world2.custody.store().commit(next.ops.clone()).await.unwrap();
                    clerk.done(&next);
                }
            }
            quiet = if turn.ops.is_empty() && !turn.more && deaths % 3 > 0 { quiet + 1 } else { 0 };
            deaths += 1;
            drop(clerk);
            let path = world2.dir.path().join("data");
            world2.custody = custody(world2.dir.path().join("other").as_path(), Role::Beside);
            world2.custody = custody(&path, Role::Serve);
        }
        let rows = world2.cdrs();
        let sessions: BTreeSet<_> = rows.iter().map(|row| row.session.clone()).collect();
        assert_eq!((rows.len(), sessions.len()), (10, 10), "{most} a batch, {deaths} deaths");
        let mut energies: Vec<String> = rows.iter().filter_map(|row| Entry::of(row).energy_kwh).collect();
        energies.sort();
        assert_eq!(energies, ["2", "2", "2", "2.1", "2.1", "2.1", "2.2", "2.2", "2.2", "7"]);
        assert!(deaths > 20 / most, "{deaths}");
    }
}

async fn copy_journal(from: &World, to: &World) {
    // The codes of one house mean nothing in another: the cards' codes are put in place of each other.
    let mut swap = Vec::new();
    for card in [CARD, "04C0FFEE"] {
        swap.push((from.code(card).await, to.code(card).await));
    }
    for row in from.custody.journal.after(0, 1000).unwrap() {
        let version = Version::ALL.into_iter().find(|version| version.number() == row.version).unwrap();
        let payload = swap.iter().fold(row.payload.clone(), |text, (theirs, ours)| text.replace(theirs, ours));
        let action = ACTIONS.iter().find(|action| **action == row.action).unwrap();
        let fact = sluis::treat::Fact { action, message_id: row.message_id.clone(), payload };
        to.custody.journal.submit(&row.station, version, row.at, vec![fact]).durable().await.unwrap();
    }
}

const ACTIONS: &[&str] =
    &["StartTransaction", "StartTransactionResponse", "StopTransaction", "MeterValues", "TransactionEvent", "TransactionEventResponse"];

/// Two at work on one store: one of them is told so and has changed nothing.
#[tokio::test]
async fn a_second_clerk_changes_nothing() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    Pole::new(&world, "CS-1", Version::V16).charges(CARD, 0, 5000).await;
    let (mut one, mut two) = (world.clerk(), world.clerk());
    let turns = [one.turn(LATER, 3, &BTreeSet::new()).unwrap(), two.turn(LATER, 2, &BTreeSet::new()).unwrap()];
    world.custody.store().commit(turns[0].ops.clone()).await.unwrap();
    assert_eq!(world.custody.store().commit(turns[1].ops.clone()).await.unwrap_err(), sluis::store::StoreError::Conflict);
    world.bill().await;
    assert_eq!(world.cdrs().len(), 1);
}

/// What cannot be worked on is passed over and counted, and does not stop the others.
#[tokio::test]
async fn a_fact_that_makes_no_sense_stops_nobody() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let nonsense = ["", "{", "[]", "null", "{\"transactionInfo\":{\"transactionId\":7}}", "{\"transactionInfo\":[]}", "\u{0}"];
    for (n, payload) in nonsense.into_iter().enumerate() {
        let fact = sluis::treat::Fact { action: "TransactionEvent", message_id: format!("x{n}"), payload: payload.to_owned() };
        world.custody.journal.submit("CS-1", Version::V201, Timestamp(TEN), vec![fact]).durable().await.unwrap();
    }
    Pole::new(&world, "CS-1", Version::V16).charges(CARD, 0, 5000).await;
    world.bill().await;
    assert_eq!(world.in_state(CdrState::Queued).len(), 1);
    // And one that is skipped by its number.
    Pole::new(&world, "CS-2", Version::V201).charges(CARD, 0, 5000).await;
    let newest = world.custody.store().journal_newest().unwrap();
    let mut clerk = world.clerk();
    let turn = clerk.turn(Timestamp(TEN + 31 * MINUTE), 100, &BTreeSet::from([newest])).unwrap();
    world.custody.store().commit(turn.ops.clone()).await.unwrap();
    clerk.done(&turn);
    assert_eq!((world.custody.store().mark("charging").unwrap(), clerk.open_sessions()), (newest, 1));
}

/// What was there before billing was switched on was billed in another way.
#[tokio::test]
async fn billing_begins_where_it_is_switched_on() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    pole.charges(CARD, 0, 5000).await;
    assert_eq!(sluis::billing::begin(&world.custody).await.unwrap(), 3);
    pole.charges(CARD, 60, 6000).await;
    assert_eq!(sluis::billing::begin(&world.custody).await.unwrap(), 0, "a start later on passes nothing over");
    world.bill().await;
    assert_eq!(Entry::of(&world.the_cdr()).energy_kwh.as_deref(), Some("6"));
}

/// Stations that were cut off may still come with the end of their sessions: the clock alone closes nothing right after a start.
#[tokio::test]
async fn after_a_long_stop_stations_are_waited_for() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    Pole::new(&world, "CS-2", Version::V201).event(0, "tx", 0, "Started", Some(CARD), 1000).await;
    world.bill_at(Timestamp(TEN + MINUTE)).await;
    let settle = world.patience.settle.as_millis() as i64;
    let mut clerk = sluis::billing::Clerk::open(world.desk.clone(), world.custody.clone(), world.patience, LATER).unwrap();
    let turn = clerk.turn(Timestamp(LATER.0 + settle - 1), 100, &BTreeSet::new()).unwrap();
    assert!(turn.ops.is_empty());
    clerk.done(&turn);
    let turn = clerk.turn(Timestamp(LATER.0 + settle), 100, &BTreeSet::new()).unwrap();
    assert!(!turn.ops.is_empty());
}
