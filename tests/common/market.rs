//! A gateway's data without its stations, and e-MSPs with books: what the tests of delivery share.

pub use super::party::{Asked, Party as Server, Say};
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

/// 2026-11-24T20:00:00Z
pub const NOW: i64 = 1_795_514_400_000 + 36_000_000;
pub const CREDENTIAL: &str = "credentials-token-4711";

pub fn quick() -> Pace {
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
        whole: Duration::from_secs(86_400),
        refusals: 8,
        doubts: 8,
    }
}

/// A gateway's data and clock.
pub struct World {
    pub dir: tempfile::TempDir,
    pub custody: Arc<Custody>,
    pub now: Arc<AtomicI64>,
    pub doorbell: Doorbell,
    pub pace: Pace,
    pub bounds: Bounds,
}

impl World {
    pub fn new() -> Self {
        Metrics::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let custody = open(dir.path());
        let bounds = Bounds { whole: Duration::from_secs(30), ..Bounds::default() };
        Self { dir, custody, now: Arc::new(AtomicI64::new(NOW)), doorbell: Doorbell::new(), pace: quick(), bounds }
    }

    pub fn delivery(&self, parties: &[(Recipient, Peer)], csms: Option<&str>) -> Delivery {
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

    pub fn start(&self, parties: &[(Recipient, Peer)]) -> Delivering {
        self.delivery(parties, None).start()
    }

    /// Queues CDRs of one owner; gives back their ids in order.
    pub async fn queue(&self, owner: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
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

    pub fn state(&self, id: &str) -> CdrState {
        self.custody.store().cdr(id).unwrap().unwrap().state
    }

    pub fn in_state(&self, state: CdrState, owner: &str) -> usize {
        self.custody.store().cdrs_in(state, Some(owner), 0, 1000).unwrap().len()
    }

    /// The references of what was disclosed to somebody.
    pub fn disclosed(&self, to: &str) -> HashSet<String> {
        let (mut all, mut after) = (HashSet::new(), 0);
        loop {
            let rows = self.custody.store().disclosures(None, after).unwrap();
            let Some(last) = rows.last() else { return all };
            after = last.seq;
            all.extend(rows.into_iter().filter(|row| row.recipient == to).map(|row| row.reference));
        }
    }
}

pub fn open(dir: &Path) -> Arc<Custody> {
    Arc::new(Custody::open(dir, None, &Opening::new(Role::Beside, Timestamp(NOW))).unwrap())
}

pub fn client(bounds: Bounds) -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    Client::bounded(tls, Party::parse("NL-CPO"), false, bounds)
}

pub fn party(text: &str) -> Party {
    Party::parse(text).unwrap()
}

/// A recipient whose modules are all below one URL.
pub fn emsp(name: &str, url: &str) -> (Recipient, Peer) {
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
pub struct Books {
    pub order: Mutex<Vec<String>>,
    pub bodies: Mutex<HashMap<String, String>>,
    pub seen: Mutex<HashSet<String>>,
}

impl Books {
    pub fn id(asked: &Asked) -> String {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        body["id"].as_str().unwrap().to_owned()
    }

    pub fn see(&self, asked: &Asked) {
        if asked.method == "GET" {
            return;
        }
        self.seen.lock().unwrap().insert(Self::id(asked));
    }

    /// Books a CDR and says so.
    pub fn accept(&self, asked: &Asked) -> Say {
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

    pub fn accepted(&self) -> Vec<String> {
        self.order.lock().unwrap().clone()
    }
}

/// Waits until something is so; the bound only ends a test that has failed.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..15_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}

pub fn metric(line: &str) -> Option<f64> {
    let page = Metrics::install().unwrap().render();
    page.lines().find_map(|l| l.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok())
}

/// All that this thread logs from now on, at every level, of every library.
pub fn log() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
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
    // Somebody always listens: a place that logs for the first time while nobody does may otherwise be left out for good, if that is just when
    // another test begins to listen.
    static ALWAYS: std::sync::Once = std::sync::Once::new();
    ALWAYS.call_once(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::sink);
        let _ = tracing::subscriber::set_global_default(all.finish());
    });
    let lines = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&lines);
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || Lines(Arc::clone(&theirs)));
    (lines, tracing::subscriber::set_default(subscriber.finish()))
}

pub async fn books_of(say: impl Fn(usize, &Asked, &Books) -> Say + Send + Sync + 'static) -> (Arc<Books>, Server) {
    let books = Arc::new(Books::default());
    let theirs = Arc::clone(&books);
    let server = Server::start(move |n, asked| {
        theirs.see(asked);
        say(n, asked, &theirs)
    })
    .await;
    (books, server)
}

/// A small generator: the same seed, the same faults.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub fn token_object(owner: &str, number: usize) -> Value {
    json!({
        "country_code": &owner[..2], "party_id": &owner[3..], "uid": format!("04A2B3C4D5{number:04}"), "type": "RFID",
        "contract_id": format!("NL-XYZ-C4711{number:04}"), "visual_number": format!("VISUAL{number:04}"), "issuer": "Issuer",
        "group_id": format!("GROUP{:04}", number / 2), "valid": true, "whitelist": "ALLOWED", "language": "nl",
        "energy_contract": {"supplier_name": "S", "contract_id": format!("EAN{number:04}")},
        "last_updated": format!("2026-11-23T10:{:02}:00Z", number % 60),
    })
}

pub fn token(owner: &str, number: usize) -> EmspToken {
    EmspToken::from_object(party(owner), Ocpi::V221, &token_object(owner, number)).unwrap()
}
