//! What lies on the disk, what the program says, and the running task.

use crate::world::*;
use sluis::clock::Timestamp;
use sluis::custody::Role;
use sluis::ocpp::Version;
use sluis::store::CdrState;
use std::process::Command;

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
    // It waits in the queue, and so does its credit: both go. Twice is as once.
    for (words, code) in [
        (vec!["cdr", "retry", &id], 1),
        (vec!["cdr", "discard", &id], 0),
        (vec!["cdr", "discard", &id], 0),
        (vec!["cdr", "retry", &id], 1),
        (vec!["cdr", "retry", "none"], 1),
        (vec!["cdr", "release"], 2),
    ] {
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
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "\n[[emsp]]\nparty = \"NL-NIL\"\nagreement = \"x\"\ntoken_file = \"no/such/file\"\n").unwrap();
    for command in ["check", "serve"] {
        let (status, _, err) = sluis(&config, &[command]);
        assert_eq!(status, Some(78), "{err}");
        assert!(err.contains("].token_file: does not exist"), "a file of another kind is told at the same time: {err}");
        assert!(err.contains("billing.sites: ") && err.contains("sites.csv: line 3") && err.contains("billing.tariffs: "), "{err}");
        assert!(!err.contains("4711"), "{err}");
    }
    std::fs::write(world.dir.path().join("sites.csv"), SITES).unwrap();
    std::fs::write(world.dir.path().join("tariffs.json"), "[]").unwrap();
    let (status, _, err) = sluis(&config, &["check"]);
    assert!(status == Some(78) && err.contains("billing.sites") && err.contains("CS-1") && err.contains("lacks"), "{err}");
}

/// As a spreadsheet saves them: with a byte-order mark, every cell quoted, lines ended by CR and LF.
#[test]
fn registers_are_read_as_spreadsheets_write_them() {
    let world = World::new();
    let config = config_file(&world);
    let quoted: Vec<String> = SITES.lines().map(|line| format!("\"{}\"\r\n", line.replace(',', "\",\""))).collect();
    std::fs::write(world.dir.path().join("sites.csv"), format!("\u{feff}{}", quoted.concat())).unwrap();
    std::fs::write(world.dir.path().join("tariffs.json"), format!("\u{feff}{TARIFFS}")).unwrap();
    drop(world.custody);
    let (status, out, err) = sluis(&config, &["check"]);
    assert_eq!(status, Some(0), "{out}{err}");
}

/// The task as `sluis serve` runs it: woken by facts, long before it would look by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_task_is_woken_by_facts() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let pulse = std::sync::Arc::new(sluis::billing::Pulse::new(sluis::clock::now()));
    let billing = sluis::billing::Billing {
        gate: None,
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

/// The library that prices sessions has lines of its own, with begin, end and price of each, and clients of HTTP have whole addresses.
#[tokio::test]
async fn at_debug_the_log_has_our_own_lines_and_none_of_a_library() {
    let world = World::new();
    world.owns(ABC, "RFID", CARD, "c").await;
    let mut pole = Pole::new(&world, "CS-1", Version::V16);
    pole.charges(CARD, -20_000, 5000).await;
    world.bill().await;
    pole.charges(CARD, -10_000, 5000).await;
    let (config, log) = (config_file(&world), world.dir.path().join("log"));
    let World { dir, custody, .. } = world;
    drop(custody);
    let mut program = Command::new(env!("CARGO_BIN_EXE_sluis"))
        .args(["serve", "--log-level", "debug", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--config"])
        .arg(&config)
        .stdout(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    eventually("it to be open", || said().contains("sluis is open")).await;
    let beside = crate::world::custody(&dir.path().join("data"), Role::Beside);
    eventually("the second CDR", || cdrs(&beside).len() == 2).await;
    program.kill().unwrap();
    program.wait().unwrap();
    for line in said().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        // Ours know no spans.
        assert!(line.get("spans").is_none() && line.get("total_cost").is_none(), "{line}");
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
