//! Who gets what: owners, agreements, what is held, and what an operator does.

use crate::world::*;
use sluis::billing::office::{Entry, Held, discard, list, retry};
use sluis::billing::{NoCredit, wording};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;
use sluis::recipient::{Ocpi, Recipients};
use sluis::store::{CdrRow, CdrState, Op};
use std::collections::BTreeSet;

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
    world.owns(NEW, "APP_USER", "WEB-B7", "c").await;
    assert_eq!(fate(&world, CARD).await, OLD, "the token says so, whatever its contract's provider is");
    assert_eq!(fate(&world, "04a1b2c3d4e5f6").await, OLD, "in any spelling");
    assert_eq!(fate(&world, "04999999").await, "ambiguous_owner", "two e-MSPs have a token of it");
    assert_eq!(fate(&world, "NLABCC12345678").await, ABC, "the provider in an eMAID");
    assert_eq!(fate(&world, "DE-NEW-C12345678-X").await, NEW, "with separators and check digit");
    assert_eq!(fate(&world, "NL*ABC*123456*7").await, ABC, "in the older form");
    assert_eq!(fate(&world, "NLABC1234568").await, ABC, "and without its separators");
    assert_eq!(fate(&world, "FRXYZC12345678").await, "unknown_owner", "a provider without an entry");
    assert_eq!(fate(&world, "04AB12CD34EF56").await, ABC, "a range");
    assert_eq!(fate(&world, "04ABCD12").await, "ambiguous_owner", "two ranges");
    assert_eq!(fate(&world, "04C0FFEE").await, "unknown_owner");
    assert_eq!(fate(&world, "WEB-A1").await, ABC, "the central system's own identifier, by a range");
    assert_eq!(fate(&world, "WEB-B7").await, NEW, "by a token");
    assert_eq!(fate(&world, "WEB-B1").await, "unknown_owner");
    assert_eq!(fate(&world, "").await, "no_token");
    let held = world.in_state(CdrState::Quarantined);
    assert!(held.iter().all(|row| row.owner.is_none() && row.body.is_none() && row.code.is_none()), "nobody can pull what is held");
}

/// Tokens are pushed by whom they profit: guessed ones must not bring in the sessions of another e-MSP's customers.
#[tokio::test]
async fn a_token_pushed_for_what_is_anothers_by_provider_or_range_captures_no_session() {
    let world = World::new();
    for (kind, uid) in [
        ("EMAID", "NLABCC12345678"),
        ("RFID", "nl*abc*c87654321"),
        ("RFID", "04AB12CD34EF56"),
        ("OTHER", "WEB-A7"),
        ("OTHER", "NL-ABC-123456-7"),
    ] {
        world.owns(NEW, kind, uid, "c").await;
        assert_eq!(fate(&world, uid).await, "ambiguous_owner", "{uid}");
        let code = world.code(uid).await;
        let recipients = Recipients::new(recipients());
        assert!(world.custody.vault.token_of_code(&code, &recipients).unwrap().is_none(), "nor is it asked about {uid}");
    }
    // Its owner's own token does not make it less disputed; an operator decides.
    world.owns(ABC, "EMAID", "NLABCC12345678", "c").await;
    assert_eq!(fate(&world, "NLABCC12345678").await, "ambiguous_owner");
    // A token decides between ranges, and where the provider is nobody in the register.
    world.owns(NEW, "RFID", "04ABCD12", "c").await;
    assert_eq!(fate(&world, "04ABCD12").await, NEW);
    world.owns(NEW, "EMAID", "FRXYZC12345678", "c").await;
    assert_eq!(fate(&world, "FRXYZC12345678").await, NEW);
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

/// That nobody knows what was taken is not that nothing was: an operator is told.
#[tokio::test]
async fn a_session_whose_energy_nobody_knows_is_held() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    // A register that fell and nothing else; no register at all; and whom the central system refused, gone at once.
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    let start = format!(r#"{{"connectorId":1,"idTag":"{CARD}","meterStart":500000,"timestamp":"{}"}}"#, time(0));
    pole.calls(0, "StartTransaction", &start, r#"{"transactionId":1,"idTagInfo":{"status":"Accepted"}}"#).await;
    let stop = format!(r#"{{"transactionId":1,"meterStop":12000,"timestamp":"{}"}}"#, time(30));
    pole.calls(30, "StopTransaction", &stop, "{}").await;
    let mut pole = Pole::new(&world, "CS-2", Version::V201);
    for (transaction, ends) in [("tx-1", 30), ("tx-2", 1)] {
        for (seq, kind, at) in [(0, "Started", 0), (1, "Ended", ends)] {
            let event = format!(
                r#"{{"eventType":"{kind}","timestamp":"{}","triggerReason":"Authorized","seqNo":{seq},"transactionInfo":{{"transactionId":"{transaction}"}},"evse":{{"id":1,"connectorId":1}},"idToken":{{"idToken":"{CARD}","type":"ISO14443"}}}}"#,
                time(at)
            );
            pole.calls(at, "TransactionEvent", &event, "{}").await;
        }
    }
    world.bill().await;
    let rows = world.cdrs();
    let fates: Vec<_> = rows.iter().map(|row| (row.state, row.why.as_deref())).collect();
    assert_eq!(fates, [(CdrState::Quarantined, Some("unknown_energy")); 2]);
    let row = &rows[0];
    assert_eq!(world.office().release(&row.id, None, LATER).unwrap_err(), Held::Unbilled("unknown_energy"), "nor is it guessed at later");
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
    // Discard what is queued: what takes it back goes with it; but not what was accepted.
    assert_eq!(discard(&world.custody, &ids[3]), Ok(3), "it was sent three times");
    assert_eq!(discard(&world.custody, &ids[1]), Ok(0));
    for id in [&ids[1], &ids[3], &format!("{}-C", ids[1])] {
        assert_eq!(world.custody.store().cdr(id).unwrap().unwrap().state, CdrState::Discarded);
    }
    let accept = Op::CdrMove { id: ids[0].clone(), from: CdrState::Queued, to: CdrState::Delivered, tries: 1 };
    world.custody.store().commit(vec![accept]).await.unwrap();
    assert_eq!(discard(&world.custody, &ids[0]), Err(Held::Sent));
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

/// OCPI 2.2.1, CDRs: the CDR repeats what the e-MSP gave, also where the transaction began with the cable and the card came later.
#[tokio::test]
async fn the_reference_of_an_authorisation_after_plugging_in_is_in_the_cdr() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-2", Version::V201);
    pole.event(0, "tx", 0, "Started", None, 1000).await;
    let code = world.code(CARD).await;
    world.custody.vault.keep_reference(&code, &party(ABC), "ref-1", Timestamp(TEN + 9 * MINUTE)).await.unwrap();
    pole.event(10, "tx", 1, "Updated", Some(CARD), 1000).await;
    // That of the next session, at another station.
    world.custody.vault.keep_reference(&code, &party(ABC), "ref-2", Timestamp(TEN + 50 * MINUTE)).await.unwrap();
    pole.event(60, "tx", 2, "Ended", None, 9000).await;
    world.bill().await;
    let cdr = body(&world.the_cdr());
    assert_eq!((&cdr["authorization_reference"], &cdr["auth_method"]), (&"ref-1".into(), &"AUTH_REQUEST".into()));
}

/// Which version an e-MSP speaks is in its entry, and that may change after a CDR was written.
#[tokio::test]
async fn an_emsp_that_moves_to_another_version_gets_old_cdrs_in_the_new_one() {
    let mut world = World::new();
    world.owns(OLD, "RFID", "04111111111111", "c").await;
    world.owns(ABC, "RFID", "04222222222222", "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    for (n, card) in ["04111111111111", "04222222222222"].into_iter().enumerate() {
        pole.charges(card, 60 * n as i64, 10_000).await;
    }
    world.bill().await;
    let rows = world.cdrs();
    let mut moved = recipients();
    (moved[0].version, moved[1].version) = (Ocpi::V221, Ocpi::V211);
    world.renew(moved, SITES);
    let said = |row: &CdrRow, version: Ocpi| wording(row, version, &world.custody.vault).map(std::borrow::Cow::into_owned);
    for row in &rows {
        for version in Ocpi::ALL {
            let text = said(row, version).unwrap();
            assert_eq!(said(row, version).unwrap(), text, "always the same bytes");
            assert_eq!(text == *row.body.as_ref().unwrap(), draft(row).version.as_deref() == Some(version.number()));
            let (now, before): (serde_json::Value, _) = (serde_json::from_str(&text).unwrap(), body(row));
            assert_eq!((&now["id"], &now["last_updated"]), (&before["id"], &before["last_updated"]));
            let token = draft(row).token.unwrap();
            match version {
                Ocpi::V211 => assert_eq!(now["auth_id"], token.contract_id),
                _ => assert_eq!((&now["cdr_token"]["uid"], &now["cdr_token"]["party_id"]), (&token.uid.into(), &token.party_id.into())),
            }
        }
    }
    // And so are credits: there is one now where there was none, and none where there was.
    let credit = world.office().credit(&rows[0].id, LATER).unwrap();
    let credit = world.custody.store().cdr(&credit).unwrap().unwrap();
    assert_eq!(body(&credit)["credit_reference_id"], rows[0].id);
    assert_eq!(said(&credit, Ocpi::V211), None, "2.1.1 has no credits");
    assert_eq!(world.office().credit(&rows[1].id, LATER).unwrap_err(), Held::NoCredit(NoCredit::OldOcpi));
}
