//! OCPP 2.0.1 and 2.1.

use super::books::{Books, Row, check, energy, t, text};
use rust_decimal::Decimal;
use sluis::charging::{ChargingSession, Ending, Remark, Span, StrayReason};
use sluis::ocpp::Version;

/// An event as a station would send it.
#[derive(Clone)]
struct Event {
    kind: &'static str,
    seq: i64,
    minute: i64,
    token: Option<&'static str>,
    state: Option<&'static str>,
    wh: Option<i64>,
    evse: bool,
}

fn event(kind: &'static str, seq: i64, minute: i64) -> Event {
    Event { kind, seq, minute, token: None, state: None, wh: None, evse: false }
}

impl Event {
    fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }
    fn state(mut self, state: &'static str) -> Self {
        self.state = Some(state);
        self
    }
    fn wh(mut self, wh: i64) -> Self {
        self.wh = Some(wh);
        self
    }
    fn evse(mut self) -> Self {
        self.evse = true;
        self
    }
    fn payload(&self, transaction: &str) -> String {
        let at = text(t(self.minute));
        let mut info = format!(r#""transactionId":"{transaction}""#);
        if let Some(state) = self.state {
            info += &format!(r#","chargingState":"{state}""#);
        }
        let mut payload = format!(
            r#"{{"eventType":"{}","timestamp":"{at}","triggerReason":"Trigger","seqNo":{},"transactionInfo":{{{info}}}"#,
            self.kind, self.seq
        );
        if let Some(token) = self.token {
            payload += &format!(r#","idToken":{{"idToken":"{token}","type":"ISO14443"}}"#);
        }
        if let Some(wh) = self.wh {
            payload += &format!(r#","meterValue":[{{"timestamp":"{at}","sampledValue":[{{"value":{wh}}}]}}]"#);
        }
        if self.evse {
            payload += r#","evse":{"id":3,"connectorId":2}"#;
        }
        payload + "}"
    }
}

fn send(books: &mut Books, seen: i64, transaction: &str, event: &Event) {
    let message = format!("{}", books.journal.len());
    books.fact(Row {
        station: "CS1".into(),
        version: Version::V21,
        at: t(seen),
        action: "TransactionEvent",
        message,
        payload: event.payload(transaction),
    });
}

fn is(session: &ChargingSession, from: i64, to: i64, wh: i64, remarks: &[Remark]) {
    check(session);
    assert_eq!(
        (session.started, session.ended, energy(session), session.remarks.iter().copied().collect::<Vec<_>>()),
        (t(from), Some(t(to)), Decimal::from(wh), remarks.to_vec()),
        "{session:#?}"
    );
}

/// Plugged in at 0, authorised at 2, charges from 3, full at 40, gone at 60.
fn session() -> Vec<Event> {
    vec![
        event("Started", 4, 0).state("EVConnected").wh(1000),
        event("Updated", 5, 2).token("Z1A"),
        event("Updated", 6, 3).state("Charging").evse(),
        event("Updated", 7, 18).wh(3000),
        event("Updated", 8, 40).state("SuspendedEV").wh(6000),
        event("Ended", 9, 60).state("Idle").wh(6000),
    ]
}

fn is_it(books: &Books, remarks: &[Remark]) {
    let session = books.only();
    is(session, 0, 60, 5000, remarks);
    let token = session.token.as_ref().expect("a token");
    assert_eq!((&*token.code, token.kind.as_deref()), ("Z1A", Some("ISO14443")));
    assert_eq!((session.evse, session.connector, session.ending), (3, 2, Some(Ending::Stopped)));
    assert_eq!(session.idle, [Span { from: t(0), to: t(3) }, Span { from: t(40), to: t(60) }]);
    assert!(books.durable.strays.is_empty());
}

#[test]
fn in_any_order_and_with_repetitions() {
    let events = session();
    let mut order: Vec<usize> = (0..events.len()).collect();
    // All orders of six (Heap's algorithm), each with two events repeated.
    let mut counts = [0; 6];
    let check = |order: &[usize]| {
        let mut books = Books::new();
        for at in order.iter().chain(&order[..2]) {
            send(&mut books, 70, "tx", &events[*at]);
        }
        is_it(&books, &[]);
        assert_eq!((books.times_billed(), books.machine.open()), (vec![1], 0));
    };
    check(&order);
    let mut i = 0;
    while i < order.len() {
        if counts[i] < i {
            let other = if i % 2 == 0 { 0 } else { counts[i] };
            order.swap(other, i);
            check(&order);
            counts[i] += 1;
            i = 0;
        } else {
            counts[i] = 0;
            i += 1;
        }
    }
}

#[test]
fn a_gap_waits_a_while_and_what_comes_later_corrects() {
    let events = session();
    let mut books = Books::new();
    for at in [0, 1, 2, 4, 5] {
        send(&mut books, 60, "tx", &events[at]);
    }
    assert!(books.durable.bills.is_empty());
    books.wait(t(74));
    assert!(books.durable.bills.is_empty());
    books.wait(t(75));
    is_it(&books, &[Remark::MissingMessages]);
    send(&mut books, 600, "tx", &events[3]);
    is_it(&books, &[Remark::Late]);
    assert_eq!(books.times_billed(), [2]);
}

#[test]
fn a_session_without_a_start_is_billed_from_what_is_known() {
    let events = session();
    let mut books = Books::new();
    for at in [3, 4, 5] {
        send(&mut books, 60, "tx", &events[at]);
    }
    books.wait(t(80));
    is(books.only(), 18, 60, 3000, &[Remark::MissingMessages]);
    assert_eq!(books.only().token, None);
    for at in [2, 1, 0] {
        send(&mut books, 90, "tx", &events[at]);
    }
    books.wait(t(200));
    is_it(&books, &[Remark::Late]);
    assert_eq!(books.times_billed(), [2]);
}

#[test]
fn a_missing_end_is_closed_by_the_next_start_or_by_age() {
    let events = session();
    for next in [true, false] {
        let mut books = Books::new();
        for event in &events[..4] {
            send(&mut books, event.minute, "tx", event);
        }
        if next {
            send(&mut books, 90, "ty", &event("Started", 0, 90).wh(7000).evse());
            books.wait(t(105));
        } else {
            books.wait(t(18 + 48 * 60));
        }
        is(books.only(), 0, 18, 2000, &[Remark::MissingStop]);
        assert_eq!(books.only().ending, Some(if next { Ending::NextStart } else { Ending::Aged }));
        for event in &events[4..] {
            send(&mut books, 2000, "tx", event);
        }
        is_it(&books, &[Remark::Late]);
    }
}

#[test]
fn a_transaction_stopped_by_another_card() {
    let mut books = Books::new();
    send(&mut books, 0, "tx", &event("Started", 0, 0).token("Z1A").wh(10).evse());
    send(&mut books, 9, "tx", &event("Ended", 1, 9).token("Z1B").wh(30));
    is(books.only(), 0, 9, 20, &[Remark::StoppedByAnother]);
    assert_eq!(books.only().token.as_ref().map(|token| &*token.code), Some("Z1A"));
}

#[test]
fn nobody_is_authorised() {
    let mut books = Books::new();
    let payload = event("Started", 0, 0).wh(10).evse().token("x").payload("tx").replace("ISO14443", "NoAuthorization");
    books.fact(Row { station: "CS1".into(), version: Version::V201, at: t(0), action: "TransactionEvent", message: "1".into(), payload });
    send(&mut books, 9, "tx", &event("Ended", 1, 9).wh(30));
    is(books.only(), 0, 9, 20, &[]);
    assert_eq!(books.only().token, None);
}

#[test]
fn a_transaction_id_that_is_used_again_is_another_session() {
    let mut books = Books::new();
    for day in [0, 1440] {
        send(&mut books, day, "1", &event("Started", 0, day).token("Z1A").wh(10).evse());
        send(&mut books, day + 9, "1", &event("Ended", 1, day + 9).wh(30));
        // Repeated, as always.
        send(&mut books, day + 10, "1", &event("Started", 0, day).token("Z1A").wh(10).evse());
    }
    assert_eq!((books.all().len(), books.times_billed()), (2, vec![1, 1]));
    is(books.all()[1], 1440, 1449, 20, &[]);
}

#[test]
fn costs_and_readings_outside_transactions_change_nothing() {
    let mut books = Books::new();
    send(&mut books, 0, "tx", &event("Started", 0, 0).wh(10).evse());
    for (action, payload) in [("TransactionEventResponse", r#"{"totalCost":1.5}"#), ("MeterValues", r#"{"evseId":3,"meterValue":[]}"#)] {
        let row = Row { station: "CS1".into(), version: Version::V201, at: t(1), action, message: "1".into(), payload: payload.into() };
        books.fact(row);
    }
    assert_eq!((books.durable.rows.len(), books.durable.strays.as_slice()), (1, &[] as &[StrayReason]));
}

/// The power failed in the middle of a transaction, and the station counts from 1 again: the next driver does not pay for the one before.
#[test]
fn a_transaction_id_that_is_used_again_after_a_reset_is_another_session_also_without_an_end() {
    let mut books = Books::new();
    send(&mut books, 0, "1", &event("Started", 0, 0).token("Z1A").wh(1000).evse());
    send(&mut books, 15, "1", &event("Updated", 1, 15).wh(3000));
    send(&mut books, 60, "1", &event("Started", 0, 60).token("Z1B").wh(3000).evse());
    // What the first said comes again.
    send(&mut books, 61, "1", &event("Started", 0, 0).token("Z1A").wh(1000).evse());
    send(&mut books, 80, "1", &event("Ended", 1, 80).wh(8000));
    books.wait(t(200));
    is(books.all()[0], 0, 15, 2000, &[Remark::MissingStop]);
    is(books.all()[1], 60, 80, 5000, &[]);
    let payers: Vec<_> = books.all().iter().map(|session| session.token.as_ref().map(|token| token.code.clone())).collect();
    assert_eq!(payers, [Some("Z1A".to_owned()), Some("Z1B".to_owned())]);
    assert_eq!(books.times_billed(), [1, 1]);
}

/// Days later a station tells a beginning again whose id another transaction has by now.
#[test]
fn a_beginning_that_is_told_again_is_not_taken_for_that_of_the_id_of_today() {
    let mut books = Books::new();
    for day in [0, 1440] {
        send(&mut books, day, "1", &event("Started", 0, day).token("Z1A").wh(10).evse());
        if day > 0 {
            send(&mut books, day + 1, "1", &event("Started", 0, 0).token("Z1A").wh(10).evse());
        }
        send(&mut books, day + 9, "1", &event("Ended", 1, day + 9).wh(30));
    }
    is(books.all()[0], 0, 9, 20, &[]);
    is(books.all()[1], 1440, 1449, 20, &[]);
    assert_eq!(books.times_billed(), [1, 1]);
}

/// The station was reset, counts its transactions anew, and the second one's beginning comes last.
#[test]
fn a_transaction_id_that_is_used_again_is_another_session_though_its_beginning_comes_last() {
    let second = [event("Updated", 1, 60).wh(4000), event("Ended", 2, 70).wh(9000), event("Started", 0, 50).token("Z1B").wh(2000).evse()];
    for order in [[0, 1, 2], [0, 2, 1], [2, 0, 1], [2, 1, 0]] {
        let mut books = Books::new();
        send(&mut books, 0, "1", &event("Started", 0, 0).token("Z1A").wh(1000).evse());
        send(&mut books, 9, "1", &event("Ended", 1, 9).wh(2000));
        order.iter().zip(71..).for_each(|(at, seen)| send(&mut books, seen, "1", &second[*at]));
        // The first said again is the first.
        send(&mut books, 80, "1", &event("Ended", 1, 9).wh(2000));
        books.wait(t(200));
        is(books.all()[0], 0, 9, 1000, &[]);
        is(books.all()[1], 50, 70, 7000, &[]);
        assert_eq!(books.times_billed(), [1, 1], "{order:?}");
    }
}

/// Some write the time of sending into what they send again: an end that is told again ends nothing else.
#[test]
fn an_end_that_is_told_again_with_another_time_is_no_second_session() {
    let mut books = Books::new();
    send(&mut books, 0, "1", &event("Started", 0, 0).token("Z1A").wh(1000).evse());
    send(&mut books, 9, "1", &event("Ended", 1, 9).token("Z1A").wh(2000));
    send(&mut books, 30, "1", &event("Ended", 1, 30).token("Z1A").wh(2000));
    books.wait(t(200));
    assert_eq!((books.all().len(), energy(books.all()[0])), (1, 1000.into()));
}
