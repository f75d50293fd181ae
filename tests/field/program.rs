//! The program itself: signals, and a machine that gives it few file descriptors.

use crate::wire::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

struct Program {
    child: Child,
    door: SocketAddr,
    admin: SocketAddr,
    dir: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Program {
    /// Starts it from a shell that has said `before`.
    async fn start(before: &str, upstream: SocketAddr) -> Self {
        let (door, admin, dir) = (free_port(), free_port(), tempfile::tempdir().unwrap());
        let command =
            format!("{before}; exec \"$0\" serve --listen {door} --admin {admin} --upstream ws://{upstream}/csms --data-dir \"$1\"");
        let child = Command::new("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_sluis")])
            .arg(dir.path().join("data"))
            .stdout(std::fs::File::create(dir.path().join("log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self { child, door, admin, dir };
        until("it is ready", || program.page("/readyz").0 == 200).await;
        program
    }

    /// A page of the admin port; status 0 if it cannot be reached.
    fn page(&self, path: &str) -> (u16, String) {
        let ask = || -> std::io::Result<String> {
            let mut socket = std::net::TcpStream::connect(self.admin)?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())?;
            let mut text = String::new();
            socket.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().unwrap_or_default();
        (text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default(), text)
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    async fn ends(&mut self, patience: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < patience {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    async fn station(&self, id: &str) -> Station {
        Station::knock(self.door, &request(&format!("/{id}"), &["Sec-WebSocket-Protocol: ocpp1.6"])).await
    }
}

const START: &str =
    r#"[2,"t","StartTransaction",{"connectorId":1,"idTag":"04A2B3C4D5E6F7","meterStart":0,"timestamp":"2026-11-24T10:00:00Z"}]"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_05_drain_is_told_before_anybody_is_sent_away_and_a_second_signal_ends_at_once() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::start(":", csms.address).await;
    // A call that is never answered keeps the stop waiting.
    let station = program.station("CS-1").await.talk().await;
    station.send(START);
    until("it is outstanding", || csms.texts().len() == 1).await;
    program.terminate();
    until("it is not ready", || program.page("/readyz").0 == 503).await;
    assert!(std::net::TcpStream::connect(program.door).is_err(), "and lets nobody in");
    assert!(station.closed().is_none() && !program.ends(Duration::from_millis(300)).await, "but does not end yet");
    program.terminate();
    assert!(program.ends(Duration::from_secs(1)).await, "the second signal ends it");
}

/// A balancer that honours readiness sends no station, and without stations nothing is written that would show that the store works again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_comes_back_with_the_store_though_no_station_comes() {
    let csms = Csms::start(|_, head| first(head)).await;
    let program = Program::start(":", csms.address).await;
    let station = program.station("CS-1").await.talk().await;
    let lock = rusqlite::Connection::open(program.dir.path().join("data").join(sluis::store::DATABASE)).unwrap();
    lock.busy_timeout(Duration::from_secs(5)).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    station.send(START);
    until("it is not ready", || program.page("/readyz").0 == 503).await;
    drop(station);
    lock.execute_batch("ROLLBACK").unwrap();
    until("it is ready again", || program.page("/readyz").0 == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_of_file_descriptors() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::start("ulimit -n 96", csms.address).await;
    // Half are kept for all else, and a connection takes two.
    let room = 96 / 2 / 2;
    let mut stations = Vec::new();
    for n in 0..room {
        let station = program.station(&format!("CS-{n}")).await;
        assert_eq!(station.head.status(), 101, "station {n}");
        stations.push(station.talk().await);
    }
    let over = program.station("CS-over").await;
    assert_eq!(over.head.status(), 503, "one more than there are descriptors for");
    assert!(program.page("/metrics").1.contains("ocpp_connections_refused_total{reason=\"no_descriptors\"} 1"));
    // So many at once that even accepting them takes more descriptors than there are.
    let idle: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(program.door).unwrap()).collect();
    for station in &stations {
        station.works().await;
    }
    drop(idle);
    drop(stations.pop());
    let start = Instant::now();
    let again = loop {
        let station = program.station("CS-again").await;
        if station.head.status() == 101 {
            break station.talk().await;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it never recovered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    again.works().await;
    for station in &stations {
        station.works().await;
    }
    program.terminate();
    assert!(program.ends(Duration::from_secs(20)).await);
    let log = std::fs::read_to_string(program.dir.path().join("log")).unwrap();
    assert!(log.contains("no_descriptors") && log.contains("127.0.0.0/24") && log.contains("LimitNOFILE"));
    let arrivals: String = log.lines().filter(|line| line.contains("connection ")).collect();
    assert!(!arrivals.contains("CS-") && !arrivals.contains("127.0.0.1"), "neither an id nor an address is logged");
}
