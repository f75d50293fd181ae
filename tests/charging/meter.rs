//! Energy from what meters say.

use super::books::{Books, t, text};
use super::one_six::{answer, fact, is, reading, start, stop};
use sluis::charging::{Remark, Span};

#[test]
fn a_register_that_falls_is_never_negative_and_the_gap_is_not_billed() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 5_000_000, 0);
    answer(&mut books, "1", 7, 0);
    for (wh, minute) in [("5004000", 15), ("100", 30), ("1100", 45), ("2100", 60)] {
        reading(&mut books, 1, Some(7), wh, minute);
    }
    stop(&mut books, "2", 7, None, 3100, 75, 75);
    is(books.only(), 0, 75, 7000, &[Remark::RegisterFell]);
    assert!(books.only().idle.is_empty(), "what happened in the gap is not known");
}

#[test]
fn a_slip_of_the_register_is_left_out() {
    for (slip, wh) in [("0", 5000), ("99000000", 5000), ("5000990", 5000)] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 5_000_000, 0);
        answer(&mut books, "1", 7, 0);
        for (value, minute) in [("5001000", 15), (slip, 30), ("5003000", 45)] {
            reading(&mut books, 1, Some(7), value, minute);
        }
        stop(&mut books, "2", 7, None, 5_005_000, 75, 75);
        is(books.only(), 0, 75, wh, &[]);
    }
}

#[test]
fn a_register_that_was_not_ready_does_not_bill_the_life_of_the_meter() {
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 0, 0);
    answer(&mut books, "1", 7, 0);
    reading(&mut books, 1, Some(7), "12345000", 15);
    stop(&mut books, "2", 7, None, 12_346_000, 30, 30);
    is(books.only(), 0, 30, 1000, &[Remark::RegisterFell]);
    // And a stop that lost it bills up to the last reading.
    start(&mut books, "3", 1, "B", 1000, 60);
    answer(&mut books, "3", 8, 60);
    reading(&mut books, 1, Some(8), "3000", 75);
    stop(&mut books, "4", 8, None, 0, 90, 90);
    is(books.all()[1], 60, 90, 2000, &[Remark::RegisterFell]);
}

#[test]
fn intervals_count_where_there_is_no_register() {
    let interval = |books: &mut Books, wh: i64, minute: i64, context: &str| {
        let sampled = format!(r#"{{"value":"{wh}","measurand":"Energy.Active.Import.Interval","context":"{context}"}}"#);
        let value = format!(r#"{{"timestamp":"{}","sampledValue":[{sampled}]}}"#, text(t(minute)));
        let message = format!("v{}", books.journal.len());
        fact(books, minute, "MeterValues", &message, format!(r#"{{"connectorId":1,"transactionId":7,"meterValue":[{value}]}}"#));
    };
    for (meter_stop, wh) in [(0, 700), (900, 900)] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 0, 0);
        answer(&mut books, "1", 7, 0);
        for (minute, wh) in [(15, 300), (45, 400), (30, 0), (30, 0), (15, 300)] {
            interval(&mut books, wh, minute, "Sample.Periodic");
            interval(&mut books, wh, minute, "Sample.Clock");
        }
        stop(&mut books, "2", 7, None, meter_stop, 60, 60);
        is(books.only(), 0, 60, wh, &[]);
        assert_eq!(books.only().idle.first(), Some(&Span { from: t(15), to: t(30) }));
    }
}

/// Many stations count meterStart and meterStop from the beginning of the session, and send the register of their meter in between.
#[test]
fn readings_of_another_register_than_that_of_start_and_stop_are_not_billed() {
    for (from, to, first) in [(0, 5000, 500_000), (0, 5000, 1_234_000), (0, 5000, 20_000), (7_000_000, 7_005_000, 0)] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", from, 0);
        answer(&mut books, "1", 7, 0);
        for minute in [15, 30, 45] {
            reading(&mut books, 1, Some(7), &format!("{}", first + 80 * minute), minute);
        }
        stop(&mut books, "2", 7, None, to, 60, 60);
        is(books.only(), 0, 60, 5000, &[]);
    }
}

/// A start of zero is what a station says that does not know its meter yet: not all that the meter ever counted was taken then.
#[test]
fn a_start_of_zero_does_not_bill_the_life_of_a_young_meter() {
    for (first, meter_stop, taken) in [(300_000, 0, 2400), (300_000, 304_000, 2800), (1_234_000, 0, 2400), (1_234_000, 1_238_000, 2800)] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 0, 0);
        answer(&mut books, "1", 7, 0);
        for minute in [15, 30, 45] {
            reading(&mut books, 1, Some(7), &format!("{}", first + 80 * minute), minute);
        }
        stop(&mut books, "2", 7, None, meter_stop, 60, 60);
        is(books.only(), 0, 60, taken, &[Remark::RegisterFell]);
    }
    // At the very second of the start.
    let mut books = Books::new();
    start(&mut books, "1", 1, "A", 0, 0);
    answer(&mut books, "1", 7, 0);
    reading(&mut books, 1, Some(7), "25000", 0);
    reading(&mut books, 1, Some(7), "26000", 30);
    stop(&mut books, "2", 7, None, 27_000, 60, 60);
    is(books.only(), 0, 60, 2000, &[Remark::RegisterFell]);
    // But who counts each session from zero and is quick is believed.
    for values in [["80000", "85000", "86000"], ["3000", "3000", "3000"]] {
        let mut books = Books::new();
        start(&mut books, "1", 1, "A", 0, 0);
        answer(&mut books, "1", 7, 0);
        for (value, minute) in values.into_iter().zip([15, 30, 45]) {
            reading(&mut books, 1, Some(7), value, minute);
        }
        let last: i64 = values[2].parse().unwrap();
        stop(&mut books, "2", 7, None, last, 60, 60);
        is(books.only(), 0, 60, last, &[]);
    }
}
