//! The close of a period: once, durable, provable, and nothing at all if anything fails.

use crate::world::*;
use sluis::clock::Timestamp;
use sluis::custody::{Custody, Opening, Role};
use sluis::publication::close::ledger;
use sluis::publication::files::{FIGURES, LEDGER, MANIFEST, MANIFEST_SIGNATURE, RECEIPT};
use sluis::publication::verify::verify;
use sluis::publication::{NotPublished, Publication, SystemNoise, sink};
use sluis::secret::Sensitive;
use sluis::stats::{Digest, Figures, Method, NoRandomness, Randomness, Refused, Rho, TestNoise};
use sluis::store::{Limits, StoreError};
use sluis::vault::contributors::Objection;
use std::fs;
use std::sync::Arc;

impl World {
    fn close(&self, name: &str) -> Result<(), NotPublished> {
        self.publication.close(period(name), CLOSED, &mut SystemNoise::new())
    }
}

#[test]
fn a_period_is_released_once_and_every_later_request_gets_the_same_bytes() {
    let world = World::new();
    world.lives(200);
    assert_eq!(
        world.publication.close(period(MONTH), THEN, &mut SystemNoise::new()).unwrap_err().to_string(),
        "the period has not closed yet"
    );
    for name in [MONTH, QUARTER] {
        world.close(name).unwrap();
        let first = world.publication.released(period(name)).unwrap().unwrap();
        assert!(world.close(name).unwrap_err().is_released());
        assert_eq!(world.publication.released(period(name)).unwrap().unwrap(), first);
        let out = world.dir.path().join(name);
        sink::write(&out, &first).unwrap();
        let verdict = verify(&out, Some(Digest(world.custody.signing_key().unwrap().public())));
        assert_eq!(verdict.failures, Vec::<String>::new());
        // The program says the same, and hands out the same.
        let config = world.config(&world.data());
        let again = world.dir.path().join(format!("{name}-again"));
        let said = sluis(&["stats", "release", "--period", name, "--out", again.to_str().unwrap(), "--config", config.to_str().unwrap()]);
        assert!(said.status.success() && text(&said.stdout).contains("was released before"), "{}", text(&said.stderr));
        assert_eq!(files(&again), files(&out));
        assert!(sluis(&["stats", "verify", out.to_str().unwrap()]).status.success());
    }
    let ledger = ledger(world.custody.store()).unwrap();
    assert_eq!((ledger.entries().len(), ledger.spent(2025)), (4, Rho(70_000)));
    assert_eq!(world.counted(), [0, 0]);
    assert!(
        world
            .custody
            .store()
            .periods()
            .unwrap()
            .iter()
            .all(|row| row.closed == Some(CLOSED) && row.version == 0 && row.wrapped.iter().all(|b| *b == 0))
    );
    // What is said afterwards changes nothing there.
    world.charges(&card(1), "AC-1", CLOSED);
    assert_eq!(world.counted(), [0, 0]);
}

#[test]
fn a_period_in_which_nobody_charged_is_released_like_any_other() {
    let world = World::new();
    assert_eq!(world.close(MONTH), Err(NotPublished::Before));
    world.charges(&card(1), "AC-1", Timestamp(SEPTEMBER - 10 * DAY));
    world.close(MONTH).unwrap();
    let files = world.publication.released(period(MONTH)).unwrap().unwrap();
    let figures: Figures = serde_json::from_slice(&files.iter().find(|(name, _)| name == FIGURES).unwrap().1).unwrap();
    assert!(!figures.tables[0].rows.is_empty());
}

#[test]
fn without_randomness_or_with_noise_that_can_be_repeated_nothing_is_released_and_nothing_is_spent() {
    let world = World::new();
    world.lives(50);
    for calls in [0, 1, 2, 7, 20] {
        let failed = world.publication.close(period(QUARTER), CLOSED, &mut Failing(calls)).unwrap_err();
        assert!(matches!(failed, NotPublished::NoRelease(_)), "{failed}");
    }
    let repeated = world.publication.close(period(QUARTER), CLOSED, &mut TestNoise::not_for_publication(1)).unwrap_err();
    assert_eq!(repeated, NotPublished::Repeatable);
    nothing_happened(&world, QUARTER, 250);
    world.close(QUARTER).unwrap();
}

/// Somebody objects while the release is computed.
struct Meddling<'a> {
    world: &'a World,
    calls: u32,
    source: SystemNoise,
}

impl Randomness for Meddling<'_> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        if self.calls == 0 {
            let who = Sensitive::new(card(3));
            let heard = self.world.custody.vault.object(&who, Objection::OptOut, CLOSED).unwrap().unwrap();
            assert_eq!((heard.removed_from.len(), heard.too_late_for.len()), (2, 0));
        }
        self.calls += 1;
        self.source.fill(bytes)
    }

    fn is_fit_for_publication(&self) -> bool {
        true
    }
}

#[test]
fn an_objection_while_a_release_is_computed_is_heard_and_the_release_is_made_anew() {
    let calls = |meddles: bool| {
        let world = World::new();
        world.lives(20);
        let mut noise = Meddling { world: &world, calls: u32::from(!meddles), source: SystemNoise::new() };
        world.publication.close(period(QUARTER), CLOSED, &mut noise).unwrap();
        assert_eq!(ledger(world.custody.store()).unwrap().spent(2025), Rho(60_000), "what was drawn in vain costs nothing: nobody saw it");
        noise.calls
    };
    let (alone, meddled) = (calls(false), calls(true));
    assert!(meddled * 10 > alone * 15, "{meddled} draws against {alone}");
}

fn nothing_happened(world: &World, name: &str, visits: usize) {
    assert!(world.publication.released(period(name)).unwrap().is_none());
    assert!(ledger(world.custody.store()).unwrap().entries().is_empty());
    assert_eq!(world.visits(name).len(), visits);
    assert!(world.custody.vault.period_key(name).unwrap().is_some());
}

#[test]
fn a_disk_that_is_full_lets_nothing_leave() {
    let world = World::new();
    world.lives(50);
    let data = world.data();
    let World { dir, publication, custody, .. } = world;
    let terms = publication.terms;
    let size = custody.store().sizes().unwrap().bytes;
    drop((publication.custody, custody));
    // As it was before, without room for a release.
    let opening = Opening { limits: Limits { max_bytes: Some(size + 8192) }, ..Opening::new(Role::Serve, THEN) };
    let custody = Arc::new(Custody::open(&data, None, &opening).unwrap());
    custody.signing_key().unwrap();
    let publication = Publication { custody: Arc::clone(&custody), terms, dir: None };
    let out = dir.path().join("out");
    assert_eq!(publication.close(period(QUARTER), CLOSED, &mut SystemNoise::new()), Err(NotPublished::Store(StoreError::Full)));
    assert!(!out.exists() && publication.released(period(QUARTER)).unwrap().is_none());
    assert!(ledger(custody.store()).unwrap().entries().is_empty());
    let terms = publication.terms;
    drop((publication.custody, custody));
    // There is room again.
    let custody = crate::world::custody(&data, Role::Serve);
    let publication = Publication { custody: Arc::clone(&custody), terms, dir: None };
    publication.close(period(QUARTER), CLOSED, &mut SystemNoise::new()).unwrap();
    assert_eq!(ledger(custody.store()).unwrap().spent(2025), Rho(60_000));
}

/// A directory that cannot be written loses nothing: the release is in the store.
#[test]
fn what_cannot_be_written_is_kept_and_nothing_half_lies_about() {
    let world = World::new();
    world.lives(3);
    world.close(MONTH).unwrap();
    let released = world.publication.released(period(MONTH)).unwrap().unwrap();
    let out = world.dir.path().join("file");
    fs::write(&out, b"in the way").unwrap();
    assert!(sink::write(&out, &released).is_err());
    let out = world.dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join(MANIFEST), b"another release").unwrap();
    assert!(matches!(sink::write(&out, &released), Err(sink::NotWritten::Another(_))));
    assert_eq!(fs::read(out.join(MANIFEST)).unwrap(), b"another release");
    fs::remove_file(out.join(MANIFEST)).unwrap();
    sink::write(&out, &released).unwrap();
    assert_eq!(files(&out).len(), released.len());
    assert!(files(&out).iter().all(|(name, _)| !name.starts_with('.')));
}

#[test]
fn when_the_years_budget_is_used_up_nothing_more_is_released_and_what_cannot_be_released_is_destroyed() {
    let mut world = World::new();
    world.publication.terms.parameters.cap = Rho(60_000);
    world.lives(20);
    world.close(MONTH).unwrap();
    assert_eq!(world.close(QUARTER), Err(NotPublished::Refused(Refused::Cap(2025))));
    assert_eq!(world.counted(), [0, 100]);
    // The gateway by itself: says so, and five weeks later lets go of what it cannot release.
    let round = world.publication.round(CLOSED).unwrap();
    assert_eq!((round.overdue, round.released, round.open), (1, 0, 2), "October and the fourth quarter are open");
    assert_eq!(world.counted(), [0, 100]);
    world.publication.round(Timestamp(CLOSED.0 + 36 * DAY)).unwrap();
    assert_eq!(world.counted(), [0, 0]);
    assert_eq!(world.close(QUARTER), Err(NotPublished::Refused(Refused::Cap(2025))));
    world.publication.terms.parameters.cap = Rho(360_000);
    assert_eq!(world.close(QUARTER), Err(NotPublished::Discarded), "what was destroyed makes no release, not even an empty one");
}

#[test]
fn a_gateway_closes_what_is_due_and_finishes_what_was_broken_off() {
    let mut world = World::new();
    world.publication.dir = Some(world.dir.path().join("published"));
    world.lives(30);
    assert_eq!(world.publication.round(THEN).unwrap().released, 0);
    let round = world.publication.round(CLOSED).unwrap();
    assert_eq!((round.released, round.overdue), (2, 0));
    assert_eq!(world.publication.round(CLOSED).unwrap().released, 0);
    for name in [MONTH, QUARTER] {
        let verdict = verify(&world.dir.path().join("published").join(name), None);
        assert_eq!(verdict.failures, Vec::<String>::new());
    }
    // The process dies between the release and its receipt.
    let other = rusqlite::Connection::open(world.data().join(sluis::store::DATABASE)).unwrap();
    other.execute("DELETE FROM released WHERE name LIKE 'receipt%' AND period = ?", [MONTH]).unwrap();
    drop(other);
    fs::remove_dir_all(world.dir.path().join("published")).unwrap();
    assert_eq!(world.publication.round(CLOSED).unwrap().overdue, 0);
    assert_eq!(verify(&world.dir.path().join("published").join(MONTH), None).failures, Vec::<String>::new());
    // A gateway that was away for months releases each of them.
    let later = Timestamp(CLOSED.0 + 100 * DAY);
    assert_eq!(world.publication.round(later).unwrap().released, 4, "October, November, December and the fourth quarter");
}

#[test]
fn whatever_is_altered_in_a_release_is_named() {
    let world = World::new();
    world.lives(100);
    world.close(MONTH).unwrap();
    world.close(QUARTER).unwrap();
    let out = world.dir.path().join("out");
    let released = world.publication.released(period(QUARTER)).unwrap().unwrap();
    let spoiled = |spoil: &dyn Fn(&std::path::Path)| {
        let _ = fs::remove_dir_all(&out);
        sink::write(&out, &released).unwrap();
        spoil(&out);
        verify(&out, None).failures.join("\n")
    };
    assert_eq!(spoiled(&|_| {}), "");
    for name in [FIGURES, LEDGER, MANIFEST, RECEIPT, MANIFEST_SIGNATURE] {
        let failures = spoiled(&|out| {
            let path = out.join(name);
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.iter().rposition(u8::is_ascii_digit).unwrap();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            fs::write(path, bytes).unwrap();
        });
        let stem = if name == MANIFEST_SIGNATURE { MANIFEST } else { name };
        assert!(failures.contains(stem), "{name}: {failures}");
        assert!(spoiled(&|out| fs::remove_file(out.join(name)).unwrap()).contains(name), "{name} is missed");
    }
    // Signed anew by somebody else, with a number changed: the ledger still says otherwise, and so does a key that is known.
    let key = Digest(world.custody.signing_key().unwrap().public());
    sink::write(&world.dir.path().join("good"), &released).unwrap();
    assert_eq!(verify(&world.dir.path().join("good"), Some(key)).failures.len(), 0);
    assert_eq!(verify(&world.dir.path().join("good"), Some(Digest([7; 32]))).failures.len(), 1);
    let said = sluis(&["stats", "verify", out.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(1), "the last one is spoiled");
    assert!(text(&said.stderr).contains(MANIFEST_SIGNATURE));
}

/// Municipalities and everybody else: signed releases by their exact names, the same bytes, and nothing behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_hands_out_releases_and_nothing_else() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    struct Page(Arc<Custody>);
    impl sluis::admin::Condition for Page {
        fn ready(&self) -> bool {
            true
        }
        fn troubles(&self) -> Vec<&'static str> {
            Vec::new()
        }
        fn reservations(&self) -> Vec<&'static str> {
            Vec::new()
        }
        fn metrics(&self) -> String {
            String::new()
        }
        fn releases(&self) -> Vec<(String, String)> {
            self.0.store().released_names().unwrap()
        }
        fn release(&self, period: &str, file: &str) -> Option<Vec<u8>> {
            self.0.store().released(period, file).unwrap()
        }
    }
    let world = World::new();
    world.custody.store().commit_blocking(vec![world.custody.vault.new_period(MONTH, THEN).unwrap()]).unwrap();
    world.publication.close(period(MONTH), CLOSED, &mut SystemNoise::new()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = sluis::admin::router(Arc::new(Page(Arc::clone(&world.custody))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let get = async |path: &str| {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let at = memchr::memmem::find(&answer, b"\r\n\r\n").unwrap();
        (String::from_utf8_lossy(&answer[9..12]).into_owned(), answer[at + 4..].to_vec())
    };
    let released = world.publication.released(period(MONTH)).unwrap().unwrap();
    for (name, bytes) in &released {
        for _ in 0..2 {
            assert_eq!(get(&format!("/statistics/{MONTH}/{name}")).await, ("200".to_owned(), bytes.clone()));
        }
    }
    let (_, list) = get("/statistics").await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&list).unwrap()[MONTH].as_array().unwrap().len(), released.len());
    for path in [
        "/statistics/2025-10/figures.json",
        "/statistics/2025-09/..%2f..%2fkek",
        "/statistics/2025-09/kek",
        "/statistics/2025-Q3/figures.json",
    ] {
        assert_eq!(get(path).await.0, "404", "{path}");
    }
}

/// For those who must: exact tables, which say plainly what they are, cost no budget and are released once all the same.
#[test]
fn exact_tables_say_that_they_are_not_differentially_private() {
    let mut world = World::new();
    world.publication.terms.method = Method::Exact;
    world.publication.terms.parameters.cap = Rho(1);
    world.lives(300);
    world.close(MONTH).unwrap();
    assert!(world.close(MONTH).unwrap_err().is_released());
    let out = world.dir.path().join(MONTH);
    sink::write(&out, &world.publication.released(period(MONTH)).unwrap().unwrap()).unwrap();
    assert_eq!(verify(&out, None).failures, Vec::<String>::new());
    let manifest = fs::read_to_string(out.join(MANIFEST)).unwrap();
    assert!(manifest.contains("NOT DIFFERENTIALLY PRIVATE") && manifest.contains("\"rules\""), "{manifest}");
    // The quarter of the same sessions would tell what the month withholds: it is not released, and the gateway keeps nothing of it.
    assert_eq!(world.close(QUARTER), Err(NotPublished::Refused(Refused::Overlaps(sluis::stats::Table::T0, period(MONTH)))));
    let round = world.publication.round(CLOSED).unwrap();
    assert_eq!((round.overdue, round.released), (0, 0));
    assert_eq!(world.counted(), [0, 0]);
    assert!(world.custody.store().period(QUARTER).unwrap().unwrap().closed.is_some());
    let ledger = ledger(world.custody.store()).unwrap();
    assert_eq!((ledger.entries().len(), ledger.spent(2025)), (1, Rho(0)));
    // Noise would be a second release of the same numbers.
    world.publication.terms.method = Method::DifferentiallyPrivate;
    assert!(world.close(MONTH).unwrap_err().is_released());
}

/// An exact quarter is released where none of its months was.
#[test]
fn an_exact_quarter_is_released_where_its_months_were_not() {
    let mut world = World::new();
    world.publication.terms.method = Method::Exact;
    world.lives(300);
    world.close(QUARTER).unwrap();
    let out = world.dir.path().join(QUARTER);
    sink::write(&out, &world.publication.released(period(QUARTER)).unwrap().unwrap()).unwrap();
    assert_eq!(verify(&out, None).failures, Vec::<String>::new());
    assert!(matches!(world.close(MONTH), Err(NotPublished::Refused(Refused::Overlaps(..)))));
}

/// A period that nobody was counted in and that never can be released is let go of once, and not looked at for ever.
#[test]
fn a_period_that_was_never_opened_is_let_go_of_too() {
    let mut world = World::new();
    world.publication.terms.parameters.cap = Rho(1);
    world.lives(5);
    // The gateway was away until March.
    let march = Timestamp(SEPTEMBER + 190 * DAY);
    let first = world.publication.round(march).unwrap();
    assert!(first.overdue > 0, "{first:?}");
    let later = world.publication.round(march).unwrap();
    let closed = world.custody.store().periods().unwrap().iter().filter(|row| row.closed.is_some()).count();
    assert!(closed >= 6, "September to December, and two quarters: {closed}");
    assert!(later.overdue < first.overdue, "{later:?} after {first:?}");
}

/// A ledger's entry names the sources that made the figures, as anybody can digest them.
#[test]
fn the_code_in_the_ledger_is_the_digest_of_the_sources() {
    fn sources(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { sources(&path, found) } else { found.push(path) }
        }
    }
    let src = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = ["publication/gathering.rs", "publication/people.rs", "stats.rs"].map(|name| src.join(name)).to_vec();
    sources(&src.join("stats"), &mut found);
    found.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let all: Vec<u8> = found.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(sluis::publication::code(), format!("sluis {}, sources {}", env!("CARGO_PKG_VERSION"), Digest::of(&all)));
    let world = World::new();
    world.lives(3);
    world.close(MONTH).unwrap();
    assert_eq!(ledger(world.custody.store()).unwrap().entries()[0].code, sluis::publication::code());
}

/// The register changes in the middle of a period: what it has at the close counts where it is then, and what it has lost counts nowhere.
#[test]
fn a_register_that_changes_in_a_period_counts_as_it_is_at_the_close() {
    let mut world = World::new();
    world.lives(100);
    let register: String =
        sites().lines().filter(|line| !line.starts_with("HPC-")).map(|line| line.replace("Delft", "Schiedam") + "\n").collect();
    let sites = sluis::cdr::site::Sites::parse(&register, ZONE).unwrap();
    let grouping = sluis::stats::Grouping { neighbourhood: 10, ..Default::default() };
    world.publication.terms.geography = sluis::publication::register::geography(&sites, "NL", ZONE, grouping).unwrap();
    world.close(MONTH).unwrap();
    let files = world.publication.released(period(MONTH)).unwrap().unwrap();
    let figures: Figures = serde_json::from_slice(&files.iter().find(|(name, _)| name == FIGURES).unwrap().1).unwrap();
    let names: std::collections::BTreeSet<&str> =
        figures.tables[0].rows.iter().flat_map(|row| row.area.path.iter().map(String::as_str)).collect();
    assert!(names.contains("Schiedam") && !names.contains("Delft"), "{names:?}");
    assert!(figures.tables[0].rows.iter().all(|row| row.class != Some(sluis::stats::Class::Hpc)));
}

/// Two processes release the same period at once: one release, spent once, and both have its bytes.
#[test]
fn two_processes_at_once_make_one_release() {
    let world = World::new();
    world.lives(60);
    let config = world.config(&world.data());
    let World { dir, publication, custody, .. } = world;
    drop((publication, custody));
    let outs = ["one", "other"].map(|name| dir.path().join(name));
    let children = outs.each_ref().map(|out| {
        std::process::Command::new(env!("CARGO_BIN_EXE_sluis"))
            .args(["stats", "release", "--period", QUARTER, "--out", out.to_str().unwrap(), "--config", config.to_str().unwrap()])
            .env_clear()
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(files(&outs[0]), files(&outs[1]));
    assert_eq!(verify(&outs[0], None).failures, Vec::<String>::new());
    let custody = crate::world::custody(&dir.path().join("data"), Role::Beside);
    assert_eq!(ledger(custody.store()).unwrap().spent(2025), Rho(60_000));
}

/// Whatever is changed in whichever file, the failure names the file.
#[test]
fn a_change_in_any_file_of_a_release_is_told_by_the_files_name() {
    let world = World::new();
    world.lives(50);
    world.close(QUARTER).unwrap();
    let released = world.publication.released(period(QUARTER)).unwrap().unwrap();
    let out = world.dir.path().join("tampered");
    sink::write(&out, &released).unwrap();
    assert_eq!(verify(&out, None).failures, Vec::<String>::new());
    let names: Vec<&str> = released.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["report.html", "t1.csv", "t2.csv", "t3.csv", FIGURES, LEDGER, MANIFEST, RECEIPT] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for (name, bytes) in &released {
        let path = out.join(name);
        let mut changed = bytes.clone();
        // A space at the end: the same to a reader, and another file.
        changed.push(b' ');
        // A signature says the same with a space more; one whose letters are changed does not.
        if name.ends_with(".sig.json") {
            let text = String::from_utf8(bytes.clone()).unwrap();
            changed = text.replace(['0', '1'], "2").into_bytes();
        }
        for (what, bytes) in [("changed", Some(changed)), ("missing", None)] {
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let failures = verify(&out, None).failures;
            let signed = name.replace(".sig", "");
            assert!(failures.iter().any(|failure| failure.contains(&signed) || failure.contains(name)), "{name} {what}: {failures:?}");
        }
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(verify(&out, None).failures, Vec::<String>::new());
}
