//! OCPP 1.6.

use super::books::{Books, Row, TEN, check, energy, t, text};
use rust_decimal::Decimal;
use sluis::charging::{ChargingSession, Ending, MAX_HELD, MAX_OPEN, MAX_READINGS, Remark, Span, StrayReason};
use sluis::clock::Timestamp;
use sluis::ocpp::Version;

pub(crate) fn fact(books: &mut Books, minute: i64, action: &'static str, message: &str, payload: String) {
    let row = Row { station: "CP1".into(), version: Version::V16, at: t(minute), action, message: message.into(), payload };
    books.fact(row);
}

/// A start, seen by the gateway when it happened.
pub(crate) fn start(books: &mut Books, message: &str, connector: u32, tag: &str, meter: i64, minute: i64) {
    let payload = format!(r#"{{"connectorId":{connector},"idTag":"{tag}","meterStart":{meter},"timestamp":"{}"}}"#, text(t(minute)));
    fact(books, minute, "StartTransaction", message, payload);
}

pub(crate) fn answer(books: &mut Books, message: &str, number: i64, minute: i64) {
    fact(books, minute, "StartTransactionResponse", message, format!(r#"{{"transactionId":{number}}}"#));
}

/// A stop at `minute`, seen at `seen`.
pub(crate) fn stop(books: &mut Books, message: &str, number: i64, tag: Option<&str>, meter: i64, minute: i64, seen: i64) {
    let tag = tag.map(|tag| format!(r#""idTag":"{tag}","#)).unwrap_or_default();
    let payload = format!(r#"{{"transactionId":{number},{tag}"meterStop":{meter},"timestamp":"{}"}}"#, text(t(minute)));
    fact(books, seen, "StopTransaction", message, payload);
}

pub(crate) fn reading(books: &mut Books, connector: u32, number: Option<i64>, wh: &str, minute: i64) {
    told(books, connector, number, wh, minute, minute);
}

/// A reading from `minute`, seen at `seen`.
fn told(books: &mut Books, connector: u32, number: Option<i64>, wh: &str, minute: i64, seen: i64) {
    let number = number.map(|n| format!(r#""transactionId":{n},"#)).unwrap_or_default();
    let value = format!(r#"{{"timestamp":"{}","sampledValue":[{{"value":"{wh}"}}]}}"#, text(t(minute)));
    let payload = format!(r#"{{"connectorId":{connector},{number}"meterValue":[{value}]}}"#);
    let message = format!("v{}", books.journal.len());
    fact(books, seen, "MeterValues", &message, payload);
}

pub(crate) fn is(session: &ChargingSession, from: i64, to: i64, wh: i64, remarks: &[Remark]) {
    check(session);
    assert_eq!(
        (session.started, session.ended, energy(session), session.remarks.iter().copied().collect::<Vec<_>>()),
        (t(from), Some(t(to)), Decimal::from(wh), remarks.to_vec()),
        "{session:#?}"
    );
}

fn payer(session: &ChargingSession) -> &str {
    session.token.as_ref().map_or("", |token| &token.code)
}

#[test]
fn a_plain_session() {
    let mut books = Books::new();
    start(&mut books, "1", 2, "z1abc", 1000, 0);
    answer(&mut books, "1", 77, 0);
    reading(&mut books, 2, Some(77), "3000", 15);
    reading(&mut books, 2, Some(77), "3000", 30);
    stop(&mut books, "9", 77, Some("Z1ABC"), 5000, 60, 60);
    let session = books.only();
    is(session, 0, 60, 4000, &[]);
    assert_eq!((session.evse, session.connector, payer(session), session.ending), (2, 2, "Z1ABC", Some(Ending::Stopped)));
    assert_eq!(session.idle, [Span { from: t(15), to: t(30) }]);
    assert_eq!(session.readings.iter().map(|r| r.at).collect::<Vec<_>>(), [t(0), t(15), t(30), t(60)]);
    assert_eq!(books.machine.open(), 0);
    assert!(books.durable.strays.is_empty());
}

#[test]
fn transaction_data_and_kilowatt_hours_and_decimals() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    let value = |minute, wh: &str| {
        format!(
            r#"{{"timestamp":"{}","sampledValue":[{{"value":"{wh}","unit":"kWh","context":"Sample.Periodic","location":"Outlet"}}]}}"#,
            text(t(minute))
        )
    };
    let data = format!("{},{},{}", value(0, "1.0004"), value(20, "2,25"), value(60, "5.0006"));
    let payload = format!(r#"{{"transactionId":7,"meterStop":5000,"timestamp":"{}","transactionData":[{data}]}}"#, text(t(60)));
    fact(&mut books, 60, "StopTransaction", "2", payload);
    let session = books.only();
    is(session, 0, 60, 4000, &[]);
    assert_eq!(session.readings[1].wh, Decimal::from(1250));
}

#[test]
fn a_retried_start_is_the_same_session_whatever_numbers_it_was_given() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    start(&mut books, "2", 1, "A", 1000, 0);
    answer(&mut books, "2", 8, 1);
    start(&mut books, "3", 1, "A", 1000, 0);
    reading(&mut books, 1, Some(8), "2000", 10);
    stop(&mut books, "4", 7, None, 3000, 20, 20);
    is(books.only(), 0, 20, 2000, &[]);
    assert_eq!(books.durable.rows.len(), 1);
}

#[test]
fn a_start_retried_days_after_it_was_billed() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    stop(&mut books, "2", -1, None, 3000, 20, 20);
    is(books.only(), 0, 20, 2000, &[]);
    let days = 5 * 1440;
    let again = books.journal[0].payload.clone();
    fact(&mut books, days, "StartTransaction", "90", again);
    answer(&mut books, "90", 55, days);
    stop(&mut books, "91", 55, None, 3000, 20, days);
    // And the numbers are its own now: a stop that says more is refused, not taken for somebody else's.
    stop(&mut books, "92", 55, None, 4000, 30, days);
    is(books.only(), 0, 20, 2000, &[]);
    assert_eq!(books.times_billed(), [1]);
    assert_eq!(books.durable.strays, [StrayReason::SecondStop]);
}

#[test]
fn a_start_retried_in_the_next_epoch_has_another_code_and_is_the_same() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "Z1ABCDEFGHJKMNPQRSTV", 1000, 0);
    start(&mut books, "2", 1, "Z2BCDEFGHJKMNPQRSTVW", 1000, 0);
    answer(&mut books, "2", 7, 1);
    stop(&mut books, "3", 7, Some("Z2BCDEFGHJKMNPQRSTVW"), 3000, 20, 20);
    is(books.only(), 0, 20, 2000, &[]);
    // Two codes of one epoch are two cards.
    start(&mut books, "4", 1, "Z1ABCDEFGHJKMNPQRSTV", 3000, 30);
    start(&mut books, "5", 1, "Z1BCDEFGHJKMNPQRSTVW", 3000, 30);
    assert_eq!(books.durable.rows.len(), 3);
}

#[test]
fn a_stop_without_a_card_or_with_another_of_the_group_is_paid_by_who_started() {
    for (tag, remarks) in [(None, &[][..]), (Some("B"), &[Remark::StoppedByAnother])] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 0, 0);
        answer(&mut books, "1", 7, 0);
        stop(&mut books, "2", 7, tag, 100, 20, 20);
        is(books.only(), 0, 20, 100, remarks);
        assert_eq!(payer(books.only()), "A");
    }
}

#[test]
fn a_repeated_stop_changes_nothing() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 0, 0);
    answer(&mut books, "1", 7, 0);
    stop(&mut books, "2", 7, None, 100, 20, 20);
    stop(&mut books, "3", 7, None, 100, 20, 500);
    stop(&mut books, "4", 7, None, 900, 25, 501);
    assert_eq!(books.times_billed(), [1]);
    assert_eq!(books.durable.strays, [StrayReason::SecondStop]);
}

#[test]
fn a_stop_that_names_nothing_is_matched_only_if_one_session_fits() {
    for number in [-1, 0, 4711] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 1000, 0);
        start(&mut books, "2", 2, "B", 900, 5);
        stop(&mut books, "3", number, None, 2000, 20, 20);
        assert!(books.durable.bills.is_empty(), "two fit");
        stop(&mut books, "4", number, Some("B"), 2500, 30, 30);
        // Now only one is left for the first, too.
        assert_eq!(books.all().len(), 2);
        is(books.all()[0], 0, 20, 1000, &[]);
        is(books.all()[1], 5, 30, 1600, &[]);
        assert!(books.durable.strays.is_empty());
        // The same again is a repetition.
        start(&mut books, "5", 1, "C", 1000, 1);
        stop(&mut books, "6", number, None, 2000, 20, 40);
        assert_eq!(books.all().len(), 2);
    }
}

#[test]
fn a_stop_that_fits_nothing_is_a_stray_in_the_end() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 10);
    for (message, number, tag, meter, minute) in
        [("2", -1, None, 2000, 5), ("3", -1, None, 900, 20), ("4", -1, Some("B"), 2000, 20), ("5", 66, None, 10, 20)]
    {
        stop(&mut books, message, number, tag, meter, minute, 20);
    }
    assert!(books.durable.bills.is_empty() && books.durable.strays.is_empty());
    books.wait(t(20 + 48 * 60));
    assert_eq!(books.durable.strays, [StrayReason::UnknownTransaction; 4]);
    is(books.only(), 10, 10, 0, &[Remark::MissingStop, Remark::NoEnergy]);
}

#[test]
fn a_presumed_stop_gives_way_to_the_real_one() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    // Of a session whose start is still on its way.
    stop(&mut books, "2", -1, None, 6000, 20, 20);
    is(books.only(), 0, 20, 5000, &[]);
    stop(&mut books, "3", 7, None, 3000, 40, 40);
    is(books.only(), 0, 40, 2000, &[Remark::Late]);
    start(&mut books, "4", 2, "B", 5000, 10);
    assert_eq!(books.all().len(), 2);
    is(books.all()[1], 10, 20, 1000, &[]);
}

#[test]
fn a_presumed_stop_gives_way_when_the_session_goes_on() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    stop(&mut books, "2", -1, None, 6000, 20, 20);
    reading(&mut books, 1, Some(7), "7000", 30);
    assert_eq!(books.machine.open(), 1);
    stop(&mut books, "3", 7, None, 8000, 40, 40);
    is(books.only(), 0, 40, 7000, &[Remark::Late]);
    assert_eq!(books.times_billed(), [2]);
}

#[test]
fn the_answer_may_come_late_and_a_stop_before_its_start() {
    let mut books = Books::new();
    stop(&mut books, "9", 7, None, 3000, 20, 21);
    answer(&mut books, "1", 7, 22);
    reading(&mut books, 1, Some(7), "2000", 10);
    assert_eq!(books.machine.open(), 0);
    start(&mut books, "1", 1, "A", 1000, 0);
    is(books.only(), 0, 20, 2000, &[]);
    assert_eq!(books.only().readings.len(), 3);
    assert_eq!(books.durable.rows.len(), 1);
}

#[test]
fn numbers_are_used_again() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    stop(&mut books, "2", 7, None, 2000, 20, 20);
    let months = 90 * 1440;
    start(&mut books, "1", 1, "B", 2000, months);
    answer(&mut books, "1", 7, months);
    reading(&mut books, 1, Some(7), "2500", months + 5);
    stop(&mut books, "2", 7, None, 3000, months + 20, months + 20);
    // The answer of the third was never seen.
    start(&mut books, "1", 1, "C", 3000, 2 * months);
    stop(&mut books, "2", 7, None, 3500, 2 * months + 20, 2 * months + 20);
    let all = books.all();
    is(all[0], 0, 20, 1000, &[]);
    is(all[1], months, months + 20, 1000, &[]);
    is(all[2], 2 * months, 2 * months + 20, 500, &[]);
    assert_eq!((all.len(), books.times_billed()), (3, vec![1; 3]));
}

#[test]
fn a_number_belongs_to_whom_it_was_given_last_also_after_a_kill() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    start(&mut books, "2", 2, "B", 5000, 10);
    answer(&mut books, "2", 7, 10);
    assert_eq!(books.kill(), 4);
    stop(&mut books, "3", 7, None, 6000, 20, 20);
    is(books.only(), 10, 20, 1000, &[]);
    assert_eq!(payer(books.only()), "B");
}

/// 1.6 gives numbers no range. 0 and -1 stand for none.
#[test]
fn numbers_below_zero_are_numbers() {
    let mut books = Books::new();
    for (connector, number) in [(1, -1001), (2, -2)] {
        start(&mut books, &connector.to_string(), connector, "A", 1000, 0);
        answer(&mut books, &connector.to_string(), number, 0);
    }
    reading(&mut books, 2, Some(-2), "1500", 5);
    stop(&mut books, "3", -2, None, 3000, 20, 20);
    stop(&mut books, "4", -1001, None, 9000, 30, 30);
    is(books.all()[0], 0, 30, 8000, &[]);
    is(books.all()[1], 0, 20, 2000, &[]);
    for none in [0, -1] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 1000, 0);
        answer(&mut books, "1", none, 0);
        start(&mut books, "2", 2, "B", 1000, 0);
        answer(&mut books, "2", none, 0);
        stop(&mut books, "3", none, Some("A"), 3000, 20, 20);
        assert_eq!(payer(books.only()), "A");
    }
}

/// A central system that was reset counts from one while sessions go on: each stop ends the one that its register and card fit.
#[test]
fn a_number_that_is_given_again_while_its_session_runs_is_of_both() {
    for (a_first, kill) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 1000, 0);
        answer(&mut books, "1", 1, 0);
        start(&mut books, "2", 2, "B", 500_000, 10);
        answer(&mut books, "2", 1, 10);
        reading(&mut books, 1, Some(1), "2000", 11);
        reading(&mut books, 2, Some(1), "501000", 12);
        reading(&mut books, 1, Some(1), "3000", 13);
        if kill {
            books.kill();
        }
        let a = |books: &mut Books, seen| stop(books, "3", 1, Some("A"), 15_000, 20, seen);
        let b = |books: &mut Books, seen| stop(books, "4", 1, Some("B"), 507_000, 20, seen);
        if a_first {
            a(&mut books, 20);
            b(&mut books, 21);
        } else {
            b(&mut books, 20);
            a(&mut books, 21);
        }
        books.wait(t(200));
        is(books.all()[0], 0, 20, 14_000, &[]);
        is(books.all()[1], 10, 20, 7_000, &[]);
        assert_eq!((payer(books.all()[0]), payer(books.all()[1])), ("A", "B"));
        assert_eq!(books.times_billed(), [1, 1]);
        assert!(books.durable.strays.is_empty());
    }
}

/// A register that is rounded for the stop is no other session's, and one that was never given a number takes no stop that names one.
#[test]
fn a_stop_is_not_given_to_a_start_that_was_refused_for_a_rounded_register() {
    for tag in [None, Some("X")] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "X", 1000, 0);
        answer(&mut books, "1", 5, 0);
        start(&mut books, "2", 2, "X", 900, 5);
        answer(&mut books, "2", 0, 5);
        reading(&mut books, 1, Some(5), "60000.4", 19);
        stop(&mut books, "3", 5, tag, 60_000, 20, 20);
        assert_eq!((books.only().connector, books.only().started, books.only().ended), (1, t(0), Some(t(20))));
        // Nor one that says too little.
        let mut books = Books::new();
        start(&mut books, "1", 1, "X", 1000, 0);
        answer(&mut books, "1", 5, 0);
        start(&mut books, "2", 2, "X", 10, 5);
        answer(&mut books, "2", 0, 5);
        reading(&mut books, 1, Some(5), "60000", 19);
        stop(&mut books, "3", 5, tag, 100, 20, 20);
        assert_eq!((books.only().connector, books.only().ended), (1, Some(t(20))));
    }
}

/// Some write the first connector into all readings: the number decides.
#[test]
fn readings_of_another_connector_are_of_the_session_whose_number_they_name() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 1, 0);
    start(&mut books, "2", 2, "B", 500_000, 0);
    answer(&mut books, "2", 2, 0);
    reading(&mut books, 1, Some(1), "2000", 10);
    reading(&mut books, 1, Some(2), "503000", 11);
    stop(&mut books, "3", 1, None, 3000, 20, 20);
    stop(&mut books, "4", 2, None, 507_000, 20, 20);
    is(books.all()[0], 0, 20, 2000, &[]);
    is(books.all()[1], 0, 20, 7000, &[]);
    assert_eq!(books.all()[1].readings.len(), 3);
}

/// A station that numbers its transactions below zero until it knows better.
#[test]
fn a_number_below_zero_that_nobody_was_given_is_the_stations_own() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 17, 0);
    reading(&mut books, 1, Some(-2), "2000", 10);
    stop(&mut books, "3", -2, Some("A"), 3000, 20, 20);
    is(books.only(), 0, 20, 2000, &[]);
    assert_eq!(books.only().readings.len(), 3);
}

#[test]
fn an_old_session_that_is_looked_at_again_takes_no_number_back() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    stop(&mut books, "2", 7, None, 2000, 20, 20);
    let begun = books.journal.len();
    start(&mut books, "3", 1, "B", 2000, 30);
    answer(&mut books, "3", 7, 30);
    stop(&mut books, "5", 7, None, 3000, 35, 35);
    let again = books.journal[0].payload.clone();
    fact(&mut books, 40, "StartTransaction", "4", again);
    // All four of them in one batch, too.
    let mut batch = Books::new();
    batch.journal = books.journal.clone();
    (0..begun).for_each(|at| batch.read(at));
    batch.commit(begun);
    (begun..begun + 4).for_each(|at| batch.read(at));
    batch.commit(begun + 4);
    for books in [&mut books, &mut batch] {
        stop(books, "6", 7, None, 3000, 35, 60);
        is(books.all()[1], 30, 35, 1000, &[]);
        assert!(books.durable.strays.is_empty());
    }
}

#[test]
fn a_missing_stop_is_closed_by_the_next_start_and_corrected_by_the_real_one() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    reading(&mut books, 1, Some(7), "2000", 10);
    start(&mut books, "2", 1, "B", 3000, 60);
    assert!(books.durable.bills.is_empty(), "the stop may still come");
    books.wait(t(75));
    is(books.only(), 0, 10, 1000, &[Remark::MissingStop]);
    assert_eq!(books.only().ending, Some(Ending::NextStart));
    stop(&mut books, "3", 7, None, 3000, 40, 90);
    is(books.only(), 0, 40, 2000, &[Remark::Late]);
    assert_eq!((books.only().ending, books.times_billed()), (Some(Ending::Stopped), vec![2]));
}

#[test]
fn a_silent_session_is_closed_by_age_and_corrected_once() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    reading(&mut books, 1, Some(7), "2000", 10);
    let days = 3 * 1440;
    books.wait(t(days));
    is(books.only(), 0, 10, 1000, &[Remark::MissingStop]);
    assert_eq!(books.only().ending, Some(Ending::Aged));
    // The station comes back and tells what it stored.
    for minute in [15, 30, 45] {
        told(&mut books, 1, Some(7), &format!("{}", 2000 + minute), minute, days);
    }
    assert_eq!((books.times_billed(), books.machine.open()), (vec![1], 1));
    stop(&mut books, "3", 7, None, 3000, 50, days + 1);
    is(books.only(), 0, 50, 2000, &[Remark::Late]);
    assert_eq!((books.times_billed(), books.machine.open()), (vec![2], 0));
}

#[test]
fn late_readings_correct_once_when_they_are_all_there() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    stop(&mut books, "2", 7, None, 3000, 60, 60);
    for minute in [30, 10, 20, 10] {
        told(&mut books, 1, Some(7), &format!("{}", 1000 + 10 * minute), minute, 70);
    }
    books.wait(t(84));
    assert_eq!(books.times_billed(), [1]);
    books.wait(t(85));
    assert_eq!(books.only().readings.len(), 5);
    is(books.only(), 0, 60, 2000, &[Remark::Late]);
    assert_eq!(books.times_billed(), [2]);
}

#[test]
fn readings_without_a_number_are_of_the_session_at_the_connector_and_time() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    reading(&mut books, 1, None, "1500", 10);
    reading(&mut books, 0, None, "999999", 10);
    reading(&mut books, 2, None, "50", 10);
    reading(&mut books, 1, None, "900", -5);
    start(&mut books, "2", 1, "B", 2000, 60);
    // From before the next start, told after it.
    reading(&mut books, 1, None, "1800", 20);
    reading(&mut books, 1, None, "2100", 61);
    stop(&mut books, "3", -1, Some("B"), 2500, 70, 70);
    books.wait(t(100));
    is(books.all()[0], 0, 20, 800, &[Remark::MissingStop]);
    is(books.all()[1], 60, 70, 500, &[]);
    assert_eq!(books.durable.strays, [StrayReason::OutsideSession; 2]);
}

#[test]
fn a_clock_that_was_never_set_still_gives_a_session() {
    let mut books = Books::new();
    let odd = |meter| format!(r#"{{"connectorId":1,"idTag":"A","meterStart":{meter},"timestamp":"1970-01-01T00:00:03Z"}}"#);
    fact(&mut books, 0, "StartTransaction", "1", odd(1000));
    fact(&mut books, 1, "StartTransaction", "2", odd(1000));
    answer(&mut books, "2", 7, 1);
    let stop = r#"{"transactionId":7,"meterStop":2000,"timestamp":"222222017-01-01T00:00:00Z"}"#;
    fact(&mut books, 60, "StopTransaction", "3", stop.into());
    is(books.only(), 0, 60, 1000, &[Remark::OddTimes]);
    // The same words again, and another session: the clock tells nothing.
    fact(&mut books, 90, "StartTransaction", "4", odd(2000));
    fact(&mut books, 91, "StartTransactionResponse", "4", r#"{"transactionId":8}"#.into());
    fact(&mut books, 120, "StopTransaction", "5", r#"{"transactionId":8,"meterStop":2500}"#.into());
    is(books.all()[1], 90, 120, 500, &[Remark::OddTimes]);
}

#[test]
fn a_clock_that_was_set_on_the_way_gives_the_gateways_times() {
    for shift in [180, -400 * 1440] {
        let mut books = Books::new();
        let begun = text(t(shift));
        let payload = format!(r#"{{"connectorId":1,"idTag":"A","meterStart":1000,"timestamp":"{begun}"}}"#);
        fact(&mut books, 0, "StartTransaction", "1", payload);
        answer(&mut books, "1", 7, 0);
        reading(&mut books, 1, Some(7), "1500", 30);
        stop(&mut books, "2", 7, None, 2000, 60, 60);
        is(books.only(), 0, 60, 1000, &[Remark::OddTimes]);
        assert_eq!(books.only().readings.len(), 3);
    }
}

#[test]
fn readings_are_bounded_and_the_energy_is_not_changed() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 7, 0);
    for minute in 1..2 * MAX_READINGS as i64 {
        reading(&mut books, 1, Some(7), &format!("{}", 1000 + 7 * minute), minute);
    }
    let end = 2 * MAX_READINGS as i64;
    stop(&mut books, "2", 7, None, 1000 + 7 * end, end, end);
    is(books.only(), 0, end, 7 * end, &[]);
    assert_eq!(books.only().readings.len(), MAX_READINGS + 2);
    assert!(books.only().readings.windows(2).all(|pair| pair[1].at.0 - pair[0].at.0 <= 4 * 60_000));
}

#[test]
fn open_sessions_and_waiting_facts_of_a_station_are_bounded() {
    let mut books = Books::new();
    for n in 0..MAX_OPEN as u32 + 5 {
        start(&mut books, &format!("{n}"), n + 1, "A", 1000, i64::from(n));
    }
    assert_eq!((books.machine.open(), books.all().len()), (MAX_OPEN, 5));
    assert_eq!(books.all()[0].ending, Some(Ending::Aged));
    for n in 0..MAX_HELD as i64 + 3 {
        stop(&mut books, &format!("s{n}"), -1, None, 5, 400, 400 + n);
    }
    assert_eq!(books.durable.strays, [StrayReason::Crowded; 3]);
}

#[test]
fn nonsense_is_counted() {
    let mut books = Books::new();
    for payload in ["", "null", "[]", "{}", r#"{"transactionId":{}}"#, r#"{"connectorId":-4}"#, "\u{0}", r#"{"transactionId":"x"}"#] {
        for action in ["StartTransaction", "StartTransactionResponse", "StopTransaction", "MeterValues", "TransactionEvent"] {
            fact(&mut books, 0, action, "1", payload.to_owned());
        }
    }
    assert_eq!(books.durable.strays, [StrayReason::Unreadable; 40]);
    assert_eq!(Timestamp(TEN), t(0));
    assert!(books.machine.restore("{}").is_err() && books.machine.restore("").is_err());
}

/// The central system counts anew after a restart, and the station, which got no answer, says its last stop again.
#[test]
fn a_stop_that_is_said_again_does_not_end_the_session_that_has_its_number_by_now() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 1000, 0);
    answer(&mut books, "1", 1, 0);
    stop(&mut books, "2", 1, Some("A"), 2000, 20, 20);
    start(&mut books, "3", 2, "B", 500, 30);
    answer(&mut books, "3", 1, 30);
    stop(&mut books, "4", 1, Some("A"), 2000, 20, 31);
    stop(&mut books, "5", 1, Some("B"), 1500, 60, 60);
    is(books.all()[0], 0, 20, 1000, &[]);
    is(books.all()[1], 30, 60, 1000, &[]);
    assert!(books.durable.strays.is_empty(), "{:?}", books.durable.strays);
    assert_eq!(books.times_billed(), [1, 1]);
}
