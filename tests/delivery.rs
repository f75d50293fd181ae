//! CDRs reach the e-MSP that owns them exactly once and in order, whatever fails; nobody else gets anything; and all that left is in the
//! disclosure log. Tokens reach the central system with no original in any byte.

#![allow(clippy::unwrap_used, reason = "a test says what must hold")]

#[path = "common/party.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "test code, shared")]
mod party;

use party::{Asked, Party as Server, Say};
use serde_json::{Value, json};
use sluis::clock::Timestamp;
use sluis::config::{Config, Flags};
use sluis::custody::{Custody, Opening, Role};
use sluis::delivery::{Delivering, Delivery, Doorbell, Pace, Parts};
use sluis::identity::{Codes, Declared, Identifier, Sighting};
use sluis::metrics::Metrics;
use sluis::ocpi::client::{Bounds, Client, Pass, Trouble, joined};
use sluis::ocpi::directory::Directory;
use sluis::ocpi::peer::{Endpoint, Peer, Peers, Who};
use sluis::recipient::{Ocpi, Party, Recipient, Recipients};
use sluis::secret::Sensitive;
use sluis::serve::{Serving, StartError};
use sluis::store::{CdrRow, CdrState, Op};
use sluis::vault::tokens::EmspToken;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// 2026-11-24T10:00:00Z
const NOW: i64 = 1_795_514_400_000 + 36_000_000;
const CREDENTIAL: &str = "credentials-token-4711";

fn quick() -> Pace {
    let ms = Duration::from_millis;
    Pace {
        first: ms(1),
        longest: ms(8),
        slow: ms(4),
        longest_asked: ms(30),
        tick: ms(20),
        gather: ms(1),
        ask: ms(300),
        pull: ms(20),
        refusals: 8,
    }
}

/// A gateway's data and clock.
struct World {
    dir: tempfile::TempDir,
    custody: Arc<Custody>,
    now: Arc<AtomicI64>,
    doorbell: Doorbell,
    pace: Pace,
    bounds: Bounds,
}

impl World {
    fn new() -> Self {
        Metrics::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let custody = open(dir.path());
        let bounds = Bounds { whole: Duration::from_secs(5), ..Bounds::default() };
        Self { dir, custody, now: Arc::new(AtomicI64::new(NOW)), doorbell: Doorbell::new(), pace: quick(), bounds }
    }

    fn delivery(&self, parties: &[(Recipient, Peer)], csms: Option<&str>) -> Delivery {
        let now = Arc::clone(&self.now);
        let csms = csms.map(|url| (url.to_owned(), Sensitive::new(CREDENTIAL.to_owned())));
        let peers = parties.iter().map(|(_, peer)| peer.clone()).collect();
        Delivery::new(Parts {
            custody: Arc::clone(&self.custody),
            client: client(self.bounds),
            directory: Directory::new(Peers::new(Arc::clone(&self.custody)), peers, csms),
            recipients: Recipients::new(parties.iter().map(|(recipient, _)| recipient.clone()).collect()),
            doorbell: self.doorbell.clone(),
            pace: self.pace,
            clock: Arc::new(move || Timestamp(now.load(Ordering::SeqCst))),
        })
    }

    fn start(&self, parties: &[(Recipient, Peer)]) -> Delivering {
        self.delivery(parties, None).start()
    }

    /// Queues CDRs of one owner; gives back their ids in order.
    async fn queue(&self, owner: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
        let mut ids = Vec::new();
        for number in numbers {
            let identifier = Identifier::from_wire(&format!("04{number:012X}"), Declared::Undeclared);
            let code = self.custody.keys.code(&identifier, None);
            self.custody.vault.record(&[Sighting { code, identifier }]).await.unwrap();
            let id = format!("cdr-{owner}-{number:05}");
            let row = CdrRow {
                seq: 0,
                id: id.clone(),
                session: format!("s-{id}"),
                owner: Some(owner.to_owned()),
                state: CdrState::Queued,
                code: Some("Z0X".into()),
                draft: json!({"session": {"token": {"code": code.as_str()}}}).to_string(),
                body: Some(json!({"id": id, "cdr_token": {"uid": "Z0X"}, "total_cost": 1.5}).to_string()),
                why: None,
                updated: Timestamp(NOW - 60_000),
                tries: 0,
            };
            self.custody.store().commit(vec![Op::CdrInsert(row)]).await.unwrap();
            ids.push(id);
        }
        self.doorbell.cdrs();
        ids
    }

    fn state(&self, id: &str) -> CdrState {
        self.custody.store().cdr(id).unwrap().unwrap().state
    }

    fn in_state(&self, state: CdrState, owner: &str) -> usize {
        self.custody.store().cdrs_in(state, Some(owner), 0, 1000).unwrap().len()
    }

    /// The references of what was disclosed to somebody.
    fn disclosed(&self, to: &str) -> HashSet<String> {
        let (mut all, mut after) = (HashSet::new(), 0);
        loop {
            let rows = self.custody.store().disclosures(None, after).unwrap();
            let Some(last) = rows.last() else { return all };
            after = last.seq;
            all.extend(rows.into_iter().filter(|row| row.recipient == to).map(|row| row.reference));
        }
    }
}

fn open(dir: &Path) -> Arc<Custody> {
    Arc::new(Custody::open(dir, None, &Opening::new(Role::Beside, Timestamp(NOW))).unwrap())
}

fn client(bounds: Bounds) -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    Client::bounded(tls, Party::parse("NL-CPO"), false, bounds)
}

fn party(text: &str) -> Party {
    Party::parse(text).unwrap()
}

/// A recipient whose modules are all below one URL.
fn emsp(name: &str, url: &str) -> (Recipient, Peer) {
    let recipient = Recipient {
        party: party(name),
        name: name.into(),
        agreement: "1".into(),
        valid: [None, None],
        version: Ocpi::V221,
        push: true,
        ranges: Vec::new(),
    };
    let endpoint = |module: &str, role: &str| Endpoint { module: module.into(), role: role.into(), url: format!("{url}/{module}") };
    let peer = Peer {
        who: Who::Emsp(recipient.party),
        version: Ocpi::V221,
        endpoints: vec![endpoint("cdrs", "RECEIVER")],
        ours: Some(Sensitive::new(CREDENTIAL.into())),
        theirs: None,
        raw: false,
    };
    (recipient, peer)
}

/// An e-MSP's books: accepts each CDR id once, as OCPI says, and remembers the order.
#[derive(Default)]
struct Books {
    order: Mutex<Vec<String>>,
    bodies: Mutex<HashMap<String, String>>,
    seen: Mutex<HashSet<String>>,
}

impl Books {
    fn id(asked: &Asked) -> String {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    fn see(&self, asked: &Asked) {
        if asked.method == "GET" {
            return;
        }
        self.seen.lock().unwrap().insert(Self::id(asked));
    }

    /// Books a CDR and says so.
    fn accept(&self, asked: &Asked) -> Say {
        let id = Self::id(asked);
        let before = self.bodies.lock().unwrap().insert(id.clone(), asked.body.clone());
        match before {
            Some(before) => {
                assert_eq!(before, asked.body, "a CDR came again with other bytes");
                Say::ocpi(200, 1000, Value::Null)
            }
            None => {
                self.order.lock().unwrap().push(id);
                Say::ocpi(201, 1000, Value::Null).with("location", "https://emsp.example/cdrs/1")
            }
        }
    }

    fn accepted(&self) -> Vec<String> {
        self.order.lock().unwrap().clone()
    }
}

/// Waits until something is so; the bound only ends a test that has failed.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..15_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

fn metric(line: &str) -> Option<f64> {
    let page = Metrics::install().unwrap().render();
    page.lines().find_map(|l| l.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok())
}

/// All that this thread logs from now on, at every level, of every library.
fn log() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || Lines(Arc::clone(&theirs)));
    (lines, tracing::subscriber::set_default(subscriber.finish()))
}

async fn books_of(say: impl Fn(usize, &Asked, &Books) -> Say + Send + Sync + 'static) -> (Arc<Books>, Server) {
    let books = Arc::new(Books::default());
    let theirs = Arc::clone(&books);
    let server = Server::start(move |n, asked| {
        theirs.see(asked);
        say(n, asked, &theirs)
    })
    .await;
    (books, server)
}

#[tokio::test]
async fn cdrs_arrive_in_order_with_the_stored_bytes_and_the_headers_of_ocpi() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let ids = world.queue("NL-AAA", 0..40).await;
    let delivering = world.start(&[emsp("NL-AAA", &server.url)]);
    until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAA") == 40).await;
    let more = world.queue("NL-AAA", 40..42).await;
    until("the rest arrives", || world.in_state(CdrState::Delivered, "NL-AAA") == 42).await;
    delivering.stop(Duration::from_secs(5)).await;
    let all: Vec<String> = ids.into_iter().chain(more).collect();
    assert_eq!(books.accepted(), all);
    assert_eq!(world.disclosed("NL-AAA"), all.iter().cloned().collect());
    let mut requests = HashSet::new();
    for (asked, id) in server.asked().iter().zip(&all) {
        let header = |name: &str| asked.headers.get(name).map(String::as_str).unwrap_or_default();
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/cdrs"));
        assert_eq!(asked.body, world.custody.store().cdr(id).unwrap().unwrap().body.unwrap());
        assert_eq!(header("authorization"), "Token Y3JlZGVudGlhbHMtdG9rZW4tNDcxMQ==");
        assert_eq!(header("content-type"), "application/json");
        let routing = ["ocpi-from-country-code", "ocpi-from-party-id", "ocpi-to-country-code", "ocpi-to-party-id"].map(header);
        assert_eq!(routing, ["NL", "CPO", "NL", "AAA"]);
        for name in ["x-request-id", "x-correlation-id"] {
            assert!(header(name).len() == 36 && header(name).as_bytes()[14] == b'4' && requests.insert(header(name).to_owned()));
        }
        assert!(header("cookie").is_empty());
    }
    let row = &world.custody.store().disclosures(None, 0).unwrap()[0];
    let subject = Identifier::from_wire("04000000000000", Declared::Undeclared);
    assert_eq!((row.purpose.as_str(), row.fields.as_str()), ("bill", "cdr_token id total_cost"));
    assert_eq!(row.subject, Some(world.custody.vault.subject_of(&subject)));
    assert_eq!(metric("sluis_delivery_attempts_total{recipient=\"NL-AAA\",outcome=\"accepted\"}"), Some(42.0));
}

/// Each way of failing, as many times as it takes to be sure, then success.
#[tokio::test]
async fn each_failure_is_survived_and_each_cdr_accepted_once() {
    type Way = (&'static str, fn(&Asked, &Books) -> Say);
    let ways: &[Way] = &[
        ("reset before processing", |_, _| Say::Reset),
        ("reset after processing", |asked, books| {
            books.accept(asked);
            Say::Reset
        }),
        ("500", |_, _| Say::status(500)),
        ("503 with Retry-After", |_, _| Say::status(503).with("retry-after", "1")),
        ("429 with Retry-After", |_, _| Say::status(429).with("retry-after", "3600")),
        ("429 with a date", |_, _| Say::status(429).with("retry-after", "Wed, 24 Nov 2027 10:00:00 GMT")),
        ("401", |_, _| Say::ocpi(401, 2001, Value::Null)),
        ("403", |_, _| Say::status(403)),
        ("404", |_, _| Say::status(404)),
        ("200 with 3000", |_, _| Say::ocpi(200, 3000, Value::Null)),
        ("200 with 4001 of a hub", |_, _| Say::ocpi(200, 4001, Value::Null)),
        ("201 without a body, processed", |asked, books| {
            books.accept(asked);
            Say::status(201)
        }),
        ("204, processed", |asked, books| {
            books.accept(asked);
            Say::status(204)
        }),
        ("200 with garbage", |_, _| Say::Http(200, Vec::new(), b"<html>secret 4711".to_vec())),
        ("200 with another JSON", |_, _| Say::Http(200, Vec::new(), b"[1000]".to_vec())),
        ("a huge body, processed", |asked, books| {
            books.accept(asked);
            Say::Http(200, Vec::new(), vec![b' '; 3 << 20])
        }),
        ("a redirect elsewhere", |_, _| Say::status(307).with("location", "http://127.0.0.1:1/stolen")),
        ("a few refusals", |_, _| Say::ocpi(200, 2001, Value::Null)),
    ];
    let world = World::new();
    let failing: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let way: &'static Mutex<usize> = Box::leak(Box::new(Mutex::new(0)));
    let ways: &'static [Way] = Box::leak(ways.to_vec().into_boxed_slice());
    let (books, server) = books_of(|_, asked, books| {
        if failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return ways[*way.lock().unwrap()].1(asked, books);
        }
        books.accept(asked)
    })
    .await;
    let (log, _logging) = log();
    let delivering = world.start(&[emsp("NL-AAB", &server.url)]);
    let mut all = Vec::new();
    for (number, (name, _)) in ways.iter().enumerate() {
        *way.lock().unwrap() = number;
        failing.store(5, Ordering::SeqCst);
        let before = server.count();
        all.extend(world.queue("NL-AAB", 3 * number..3 * number + 3).await);
        until(name, || world.in_state(CdrState::Delivered, "NL-AAB") == all.len()).await;
        assert_eq!(server.count() - before, 8, "{name}: five failures, three CDRs");
        assert_eq!(books.accepted(), all, "{name}");
    }
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(world.disclosed("NL-AAB"), all.into_iter().collect());
    let said = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(said.contains("a CDR was refused") && said.contains("NL-AAB") && said.contains("cdr-NL-AAB-00000"), "{said}");
    for secret in ["/cdrs", "4711", "Z0X", "cdr_token", "total_cost", "Y3JlZGVudGlhbHM", "stolen"] {
        assert!(!said.contains(secret), "{secret} in the log");
        assert!(!Metrics::install().unwrap().render().contains(secret), "{secret} in the metrics");
    }
    assert_eq!(metric("sluis_delivery_shut{recipient=\"NL-AAB\"}"), Some(0.0));
}

#[tokio::test]
async fn answers_that_say_accepted_in_other_words_are_understood() {
    let world = World::new();
    let (books, server) = books_of(|n, asked, books| {
        let accepted = books.accept(asked);
        match n % 5 {
            0 => Say::status(201).with("location", "https://emsp.example/cdrs/1"),
            1 => Say::Http(201, vec![("location", "/cdrs/1".into())], b"created".to_vec()),
            2 => Say::status(409),
            3 => Say::Http(200, Vec::new(), br#"{"status_code":"1000","extra":{"x":[1]}}"#.to_vec()),
            _ => accepted,
        }
    })
    .await;
    let ids = world.queue("NL-AAC", 0..10).await;
    let delivering = world.start(&[emsp("NL-AAC", &server.url)]);
    until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAC") == 10).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!((books.accepted(), server.count()), (ids, 10));
}

#[tokio::test]
async fn a_slow_drip_and_a_wrong_tls_end_by_the_clock() {
    let mut world = World::new();
    world.bounds.whole = Duration::from_millis(250);
    let (books, server) = books_of(|n, asked, books| if n < 2 { Say::Drip } else { books.accept(asked) }).await;
    let ids = world.queue("NL-AAD", 0..2).await;
    // A port that speaks no TLS.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = format!("https://{}", plain.local_addr().unwrap());
    let heard = tokio::spawn(async move {
        let mut heard = Vec::new();
        while heard.len() < 4096 {
            let (mut socket, _) = plain.accept().await.unwrap();
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let _ = socket.read_buf(&mut heard).await;
        }
        heard
    });
    let delivering = world.start(&[emsp("NL-AAD", &server.url), emsp("NL-AAE", &tls)]);
    let to_tls = world.queue("NL-AAE", 0..1).await;
    until("all arrive", || world.in_state(CdrState::Delivered, "NL-AAD") == 2).await;
    until("TLS is tried", || metric("sluis_delivery_attempts_total{recipient=\"NL-AAE\",outcome=\"unreachable\"}") > Some(2.0)).await;
    let heard = heard.await.unwrap();
    delivering.stop(Duration::from_secs(5)).await;
    assert!(!heard.windows(5).any(|bytes| bytes == b"POST " || bytes == b"Token"), "nothing is said in plain text");
    assert_eq!(books.accepted(), ids);
    assert_eq!(world.state(&to_tls[0]), CdrState::Queued);
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let world = World::new();
    let elsewhere = Server::start(|_, _| Say::status(200)).await;
    let target = elsewhere.url.clone();
    let (_, server) = books_of(move |_, _, _| Say::status(307).with("location", target.clone())).await;
    let ids = world.queue("NL-AAF", 0..1).await;
    let delivery = world.delivery(&[emsp("NL-AAF", &server.url)], None);
    let delivering = delivery.start();
    until("it is tried", || server.count() > 3).await;
    assert_eq!(delivery.reservations().len(), 1, "and the operator is told");
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!((elsewhere.count(), world.state(&ids[0])), (0, CdrState::Queued));
}

#[tokio::test]
async fn a_poisonous_cdr_is_set_aside_and_the_rest_flows() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| match Books::id(asked).as_str() {
        "cdr-NL-AAG-00003" => Say::ocpi(200, 2001, Value::Null),
        "cdr-NL-AAG-00005" => Say::status(400),
        _ => books.accept(asked),
    })
    .await;
    let ids = world.queue("NL-AAG", 0..40).await;
    let delivering = world.start(&[emsp("NL-AAG", &server.url)]);
    until("the rest arrives", || world.in_state(CdrState::Delivered, "NL-AAG") == 38).await;
    delivering.stop(Duration::from_secs(5)).await;
    let refused = world.custody.store().cdrs_in(CdrState::Refused, Some("NL-AAG"), 0, 100).unwrap();
    assert_eq!(refused.iter().map(|row| (row.id.as_str(), row.tries)).collect::<Vec<_>>(), [(ids[3].as_str(), 8), (ids[5].as_str(), 8)]);
    let rest: Vec<_> = ids.iter().enumerate().filter(|(n, _)| ![3, 5].contains(n)).map(|(_, id)| id.clone()).collect();
    assert_eq!(books.accepted(), rest);
    // What was refused was seen all the same, and the log says so.
    assert_eq!(world.disclosed("NL-AAG"), ids.into_iter().collect());
}

#[tokio::test]
async fn nothing_leaves_without_an_agreement_that_is_valid_today() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let mut late = emsp("NL-AAH", &server.url);
    late.0.valid = [Some("2026-11-01".into()), Some("2026-11-24".into())];
    let mut early = emsp("NL-AAI", &server.url);
    early.0.valid = [Some("2026-11-25".into()), None];
    let mut pulls = emsp("NL-AAJ", &server.url);
    pulls.0.push = false;
    let first = world.queue("NL-AAH", 0..3).await;
    let parties = [late, early, pulls];
    let delivering = world.start(&parties);
    until("the agreement of today is served", || books.accepted() == first).await;
    // A second after midnight: one has ended, the other begun.
    let held = world.queue("NL-AAI", 0..2).await;
    world.queue("NL-AAJ", 0..2).await;
    world.queue("NL-AAK", 0..2).await;
    until("it is held", || metric("sluis_delivery_held{recipient=\"NL-AAI\",reason=\"agreement\"}") == Some(1.0)).await;
    until("what nobody may have is counted", || metric("sluis_cdr_queue{recipient=\"others\"}") >= Some(2.0)).await;
    until("its age is shown", || metric("sluis_cdr_oldest_seconds{recipient=\"NL-AAI\"}") == Some(60.0)).await;
    assert_eq!(books.accepted(), first);
    world.now.store(NOW + 14 * 3_600_000 + 1000, Ordering::SeqCst);
    let ended = world.queue("NL-AAH", 3..6).await;
    let both: Vec<_> = first.iter().chain(&held).cloned().collect();
    until("the new one is served", || books.accepted() == both).await;
    until("the old one is held", || metric("sluis_delivery_held{recipient=\"NL-AAH\",reason=\"agreement\"}") == Some(1.0)).await;
    // It is extended.
    world.now.store(NOW, Ordering::SeqCst);
    let all: Vec<_> = both.iter().chain(&ended).cloned().collect();
    until("what was held goes on", || books.accepted() == all).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(world.in_state(CdrState::Queued, "NL-AAJ") + world.in_state(CdrState::Queued, "NL-AAK"), 4);
    for nobody in ["NL-AAJ", "NL-AAK"] {
        assert!(world.disclosed(nobody).is_empty());
    }
}

#[tokio::test]
async fn a_dead_party_delays_no_other_and_takes_no_room() {
    let world = World::new();
    let (books, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let (silent, asked) = books_of(|_, _, _| Say::Drip).await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for name in ["NL-AAL", "NL-AAM"] {
        world.queue(name, 0..100).await;
    }
    let parties = [emsp("NL-AAL", &format!("http://{dead}")), emsp("NL-AAM", &asked.url), emsp("NL-AAN", &server.url)];
    let delivering = world.start(&parties);
    let tried = || metric("sluis_delivery_attempts_total{recipient=\"NL-AAL\",outcome=\"unreachable\"}").unwrap_or_default();
    until("the dead one is tried", || tried() > 3.0).await;
    let bytes = world.custody.store().sizes().unwrap().bytes;
    let ids = world.queue("NL-AAN", 0..50).await;
    until("the living one is served", || books.accepted() == ids).await;
    let before = tried();
    until("the dead one is tried on", || tried() > before + 200.0).await;
    // 50 CDRs came in; hundreds of failures left nothing.
    assert!(world.custody.store().sizes().unwrap().bytes < bytes + (200 << 10));
    assert_eq!((world.disclosed("NL-AAL").len(), world.disclosed("NL-AAM").len()), (1, 1), "of a hundred, one was tried");
    assert!(silent.accepted().is_empty());
    // The one that drips is in the middle of an answer: it is abandoned.
    let stopping = std::time::Duration::from_millis(50);
    tokio::time::timeout(Duration::from_secs(3), delivering.stop(stopping)).await.expect("a stop has a limit");
}

#[tokio::test]
async fn a_party_that_asks_for_time_gets_it() {
    let mut world = World::new();
    world.pace.longest_asked = Duration::from_secs(2);
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let (books, server) = books_of(move |n, asked, books| {
        seen.lock().unwrap().push(tokio::time::Instant::now());
        match n {
            0 => Say::status(429).with("retry-after", "1"),
            1 => Say::status(503).with("retry-after", "86400"),
            _ => books.accept(asked),
        }
    })
    .await;
    world.queue("NL-ABH", 0..1).await;
    let delivering = world.start(&[emsp("NL-ABH", &server.url)]);
    until("it arrives", || books.accepted().len() == 1).await;
    delivering.stop(Duration::from_secs(5)).await;
    let times = times.lock().unwrap();
    let waits: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(waits.len() == 2 && waits[0] >= 0.99 && waits[1] >= 1.99 && waits[1] < 30.0, "{waits:?}");
}

#[tokio::test]
async fn a_version_that_the_cdr_is_not_written_in_is_no_way() {
    let world = World::new();
    let (_, server) = books_of(|_, asked, books| books.accept(asked)).await;
    let (recipient, peer) = emsp("NL-ABI", &server.url);
    let ids = world.queue("NL-ABI", 0..1).await;
    let delivering = world.start(&[(recipient, Peer { version: Ocpi::V230, ..peer })]);
    until("it is held", || metric("sluis_delivery_held{recipient=\"NL-ABI\",reason=\"no_way\"}") == Some(1.0)).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!((server.count(), world.state(&ids[0])), (0, CdrState::Queued));
    assert!(world.disclosed("NL-ABI").is_empty());
}

/// Tells the re-executed test binary to be the gateway that gets killed: its data and the e-MSP's URL.
const CHILD: &str = "SLUIS_TEST_DELIVERS";

/// Not a test by itself: delivers until it is killed, when told what and where to.
#[tokio::test]
async fn gateway_that_gets_killed() {
    let Some(told) = std::env::var_os(CHILD) else { return };
    let (dir, url) = told.to_str().unwrap().split_once('|').unwrap();
    let world = World { custody: open(Path::new(dir)), ..World::new() };
    let _delivering = world.start(&[emsp("NL-ABJ", url)]);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_nothing_and_logs_everything() {
    let world = World::new();
    let dice = Mutex::new(Dice(7));
    let (books, server) = books_of(move |_, asked, books| {
        let way = dice.lock().unwrap().roll(6);
        let said = books.accept(asked);
        if way == 0 { Say::Reset } else { said }
    })
    .await;
    let ids = world.queue("NL-ABJ", 0..600).await;
    let told = format!("{}|{}", world.dir.path().display(), server.url);
    let mut kills = 0;
    while world.in_state(CdrState::Delivered, "NL-ABJ") < ids.len() {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "gateway_that_gets_killed", "--nocapture"]).env(CHILD, &told);
        let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        // Killed in the middle of its work, wherever that is: after a random number of further requests.
        let until_kill = server.count() + 20 + (kills * 37) % 60;
        until("it works", || server.count() >= until_kill || world.in_state(CdrState::Queued, "NL-ABJ") == 0).await;
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let disclosed = world.disclosed("NL-ABJ");
        let missing: Vec<_> = books.seen.lock().unwrap().iter().filter(|id| !disclosed.contains(*id)).cloned().collect();
        assert!(missing.is_empty(), "seen by the e-MSP and not in the log: {missing:?}");
    }
    eprintln!("{kills} kills, {} requests for {} CDRs", server.count(), ids.len());
    assert!(kills >= 5);
    assert_eq!(books.accepted(), ids);
    assert_eq!(world.disclosed("NL-ABJ"), ids.into_iter().collect());
}

#[tokio::test]
async fn new_credentials_are_tried_at_once() {
    let mut world = World::new();
    world.pace.slow = Duration::from_secs(3600);
    let (books, server) =
        books_of(|_, asked, books| if asked.headers["authorization"] == "Token better" { books.accept(asked) } else { Say::status(401) })
            .await;
    let ids = world.queue("NL-AAO", 0..2).await;
    let (recipient, peer) = emsp("NL-AAO", &server.url);
    let delivering = world.start(&[(recipient, peer.clone())]);
    until("the old token is refused", || server.count() == 1).await;
    until("it is shown", || metric("sluis_delivery_shut{recipient=\"NL-AAO\"}") == Some(1.0)).await;
    let better = Peer { ours: Some(Sensitive::new("better".into())), raw: true, ..peer };
    Peers::new(Arc::clone(&world.custody)).keep(&better).await.unwrap();
    world.doorbell.parties();
    until("the new one is taken", || books.accepted() == ids).await;
    delivering.stop(Duration::from_secs(5)).await;
}

/// Faults by seed: each request fails in a random way before or after it was processed, the gateway is stopped and started in between, one
/// time with its data opened anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_each_cdr_is_accepted_once_and_in_order() {
    for seed in [1, 20_261_124, 0xDEAD_BEEF] {
        eprintln!("seed {seed}");
        let mut world = World::new();
        world.bounds.whole = Duration::from_millis(400);
        world.pace =
            Pace { first: Duration::from_micros(100), longest: Duration::from_millis(1), slow: Duration::from_micros(200), ..world.pace };
        world.pace.longest_asked = Duration::from_millis(1);
        let dice = Mutex::new(Dice(seed));
        let (books, server) = books_of(move |_, asked, books| {
            let (fails, late, way) = {
                let mut dice = dice.lock().unwrap();
                (dice.roll(10) < 6, dice.roll(2) == 0, dice.roll(400))
            };
            if !fails {
                return books.accept(asked);
            }
            if late {
                books.accept(asked);
            }
            match way {
                0 => Say::Drip,
                1 => Say::Http(201, Vec::new(), vec![b'x'; 2 << 20]),
                2..100 => Say::Reset,
                100..150 => Say::status(500),
                150..200 => Say::status(429).with("retry-after", "7"),
                200..230 => Say::status(401),
                230..260 => Say::status(204),
                260..290 => Say::status(201),
                290..320 => Say::ocpi(200, 3001, Value::Null),
                320..350 => Say::Http(200, Vec::new(), b"{\"status_code\":".to_vec()),
                350..380 => Say::status(302).with("location", "http://127.0.0.1:1/"),
                _ => Say::status(503),
            }
        })
        .await;
        let parties = [emsp("NL-AAP", &server.url), emsp("NL-AAQ", &server.url)];
        let names = ["NL-AAP", "NL-AAQ"];
        let mut ids = [Vec::new(), Vec::new()];
        let mut chance = Dice(seed ^ 0x5555);
        let mut delivering = world.start(&parties);
        for batch in 0..10 {
            for (name, ids) in names.iter().zip(&mut ids) {
                ids.extend(world.queue(name, 25 * batch..25 * batch + 25).await);
            }
            if chance.roll(2) == 0 {
                delivering.stop(Duration::from_millis(chance.roll(3))).await;
                delivering = world.start(&parties);
            }
            if batch == 5 {
                delivering.stop(Duration::ZERO).await;
                drop(std::mem::replace(&mut world.custody, open(tempfile::tempdir().unwrap().path())));
                world.custody = open(world.dir.path());
                delivering = world.start(&parties);
            }
        }
        for name in names {
            until(&format!("seed {seed}: {name} has all"), || world.in_state(CdrState::Delivered, name) == 250).await;
        }
        delivering.stop(Duration::from_secs(5)).await;
        let accepted = books.accepted();
        for (name, ids) in names.iter().zip(&ids) {
            let theirs: Vec<_> = accepted.iter().filter(|id| id.contains(name)).cloned().collect();
            assert_eq!(theirs, *ids, "seed {seed}: {name}");
            assert_eq!(world.disclosed(name), ids.iter().cloned().collect(), "seed {seed}: {name}");
        }
    }
}

/// A small generator: the same seed, the same faults.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

// ── Tokens ────────────────────────────────────────────────────────────────────────────────────────────────

fn token_object(owner: &str, number: usize) -> Value {
    json!({
        "country_code": &owner[..2], "party_id": &owner[3..], "uid": format!("04A2B3C4D5{number:04}"), "type": "RFID",
        "contract_id": format!("NL-XYZ-C4711{number:04}"), "visual_number": format!("VISUAL{number:04}"), "issuer": "Issuer",
        "group_id": format!("GROUP{:04}", number / 2), "valid": true, "whitelist": "ALLOWED", "language": "nl",
        "energy_contract": {"supplier_name": "S", "contract_id": format!("EAN{number:04}")},
        "last_updated": format!("2026-11-23T10:{:02}:00Z", number % 60),
    })
}

fn token(owner: &str, number: usize) -> EmspToken {
    EmspToken::from_object(party(owner), Ocpi::V221, &token_object(owner, number)).unwrap()
}

fn originals(number: usize) -> [String; 5] {
    [
        format!("04A2B3C4D5{number:04}"),
        format!("C4711{number:04}"),
        format!("VISUAL{number:04}"),
        format!("GROUP{:04}", number / 2),
        format!("EAN{number:04}"),
    ]
}

/// A central system: says where its tokens are, and remembers what it was told.
async fn csms(mind: impl Fn(usize, &Asked) -> Option<Say> + Send + Sync + 'static) -> (Server, Arc<Mutex<HashMap<String, Value>>>) {
    let told = Arc::new(Mutex::new(HashMap::new()));
    let book = Arc::clone(&told);
    let server = Server::start(move |n, asked| {
        if let Some(say) = mind(n, asked) {
            return say;
        }
        let here = format!("http://{}", asked.headers["host"]);
        match asked.target.as_str() {
            "/versions" => Say::ocpi(
                200,
                1000,
                json!([{"version": "2.1.1", "url": format!("{here}/old")}, {"version": "2.2.1", "url": format!("{here}/2.2.1")},
                    {"version": "9.9", "url": format!("{here}/new")}]),
            ),
            "/2.2.1" => Say::ocpi(
                200,
                1000,
                json!({"version": "2.2.1", "endpoints": [
                    {"identifier": "tokens", "role": "SENDER", "url": format!("{here}/wrong")},
                    {"identifier": "tokens", "role": "RECEIVER", "url": format!("{here}/2.2.1/tokens/")}]}),
            ),
            target if asked.method == "PUT" => {
                book.lock().unwrap().insert(target.to_owned(), serde_json::from_str(&asked.body).unwrap());
                Say::ocpi(201, 1000, Value::Null)
            }
            _ => Say::status(404),
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn the_central_system_is_told_of_tokens_by_code_and_never_by_an_original() {
    let world = World::new();
    let failures = AtomicU64::new(0);
    let (server, told) = csms(move |_, asked| {
        // Its token goes as it is, and every third PUT fails.
        if asked.headers["authorization"] != format!("Token {CREDENTIAL}") {
            return Some(Say::status(401));
        }
        (asked.method == "PUT" && failures.fetch_add(1, Ordering::SeqCst) % 3 == 1).then(|| Say::status(500))
    })
    .await;
    for number in 0..50 {
        world.custody.vault.keep_token(&token("NL-ABC", number)).await.unwrap();
    }
    let versions = format!("{}/versions", server.url);
    let delivery = world.delivery(&[], Some(&versions));
    let delivering = delivery.start();
    let due = || world.custody.store().tokens_due(u64::MAX >> 1, 1000).unwrap().len();
    let told_now = |round: u64| world.custody.store().tokens_due(round, 1000).unwrap().is_empty();
    let round = NOW as u64 / 86_400_000;
    until("all are told", || told_now(round)).await;
    assert_eq!((told.lock().unwrap().len(), due()), (50, 50));
    for number in 0..50 {
        let token = token("NL-ABC", number);
        let codes = world.custody.vault.token_codes(&token);
        let object = told.lock().unwrap()[&format!("/2.2.1/tokens/NL/ABC/{}?type=RFID", codes.uid)].clone();
        assert_eq!(object["uid"], codes.uid.as_str());
        assert_eq!(object["contract_id"], codes.contract.as_str());
        assert_eq!(object["group_id"], codes.group.unwrap().as_str());
        assert_eq!((&object["valid"], &object["whitelist"], &object["language"]), (&json!(true), &json!("ALLOWED"), &json!("nl")));
        assert_eq!(object["last_updated"], token.updated_text);
        assert_eq!(world.custody.vault.token_of_code(codes.uid.as_str()).unwrap().unwrap().updated_text, token.updated_text);
    }
    // A change is told at once, and nothing else with it.
    let before = server.count();
    let changed = EmspToken { valid: false, ..token("NL-ABC", 7) };
    world.custody.vault.keep_token(&changed).await.unwrap();
    world.doorbell.tokens();
    let code = world.custody.vault.token_codes(&changed).uid;
    let target = format!("/2.2.1/tokens/NL/ABC/{code}?type=RFID");
    until("the change is told", || told.lock().unwrap()[&target]["valid"] == json!(false) && told_now(round)).await;
    assert!(server.count() - before <= 2);
    delivering.stop(Duration::from_secs(5)).await;
    // A restart within the day tells nothing again.
    let before = server.count();
    let delivering = delivery.start();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(server.count(), before);
    // The next day tells all again; a new epoch, too, under new codes.
    world.now.store(NOW + 86_400_000, Ordering::SeqCst);
    until("the next day is told", || told_now(round + 1)).await;
    assert_eq!(told.lock().unwrap().len(), 50);
    world.custody.rotate(Timestamp(NOW)).unwrap();
    until("the new epoch is told", || told_now((1 << 32) + round + 1)).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(told.lock().unwrap().len(), 100);
    for number in 0..50 {
        // In the epoch that was not there when the token was kept.
        let code = world.custody.vault.token_codes(&token("NL-ABC", number)).uid;
        assert!(world.custody.vault.token_of_code(code.as_str()).unwrap().is_some() && world.custody.keys.epoch_of(&code).unwrap().0 == 1);
    }
    for asked in server.asked() {
        let raw = String::from_utf8_lossy(&asked.raw).to_ascii_uppercase();
        for original in (0..50).flat_map(originals) {
            assert!(!raw.contains(&original), "{original} in {}", asked.target);
        }
        if asked.method == "PUT" {
            let routing = ["ocpi-from-country-code", "ocpi-from-party-id", "ocpi-to-country-code", "ocpi-to-party-id"];
            assert_eq!(routing.map(|name| asked.headers[name].as_str()), ["NL", "ABC", "NL", "CPO"]);
        }
    }
    // One disclosure for each token and epoch, however often it was told.
    assert_eq!(world.disclosed("csms").len(), 100);
    let log = world.custody.store().disclosures(None, 0).unwrap();
    assert!(log.iter().all(|row| row.purpose == "charge" && row.subject.is_some()));
    assert_eq!(log[0].fields.split(' ').collect::<HashSet<_>>().len(), 11);
}

#[tokio::test]
async fn tokens_are_pulled_page_by_page_and_on_the_same_origin_only() {
    let world = World::new();
    let evil = Server::start(|_, _| Say::ocpi(200, 1000, json!([]))).await;
    let elsewhere = format!("{}/tokens?page=2", evil.url);
    let lured: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    let server = Server::start(move |_, asked| {
        let query: HashMap<_, _> = asked.target.split_once('?').unwrap().1.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let offset: usize = query["offset"].parse().unwrap();
        let mut page: Vec<Value> = (offset..(offset + 10).min(25)).map(|number| token_object("NL-ABD", number)).collect();
        if query.contains_key("date_from") {
            page.clear();
        }
        if offset == 10 {
            page.push(json!({"uid": 5}));
            page.push(json!("nonsense"));
            page.push(token_object("NL-XXX", 999));
        }
        let here = format!("http://{}/tokens", asked.headers["host"]);
        let next = if lured.load(Ordering::SeqCst) { elsewhere.clone() } else { format!("{here}?offset={}&limit=10", offset + 10) };
        let say = Say::ocpi(200, 1000, Value::Array(page)).with("x-total-count", "25").with("x-limit", "10");
        match offset {
            _ if query.contains_key("date_from") && !lured.load(Ordering::SeqCst) => say.with("x-total-count", "0"),
            0 | 10 => say.with("link", format!("<{next}>; rel=\"next\"")),
            _ => say,
        }
    })
    .await;
    let (recipient, mut peer) = emsp("NL-ABD", &server.url);
    peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
    let delivering = world.start(&[(recipient, peer)]);
    let mark = || world.custody.store().mark("tokens NL-ABD").unwrap();
    until("the pull ends", || mark() > 0).await;
    assert_eq!(world.custody.store().sizes().unwrap().tokens, 25);
    let newest = sluis::ocpi::token::moment("2026-11-23T10:24:00Z").unwrap();
    assert_eq!(mark(), newest.0 as u64);
    let there = world.custody.vault.token(&party("NL-ABD"), &Sensitive::new("04:A2:B3:C4:D5:00:24".into()), None).unwrap().unwrap();
    assert_eq!(there.updated, newest);
    until("it goes on from there", || server.asked().last().unwrap().target.contains("date_from=2026-11-23T10%3A24%3A00Z")).await;
    lured.store(true, Ordering::SeqCst);
    world.doorbell.parties();
    let garbage = "sluis_token_pulls_total{recipient=\"NL-ABD\",outcome=\"garbage\"}";
    until("a page elsewhere is not fetched", || metric(garbage) > Some(0.0)).await;
    delivering.stop(Duration::from_secs(5)).await;
    assert_eq!(evil.count(), 0);
    assert!(metric("sluis_tokens_pulled_total{recipient=\"NL-ABD\",outcome=\"skipped\"}") >= Some(3.0));
}

#[tokio::test]
async fn an_owner_is_asked_with_its_own_identifier_and_nobody_else_is() {
    let world = World::new();
    let server = Server::start(|n, _| match n {
        0 => Say::ocpi(200, 1000, json!({"allowed": "ALLOWED", "authorization_reference": "ref-1", "info": {"text": "J. Jansen"}})),
        1 => Say::ocpi(404, 2004, Value::Null),
        _ => Say::status(500),
    })
    .await;
    let with_tokens = |name: &str| {
        let (recipient, mut peer) = emsp(name, &server.url);
        peer.endpoints = vec![Endpoint { module: "tokens".into(), role: "SENDER".into(), url: format!("{}/tokens", server.url) }];
        (recipient, peer)
    };
    let mut ended = with_tokens("NL-ABF");
    ended.0.valid = [None, Some("2026-11-23".into())];
    let delivery = world.delivery(&[with_tokens("NL-ABE"), ended], None);
    let mine = token("NL-ABE", 1);
    let location = json!({"location_id": "LOC1", "evse_uids": ["1"]});
    let said = delivery.authorize(&mine, Some(&location)).await.unwrap();
    assert_eq!((said.allowed, said.reference.as_deref()), ("ALLOWED", Some("ref-1")));
    assert_eq!(delivery.authorize(&mine, None).await, Err(Trouble::Ocpi(2004)));
    assert_eq!(delivery.authorize(&mine, None).await, Err(Trouble::Http(500)));
    assert_eq!(delivery.authorize(&token("NL-ABF", 2), None).await, Err(Trouble::NoWay), "its agreement has ended");
    assert_eq!(delivery.authorize(&token("NL-ABG", 3), None).await, Err(Trouble::NoWay), "nobody knows it");
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].method.as_str()), (3, "POST"));
    assert_eq!(asked[0].target, "/tokens/04A2B3C4D50001/authorize?type=RFID");
    assert_eq!((serde_json::from_str::<Value>(&asked[0].body).unwrap(), asked[1].body.as_str()), (location, ""));
    let log = world.custody.store().disclosures(None, 0).unwrap();
    assert_eq!(log.len(), 3);
    assert_eq!(
        (log[0].recipient.as_str(), log[0].purpose.as_str(), log[0].fields.as_str()),
        ("NL-ABE", "charge", "uid evse_uids location_id")
    );
    assert!(log.iter().all(|row| row.subject == world.custody.vault.subject(world.custody.vault.token_codes(&mine).uid.as_str())));
}

/// The whole gateway, from a configuration file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_delivers_what_its_configuration_says() {
    let (books, server) = books_of(|_, asked, books| {
        if asked.method == "GET" {
            return Say::ocpi(200, 1000, json!([token_object("NL-ABK", 1)]));
        }
        books.accept(asked)
    })
    .await;
    let (csms_server, told) = csms(|_, _| None).await;
    let world = World::new();
    let ids = world.queue("NL-ABK", 0..3).await;
    let dir = world.dir.path();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).display().to_string()
    };
    let theirs = file("theirs.token", "credentials-token-4711\n");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\ndata_dir = {dir:?}\n[upstream]\nurl = \"ws://127.0.0.1:1\"\n\
         [cpo]\nparty = \"NL-CPO\"\n[ocpi]\nlisten = \"127.0.0.1:0\"\ncsms_url = \"{0}/versions\"\ncsms_token_file = {theirs:?}\n\
         [[emsp]]\nparty = \"NL-ABK\"\nagreement = \"1\"\ncdrs_url = \"{1}/cdrs\"\ntokens_url = \"{1}/tokens\"\n\
         their_token_file = {theirs:?}\ntoken_form = \"raw\"\n",
        csms_server.url, server.url
    );
    let flags = Flags { config: Some(file("sluis.toml", &text).into()), values: Vec::new() };
    let config = Config::read(&flags, &|_| None).unwrap();
    let mut broken = config.clone();
    broken.emsps[0].their_token_file = Some(dir.join("absent"));
    let Err(StartError::Config(mistakes)) = Serving::start(&broken).await else { panic!("it started without a token") };
    assert_eq!(mistakes, ["emsp[0].their_token_file: cannot be read"]);
    let serving = Serving::start(&config).await.unwrap();
    until("the CDRs arrive", || world.in_state(CdrState::Delivered, "NL-ABK") == 3).await;
    until("the token is told", || told.lock().unwrap().len() == 1).await;
    serving.stop().await;
    assert_eq!(books.accepted(), ids);
    assert!(server.asked().iter().all(|asked| asked.headers["authorization"] == "Token credentials-token-4711"));
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_words_of_ours() {
    let server = Server::start(|n, _| match n {
        0 => Say::Http(200, Vec::new(), b"secret 4711".to_vec()),
        1 => Say::ocpi(400, 2001, json!("secret 4711")),
        2 => Say::status(418),
        3 => Say::Http(200, Vec::new(), vec![b'4'; 2 << 20]),
        4 => Say::Http(200, vec![("x-huge", "4711".repeat(40_000))], Vec::new()),
        5 => Say::status(302).with("location", "https://elsewhere.example/4711"),
        _ => Say::Reset,
    })
    .await;
    let client = client(Bounds::default());
    let token = Sensitive::new(CREDENTIAL.to_owned());
    let pass = Pass { token: &token, raw: false, version: Ocpi::V221, from: None, to: None };
    let url = joined(&server.url, &["04A2B3C4711"]);
    let mut troubles = Vec::new();
    for _ in 0..7 {
        troubles.push(client.get(&url, &pass).await.unwrap_err());
    }
    let expected = [
        Trouble::Garbage,
        Trouble::Ocpi(2001),
        Trouble::Http(418),
        Trouble::TooLarge,
        Trouble::Unreachable,
        Trouble::Http(302),
        Trouble::Unreachable,
    ];
    assert_eq!(troubles, expected);
    for trouble in troubles {
        assert!(!format!("{trouble} {trouble:?} {}", trouble.code()).contains("4711"));
    }
    for url in ["http://emsp.example/x", "ftp://127.0.0.1/", "nonsense", "https://u@127.0.0.1/"] {
        assert_eq!(client.get(url, &pass).await.unwrap_err(), Trouble::Address, "{url}");
    }
    assert!(!server.asked()[0].headers.contains_key("ocpi-from-party-id"), "modules that are not routed carry no parties");
}
