//! Acknowledged is durable: under kill -9, on a full disk, with a full queue, beside another writer.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

use sluis::clock::Timestamp;
use sluis::custody::{Custody, Opening, Role};
use sluis::identity::{Codes, Declared, Epoch, Identifier, Reveal, Sighting};
use sluis::ocpp::Version;
use sluis::store::{DATABASE, DisclosureRow, Embedded, Limits, Op, Store, StoreError};
use sluis::treat::Fact;
use sluis::vault::VaultError;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// Tells the re-executed test binary to be the writer that gets killed.
const CHILD: &str = "SLUIS_TEST_WRITES_TO";

fn open(dir: &Path) -> Custody {
    Custody::open(dir, None, &Opening::new(Role::Serve, NOW)).unwrap()
}

fn seen(custody: &Custody, text: &str) -> Sighting {
    let identifier = Identifier::from_wire(text, Declared::Undeclared);
    Sighting { code: custody.keys.code(&identifier, None), identifier }
}

fn fact(n: usize, bulk: usize) -> Fact {
    Fact { action: "MeterValues", message_id: format!("m{n}"), payload: format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(bulk)) }
}

/// Not a test by itself: writes for ever and prints what was acknowledged, when told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer_that_gets_killed() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let custody = open(Path::new(&dir));
    let start = custody.vault.sizes().unwrap().journal as usize + 1_000_000 * std::process::id() as usize;
    let custody = std::sync::Arc::new(custody);
    let mut tasks = Vec::new();
    for task in 0..8 {
        let custody = std::sync::Arc::clone(&custody);
        tasks.push(tokio::spawn(async move {
            for n in (start + task..).step_by(8) {
                let sighting = seen(&custody, &format!("{n:014X}"));
                // One write a line, so that a kill leaves whole lines but the last. Each acknowledgement by itself: one must not vouch for another.
                let acknowledge = |what: String| std::io::stdout().write_all(format!("ack {what} {n}.\n").as_bytes()).unwrap();
                custody.vault.record(std::slice::from_ref(&sighting)).await.unwrap();
                acknowledge(sighting.code.to_string());
                custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(n, 100)]).durable().await.unwrap();
                acknowledge("fact".into());
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn kill_nine_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = if cfg!(debug_assertions) { 8 } else { 40 };
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_that_gets_killed", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let mut acks = Vec::new();
            while let Some(Ok(line)) = lines.next() {
                let whole = line.find("ack ").and_then(|at| line[at + 4..].strip_suffix('.')?.split_once(' '));
                acks.extend(whole.map(|(what, n)| (what.to_owned(), n.to_owned())));
            }
            acks
        });
        std::thread::sleep(Duration::from_millis(150 + 53 * (round % 7)));
        // Every other time nothing can reach the disk for a while before the kill: what is acknowledged in that while had better be there.
        let held = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
        held.busy_timeout(Duration::from_secs(5)).unwrap();
        if round % 2 == 0 {
            held.execute_batch("BEGIN IMMEDIATE").unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(held);
        acknowledged.extend(reader.join().unwrap());
    }
    assert!(acknowledged.len() > 50, "only {} acknowledged", acknowledged.len());
    let custody = open(dir.path());
    let (mut ids, mut seq) = (HashSet::new(), 0);
    loop {
        let page = custody.journal.after(seq, 1000).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.windows(2).all(|pair| pair[0].seq < pair[1].seq) && page[0].seq > seq);
        seq = last.seq;
        ids.extend(page.into_iter().map(|row| row.message_id));
    }
    for (what, n) in &acknowledged {
        if what == "fact" {
            assert!(ids.contains(&format!("m{n}")), "fact {n} was acknowledged and is gone");
        } else {
            let restored = custody.vault.reveal(&custody.keys.recognise(what).unwrap());
            let restored = restored.unwrap_or_else(|| panic!("the record of card {n} was acknowledged and is gone"));
            assert_eq!(restored.expose(), &format!("{:014X}", n.parse::<usize>().unwrap()));
        }
    }
    println!("{} acknowledgements over {rounds} kills, none missing", acknowledged.len());
}

#[tokio::test]
async fn a_retry_adds_no_second_fact_and_purging_uses_no_number_again() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let submit = |n, at| custody.journal.submit("CS-1", Version::V201, Timestamp(at), vec![fact(n, 1), fact(n + 1, 1)]).durable();
    submit(1, 10).await.unwrap();
    submit(1, 20).await.unwrap();
    submit(2, 30).await.unwrap();
    custody.journal.submit("CS-2", Version::V201, Timestamp(40), vec![fact(1, 1)]).durable().await.unwrap();
    custody.journal.submit("CS-2", Version::V201, Timestamp(40), vec![]).durable().await.unwrap();
    let rows = custody.journal.after(0, 100).unwrap();
    let read: Vec<_> = rows.iter().map(|row| (row.seq > 0, row.station.as_str(), row.message_id.as_str(), row.at.0)).collect();
    assert_eq!(read, [(true, "CS-1", "m1", 10), (true, "CS-1", "m2", 10), (true, "CS-1", "m3", 30), (true, "CS-2", "m1", 40)]);
    assert_eq!(rows[0].payload, fact(1, 1).payload);
    assert_eq!(custody.vault.sizes().unwrap().journal, 4);
    custody.journal.purge(Timestamp(25), 1, None).await.unwrap();
    custody.journal.purge(Timestamp(25), 1000, None).await.unwrap();
    assert_eq!(custody.journal.after(0, 100).unwrap().len(), 2);
    custody.journal.purge(Timestamp(99), 1000, None).await.unwrap();
    assert_eq!(custody.vault.sizes().unwrap().journal, 0);
    submit(9, 50).await.unwrap();
    assert!(custody.journal.after(0, 1).unwrap()[0].seq > rows[3].seq);
}

/// In a file from then, a trigger counts each row as well.
#[tokio::test]
async fn a_journal_that_was_counted_by_a_trigger_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let old = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
    old.execute_batch(
        "CREATE TRIGGER journal_in AFTER INSERT ON journal BEGIN UPDATE tally SET n = n + 1 WHERE what = 'journal'; END;
         PRAGMA user_version = 3",
    )
    .unwrap();
    drop(old);
    let custody = open(dir.path());
    custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(1, 1), fact(2, 1)]).durable().await.unwrap();
    assert_eq!(custody.vault.sizes().unwrap().journal, 2);
}

/// A batch that cannot be kept as a whole takes its facts with it, and the count knows.
#[tokio::test]
async fn facts_of_a_batch_that_failed_are_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let row = sluis::store::JournalRow {
        seq: 0,
        fingerprint: [7; 16],
        station: "CS-1".to_owned(),
        version: "1.6".to_owned(),
        at: NOW,
        action: "MeterValues".to_owned(),
        message_id: "m".to_owned(),
        payload: "{}".to_owned(),
    };
    let lost = Op::MarkMove { name: "charging".to_owned(), from: 9, to: 10 };
    let failed = custody.store().commit(vec![Op::Append(row.clone()), lost]).await;
    assert_eq!(failed, Err(StoreError::Conflict));
    assert_eq!((custody.vault.sizes().unwrap().journal, custody.journal.after(0, 9).unwrap().len()), (0, 0));
    custody.store().commit(vec![Op::Append(row)]).await.unwrap();
    assert_eq!((custody.vault.sizes().unwrap().journal, custody.journal.after(0, 9).unwrap().len()), (1, 1));
}

/// What is not billed yet is not dropped, however old it is.
#[tokio::test]
async fn purging_stops_where_the_reader_is() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    for n in 0..10 {
        custody.journal.submit("CS-1", Version::V16, Timestamp(n), vec![fact(n as usize, 1)]).durable().await.unwrap();
    }
    let left = || custody.journal.after(0, 100).unwrap().iter().map(|row| row.at.0).collect::<Vec<_>>();
    let seqs: Vec<u64> = custody.journal.after(0, 100).unwrap().iter().map(|row| row.seq).collect();
    assert!(!custody.journal.purge(Timestamp(99), 1000, Some("charging")).await.unwrap(), "the reader never began");
    assert_eq!(left().len(), 10);
    let read = |from, to| custody.store().commit(vec![Op::MarkMove { name: "charging".to_owned(), from, to }]);
    read(0, seqs[5]).await.unwrap();
    assert!(custody.journal.purge(Timestamp(3), 2, Some("charging")).await.unwrap(), "one more is old");
    assert!(!custody.journal.purge(Timestamp(3), 2, Some("charging")).await.unwrap());
    assert_eq!(left(), [3, 4, 5, 6, 7, 8, 9]);
    assert!(!custody.journal.purge(Timestamp(99), 1000, Some("charging")).await.unwrap());
    assert_eq!(left(), [6, 7, 8, 9]);
    assert_eq!(custody.store().journal_newest().unwrap(), seqs[9]);
    custody.journal.purge(Timestamp(99), 1000, None).await.unwrap();
    assert_eq!((left(), custody.store().journal_newest().unwrap()), (vec![], seqs[9]));
}

/// A station's gateway whose clock was wrong for a while: what was stored then stands in front of all that follows.
#[tokio::test]
async fn facts_and_disclosures_of_the_future_keep_no_older_ones_from_being_purged() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let disclosed = |at: i64| {
        let (recipient, purpose, reference) = ("NL-ABC".to_owned(), "bill".to_owned(), format!("cdr-{at}"));
        Op::Disclose(DisclosureRow { seq: 0, at: Timestamp(at), recipient, purpose, subject: None, reference, fields: "id".to_owned() })
    };
    // Ten years ahead, then right again; more ahead than one purge drops.
    let ahead = 1_000_000..1_000_005;
    for at in ahead.clone().chain(0..10) {
        custody.journal.submit("CS-1", Version::V16, Timestamp(at), vec![fact(at as usize, 1)]).durable().await.unwrap();
        custody.store().commit(vec![disclosed(at)]).await.unwrap();
    }
    let facts = || custody.journal.after(0, 100).unwrap().iter().map(|row| row.at.0).collect::<Vec<_>>();
    let disclosures = || custody.store().disclosures(None, 0).unwrap().iter().map(|row| row.at.0).collect::<Vec<_>>();
    let purge = async |before| {
        while custody.journal.purge(Timestamp(before), 2, None).await.unwrap() {}
        for _ in 0..10 {
            custody.store().commit(vec![Op::PurgeBilling { before: Timestamp(before), most: 2 }]).await.unwrap();
        }
    };
    purge(8).await;
    let left: Vec<i64> = ahead.clone().chain(8..10).collect();
    assert_eq!((facts(), disclosures()), (left.clone(), left));
    purge(1_000_003).await;
    assert_eq!((facts(), disclosures()), (vec![1_000_003, 1_000_004], vec![1_000_003, 1_000_004]), "and go when their time comes");
    // What the reader has not passed stays, though it is older than what it has.
    custody.journal.submit("CS-1", Version::V16, Timestamp(5), vec![fact(5, 2)]).durable().await.unwrap();
    let seqs: Vec<u64> = custody.journal.after(0, 100).unwrap().iter().map(|row| row.seq).collect();
    custody.store().commit(vec![Op::MarkMove { name: "charging".to_owned(), from: 0, to: seqs[0] }]).await.unwrap();
    while custody.journal.purge(Timestamp(2_000_000), 10, Some("charging")).await.unwrap() {}
    assert_eq!(facts(), [1_000_004, 5]);
}

/// A file of the fourth version, which had no index by time.
#[tokio::test]
async fn a_store_that_was_purged_in_the_order_of_its_rows_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(1, 1)]).durable().await.unwrap();
    drop(custody);
    let old = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
    old.execute_batch("DROP INDEX journal_at; DROP INDEX disclosure_at; PRAGMA user_version = 4").unwrap();
    drop(old);
    let custody = open(dir.path());
    custody.journal.submit("CS-1", Version::V16, Timestamp(1), vec![fact(2, 1)]).durable().await.unwrap();
    assert!(!custody.journal.purge(NOW, 10, None).await.unwrap());
    assert_eq!(custody.journal.after(0, 10).unwrap().iter().map(|row| row.at).collect::<Vec<_>>(), [NOW]);
    let new = rusqlite::Connection::open(dir.path().join(DATABASE)).unwrap();
    let plan: String = new.query_row("EXPLAIN QUERY PLAN SELECT seq FROM journal WHERE at < 1 ORDER BY at", [], |row| row.get(3)).unwrap();
    assert!(plan.contains("journal_at"), "{plan}");
}

#[tokio::test]
async fn a_full_queue_delays_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    // Far more than the queue holds, submitted faster than the disk takes them.
    let tickets: Vec<_> = (0..20_000).map(|n| custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(n, 1)])).collect();
    for ticket in tickets {
        ticket.durable().await.unwrap();
    }
    assert_eq!(custody.vault.sizes().unwrap().journal, 20_000);
    // A ticket that nobody awaits is stored all the same, and a closing store finishes what is queued.
    drop(custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(99_999, 1)]));
    drop(custody);
    assert_eq!(open(dir.path()).vault.sizes().unwrap().journal, 20_001);
}

/// Those who wait on one runtime are woken together; what each is told is its own.
#[test]
fn many_that_wait_together_are_each_told_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::embedded(Embedded::open(dir.path(), Limits::default()).unwrap());
    let refused = || vec![Op::EpochCurrent { from: None, to: Epoch(99), at: NOW }];
    let fine = |n: i64| vec![Op::Pin { key: (n as u128).to_be_bytes(), epoch: Epoch(1), at: NOW }];
    let ask = |n: i64| store.enqueue(if n % 3 == 0 { refused() } else { fine(n) }).unwrap();
    let told = |n: i64, result| assert_eq!(result, if n % 3 == 0 { Err(StoreError::Conflict) } else { Ok(()) }, "{n}");
    std::thread::scope(|threads| {
        for thread in 0..3 {
            threads.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let waiting: Vec<_> = (0..500).map(|n| (n + 1000 * thread, ask(n + 1000 * thread))).collect();
                    for (n, answer) in waiting {
                        told(n, answer.await.unwrap());
                    }
                });
            });
        }
        // Where there is no runtime, too.
        let waiting: Vec<_> = (9000..9500).map(|n| (n, ask(n))).collect();
        waiting.into_iter().for_each(|(n, answer)| told(n, answer.blocking_recv().unwrap()));
    });
}

#[tokio::test]
async fn the_log_is_moved_into_the_file_before_it_grows_beyond_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let size = |name: &str| fs::metadata(dir.path().join(name)).unwrap().len();
    for round in 0..16 {
        let facts = (64 * round..64 * (round + 1)).map(|n| custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(n, 64 << 10)]));
        for ticket in facts.collect::<Vec<_>>() {
            ticket.durable().await.unwrap();
        }
    }
    // 64 MiB in all; from 16 MiB on the log is moved, and a group adds 4 MiB at most here.
    let (log, file) = (size(&format!("{DATABASE}-wal")), size(DATABASE));
    assert!(log < 24 << 20, "{log}");
    assert!(file > 40 << 20, "{file}");
}

#[tokio::test]
async fn a_full_database_stops_acknowledging_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let opening = Opening { limits: Limits { max_bytes: Some(512 << 10) }, ..Opening::new(Role::Serve, NOW) };
    let custody = Custody::open(dir.path(), None, &opening).unwrap();
    let mut stored = 0;
    let error = loop {
        match custody.journal.submit("CS-1", Version::V16, Timestamp(stored as i64), vec![fact(stored, 4000)]).durable().await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1000);
    };
    assert_eq!((error, custody.store().trouble()), (StoreError::Full, Some(StoreError::Full)));
    let mut failed = 0;
    for n in 0..200 {
        failed +=
            usize::from(custody.vault.record(&[seen(&custody, &format!("visitor {n}"))]).await == Err(VaultError::Store(StoreError::Full)));
    }
    assert!(failed > 0);
    assert_eq!(custody.journal.after(0, 1000).unwrap().len(), stored, "exactly what was acknowledged");
    custody.journal.purge(Timestamp(stored as i64 / 2), 1000, None).await.unwrap();
    custody.vault.record(&[seen(&custody, "04A2B3C4")]).await.unwrap();
    custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(stored, 4000)]).durable().await.unwrap();
    assert_eq!(custody.store().trouble(), None);
}

/// A balancer that honours readiness sends nobody who would write.
#[tokio::test]
async fn a_probe_finds_out_that_there_is_room_again_when_nobody_else_writes() {
    let dir = tempfile::tempdir().unwrap();
    let opening = Opening { limits: Limits { max_bytes: Some(512 << 10) }, ..Opening::new(Role::Serve, NOW) };
    let custody = Custody::open(dir.path(), None, &opening).unwrap();
    let mut stored = 0;
    while custody.journal.submit("CS-1", Version::V16, Timestamp(stored as i64), vec![fact(stored, 4000)]).durable().await.is_ok() {
        stored += 1;
    }
    assert_eq!(custody.store().trouble(), Some(StoreError::Full));
    assert_eq!(custody.store().probe().await, Err(StoreError::Full), "a probe needs room of its own");
    assert_eq!(custody.store().trouble(), Some(StoreError::Full));
    // Another process makes room: this one has written nothing since.
    let beside = Custody::open(dir.path(), None, &Opening::new(Role::Beside, NOW)).unwrap();
    beside.journal.purge(Timestamp(stored as i64 / 2), 1000, None).await.unwrap();
    assert_eq!(custody.store().trouble(), Some(StoreError::Full));
    custody.store().probe().await.unwrap();
    assert_eq!(custody.store().trouble(), None);
    assert!(!custody.store().secret_names("").unwrap().contains(&"probe".to_owned()), "and it leaves nothing behind");
}

/// A file system of two megabytes, where the machine lets us make one (root on Linux).
#[tokio::test]
async fn a_full_disk_stops_acknowledging_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(dir.path())
        .output()
        .is_ok_and(|out| out.status.success());
    if !mounted {
        return; // the limit above tests the same path
    }
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0).status();
        }
    }
    let _unmount = Unmount(dir.path());
    let custody = open(dir.path());
    let filler = dir.path().join("filler");
    let _ = fs::write(&filler, vec![0; 1 << 20]);
    let mut stored = 0;
    while custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(stored, 4000)]).durable().await.is_ok() {
        stored += 1;
        assert!(stored < 1000);
    }
    assert!(matches!(custody.store().trouble(), Some(StoreError::Full | StoreError::Io)));
    assert!(custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(stored, 4000)]).durable().await.is_err());
    fs::remove_file(&filler).unwrap();
    custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(stored, 4000)]).durable().await.unwrap();
    custody.vault.record(&[seen(&custody, "04A2B3C4")]).await.unwrap();
    assert_eq!(custody.journal.after(0, 1000).unwrap().len(), stored + 1);
    drop(custody);
}

/// A card list is converted while the gateway records and submits: neither fails, and neither waits long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "measures time")]
async fn a_tool_and_a_gateway_write_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let custody = open(dir.path());
    let beside = Custody::open(dir.path(), None, &Opening::new(Role::Beside, NOW)).unwrap();
    let list: String = (0..5_000).map(|n| format!("{n:08X}\n")).collect();
    let tool = std::thread::spawn(move || beside.codes(list.as_bytes(), std::io::sink(), None).unwrap().identifiers);
    let (mut n, mut worst) = (0, Duration::ZERO);
    while !tool.is_finished() {
        let start = std::time::Instant::now();
        custody.vault.record(&[seen(&custody, &format!("visitor {n}"))]).await.unwrap();
        custody.journal.submit("CS-1", Version::V16, NOW, vec![fact(n, 10)]).durable().await.unwrap();
        worst = worst.max(start.elapsed());
        n += 1;
    }
    assert_eq!(tool.join().unwrap(), 5_000);
    println!("{n} records and facts beside a card list, worst wait {worst:?}");
    assert!(n > 0 && worst < Duration::from_secs(4), "{n} {worst:?}");
    assert_eq!(custody.vault.sizes().unwrap().vault, 5_000 + n as u64);
}

/// Prints figures: `cargo test --release --test durability -- --ignored --nocapture figures`.
#[test]
#[ignore = "a measurement, not a check"]
#[expect(clippy::disallowed_methods, reason = "measures time")]
fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let custody = std::sync::Arc::new(open(dir.path()));
    let report = |what: &str, n: usize, since: std::time::Instant| {
        let took = since.elapsed().as_secs_f64();
        println!("{what}: {:.0}/s, {:.2} us each", n as f64 / took, took * 1e6 / n as f64);
    };
    let cards: Vec<_> = (0..200_000).map(|n| Identifier::from_wire(&format!("{n:014X}"), Declared::Undeclared)).collect();
    let start = std::time::Instant::now();
    let codes: Vec<_> = cards.iter().map(|card| custody.keys.code(card, None)).collect();
    report("code", cards.len(), start);
    let start = std::time::Instant::now();
    assert!(codes.iter().all(|code| custody.keys.recognise(code.as_str()).is_some()));
    report("recognise", codes.len(), start);
    let list: String = (0..200_000).map(|n| format!("{n:08X}\n")).collect();
    let start = std::time::Instant::now();
    custody.codes(list.as_bytes(), std::io::sink(), None).unwrap();
    report("codes, first time", 200_000, start);
    let start = std::time::Instant::now();
    custody.codes(list.as_bytes(), std::io::sink(), None).unwrap();
    report("codes, again", 200_000, start);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for tasks in [1usize, 64, 256] {
        let each = 20_000 / tasks.max(10);
        let start = std::time::Instant::now();
        runtime.block_on(async {
            let mut all = Vec::new();
            for task in 0..tasks {
                let custody = std::sync::Arc::clone(&custody);
                all.push(tokio::spawn(async move {
                    for n in 0..each {
                        custody.vault.record(&[seen(&custody, &format!("v {tasks} {task} {n}"))]).await.unwrap();
                    }
                }));
            }
            for task in all {
                task.await.unwrap();
            }
        });
        report(&format!("record, first sight, {tasks} at once"), tasks * each, start);
    }
    let again = [seen(&custody, "v 1 0 1")];
    let start = std::time::Instant::now();
    runtime.block_on(async {
        for _ in 0..200_000 {
            custody.vault.record(&again).await.unwrap();
        }
    });
    report("record, known", 200_000, start);
    custody.vault.forget_memory();
    let recorded: Vec<_> =
        (0..20_000).map(|n| custody.keys.code(&Identifier::from_wire(&format!("{n:08X}"), Declared::Undeclared), None)).collect();
    let start = std::time::Instant::now();
    assert!(recorded.iter().all(|code| custody.vault.reveal(code).is_some()));
    report("reveal from the disk", recorded.len(), start);
    let start = std::time::Instant::now();
    assert!(recorded.iter().all(|code| custody.vault.reveal(code).is_some()));
    report("reveal from memory", recorded.len(), start);
    println!("{:?}", custody.vault.sizes().unwrap());
}
