//! What one frame costs in the pure core: parse, treat, record nothing, write nothing. `cargo bench --bench frame` prints, where valgrind
//! is present, the instructions of each CALL and those of its answer, and the time of both together.
//!
//! The central system answers each CALL before the station sends the next, as OCPP-J asks (1.6 §4.1.1), so no CALL is ended for want of an
//! answer. Each is counted by itself: callgrind collects only while [`station_calls`] or only while [`csms_answers`] runs, and what they make is
//! dropped before they return, so all that a frame costs is in one of the two. The count is the difference of two run lengths: what only the
//! first frames cost (buffers, tables) cancels out. Valgrind hides the processor's SHA extensions, so what hashes counts more there than it costs.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Lock, allow_all, keyring, strict};
use sluis::clock::Timestamp;
use sluis::ocpp::{Side, Version};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// What is measured.
struct Case {
    name: &'static str,
    version: Version,
    /// Whether the plan lets everything pass.
    open: bool,
    /// Sent in turn.
    calls: Vec<String>,
    answer: &'static str,
}

fn cases() -> Vec<Case> {
    let sample = |measurand: &str, unit: &str, value: &str, phase: &str| {
        format!(
            r#"{{"value":"{value}","context":"Transaction.Begin","format":"Raw","measurand":"{measurand}","location":"Outlet","unit":"{unit}"{phase}}}"#
        )
    };
    let phase = |n: u32| format!(",\"phase\":\"L{n}\"");
    let mut samples = vec![sample("Energy.Active.Import.Register", "Wh", "1234567.5", "")];
    samples.extend((1..=3).map(|n| sample("Current.Import", "A", "15.9", &phase(n))));
    samples.extend((1..=3).map(|n| sample("Voltage", "V", "230.1", &phase(n))));
    samples.extend([sample("Power.Active.Import", "W", "10980", ""), sample("SoC", "Percent", "63", "")]);
    let reading = |samples: &[String]| {
        format!(
            r#"[2,"12345","MeterValues",{{"connectorId":1,"transactionId":42,"meterValue":[{{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{}]}}]}}]"#,
            samples.join(",")
        )
    };
    let (meter, short) = (reading(&samples), reading(&samples[..8]));
    let v16 = |name, call: &str, answer| Case { name, version: Version::V16, open: false, calls: vec![call.to_owned()], answer };
    let accepted = r#"[3,"12345",{"idTagInfo":{"status":"Accepted","expiryDate":"2026-12-31T00:00:00Z"}}]"#;
    vec![
        v16("Heartbeat 1.6", r#"[2,"12345","Heartbeat",{}]"#, r#"[3,"12345",{"currentTime":"2026-11-24T10:15:00Z"}]"#),
        v16(
            "StatusNotification 1.6",
            r#"[2,"12345","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Charging","timestamp":"2026-11-24T10:15:00Z"}]"#,
            r#"[3,"12345",{}]"#,
        ),
        v16("Authorize 1.6, known card", r#"[2,"12345","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#, accepted),
        // More cards than a connection remembers, so each is new to it.
        Case { calls: (10..42).map(|n| format!(r#"[2,"12345","Authorize",{{"idTag":"04A2B3C4D5{n}F7"}}]"#)).collect(), ..v16("Authorize 1.6, new card", "", accepted) },
        v16(
            "StartTransaction 1.6",
            r#"[2,"12345","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4D5E6F7","meterStart":1000,"timestamp":"2026-11-24T10:15:00Z"}]"#,
            r#"[3,"12345",{"transactionId":42,"idTagInfo":{"status":"Accepted"}}]"#,
        ),
        v16("MeterValues 1.6, eight samples", &short, r#"[3,"12345",{}]"#),
        v16("MeterValues 1.6, nine samples", &meter, r#"[3,"12345",{}]"#),
        Case { open: true, ..v16("MeterValues 1.6, nine samples, allow-all", &meter, r#"[3,"12345",{}]"#) },
        Case {
            name: "TransactionEvent 2.0.1",
            version: Version::V201,
            open: false,
            calls: vec![r#"[2,"550e8400-e29b-41d4-a716-446655440000","TransactionEvent",{"eventType":"Updated","timestamp":"2026-11-24T10:15:00Z","triggerReason":"MeterValueClock","seqNo":4,"transactionInfo":{"transactionId":"650e8400-e29b-41d4-a716-446655440000","chargingState":"Charging"},"evse":{"id":1,"connectorId":1},"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"},"meterValue":[{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{"value":1234567.5,"context":"Transaction.Begin","measurand":"Energy.Active.Import.Register","unitOfMeasure":{"unit":"Wh"}},{"value":63,"measurand":"SoC"}]}]}]"#.to_owned()],
            answer: r#"[3,"550e8400-e29b-41d4-a716-446655440000",{"idTokenInfo":{"status":"Accepted"}}]"#,
        },
    ]
}

/// A lock that has seen the card, so that the tripwire is armed.
fn lock(case: &Case) -> Lock {
    let rules = if case.open { allow_all() } else { strict() };
    let mut lock = Lock::with(case.version, rules, Arc::new(keyring(&[0], 0)));
    let authorize = match case.version {
        Version::V16 => r#"[2,"1","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#,
        _ => r#"[2,"1","Authorize",{"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"}}]"#,
    };
    lock.pass(Side::Station, authorize.as_bytes());
    lock.pass(Side::Csms, br#"[4,"1","InternalError","",{}]"#);
    lock
}

/// One CALL of the station, from its text to the frame that goes on.
#[inline(never)]
fn station_calls(lock: &mut Lock, frame: &str) {
    black_box(&lock.session.on_text(Side::Station, black_box(frame), Timestamp(0), &lock.vault));
}

/// Its answer.
#[inline(never)]
fn csms_answers(lock: &mut Lock, frame: &str) {
    black_box(&lock.session.on_text(Side::Csms, black_box(frame), Timestamp(0), &lock.vault));
}

fn run(lock: &mut Lock, case: &Case, times: u64) {
    for call in case.calls.iter().cycle().take(times as usize) {
        station_calls(lock, call);
        csms_answers(lock, case.answer);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn nanoseconds(case: &Case) -> f64 {
    let mut lock = lock(case);
    let mut rounds: Vec<f64> = (0..21)
        .map(|_| {
            let start = Instant::now();
            run(&mut lock, case, 500);
            start.elapsed().as_secs_f64() * 1e9 / 500.0
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[10]
}

/// Instructions inside `function` in `times` exchanges of case `number`, in a child under callgrind.
fn collected(function: &str, number: usize, times: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", &format!("--toggle-collect=*{function}*")])
        .arg(std::env::current_exe().ok()?)
        .args(["--child", &number.to_string(), &times.to_string()])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    report.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
}

/// Instructions of one run of `function`.
fn instructions(function: &str, number: usize) -> String {
    let counted = collected(function, number, 200).zip(collected(function, number, 1200));
    counted.map_or("valgrind absent".to_owned(), |(few, many)| ((many - few) / 1000).to_string())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--child") {
        let (number, times): (usize, u64) = (arguments[at + 1].parse().unwrap(), arguments[at + 2].parse().unwrap());
        let case = cases().swap_remove(number);
        run(&mut lock(&case), &case, times);
        return;
    }
    println!("| frame | bytes | instructions of the CALL | of its answer | ns, both |\n|---|---|---|---|---|");
    for (number, case) in cases().iter().enumerate() {
        let (call, answer) = (instructions("station_calls", number), instructions("csms_answers", number));
        println!("| {} | {} | {call} | {answer} | {:.0} |", case.name, case.calls[0].len(), nanoseconds(case));
    }
}
