//! Facts become CDRs: each session exactly one, for its owner and nobody else, whatever instant the process dies at.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]
#![allow(unreachable_pub, missing_docs, reason = "test code in several files")]

#[path = "billing/load.rs"]
mod load;
#[path = "cdr/recomputation.rs"]
mod recomputation;
#[path = "billing/world.rs"]
mod world;

use sluis::billing::NoCredit;
use sluis::billing::office::{Entry, Held, discard, list, retry};
use sluis::clock::Timestamp;
use sluis::custody::Role;
use sluis::ocpp::Version;
use sluis::store::{CdrState, Op};
use std::collections::BTreeSet;
use std::process::Command;
use world::*;

const CARD: &str = "04A1B2C3D4E5F6";

// ── who gets what ───────────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn sessions_of_all_versions_become_cdrs_in_their_owners_version() {
    let world = World::new();
    for (owner, card) in [(OLD, "04111111111111"), (ABC, "04222222222222"), (NEW, "04333333333333")] {
        world.owns(owner, "RFID", card, &format!("contract of {owner}")).await;
    }
    let stations = [("CS-1", Version::V16), ("CS-2", Version::V201), ("CS-3", Version::V21)];
    for (name, version) in stations {
        let mut pole = Pole::new(&world, name, version);
        for (n, card) in ["04111111111111", "04222222222222", "04333333333333"].into_iter().enumerate() {
            pole.charges(card, 60 * n as i64, 10_000).await;
        }
    }
    world.bill().await;
    let rows = world.in_state(CdrState::Queued);
    assert_eq!(rows.len(), 9);
    for row in &rows {
        let body = body(row);
        let (owner, code) = (row.owner.as_deref().unwrap(), row.code.as_deref().unwrap());
        let version = [(OLD, "2.1.1"), (ABC, "2.2.1"), (NEW, "2.3.0")].into_iter().find(|(name, _)| *name == owner).unwrap().1;
        assert_eq!(draft(row).version.as_deref(), Some(version));
        assert_eq!(body["id"], row.id);
        assert_eq!(body["total_energy"].to_string(), "10");
        let total = match version {
            "2.1.1" => &body["total_cost"],
            "2.2.1" => &body["total_cost"]["excl_vat"],
            _ => &body["total_cost"]["before_taxes"],
        };
        assert_eq!(total.to_string().trim_end_matches('0'), "4.5", "{owner}");
        if version == "2.1.1" {
            assert!(body["auth_id"] == code || body["auth_id"] == draft(row).token.unwrap().contract_id, "{body}");
        } else {
            assert_eq!(body["cdr_token"]["uid"], code);
            assert_eq!(body["cdr_token"]["country_code"], owner[..2]);
            assert_eq!(body["cdr_token"]["party_id"], owner[3..]);
            assert_ne!(body["cdr_token"]["contract_id"], code, "the contract is known");
        }
        assert_eq!(code.len(), 31);
    }
    let ids: BTreeSet<_> = rows.iter().map(|row| &row.session).collect();
    assert_eq!(ids.len(), 9);
    // A card has one code in its owner's domain, in whatever version its station speaks.
    let of =
        |owner: &str| rows.iter().filter(|row| row.owner.as_deref() == Some(owner)).map(|row| row.code.clone()).collect::<BTreeSet<_>>();
    assert_eq!((of(OLD).len(), of(ABC).len(), of(NEW).len()), (1, 1, 1));
    assert!(of(OLD).is_disjoint(&of(ABC)) && of(ABC).is_disjoint(&of(NEW)));
}

/// What became of one session of a card: owner or the reason why it is held.
async fn fate(world: &World, card: &str) -> String {
    let before: BTreeSet<String> = world.cdrs().into_iter().map(|row| row.id).collect();
    let mut pole = Pole::new(world, "CS-2", Version::V201);
    pole.event(before.len() as i64 * 60, &format!("t-{}", before.len()), 0, "Started", Some(card).filter(|c| !c.is_empty()), 0).await;
    pole.event(before.len() as i64 * 60 + 30, &format!("t-{}", before.len()), 1, "Ended", None, 9000).await;
    world.bill().await;
    let row = world.cdrs().into_iter().find(|row| !before.contains(&row.id)).unwrap();
    assert_eq!(row.state == CdrState::Queued, row.owner.is_some() && row.body.is_some() && row.code.is_some());
    row.owner.or(row.why).unwrap()
}

#[tokio::test]
async fn an_owner_is_known_by_token_provider_or_range_and_never_guessed() {
    let world = World::new();
    world.owns(OLD, "RFID", CARD, "NL-ABC-C1").await;
    world.owns(NEW, "RFID", "04 99 99 99", "c").await;
    world.owns(ABC, "RFID", "04999999", "c").await;
    world.owns(NEW, "APP_USER", "WEB-A7", "c").await;
    assert_eq!(fate(&world, CARD).await, OLD, "the token says so, whatever its contract's provider is");
    assert_eq!(fate(&world, "04a1b2c3d4e5f6").await, OLD, "in any spelling");
    assert_eq!(fate(&world, "04999999").await, "ambiguous_owner", "two e-MSPs have a token of it");
    assert_eq!(fate(&world, "NLABCC12345678").await, ABC, "the provider in an eMAID");
    assert_eq!(fate(&world, "DE-NEW-C12345678-X").await, NEW, "with separators and check digit");
    assert_eq!(fate(&world, "FRXYZC12345678").await, "unknown_owner", "a provider without an entry");
    assert_eq!(fate(&world, "04AB12CD34EF56").await, ABC, "a range");
    assert_eq!(fate(&world, "04ABCD12").await, "ambiguous_owner", "two ranges");
    assert_eq!(fate(&world, "04C0FFEE").await, "unknown_owner");
    assert_eq!(fate(&world, "WEB-A1").await, ABC, "the central system's own identifier, by a range");
    assert_eq!(fate(&world, "WEB-A7").await, NEW, "by a token");
    assert_eq!(fate(&world, "WEB-B1").await, "unknown_owner");
    assert_eq!(fate(&world, "").await, "no_token");
    let held = world.in_state(CdrState::Quarantined);
    assert!(held.iter().all(|row| row.owner.is_none() && row.body.is_none() && row.code.is_none()), "nobody can pull what is held");
}

#[tokio::test]
async fn what_has_no_place_no_price_or_no_energy_is_held_or_not_billed() {
    let mut world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    Pole::new(&world, "CS-9", Version::V16).charges(CARD, 0, 5000).await;
    Pole::new(&world, "CS-1", Version::V16).charges(CARD, 0, 99).await;
    Pole::new(&world, "CS-F", Version::V16).charges(CARD, 0, 5000).await;
    world.bill().await;
    let rows = world.cdrs();
    assert_eq!(rows.len(), 2, "too little is not billed");
    assert_eq!((rows[0].state, rows[0].why.as_deref()), (CdrState::Quarantined, Some("unknown_site")));
    assert_eq!(Entry::of(&rows[0]).location, "CS-9");
    assert_eq!((rows[1].state, body(&rows[1])["total_cost"]["excl_vat"].to_string().as_str()), (CdrState::Queued, "0"), "a free site");
    // The site becomes known.
    assert_eq!(world.office().release(&rows[0].id, None, LATER).unwrap_err(), Held::Unbilled("unknown_site"));
    world.renew(recipients(), &SITES.replace("CS-H", "CS-9"));
    assert_eq!(world.office().release(&rows[0].id, None, LATER).unwrap(), ABC);
    let released = &world.cdrs()[0];
    assert_eq!(body(released)["cdr_location"]["id"], "LOCH");
    assert_eq!(body(released)["total_energy"].to_string(), "5");
    assert_eq!(draft(released).cdr.unwrap().id, released.id);
}

#[tokio::test]
async fn an_agreement_that_is_over_holds_and_one_that_is_renewed_releases() {
    let mut world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    pole.charges(CARD, 0, 5000).await;
    let next_year = Timestamp(TEN + 60 * 86_400_000);
    world.bill_at(next_year).await;
    let row = world.the_cdr();
    assert_eq!((row.state, row.owner.as_deref(), row.why.as_deref()), (CdrState::Quarantined, None, Some("no_agreement")));
    assert_eq!(world.office().release(&row.id, None, next_year).unwrap_err(), Held::NoAgreement);
    assert_eq!(world.office().release(&row.id, Some(party(ABC)), next_year).unwrap_err(), Held::NoAgreement, "nor by decision");
    assert_eq!(world.office().release(&row.id, Some(party("NL-XXX")), next_year).unwrap_err(), Held::NoAgreement, "nor to a stranger");
    let mut renewed = recipients();
    renewed[1].valid[1] = Some("2027-12-31".to_owned());
    world.renew(renewed, SITES);
    assert_eq!(world.office().release(&row.id, None, next_year).unwrap(), ABC);
    let row = world.the_cdr();
    assert_eq!((row.state, row.owner.as_deref(), row.updated), (CdrState::Queued, Some(ABC), next_year));
    assert_eq!(body(&row)["last_updated"], next_year.rfc3339(), "whoever pulls by last_updated finds it");
    assert_eq!(world.office().release(&row.id, None, next_year).unwrap_err(), Held::NotQuarantined);
}

#[tokio::test]
async fn an_operator_releases_decides_discards_credits_and_retries() {
    let world = World::new();
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    for (n, card) in ["04C0FFEE", "04C0FFEF", "04C0FFF0", "04C0FFF1"].into_iter().enumerate() {
        pole.charges(card, 60 * n as i64, 5000).await;
    }
    world.bill().await;
    let ids: Vec<String> = world.cdrs().into_iter().map(|row| row.id).collect();
    assert_eq!(world.in_state(CdrState::Quarantined).len(), 4);
    let office = world.office();
    // A token arrives.
    assert_eq!(office.release(&ids[0], None, LATER).unwrap_err(), Held::Unowned("unknown_owner"));
    world.owns(NEW, "RFID", "04C0FFEE", "c").await;
    let mut outcomes = Vec::new();
    office.release_all(Some(party(ABC)), LATER, &mut |_, outcome| outcomes.push(outcome)).unwrap();
    let unknown = Err(Held::Unowned("unknown_owner"));
    assert_eq!(outcomes, [Err(Held::Another), unknown.clone(), unknown.clone(), unknown.clone()], "--all with --emsp assigns nothing");
    outcomes.clear();
    office.release_all(None, LATER, &mut |_, outcome| outcomes.push(outcome)).unwrap();
    assert_eq!(outcomes, [Ok(NEW.to_owned()), unknown.clone(), unknown.clone(), unknown]);
    // The operator decides.
    assert_eq!(office.release(&ids[1], Some(party(ABC)), LATER).unwrap(), ABC);
    let row = world.custody.store().cdr(&ids[1]).unwrap().unwrap();
    let card = world.code("04C0FFEF").await;
    let told = world.custody.vault.owned_by(&card, party(ABC)).unwrap().unwrap();
    assert_eq!(row.code, Some(told.uid.to_string()));
    assert_eq!(body(&row)["cdr_token"]["type"], "RFID");
    // Discard.
    assert_eq!(discard(&world.custody, "no such").unwrap_err(), Held::NoSuchCdr);
    assert_eq!(discard(&world.custody, &ids[1]).unwrap_err(), Held::Sent);
    discard(&world.custody, &ids[2]).unwrap();
    discard(&world.custody, &ids[2]).unwrap();
    assert_eq!(office.release(&ids[2], Some(party(ABC)), LATER).unwrap_err(), Held::NotQuarantined);
    // Credit.
    assert_eq!(office.credit(&ids[3], LATER).unwrap_err(), Held::NoCredit(NoCredit::NotSent));
    assert_eq!(office.credit(&ids[1], LATER).unwrap(), format!("{}-C", ids[1]));
    assert_eq!(office.credit(&ids[1], LATER).unwrap_err(), Held::NoCredit(NoCredit::Twice));
    assert_eq!(office.credit(&format!("{}-C", ids[1]), LATER).unwrap_err(), Held::NoCredit(NoCredit::Credit));
    let credit = world.custody.store().cdr(&format!("{}-C", ids[1])).unwrap().unwrap();
    let (before, after) = (body(&row), body(&credit));
    assert_eq!((&after["credit"], &after["credit_reference_id"]), (&serde_json::json!(true), &before["id"]));
    assert_eq!(after["cdr_token"], before["cdr_token"], "both live or die together");
    assert_eq!(after["total_cost"]["excl_vat"].to_string().trim_end_matches('0'), "-2.5");
    assert_eq!(Entry::of(&credit).total_excl_vat.as_deref(), Some("-2.5"));
    office.release(&ids[3], Some(party(OLD)), LATER).unwrap();
    assert_eq!(office.credit(&ids[3], LATER).unwrap_err(), Held::NoCredit(NoCredit::OldOcpi));
    // Retry.
    assert_eq!(retry(&world.custody, &ids[3]).unwrap_err(), Held::NotRefused);
    let refuse = Op::CdrMove { id: ids[3].clone(), from: CdrState::Queued, to: CdrState::Refused, tries: 3 };
    world.custody.store().commit(vec![refuse]).await.unwrap();
    retry(&world.custody, &ids[3]).unwrap();
    assert_eq!(world.custody.store().cdr(&ids[3]).unwrap().unwrap().state, CdrState::Queued);
    let mut listed = Vec::new();
    list(&world.custody, CdrState::Queued, Some(ABC), &mut |row| {
        listed.push(row.id.clone());
        true
    })
    .unwrap();
    assert_eq!(listed, [ids[1].clone(), format!("{}-C", ids[1])]);
    let counts = world.custody.store().cdr_counts().unwrap();
    let all = world.cdrs();
    assert!(counts.iter().all(|(state, n)| *n == all.iter().filter(|row| row.state == *state).count() as u64), "{counts:?}");
}

#[tokio::test]
async fn two_emsps_find_no_common_name_for_one_card_or_one_home() {
    let mut world = World::new();
    world.renew(
        recipients(),
        &SITES.replace(",tariff\n", ",tariff,home\n").replace(",T1\n", ",T1,true\n").replace("_PHASE,\n", "_PHASE,,true\n"),
    );
    Pole::new(&world, "CS-H", Version::V201).charges("04C0FFEE", 0, 5000).await;
    Pole::new(&world, "CS-H", Version::V201).charges("04C0FFEE", 60, 6000).await;
    world.bill().await;
    let ids: Vec<String> = world.cdrs().into_iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 2);
    for (id, owner) in ids.iter().zip([ABC, NEW]) {
        world.office().release(id, Some(party(owner)), LATER).unwrap();
    }
    // All that is in one and in the other, but what is said of every CDR of the operator.
    let words = |row: usize| {
        let body = world.cdrs()[row].body.clone().unwrap();
        assert!(!body.contains("Kerkstraat") && !body.contains("52.01150") && !body.contains("LOCH"), "{body}");
        body.split('"').filter(|word| word.len() > 7).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let common: Vec<String> = words(0).intersection(&words(1)).cloned().collect();
    let dull = |word: &String| {
        word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            || word.chars().all(|c| c.is_ascii_uppercase() || "_0123456789".contains(c))
    };
    let telling: Vec<&String> = common.iter().filter(|word| !dull(word) || word.starts_with('Z')).collect();
    // The tariff's date, the moment of release, and the place to the nearest tenth of a degree.
    assert_eq!(telling, ["2026-01-01T00:00:00Z", "2026-12-01T10:00:00Z", "4.700000", "52.000000"]);
}

// ── what comes late ─────────────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── what the process dies of ────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── what lies on the disk, and what the program says ────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn nothing_of_billing_on_the_disk_names_anybody() {
    let world = World::new();
    let cards: Vec<String> = (1..60u64).map(|n| format!("04{:012X}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16)).collect();
    let emaids: Vec<String> = (0..10).map(|n| format!("NLABCC9081726{n}5")).collect();
    for (n, card) in cards.iter().enumerate() {
        let owner = [OLD, ABC, NEW][n % 3];
        if n % 4 > 0 {
            world.owns(owner, "RFID", card, &format!("SECRETCONTRACT{n:04}")).await;
        }
    }
    let mut poles =
        [("CS-1", Version::V16), ("CS-2", Version::V201), ("CS-3", Version::V21)].map(|(name, version)| Pole::new(&world, name, version));
    for (n, card) in cards.iter().chain(&emaids).enumerate() {
        poles[n % 3].charges(card, 60 * n as i64, 5000).await;
    }
    world.bill().await;
    assert_eq!(world.cdrs().len(), 69);
    for row in world.in_state(CdrState::Quarantined) {
        world.office().release(&row.id, Some(party(ABC)), LATER).unwrap();
    }
    let bytes: Vec<u8> =
        std::fs::read_dir(world.dir.path().join("data")).unwrap().flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let mut needles: Vec<Vec<u8>> = vec![b"SECRETCONTRACT".to_vec(), b"secretcontract".to_vec()];
    for card in &cards {
        let raw: Vec<u8> = (0..14).step_by(2).map(|at| u8::from_str_radix(&card[at..at + 2], 16).unwrap()).collect();
        needles.extend([card.clone().into_bytes(), card.to_lowercase().into_bytes(), raw]);
    }
    needles.extend(emaids.iter().map(|emaid| emaid.clone().into_bytes()));
    let found = aho_corasick::AhoCorasick::new(&needles).unwrap().find(&bytes);
    assert!(bytes.len() > 100_000 && found.is_none(), "an identifier at byte {:?}", found.map(|hit| hit.start()));
}

/// A configuration file for the program, over the same data and registers.
fn config_file(world: &World) -> std::path::PathBuf {
    let path = world.dir.path().join("sluis.toml");
    let dir = world.dir.path().display();
    let text = format!(
        "data_dir = \"{dir}/data\"\n[upstream]\nurl = \"ws://127.0.0.1:1/csms\"\n[cpo]\nparty = \"NL-CPO\"\n[billing]\nsites = \"{dir}/sites.csv\"\ntariffs = \"{dir}/tariffs.json\"\n\
         [[emsp]]\nparty = \"{ABC}\"\nagreement = \"1\"\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn sluis(config: &std::path::Path, words: &[&str]) -> (Option<i32>, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_sluis")).args(words).arg("--config").arg(config).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code(), text(run.stdout), text(run.stderr))
}

#[tokio::test]
async fn the_program_works_beside_a_running_gateway_and_prints_no_code() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    pole.charges(CARD, 0, 5000).await;
    pole.charges("04C0FFEE", 60, 6000).await;
    world.bill().await;
    let config = config_file(&world);
    let codes: Vec<String> = vec![world.code(CARD).await, world.code("04C0FFEE").await, world.cdrs()[0].code.clone().unwrap()];
    let run = |words: &[&str]| {
        let (status, out, err) = sluis(&config, words);
        assert!(!codes.iter().any(|code| out.contains(code) || err.contains(code)) && !out.contains("04C0FFEE"), "{out}{err}");
        (status, out, err)
    };
    let (status, out, _) = run(&["cdr", "list", "--json"]);
    let listed: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, listed.len()), (Some(0), 2));
    assert_eq!(
        (&listed[0]["state"], &listed[0]["why"], &listed[0]["energy_kwh"]),
        (&"quarantined".into(), &"unknown_owner".into(), &"6".into())
    );
    assert_eq!((&listed[1]["owner"], &listed[1]["total_excl_vat"], &listed[1]["location"]), (&ABC.into(), &"2.5".into(), &"LOC1".into()));
    let (_, out, _) = run(&["cdr", "list", "--emsp", "nl*abc"]);
    assert_eq!(out.lines().count(), 1, "{out}");
    let (_, out, _) = run(&["cdr", "quarantine"]);
    assert!(out.contains("unknown_owner") && out.lines().count() == 1, "{out}");
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let (status, _, err) = run(&["cdr", "release", &id]);
    assert!(status == Some(1) && err.contains("unknown_owner"), "{err}");
    let (status, _, err) = run(&["cdr", "release", &id, "--emsp", NEW]);
    assert!(status == Some(1) && err.contains("no entry"), "{err}");
    let (status, out, _) = run(&["cdr", "release", "--all"]);
    assert!(status == Some(0) && out.contains("0 released, 1 held"), "{out}");
    let (status, out, err) = run(&["cdr", "release", &id, "--emsp", ABC]);
    assert!(status == Some(0) && out.contains(ABC), "{out}{err}");
    let (status, out, _) = run(&["cdr", "credit", &id]);
    assert!(status == Some(0) && out.contains(&format!("{id}-C")), "{out}");
    for (words, code) in
        [(vec!["cdr", "discard", &id], 1), (vec!["cdr", "retry", &id], 1), (vec!["cdr", "retry", "none"], 1), (vec!["cdr", "release"], 2)]
    {
        assert_eq!(run(&words).0, Some(code), "{words:?}");
    }
    assert_eq!(run(&["check"]).0, Some(0));
}

#[test]
fn mistakes_in_registers_are_told_before_anything_is_bound() {
    let world = World::new();
    let config = config_file(&world);
    std::fs::write(world.dir.path().join("sites.csv"), SITES.replace("CS-2,*", "CS-2,x")).unwrap();
    std::fs::write(world.dir.path().join("tariffs.json"), "[{\"id\":\"secret-4711\"}]").unwrap();
    drop(world.custody);
    for command in ["check", "serve"] {
        let (status, _, err) = sluis(&config, &[command]);
        assert_eq!(status, Some(78), "{err}");
        assert!(err.contains("billing.sites: ") && err.contains("sites.csv: line 3") && err.contains("billing.tariffs: "), "{err}");
        assert!(!err.contains("4711"), "{err}");
    }
    std::fs::write(world.dir.path().join("sites.csv"), SITES).unwrap();
    std::fs::write(world.dir.path().join("tariffs.json"), "[]").unwrap();
    let (status, _, err) = sluis(&config, &["check"]);
    assert!(status == Some(78) && err.contains("billing.sites") && err.contains("CS-1") && err.contains("lacks"), "{err}");
}

/// The task as `sluis serve` runs it: woken by facts, long before it would look by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_task_is_woken_by_facts() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let pulse = std::sync::Arc::new(sluis::billing::Pulse::new(sluis::clock::now()));
    let billing = sluis::billing::Billing {
        desk: world.desk.clone(),
        custody: world.custody.clone(),
        patience: world.patience,
        metrics: sluis::metrics::Metrics::install().unwrap(),
        pulse: pulse.clone(),
        queued: Box::new(|| {}),
    };
    let running = tokio::spawn(billing.run());
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    for n in 0..5 {
        pole.charges(CARD, -10_000 + 60 * n, 5000).await;
    }
    eventually("five CDRs", || world.cdrs().len() == 5).await;
    assert!(!pulse.is_stuck(sluis::clock::now()) && pulse.is_stuck(Timestamp(sluis::clock::now().0 + 100_000)));
    // Another process holds the store for longer than anyone waits: billing says so, and goes on when it can.
    pole.charges(CARD, -5000, 5000).await;
    let held = rusqlite::Connection::open(world.dir.path().join("data").join(sluis::store::DATABASE)).unwrap();
    held.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = world.cdrs().len();
    if before == 5 {
        eventually("billing to say that it is stuck", || pulse.is_stuck(sluis::clock::now())).await;
        assert_eq!(world.cdrs().len(), 5);
    }
    drop(held);
    eventually("the sixth CDR", || world.cdrs().len() == 6 && !pulse.is_stuck(sluis::clock::now())).await;
    running.abort();
    assert_eq!(world.cdrs().len(), 6);
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

// ── the field ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// With `SLUIS_SESSIONS` as many as that; ten thousand where code is fast.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_stations_is_billed_to_the_cent_across_fifty_deaths() {
    let usual = if cfg!(debug_assertions) { 1000 } else { 10_000 };
    let count = load::asked("SLUIS_SESSIONS").map_or(usual, |count| count as usize);
    load::run(count, 50.min(count / 40)).await;
}
