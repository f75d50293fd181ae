//! Files of sessions, by the real program.

use crate::world::*;
use serde_json::json;
use sluis::publication::offline::Reading;
use sluis::publication::verify::verify;
use sluis::secret::Sensitive;
use sluis::vault::contributors::Objection;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sites.csv"), sites()).unwrap();
        fs::write(
            dir.path().join("sluis.toml"),
            format!("data_dir = {:?}\n[statistics]\nneighbourhood_points = 10\n", dir.path().join("data")),
        )
        .unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// `sluis stats release` of a file.
    fn releases(&self, sessions: &Path, out: &str, more: &[&str]) -> std::process::Output {
        let (config, sites, out) = (self.path("sluis.toml"), self.path("sites.csv"), self.path(out));
        let mut arguments =
            vec!["stats", "release", "--period", QUARTER, "--config", config.to_str().unwrap(), "--sites", sites.to_str().unwrap()];
        arguments.extend(["--sessions", sessions.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        arguments.extend(more);
        sluis(&arguments)
    }

    fn scratch(&self, sessions: &Path, out: &str, seed: &str, more: &[&str]) -> std::process::Output {
        let ledger = self.path(&format!("{out}.ledger"));
        let mut all = vec!["--scratch-ledger", ledger.to_str().unwrap(), "--fixed-noise", seed];
        all.extend(more);
        self.releases(sessions, out, &all)
    }
}

/// A quarter of a town, without those of `left_out`.
fn town(left_out: &[usize]) -> String {
    let mut text = String::new();
    for n in (0..150).filter(|n| !left_out.contains(n)) {
        for time in 0..if n == 7 { 60 } else { 6 } {
            let begin = sluis::clock::Timestamp(SEPTEMBER + ((n * 13 + time * 5) % 28) as i64 * DAY + ((n + time) % 24) as i64 * HOUR);
            let end = sluis::clock::Timestamp(begin.0 + HOUR + (n as i64 % 5) * HOUR);
            let line = json!({
                "session": format!("s{n}-{time}"), "token": if n == 7 { card(7000 + time % 3).to_string() } else { card(n) },
                "contract": (n == 7).then_some("NL-ABC-000007"), "station": format!("AC-{}", (n * 7 + time) % 60), "evse": 1,
                "begin": begin.rfc3339(), "end": end.rfc3339(), "kwh": 5.5 + n as f64 / 10.0, "colour": "passed over",
            });
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}

#[test]
fn a_release_without_somebody_and_one_that_they_opted_out_of_are_the_same_bytes() {
    let desk = Desk::new();
    let with = desk.file("with.ndjson", &town(&[]));
    let without = desk.file("without.ndjson", &town(&[7, 9]));
    // By one card of three, and in another spelling.
    let spelled: Vec<String> = card(7001).as_bytes().chunks(2).map(|pair| text(pair).to_lowercase()).collect();
    let opted_out = desk.file("o.txt", &format!("# asked by letter\n{}\n\n{} # by telephone\n", spelled.join(":"), card(9)));
    let opted_out = opted_out.to_str().unwrap();
    for (sessions, out, more) in [(&with, "a", &["--opt-out", opted_out][..]), (&without, "b", &[]), (&with, "c", &[]), (&with, "d", &[])] {
        let said = desk.scratch(sessions, out, "17", more);
        assert!(said.status.success(), "{}", text(&said.stderr));
    }
    assert_eq!(files(&desk.path("a")), files(&desk.path("b")), "nobody can tell that they were there");
    assert_ne!(files(&desk.path("a")), files(&desk.path("c")), "the search would find it: with them the bytes are others");
    assert_eq!(files(&desk.path("c")), files(&desk.path("d")), "the noise is fixed");
    let said = desk.scratch(&with, "e", "18", &[]);
    assert!(said.status.success());
    assert_ne!(files(&desk.path("c")), files(&desk.path("e")));
}

#[test]
fn a_scratch_release_says_that_it_is_not_for_publication_and_counts_its_own_budget() {
    let desk = Desk::new();
    let sessions = desk.file("s.ndjson", &town(&[]));
    let ledger = desk.path("scratch");
    let more = ["--scratch-ledger", ledger.to_str().unwrap()];
    let said = desk.releases(&sessions, "out", &more);
    assert!(said.status.success() && text(&said.stdout).contains("NOT FOR PUBLICATION"), "{}", text(&said.stderr));
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(desk.path("out").join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["for_publication"], false);
    assert!(manifest["warnings"].to_string().contains("NOT FOR PUBLICATION: made with a scratch ledger"), "{}", manifest["warnings"]);
    assert_eq!(verify(&desk.path("out"), None).failures, Vec::<String>::new());
    // No second release of the period, and nothing of the real house is touched.
    let said = desk.releases(&sessions, "again", &more);
    assert!(said.status.code() == Some(1) && text(&said.stderr).contains("has been released"), "{}", text(&said.stderr));
    assert!(!desk.path("again").exists() && !desk.path("data").exists());
    let said = desk.releases(&sessions, "out2", &["--fixed-noise", "1"]);
    assert_eq!(said.status.code(), Some(2), "noise that can be repeated is for scratch ledgers");
    // Claimed to be for publication, it is found out.
    let path = desk.path("out").join("manifest.json");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("\"for_publication\": false", "\"for_publication\": true")).unwrap();
    assert!(verify(&desk.path("out"), None).failures.iter().any(|failure| failure.contains("signature")));
}

#[test]
fn a_file_is_released_in_the_real_ledger_once() {
    let desk = Desk::new();
    let sessions = desk.file("s.ndjson", &town(&[]));
    let config = desk.path("sluis.toml");
    let said = desk.releases(&sessions, "out", &[]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert_eq!(verify(&desk.path("out"), None).failures, Vec::<String>::new());
    let said = desk.releases(&desk.file("other.ndjson", &town(&[3])), "again", &[]);
    assert!(said.status.success() && text(&said.stdout).contains("the same bytes"), "{}", text(&said.stderr));
    assert_eq!(files(&desk.path("out")), files(&desk.path("again")), "there are no revisions");
    let ledger = text(&sluis(&["stats", "ledger", "--config", config.to_str().unwrap()]).stdout);
    assert!(ledger.contains("2025: spent 0.060000 of 0.360000, left 0.300000") && ledger.contains("releases are signed with"), "{ledger}");
    let key = ledger.trim_end().rsplit(' ').next().unwrap().to_owned();
    assert!(sluis(&["stats", "verify", desk.path("out").to_str().unwrap(), "--key", &key]).status.success());
    let sites = desk.path("sites.csv");
    let plan =
        text(&sluis(&["stats", "plan", "--year", "2025", "--config", config.to_str().unwrap(), "--sites", sites.to_str().unwrap()]).stdout);
    assert!(
        plan.contains("spent 0.060000") && plan.contains("2025-Q3:") && plan.contains("a whole year of releases costs 0.360000"),
        "{plan}"
    );
}

/// Whoever objected to this gateway is not counted from a file either, with all cards that the file says are theirs.
#[test]
fn the_houses_own_objections_hold_for_files() {
    let world = World::new();
    let sites = sluis::cdr::site::Sites::parse(&sites(), ZONE).unwrap();
    let people = |world: &World| {
        let guests = sluis::custody::Guests::new().unwrap();
        let objectors = world.custody.vault.objectors().unwrap();
        let objects = |text: &str| objectors.has(text);
        let reading = Reading { sites: &sites, zone: ZONE, period: period(QUARTER), guests: &guests, objects: &objects };
        let read = reading.read(town(&[]).as_bytes()).unwrap();
        assert_eq!(read.wrong, 0);
        read.gathering.contributions(period(QUARTER), &terms().geography).count()
    };
    assert_eq!(people(&world), 150);
    world.custody.vault.object(&Sensitive::new(card(7001)), Objection::Restriction, THEN).unwrap().unwrap();
    world.custody.vault.object(&Sensitive::new(card(9)), Objection::Objection, THEN).unwrap().unwrap();
    assert_eq!(people(&world), 148);
}

#[test]
fn every_bad_line_is_told_by_its_number_and_no_value_is_quoted() {
    let desk = Desk::new();
    let good = r#"{"session":"s1","token":"04A2B3C4","evse_uid":"EVSE-1","begin":"2025-09-02T08:00:00Z","end":"2025-09-02T10:00:00+02:00","wh":1500}"#;
    let bad = [
        good.replace("s1", "S3CRET").replace("EVSE-1", "S3CRET"),
        good.replace("s1", "s3").replace("2025-09-02T08:00:00Z", "S3CRET"),
        good.replace("s1", "s4").replace("1500", "-1"),
        good.replace("s1", "s5").replace("1500", "1e99"),
        good.replace("s1", "s6").replace(",\"wh\":1500", ""),
        good.replace("s1", "s7").replace("\"wh\":1500", "\"wh\":1500,\"kwh\":1.5"),
        good.replace("s1", "s8").replace("2025-09-02T08:00:00Z", "2025-09-03T08:00:00Z"),
        good.replace("s1", "s9").replace("04A2B3C4", " "),
        good.replace("s1", "s10").replace("\"evse_uid\":\"EVSE-1\",", ""),
        "S3CRET".to_owned(),
        "{\"session\":\"S3CRET\"}".to_owned(),
        good.replace("1500", "1501"),
        format!("{{\"x\":\"{}\"}}", "S3CRET".repeat(20_000)),
    ];
    let mut text_of = format!("\u{feff}{good}\r\n\n{good}\n");
    text_of += &bad.join("\n");
    let sessions = desk.file("s.ndjson", &text_of);
    let said = desk.scratch(&sessions, "out", "1", &[]);
    let told = text(&said.stderr);
    assert_eq!((said.status.code(), desk.path("out").exists(), desk.path("out.ledger").exists()), (Some(1), false, false));
    for line in 4..4 + bad.len() {
        assert!(told.contains(&format!("line {line}: ")), "line {line} in\n{told}");
    }
    assert!(!told.contains("line 1:") && !told.contains("line 3:") && told.contains("nothing is released"), "{told}");
    assert!(!told.contains("S3CRET") && !told.contains("04A2"), "{told}");
    assert!(desk.scratch(&sessions, "out", "1", &["--skip-bad"]).status.success());
    let only = desk.file("only.ndjson", &format!("{good}\n"));
    assert!(desk.scratch(&only, "only", "1", &[]).status.success());
    let figures = |out: &str| fs::read(desk.path(out).join("figures.json")).unwrap();
    assert_eq!(figures("out"), figures("only"), "what is passed over counts nowhere, and what is said twice counts once");
    let said = desk.scratch(&desk.path("none"), "x", "1", &[]);
    assert!(said.status.code() == Some(1) && text(&said.stderr).contains("cannot read"));
}

/// Mistakes of both files are told in one run, and a release that could not be written is not made.
#[test]
fn everything_that_is_wrong_is_told_before_anything_is_spent() {
    let desk = Desk::new();
    let sessions = desk.file("s.ndjson", "{}\n");
    let objections = desk.file("o.txt", &"x".repeat(300));
    let said = desk.scratch(&sessions, "out", "1", &["--opt-out", objections.to_str().unwrap()]);
    let told = text(&said.stderr);
    assert!(said.status.code() == Some(1) && told.contains("line 1: ") && told.contains("no card and no contract"), "{told}");
    let said = desk.scratch(&desk.path("none"), "out", "1", &["--opt-out", desk.path("neither").to_str().unwrap()]);
    let told = text(&said.stderr);
    assert!(told.contains("none") && told.contains("neither"), "{told}");
    let good = desk.file("good.ndjson", &town(&[]));
    desk.file("file", "in the way");
    fs::create_dir(desk.path("full")).unwrap();
    fs::write(desk.path("full").join("figures.json"), b"of another release").unwrap();
    for out in ["file", "full"] {
        let said = desk.scratch(&good, out, "1", &[]);
        assert!(said.status.code() == Some(1) && !desk.path(&format!("{out}.ledger")).exists(), "{}", text(&said.stderr));
    }
    assert_eq!(fs::read(desk.path("full").join("figures.json")).unwrap(), b"of another release");
    assert_eq!(files(&desk.path("full")).len(), 1);
}

/// Two releases at once with one scratch ledger: both are in it.
#[test]
fn two_processes_do_not_lose_each_others_entries() {
    let desk = Desk::new();
    let sessions = desk.file("s.ndjson", &town(&[]));
    let path = |name: &str| desk.path(name).display().to_string();
    let children = [QUARTER, MONTH].map(|name| {
        std::process::Command::new(env!("CARGO_BIN_EXE_sluis"))
            .args(["stats", "release", "--period", name, "--config", &path("sluis.toml"), "--sites", &path("sites.csv")])
            .args(["--sessions", sessions.to_str().unwrap(), "--out", &path(name), "--scratch-ledger", &path("ledger")])
            .env_clear()
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fs::read_to_string(desk.path("ledger")).unwrap().lines().count(), 4, "three tables of the quarter and one of the month");
    for name in [QUARTER, MONTH] {
        assert_eq!(verify(&desk.path(name), None).failures, Vec::<String>::new());
    }
}

#[test]
fn mistakes_of_the_configuration_are_told_at_once_and_quote_nothing() {
    let desk = Desk::new();
    let config = desk.file(
        "bad.toml",
        "[upstream]\nurl = \"ws://127.0.0.1:1\"\n[statistics]\nenabled = true\ncontributors = 5\nyearly_budget_millionths = 400000\nmode = \"s3cret\"\nmonth_sessions = 0\ns3cret = 1\nhub_points = \"s3cret\"\n",
    );
    let said = sluis(&["check", "--config", config.to_str().unwrap()]);
    let told = text(&said.stderr);
    assert_eq!(said.status.code(), Some(78), "{told}");
    for key in [
        "enabled: needs billing.sites",
        "contributors: must",
        "yearly_budget_millionths: must",
        "mode: must",
        "month_sessions: must",
        "hub_points: must",
    ] {
        assert!(told.contains(&format!("statistics.{key}")), "{key} in\n{told}");
    }
    assert!(!told.contains("\"s3cret\""), "{told}");
    // A register without a public charging point makes no statistics, and that is told before anything starts.
    let homes: String =
        sites().lines().filter(|line| line.starts_with("station") || line.starts_with("HOME")).map(|line| format!("{line}\n")).collect();
    let register = desk.file("homes.csv", &homes);
    let config = desk.file(
        "homes.toml",
        &format!("[upstream]\nurl = \"ws://127.0.0.1:1\"\n[cpo]\nparty = \"NL-CPO\"\n[billing]\nsites = {register:?}\n[statistics]\nenabled = true\n"),
    );
    let said = sluis(&["check", "--config", config.to_str().unwrap()]);
    assert!(said.status.code() == Some(78) && text(&said.stderr).contains("billing.sites: "), "{}", text(&said.stderr));
}
