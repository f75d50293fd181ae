//! What comes late: corrections, by credit, by replacement, by hand.

use crate::world::*;
use sluis::billing::office::{Entry, Held, discard};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use sluis::store::{CdrRow, CdrState, Op, StoreError};

/// A session whose end is not known, billed as far as it is; its end comes later. Returns what is to be said then.
async fn billed_too_early(world: &World, card: &str) {
    let mut pole = Pole::new(world, "CS-2", Version::V201);
    pole.event(0, "tx", 0, "Started", Some(card), 1000).await;
    pole.event(15, "tx", 1, "Updated", None, 3000).await;
    world.bill().await;
}

async fn the_end_comes(world: &World, register: u32) {
    Pole::new(world, "CS-2", Version::V201).event(60, "tx", 2, "Ended", None, register).await;
    world.bill().await;
}

#[tokio::test]
async fn what_was_sent_is_credited_and_billed_anew() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    billed_too_early(&world, CARD).await;
    let first = world.the_cdr();
    assert_eq!((first.state, body(&first)["total_energy"].to_string().as_str()), (CdrState::Queued, "2"));
    let deliver = Op::CdrMove { id: first.id.clone(), from: CdrState::Queued, to: CdrState::Delivered, tries: 1 };
    world.custody.store().commit(vec![deliver]).await.unwrap();
    the_end_comes(&world, 9000).await;
    let rows = world.cdrs();
    assert_eq!(rows.len(), 3);
    let (credit, second) = (&rows[1], &rows[2]);
    assert_eq!(credit.id, format!("{}-C", first.id));
    assert_eq!(body(credit)["credit_reference_id"], first.id);
    assert_eq!(body(credit)["total_energy"], body(&first)["total_energy"]);
    assert_eq!(body(second)["total_energy"].to_string(), "8");
    assert!(body(second).get("credit").is_none() && second.id != first.id);
    assert!(rows.iter().all(|row| row.session == first.session && row.owner.as_deref() == Some(ABC) && row.code == first.code));
    // Said once more: nothing new.
    the_end_comes(&world, 9000).await;
    world.bill().await;
    assert_eq!(world.cdrs().len(), 3);
}

#[tokio::test]
async fn a_correction_that_changes_nothing_for_the_emsp_is_none() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-2", Version::V201);
    pole.event(0, "tx", 0, "Started", Some(CARD), 1000).await;
    pole.event(60, "tx", 2, "Ended", None, 9000).await;
    world.bill().await;
    // The contract becomes known, and a reading that was missing, which no price depends on.
    world.owns(ABC, "RFID", CARD, "another contract").await;
    pole.event(30, "tx", 1, "Updated", None, 4000).await;
    world.bill().await;
    assert_eq!(world.the_cdr().state, CdrState::Queued);
}

/// What comes late is billed by the price of its day.
#[tokio::test]
async fn a_correction_is_billed_by_the_price_of_its_day() {
    let old = TARIFFS.replace("\"last_updated\"", "\"end_date_time\":\"2026-11-25T00:00:00Z\",\"last_updated\"");
    let new = TARIFFS.replace("\"last_updated\"", "\"start_date_time\":\"2026-11-25T00:00:00Z\",\"last_updated\"").replace("0.40", "0.90");
    let both = format!("{},{}", &old[..old.len() - 1], &new[1..]);
    let world = World::with(recipients(), SITES, &both);
    world.owns(ABC, "RFID", CARD, "c").await;
    billed_too_early(&world, CARD).await;
    the_end_comes(&world, 11_000).await;
    Pole::new(&world, "CS-1", Version::V16).charges(CARD, 24 * 60, 10_000).await;
    world.bill().await;
    let totals: Vec<_> = world.cdrs().iter().map(|row| Entry::of(row).total_excl_vat.unwrap()).collect();
    assert_eq!(totals, ["1.3", "-1.3", "4.5", "9.5"]);
}

#[tokio::test]
async fn what_nobody_has_seen_is_replaced() {
    let world = World::new();
    billed_too_early(&world, "04C0FFEE").await;
    the_end_comes(&world, 9000).await;
    let rows = world.cdrs();
    let fates: Vec<_> = rows.iter().map(|row| (row.state, Entry::of(row).energy_kwh.unwrap())).collect();
    assert_eq!(fates, [(CdrState::Discarded, "2".to_owned()), (CdrState::Quarantined, "8".to_owned())]);
    // An operator's word stands, whatever comes after it.
    discard(&world.custody, &rows[1].id).unwrap();
    the_end_comes(&world, 9500).await;
    assert_eq!(world.cdrs().len(), 2);
}

#[tokio::test]
async fn an_old_emsp_is_corrected_by_hand() {
    let world = World::new();
    world.owns(OLD, "RFID", CARD, "c").await;
    billed_too_early(&world, CARD).await;
    the_end_comes(&world, 9000).await;
    let rows = world.cdrs();
    assert_eq!((rows[0].state, rows[0].owner.as_deref()), (CdrState::Queued, Some(OLD)));
    assert_eq!(
        (rows[1].state, rows[1].owner.as_deref(), rows[1].why.as_deref()),
        (CdrState::Quarantined, None, Some("needs_manual_credit"))
    );
    let mut outcomes = Vec::new();
    world.office().release_all(None, LATER, &mut |_, outcome| outcomes.push(outcome)).unwrap();
    assert_eq!(outcomes, [Err(Held::ByHand)], "not by the dozen");
    // And it changes once more: still by hand.
    Pole::new(&world, "CS-2", Version::V201).event(90, "tx", 3, "Ended", None, 9500).await;
    world.bill().await;
    let fates: Vec<_> = world.cdrs().iter().map(|row| (row.state, Entry::of(row).energy_kwh.unwrap())).collect();
    let (queued, discarded, held) = (CdrState::Queued, CdrState::Discarded, CdrState::Quarantined);
    assert_eq!(fates, [(queued, "2".to_owned()), (discarded, "8".to_owned()), (held, "8.5".to_owned())]);
    assert_eq!(world.office().release(&world.cdrs()[2].id, None, LATER).unwrap(), OLD);
}

#[tokio::test]
async fn a_correction_after_the_agreement_ended_is_held_whole() {
    let mut world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    billed_too_early(&world, CARD).await;
    let mut ended = recipients();
    ended[1].valid[1] = Some("2026-11-25".to_owned());
    world.renew(ended, SITES);
    the_end_comes(&world, 9000).await;
    let rows = world.cdrs();
    assert_eq!(rows.iter().map(|row| row.state).collect::<Vec<_>>(), [CdrState::Queued, CdrState::Quarantined, CdrState::Quarantined]);
    assert!(rows[1..].iter().all(|row| row.why.as_deref() == Some("no_agreement") && row.owner.is_none()));
    world.renew(recipients(), SITES);
    let mut released = 0;
    world.office().release_all(None, LATER, &mut |_, outcome| released += usize::from(outcome.as_deref() == Ok(ABC))).unwrap();
    assert_eq!(released, 2);
    let rows = world.cdrs();
    assert_eq!(body(&rows[1])["credit_reference_id"], rows[0].id);
    assert_eq!(body(&rows[1])["cdr_token"], body(&rows[0])["cdr_token"]);
}

/// A CDR is older than the time that is kept, and its session is not done with: what comes late takes it back all the same.
#[tokio::test]
async fn a_delivered_cdr_is_kept_as_long_as_something_may_come_late_of_its_session() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    billed_too_early(&world, CARD).await;
    let first = world.the_cdr();
    let deliver = Op::CdrMove { id: first.id.clone(), from: CdrState::Queued, to: CdrState::Delivered, tries: 1 };
    world.custody.store().commit(vec![deliver]).await.unwrap();
    Pole::new(&world, "CS-2", Version::V201).event(20, "tx", 3, "Updated", None, 3500).await;
    world.bill_at(Timestamp(TEN + 30 * MINUTE)).await;
    let purge = |before: Timestamp| Op::PurgeBilling { before, most: 1000 };
    world.custody.store().commit(vec![purge(Timestamp(LATER.0 + 1))]).await.unwrap();
    the_end_comes(&world, 9000).await;
    let ids: Vec<String> = world.cdrs().into_iter().map(|row| row.id).collect();
    assert_eq!((ids.len(), &ids[0], &ids[1]), (3, &first.id, &format!("{}-C", first.id)));
    // Once the session itself is gone, all that was delivered goes.
    for id in ids {
        world.custody.store().commit(vec![Op::CdrMove { id, from: CdrState::Queued, to: CdrState::Delivered, tries: 1 }]).await.unwrap();
    }
    world.custody.store().commit(vec![purge(Timestamp(LATER.0 + 1))]).await.unwrap();
    assert!(world.cdrs().is_empty());
}

/// After a restart both sides count anew: message ids, and the numbers of transactions.
#[tokio::test]
async fn a_number_that_is_given_again_in_the_same_words_is_heard() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    for from in [0, 600] {
        let mut pole = Pole::new(&world, "CS-1", Version::V16);
        let start = format!(r#"{{"connectorId":1,"idTag":"{CARD}","meterStart":1000,"timestamp":"{}"}}"#, time(from));
        pole.calls(from, "StartTransaction", &start, r#"{"transactionId":1,"idTagInfo":{"status":"Accepted"}}"#).await;
        let value = format!(r#"{{"timestamp":"{}","sampledValue":[{{"value":"3000"}}]}}"#, time(from + 10));
        pole.calls(from + 10, "MeterValues", &format!(r#"{{"connectorId":1,"transactionId":1,"meterValue":[{value}]}}"#), "{}").await;
        let stop = format!(r#"{{"transactionId":1,"meterStop":6000,"timestamp":"{}"}}"#, time(from + 30));
        pole.calls(from + 30, "StopTransaction", &stop, "{}").await;
    }
    world.bill().await;
    let readings: Vec<usize> = world.cdrs().iter().map(|row| draft(row).session.readings.len()).collect();
    assert_eq!(readings, [3, 3]);
}

/// A reading that comes late shows that the vehicle was full after half an hour: where time has no price, nobody is told of it.
#[tokio::test]
async fn idling_that_becomes_known_late_and_has_no_price_is_no_reason_for_a_credit() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-2", Version::V201);
    pole.event(0, "tx", 0, "Started", Some(CARD), 1000).await;
    pole.event(60, "tx", 2, "Ended", None, 9000).await;
    world.bill().await;
    pole.event(30, "tx", 1, "Updated", None, 9000).await;
    world.bill().await;
    assert_eq!(world.the_cdr().state, CdrState::Queued);
}

/// An e-MSP that pulls asks for what has changed since the newest that it has: what was written with a clock that had been set back was
/// never among it.
#[tokio::test]
async fn nothing_of_an_owner_is_older_than_what_it_may_have_seen_also_if_the_clock_is_set_back() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    world.owns(NEW, "RFID", "04C0FFEF", "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    pole.charges(CARD, 0, 5000).await;
    pole.charges("04C0FFEE", 60, 5000).await;
    world.bill().await;
    let back = Timestamp(LATER.0 - 86_400_000);
    pole.charges(CARD, 120, 6000).await;
    pole.charges("04C0FFEF", 180, 6000).await;
    world.bill_at(back).await;
    let [held] = &world.in_state(CdrState::Quarantined)[..] else { panic!("one is held") };
    world.office().release(&held.id, Some(party(ABC)), back).unwrap();
    world.office().credit(&held.id, back).unwrap();
    let of = |owner: &str| world.cdrs().into_iter().filter(|row| row.owner.as_deref() == Some(owner)).collect::<Vec<_>>();
    let rows = of(ABC);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!((row.updated, body(row)["last_updated"].as_str()), (LATER, Some(LATER.rfc3339().as_str())), "{row:?}");
        assert_eq!(draft(row).cdr.unwrap().last_updated, LATER);
    }
    assert_eq!(of(NEW).iter().map(|row| row.updated).collect::<Vec<_>>(), [back], "another owner has seen nothing newer");
    // Two who write at the same moment: the slower one is sent back to look again. What is there already may be said again.
    let store = world.custody.store();
    let late = CdrRow { id: "late".to_owned(), updated: back, ..rows[0].clone() };
    assert_eq!(store.commit(vec![Op::CdrInsert(late)]).await, Err(StoreError::Conflict));
    assert_eq!(store.commit(vec![Op::CdrInsert(CdrRow { updated: back, ..rows[0].clone() })]).await, Ok(()));
    assert_eq!(of(ABC), rows);
}

/// A clock that stood far ahead once does not make all that follows as new as that: who pulls until now would get nothing any more.
#[tokio::test]
async fn what_a_clock_wrote_that_stood_far_ahead_is_not_followed() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    let ahead = Timestamp(LATER.0 + 2 * 86_400_000);
    pole.charges(CARD, 0, 5000).await;
    world.bill_at(ahead).await;
    pole.charges(CARD, 60, 6000).await;
    world.bill().await;
    assert_eq!(world.cdrs().iter().map(|row| row.updated).collect::<Vec<_>>(), [ahead, LATER]);
}
