//! Lists of cards on their way down. During a rotation the central system knows two codes of one card, and a list may name both; a station
//! knows one card.

use super::common::{Lock, keyring, strict};
use sluis::identity::{Codes, Declared, Epoch, Identifier};
use sluis::ocpp::{Side, Version};
use sluis::session::Outcome;
use std::sync::Arc;
use std::time::Instant;

const CARD: &str = "04A2B3C4D5E6F7";
const OTHER: &str = "04112233445566";
const ACCEPTED: &str = r#""idTagInfo":{"status":"Accepted"}"#;
const BLOCKED: &str = r#""idTagInfo":{"status":"Blocked"}"#;

/// A lock in the midst of a rotation.
fn rotating(version: Version) -> Lock {
    Lock::with(version, strict(), Arc::new(keyring(&[0, 1], 1)))
}

/// The old and the new code of a card that other stations have shown, spelt so before the rotation and so after it.
fn codes(lock: &mut Lock, [before, after]: [&str; 2]) -> [String; 2] {
    [(before, 0), (after, 1)].map(|(spelling, epoch)| {
        let code = lock.keys.code(&Identifier::from_wire(spelling, Declared::Undeclared), Some(Epoch(epoch)));
        lock.vault.codes.insert(code, spelling.to_owned());
        code.as_str().to_owned()
    })
}

fn list(how: &str, entries: &[String]) -> String {
    format!(r#"[2,"l","SendLocalList",{{"listVersion":7,"localAuthorizationList":[{}],"updateType":"{how}"}}]"#, entries.join(","))
}

/// What the station hears of a list, which it then accepts.
fn hears(lock: &mut Lock, list: &str) -> String {
    let heard = lock.csms_sends(list);
    lock.station_sends(r#"[3,"l",{"status":"Accepted"}]"#);
    heard
}

fn entry(tag: &str, info: &str) -> String {
    if info.is_empty() { format!(r#"{{"idTag":"{tag}"}}"#) } else { format!(r#"{{"idTag":"{tag}",{info}}}"#) }
}

#[test]
fn a_full_list_with_both_codes_of_a_card_gives_the_station_the_card_once() {
    let mut lock = rotating(Version::V16);
    let [old, new] = codes(&mut lock, [CARD; 2]);
    let [other, _] = codes(&mut lock, [OTHER; 2]);
    for both in [[&old, &new], [&new, &old]] {
        // The one before, between and behind stays in its place; of the two the last stands.
        let [first, last] = both;
        let web = |n: u32| entry(&format!("WEB-{n}"), ACCEPTED);
        let sent = [web(1), entry(first, BLOCKED), web(2), entry(&last.to_lowercase(), ACCEPTED), web(3), entry(&other, ACCEPTED)];
        let heard = [web(1), web(2), entry(CARD, ACCEPTED), web(3), entry(OTHER, ACCEPTED)];
        assert_eq!(hears(&mut lock, &list("Full", &sent)), list("Full", &heard));
        let sent = [entry(first, BLOCKED), entry(last, ACCEPTED)];
        assert_eq!(hears(&mut lock, &list("Full", &sent)), list("Full", &[entry(CARD, ACCEPTED)]));
    }
}

#[test]
fn a_differential_list_that_adds_the_new_code_and_removes_the_old_does_not_take_the_card_from_the_station() {
    let mut lock = rotating(Version::V16);
    let [old, new] = codes(&mut lock, [CARD; 2]);
    let added = list("Differential", &[entry(CARD, ACCEPTED)]);
    assert_eq!(hears(&mut lock, &list("Differential", &[entry(&new, ACCEPTED), entry(&old, "")])), added);
    assert_eq!(hears(&mut lock, &list("Differential", &[entry(&old, ""), entry(&new, ACCEPTED)])), added);
    // A null says no more than nothing does.
    assert_eq!(hears(&mut lock, &list("Differential", &[entry(&new, ACCEPTED), entry(&old, r#""idTagInfo":null"#)])), added);
    // Who removes both removes the card, once.
    let removed = list("Differential", &[entry(CARD, "")]);
    assert_eq!(hears(&mut lock, &list("Differential", &[entry(&new, ""), entry(&old, "")])), removed);
    // What is said of one code twice is no rotation: the last word on it stands.
    assert_eq!(hears(&mut lock, &list("Differential", &[entry(&new, ACCEPTED), entry(&new, "")])), removed);
    assert_eq!(hears(&mut lock, &list("Differential", &[entry(&new, ""), entry(&old, ""), entry(&new, ACCEPTED)])), added);
}

#[test]
fn what_an_entry_says_of_a_group_is_not_taken_for_its_card() {
    let mut lock = rotating(Version::V16);
    let [old, new] = codes(&mut lock, [CARD; 2]);
    let [group, renamed] = codes(&mut lock, [OTHER; 2]);
    let info = |group: &str| format!(r#""idTagInfo":{{"parentIdTag":"{group}","status":"Accepted"}}"#);
    // The group's own card is an entry too, and the information stands before the card it is about.
    let reversed = |tag: &str, group: &str| format!(r#"{{{},"idTag":"{tag}"}}"#, info(group));
    let sent = [reversed(&old, &group), entry(&group, ACCEPTED), reversed(&new, &renamed)];
    let heard = [entry(OTHER, ACCEPTED), reversed(CARD, OTHER)];
    assert_eq!(hears(&mut lock, &list("Full", &sent)), list("Full", &heard));
}

#[test]
fn a_station_compares_tags_without_case() {
    let mut lock = rotating(Version::V16);
    let [old, new] = codes(&mut lock, ["Jan's \"card\"", "JAN'S \"CARD\""]);
    let heard = hears(&mut lock, &list("Full", &[entry(&old, BLOCKED), entry(&new, ACCEPTED)]));
    assert_eq!(heard, list("Full", &[entry(r#"JAN'S \"CARD\""#, ACCEPTED)]));
}

#[test]
fn in_2_x_a_card_is_its_token_and_its_type() {
    for version in [Version::V201, Version::V21] {
        let mut lock = rotating(version);
        let [old, new] = codes(&mut lock, [CARD; 2]);
        let [extra, _] = codes(&mut lock, [OTHER; 2]);
        let list = |how: &str, entries: &[String]| {
            format!(
                r#"[2,"l","SendLocalList",{{"versionNumber":7,"updateType":"{how}","localAuthorizationList":[{}]}}]"#,
                entries.join(",")
            )
        };
        let added = |token: &str, kind: &str, extra: &str| {
            format!(
                r#"{{"idToken":{{"type":"{kind}","idToken":"{token}","additionalInfo":[{{"additionalIdToken":"{extra}","type":"x"}}]}},"idTokenInfo":{{"status":"Accepted","groupIdToken":{{"idToken":"{extra}","type":"Central"}}}}}}"#
            )
        };
        let removed = |token: &str, kind: &str| format!(r#"{{"idToken":{{"idToken":"{token}","type":"{kind}"}}}}"#);
        let sent = [removed(&old, "ISO14443"), added(&new, "ISO14443", &extra), removed(&extra, "Central")];
        let heard = [added(CARD, "ISO14443", OTHER), removed(OTHER, "Central")];
        assert_eq!(hears(&mut lock, &list("Differential", &sent)), list("Differential", &heard));
        let sent = [added(&new, "ISO14443", &extra), removed(&old, "ISO14443")];
        assert_eq!(hears(&mut lock, &list("Differential", &sent)), list("Differential", &heard[..1]));
        // Of another type it is another card to the station.
        let both = |a: &str, b: &str| [added(a, "ISO14443", OTHER).replace(OTHER, "WEB-1"), removed(b, "Central")];
        assert_eq!(hears(&mut lock, &list("Differential", &both(&new, &old))), list("Differential", &both(CARD, CARD)));
    }
}

#[test]
fn a_list_that_names_each_card_once_goes_down_byte_for_byte() {
    let mut lock = rotating(Version::V16);
    let [old, _] = codes(&mut lock, [CARD; 2]);
    let [_, other] = codes(&mut lock, [OTHER; 2]);
    let list = |card: &str, other: &str| {
        format!(
            " [2,\"l\", \"SendLocalList\" ,{{\"localAuthorizationList\" : [ \n{{ \"idTag\":\"{card}\" }} ,\t{{\"idTagInfo\":{{\"status\":\"Accepted\"}},\"idTag\" : \"{other}\"}},{{\"idTag\":\"WEB-1\"}},{{\"idTag\":\"web-1\"}} ],\"listVersion\":1.0,\"updateType\":\"Full\" }}] "
        )
    };
    assert_eq!(hears(&mut lock, &list(&old, &other)), list(CARD, OTHER));
    // What names no card of ours is not touched at all, though the central system says it twice.
    let own = list("WEB-2", "WEB-2");
    let (sent, step) = lock.pass(Side::Csms, own.as_bytes());
    assert_eq!((sent, step.seen.unwrap().outcome), (vec![(Side::Station, own)], Outcome::Untouched));
}

#[test]
fn white_space_stays_before_and_behind_the_entry_that_stays() {
    let mut lock = rotating(Version::V16);
    let [old, new] = codes(&mut lock, [CARD; 2]);
    let long = "QX7".repeat(10);
    let [unfit, _] = codes(&mut lock, [&long; 2]);
    let frame = |list: &str| format!(r#"[2,"l","SendLocalList",{{"listVersion":1,"localAuthorizationList":{list},"updateType":"Full"}}]"#);
    let (card, removed) = (entry(CARD, ACCEPTED), |code: &str| entry(code, ""));
    let (unfit, own) = (removed(&unfit), removed("WEB-1"));
    for (sent, heard) in [
        (format!("[ {} ,  {}\n]", removed(&old), entry(&new, ACCEPTED)), format!("[   {card}\n]")),
        (format!("[ {} ,  {}\n]", entry(&new, ACCEPTED), removed(&old)), format!("[ {card}\n]")),
        // What has no room in any spelling is left out as ever, before, between and behind the two.
        (
            format!("[ {unfit} , {} , {unfit},\t{} , {unfit} ,\n{own}]", removed(&new), entry(&old, ACCEPTED)),
            format!("[\t{card} ,\n{own}]"),
        ),
        (format!("[{own} ,{} ,  {unfit} , {} ,   {} ]", removed(&new), entry(&old, ACCEPTED), removed(&new)), format!("[{own} , {card} ]")),
    ] {
        assert_eq!(hears(&mut lock, &frame(&sent)), frame(&heard));
    }
}

/// As many cards as fit into a frame of a megabyte, each under both codes.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is about time")]
fn a_long_list_is_merged_without_comparing_all_with_all() {
    let mut lock = rotating(Version::V16);
    let cards: Vec<String> = (0..10_000).map(|n| format!("04A2B3C4{n:06X}")).collect();
    let both: Vec<[String; 2]> = cards.iter().map(|card| codes(&mut lock, [card; 2])).collect();
    let once: Vec<String> = both.iter().map(|[old, _]| entry(old, "")).collect();
    let twice: Vec<String> = once.iter().cloned().chain(both.iter().map(|[_, new]| entry(new, ""))).collect();
    let heard = list("Full", &cards.iter().map(|card| entry(card, "")).collect::<Vec<_>>());
    // The shorter time of two: others are at work on the machine.
    let mut time = |entries: &[String]| {
        let times = [(); 2].map(|()| {
            let begun = Instant::now();
            let down = lock.csms_sends(&list("Full", entries));
            let taken = begun.elapsed();
            lock.station_sends(r#"[3,"l",{"status":"Accepted"}]"#);
            assert!(down == heard, "not each card once");
            taken
        });
        times[0].min(times[1])
    };
    let (once, twice) = (time(&once), time(&twice));
    // Twice the codes to restore are twice the work; comparing each with each would be hundreds of times as much.
    assert!(twice < once * 10, "{once:?} for each card once, {twice:?} for each twice");
}

/// The list of a station is for all others too: a card that was erased, or a PIN that is kept nowhere, is left out of it. To take it off a list, a
/// whole one has to be sent.
#[test]
fn one_card_that_cannot_be_restored_does_not_keep_a_list_from_the_others() {
    let mut lock = Lock::with(Version::V16, strict(), Arc::new(keyring(&[0, 1], 1)));
    let [card, erased] = [codes(&mut lock, [CARD; 2]), codes(&mut lock, [OTHER; 2])].map(|[_, new]| new);
    lock.vault.codes.retain(|_, original| original != OTHER);
    for how in ["Full", "Differential"] {
        for sent in [[&card, &erased], [&erased, &card]] {
            let heard = hears(&mut lock, &list(how, &sent.map(|code| entry(code, ACCEPTED))));
            assert_eq!(heard, list(how, &[entry(CARD, ACCEPTED)]));
        }
    }
    let removal = list("Differential", &[entry(&card, ACCEPTED), entry(&erased, "")]);
    assert_eq!(lock.answered_here(Side::Csms, &removal), r#"[3,"l",{"status":"Failed"}]"#);
    // What is no code at all is a guess, and refused with all that stands beside it.
    let guess = list("Full", &[entry(&card, ACCEPTED), entry(OTHER, ACCEPTED)]);
    assert_eq!(lock.answered_here(Side::Csms, &guess), r#"[3,"l",{"status":"Failed"}]"#);
}
