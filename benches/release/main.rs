//! What a release costs: a million sessions of a made-up country in a file, released by the real program in a process of its own.
//!
//! `cargo bench --bench release` prints a Markdown table: time, CPU and the most memory that was resident, with noise and in the exact mode, of
//! a quarter and of its last month. With the full size it fails if a release takes a minute or 1 GiB. Options after `--`: `sessions=N`,
//! `cards=N`, `seed=N`, and any of `dp`, `sdc`, `quarter`, `month` to do only these. The program runs on two cores, where there is `taskset`.

mod country;

use country::{Country, Size};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a million sessions may take.
const MOST_SECONDS: f64 = 60.0;
const MOST_KIB: u64 = 1 << 20;
/// The size that this is asked of.
const FULL: Size = Size { sessions: 1_000_000, cards: 60_000, seed: 2026 };
const ZONE: chrono_tz::Tz = chrono_tz::Europe::Amsterdam;
const PERIODS: [(&str, &str); 2] = [("quarter", "2026-Q3"), ("month", "2026-09")];
/// How often the program is looked at. Its peak is the kernel's own count, so a look only must not come after its end.
const LOOK: Duration = Duration::from_millis(5);

/// What a run took.
struct Cost {
    wall: f64,
    cpu: f64,
    /// The most that was resident, in KiB.
    peak: u64,
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |name: &str, usual: u64| {
        let named = arguments.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        named.map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
    };
    let size = Size { sessions: number("sessions", FULL.sessions), cards: number("cards", FULL.cards), seed: number("seed", FULL.seed) };
    let asked = |word: &str, other: &str| arguments.iter().any(|argument| argument == word) || !arguments.iter().any(|a| a == other);
    let dir = tempfile::tempdir().expect("a directory");
    let (sites, sessions) = (dir.path().join("sites.csv"), dir.path().join("sessions.ndjson"));
    let country = Country::of(size);
    country.write_sites(&sites).expect("a register");
    let bytes = country.write_sessions(&sessions, "2026-Q3".parse().expect("a quarter"), ZONE).expect("a file of sessions");
    println!(
        "{} sessions ({} MB) of {} cards at {} charging points in 342 municipalities; seed {}, two cores at most\n",
        size.sessions,
        bytes / 1_000_000,
        size.cards,
        country.points(),
        size.seed
    );
    println!("| release | time | CPU | most memory | figures |\n|---|---|---|---|---|");
    let mut failed = false;
    for (length, period) in PERIODS.into_iter().filter(|(length, _)| asked(length, if *length == "month" { "quarter" } else { "month" })) {
        for mode in ["dp", "sdc"].into_iter().filter(|mode| asked(mode, if *mode == "dp" { "sdc" } else { "dp" })) {
            let out = dir.path().join(format!("{period}-{mode}"));
            let cost = measured(dir.path(), &out, period, mode);
            let figures = std::fs::metadata(out.join("figures.json")).expect("figures").len();
            println!(
                "| {length} {period}, {mode} | {:.1} s | {:.1} s | {} MiB | {} kB |",
                cost.wall,
                cost.cpu,
                cost.peak >> 10,
                figures / 1_000
            );
            failed |= size.sessions >= FULL.sessions && (cost.wall > MOST_SECONDS || cost.peak > MOST_KIB);
        }
    }
    assert!(!failed, "a million sessions took more than {MOST_SECONDS} s or {} MiB", MOST_KIB >> 10);
}

/// Has the program release a period, and sees that what it released can be checked.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn measured(dir: &Path, out: &Path, period: &str, mode: &str) -> Cost {
    let at = |name: &str| dir.join(name).display().to_string();
    let out = out.display().to_string();
    let ledger = format!("{out}.ledger");
    let mut command = program();
    command.args(["stats", "release", "--period", period, "--mode", mode, "--out", &out, "--scratch-ledger", &ledger]);
    command.args(["--sessions", &at("sessions.ndjson"), "--sites", &at("sites.csv"), "--data-dir", &at("data")]);
    let began = Instant::now();
    let mut child = command.env_clear().stdout(Stdio::null()).spawn().expect("the program starts");
    let mut cost = Cost { wall: 0.0, cpu: 0.0, peak: 0 };
    let status = loop {
        // What it has used so far. taskset becomes the program: the process is the same.
        cost.cpu = cost.cpu.max(cpu(child.id()));
        cost.peak = cost.peak.max(peak(child.id()));
        match child.try_wait().expect("the program can be waited for") {
            Some(status) => break status,
            None => std::thread::sleep(LOOK),
        }
    };
    cost.wall = began.elapsed().as_secs_f64();
    assert!(status.success(), "{period}, {mode}: {status}");
    let verified = program().args(["stats", "verify", &out]).env_clear().stdout(Stdio::null()).status().expect("the program starts");
    assert!(verified.success(), "{period}, {mode}: {verified}");
    cost
}

/// The program, on two cores at most where the machine has `taskset`.
fn program() -> Command {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if cores > 2 && Command::new("taskset").arg("-V").output().is_ok() {
        let mut command = Command::new("taskset");
        command.args(["-c", "0,1", env!("CARGO_BIN_EXE_sluis")]);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_sluis"))
    }
}

/// CPU time of a process so far in seconds, its ended threads included; exact to a hundredth.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that a process has had resident, in KiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}
