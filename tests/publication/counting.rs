//! What counts, where, and how often.

use crate::billing::{self, Pole};
use crate::world::*;
use sluis::billing::BATCH;
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use sluis::publication::{Gate, People, SystemNoise};
use std::collections::BTreeSet;

/// From a station's messages, through billing, in the batch that makes the CDR.
#[tokio::test]
async fn a_session_counts_in_the_batch_that_bills_it_and_once_however_often_the_clerk_dies() {
    let world = billing::World::with(
        billing::recipients(),
        &billing::SITES.replace("tariff\n", "tariff,municipality,province\n").replace(",T1\n", ",T1,M,P\n").replace(
            "NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,\n",
            "NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,,M,P\n",
        ),
        billing::TARIFFS,
    );
    let gate = Some(Gate { zone: ZONE });
    for (name, version) in [("CS-1", Version::V16), ("CS-2", Version::V201)] {
        let mut pole = Pole::new(&world, name, version);
        pole.charges(billing::CARD, 0, 5000).await;
        pole.charges("04C0FFEE", 60, 7000).await;
    }
    let store = world.custody.store();
    let counted = || ["2026-11", "2026-Q4"].map(|name| store.visits_after(name, None).unwrap().len());
    for death in 0..6 {
        let mut clerk = world.clerk().counting(gate);
        let turn = clerk.turn(billing::LATER, 3, &BTreeSet::new()).unwrap();
        if death % 2 == 1 {
            store.commit(turn.ops.clone()).await.unwrap();
        }
        // It dies before or after the commit: a session counts exactly when it is billed.
        let billed = world.cdrs().len();
        assert_eq!(counted(), [billed, billed], "after death {death}");
    }
    let mut clerk = world.clerk().counting(gate);
    loop {
        let turn = clerk.turn(billing::LATER, BATCH, &BTreeSet::new()).unwrap();
        if turn.ops.is_empty() {
            break;
        }
        store.commit(turn.ops.clone()).await.unwrap();
        clerk.done(&turn);
    }
    assert_eq!((counted(), world.cdrs().len()), ([4, 4], 4));
}

#[test]
fn what_is_said_again_takes_the_place_of_what_was_said() {
    let world = World::new();
    let mut session = world.session(&world.code(&card(1)), "AC-1", THEN, 2, 5_000);
    world.passes(&session, true, THEN);
    let before = world.visits(MONTH);
    session.ended = Some(Timestamp(THEN.0 + 9 * HOUR));
    world.passes(&session, false, CLOSED);
    let after = world.visits(MONTH);
    assert_eq!((world.counted(), before.len()), ([1, 1], 1));
    assert_ne!(before[0].sealed, after[0].sealed);
    let second = world.session(&world.code(&card(1)), "AC-1", THEN, 2, 5_000);
    world.passes(&second, true, THEN);
    assert_eq!(world.counted(), [2, 2]);
}

#[test]
fn what_becomes_known_after_the_close_is_the_next_periods_and_a_correction_then_is_nobodys() {
    let world = World::new();
    let late = world.session(&world.code(&card(1)), "AC-1", THEN, 2, 5_000);
    world.passes(&late, false, CLOSED); // a correction of what may have counted
    assert_eq!((world.counted(), world.visits("2025-10").len()), ([0, 0], 0));
    world.passes(&late, true, CLOSED);
    assert_eq!((world.counted(), world.visits("2025-10").len(), world.visits("2025-Q4").len()), ([0, 0], 1, 1));
    // Ten days after the end are still in time.
    let in_time = world.session(&world.code(&card(2)), "AC-1", THEN, 2, 5_000);
    world.passes(&in_time, true, Timestamp(SEPTEMBER + 39 * DAY));
    assert_eq!(world.counted(), [1, 1]);
    // A station from the future, and one from long ago.
    let odd = world.session(&world.code(&card(3)), "AC-1", Timestamp(THEN.0 + 5000 * DAY), 2, 5_000);
    world.passes(&odd, true, THEN);
    let old = world.session(&world.code(&card(3)), "AC-1", Timestamp(0), 2, 5_000);
    world.passes(&old, true, THEN);
    assert_eq!(world.counted(), [2, 2]);
}

/// September is released, and then somebody sets the clock back: what ends in September now counts in October, which is open.
#[test]
fn a_clock_that_is_set_back_opens_nothing_again() {
    let world = World::new();
    world.charges(&card(1), "AC-1", THEN);
    world.publication.close(period(MONTH), CLOSED, &mut SystemNoise::new()).unwrap();
    world.publication.close(period(QUARTER), CLOSED, &mut SystemNoise::new()).unwrap();
    world.charges(&card(2), "AC-1", Timestamp(THEN.0 + DAY));
    assert_eq!((world.counted(), world.visits("2025-10").len(), world.visits("2025-Q4").len()), ([0, 0], 1, 1));
    let again = world.publication.close(period(MONTH), Timestamp(THEN.0 + DAY), &mut SystemNoise::new());
    assert!(again.unwrap_err().is_released());
    let round = world.publication.round(Timestamp(THEN.0 + DAY)).unwrap();
    assert_eq!((round.released, round.overdue), (0, 0));
}

/// What lies across midnight of a period's end counts whole in the period that it ended in, by the clocks of the zone.
#[test]
fn a_session_counts_in_the_period_that_it_ends_in_by_local_time() {
    let world = World::new();
    let october = SEPTEMBER + 30 * DAY; // 2025-10-01T00:00:00+02:00
    for (ended, months) in [(october - 1, [1, 0]), (october, [1, 1]), (october + 2 * HOUR - 1, [1, 2])] {
        let session = world.session(&world.code(&card(1)), "AC-1", Timestamp(ended - 5 * HOUR), 5, 5_000);
        world.passes(&session, true, Timestamp(ended));
        assert_eq!(["2025-09", "2025-10"].map(|name| world.visits(name).len()), months, "{ended}");
    }
}

#[test]
fn a_home_is_in_the_monthly_table_alone_and_a_place_without_a_name_nowhere() {
    let world = World::new();
    world.charges(&card(1), "HOME-1", THEN);
    assert_eq!(world.counted(), [1, 0]);
    world.charges(&card(1), "NOWHERE", THEN);
    assert_eq!(world.counted(), [1, 0]);
    let mut nobody = world.session("", "AC-1", THEN, 2, 5_000);
    nobody.token = None;
    world.passes(&nobody, true, THEN);
    // A code that stands for nothing any more.
    let gone = world.session("Z0AAAAAAAAAAAAAAAAAA", "AC-1", THEN, 2, 5_000);
    world.passes(&gone, true, THEN);
    assert_eq!(world.counted(), [1, 0]);
}

#[test]
fn cards_of_a_contract_are_one_person_and_a_new_key_makes_no_second_of_anybody() {
    let world = World::new();
    world.charges("04A2B3C4", "AC-1", THEN);
    world.custody.rotate(THEN).unwrap();
    world.charges("04:a2:b3:c4", "AC-2", THEN);
    let rows = world.visits(QUARTER);
    assert_eq!((rows.len(), rows[0].card), (2, rows[1].card), "an epoch is no person");
    assert_ne!(rows[0].card, world.visits(MONTH)[0].card, "nothing links a month and a quarter");
    // What becomes known later joins what was counted before.
    world.owns("04A2B3C4", "NL-ABC-000001");
    world.owns("04A2B3C5", "NL-ABC-000001");
    world.charges("04A2B3C4", "AC-3", THEN);
    world.charges("04A2B3C5", "AC-3", THEN);
    // Plug and charge names the contract itself.
    world.charges("NL-ABC-000001", "AC-3", THEN);
    let mut people = People::default();
    for row in world.visits(QUARTER) {
        people.number(row.card);
        row.contract.into_iter().for_each(|contract| people.join(row.card, contract));
    }
    let mut root = |card| {
        let number = people.number(card);
        people.root(number)
    };
    let roots: BTreeSet<u32> = world.visits(QUARTER).iter().map(|row| root(row.card)).collect();
    assert_eq!((world.visits(QUARTER).len(), roots.len()), (5, 1));
}

#[test]
fn statistics_that_cannot_be_kept_leave_nothing_half() {
    let world = World::new();
    world.charges(&card(1), "AC-1", THEN);
    // The secret is altered: nothing opens, and nothing is made up in its place.
    let other = rusqlite::Connection::open(world.data().join(sluis::store::DATABASE)).unwrap();
    other.execute("UPDATE period SET wrapped = zeroblob(60)", []).unwrap();
    let session = world.session(&world.code(&card(2)), "AC-1", THEN, 2, 5_000);
    let gate = Gate { zone: ZONE };
    let sites = sluis::cdr::site::Sites::parse(&sites(), ZONE).unwrap();
    let passed = gate.pass(&session, sites.find("AC-1", 1, 1), true, true, &world.custody, THEN);
    assert!(passed.is_err());
    assert_eq!(world.counted(), [1, 1]);
}
