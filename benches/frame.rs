//! What one frame costs in the pure core: parse, treat, record nothing, write nothing. `cargo bench --bench frame` prints the time of
//! each action and, where valgrind is present, its instructions (the difference of two run lengths, so that start-up cancels out).
//! Valgrind hides the processor's SHA extensions, so what hashes counts more there than it costs.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Lock, allow_all, keyring, strict};
use sluis::ocpp::{Side, Version};
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

/// The frames measured: a name, whether an allow-all plan is used, and what the station sends.
fn cases() -> Vec<(&'static str, Version, bool, String)> {
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
    let meter = format!(
        r#"[2,"12345","MeterValues",{{"connectorId":1,"transactionId":42,"meterValue":[{{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{}]}}]}}]"#,
        samples.join(",")
    );
    let text = str::to_owned;
    vec![
        ("Heartbeat 1.6", Version::V16, false, text(r#"[2,"12345","Heartbeat",{}]"#)),
        (
            "StatusNotification 1.6",
            Version::V16,
            false,
            text(
                r#"[2,"12345","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Charging","timestamp":"2026-11-24T10:15:00Z"}]"#,
            ),
        ),
        ("Authorize 1.6, known card", Version::V16, false, text(r#"[2,"12345","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#)),
        (
            "StartTransaction 1.6",
            Version::V16,
            false,
            text(
                r#"[2,"12345","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4D5E6F7","meterStart":1000,"timestamp":"2026-11-24T10:15:00Z"}]"#,
            ),
        ),
        ("MeterValues 1.6", Version::V16, false, meter.clone()),
        ("MeterValues 1.6, allow-all", Version::V16, true, meter),
        (
            "TransactionEvent 2.0.1",
            Version::V201,
            false,
            text(
                r#"[2,"550e8400-e29b-41d4-a716-446655440000","TransactionEvent",{"eventType":"Updated","timestamp":"2026-11-24T10:15:00Z","triggerReason":"MeterValueClock","seqNo":4,"transactionInfo":{"transactionId":"650e8400-e29b-41d4-a716-446655440000","chargingState":"Charging"},"evse":{"id":1,"connectorId":1},"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"},"meterValue":[{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{"value":1234567.5,"context":"Transaction.Begin","measurand":"Energy.Active.Import.Register","unitOfMeasure":{"unit":"Wh"}},{"value":63,"measurand":"SoC"}]}]}]"#,
            ),
        ),
    ]
}

/// A lock that has seen the card, so that the tripwire is armed.
fn lock(version: Version, open: bool) -> Lock {
    let mut lock = Lock::with(version, if open { allow_all() } else { strict() }, Arc::new(keyring(&[0], 0)));
    let authorize = match version {
        Version::V16 => r#"[2,"1","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#,
        _ => r#"[2,"1","Authorize",{"idToken":{"idToken":"04A2B3C4D5E6F7","type":"ISO14443"}}]"#,
    };
    lock.pass(Side::Station, authorize.as_bytes());
    lock
}

fn run(lock: &mut Lock, frame: &str, times: u64) {
    for _ in 0..times {
        let step = lock.session.on_text(Side::Station, black_box(frame), sluis::clock::Timestamp(0), &lock.vault);
        black_box(&step);
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn nanoseconds(lock: &mut Lock, frame: &str) -> f64 {
    let mut rounds: Vec<f64> = (0..21)
        .map(|_| {
            let start = Instant::now();
            run(lock, frame, 500);
            start.elapsed().as_secs_f64() * 1e9 / 500.0
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[10]
}

/// Instructions of `times` runs of case `number` in a child under callgrind.
fn instructions(number: usize, times: u64) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args(["--child", &number.to_string(), &times.to_string()])
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    report.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "--child") {
        let (number, times): (usize, u64) = (arguments[at + 1].parse().unwrap(), arguments[at + 2].parse().unwrap());
        let (_, version, open, frame) = cases().swap_remove(number);
        let mut lock = lock(version, open);
        run(&mut lock, &frame, times);
        return;
    }
    println!("| frame | bytes | ns | instructions |\n|---|---|---|---|");
    for (number, (name, version, open, frame)) in cases().into_iter().enumerate() {
        let mut lock = lock(version, open);
        let time = nanoseconds(&mut lock, &frame);
        let counted = instructions(number, 200).zip(instructions(number, 1200)).map(|(few, many)| (many - few) / 1000);
        let counted = counted.map_or("valgrind absent".to_owned(), |n| n.to_string());
        println!("| {name} | {} | {time:.0} | {counted} |", frame.len());
    }
}
