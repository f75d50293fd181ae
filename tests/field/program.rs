//! The program itself: signals, and a machine that gives it few file descriptors.

use crate::wire::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sluis::gateway::credentials::PasswordHash;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        Self::start_in(dir, before, upstream, log.into()).await
    }

    /// Starts it with a file of passwords for CS-1.
    async fn with_passwords(upstream: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let passwords = dir.path().join("passwords");
        std::fs::write(&passwords, format!("station,hash\nCS-1,{}\n", PasswordHash::make(PASSWORD, 1000).unwrap())).unwrap();
        std::fs::set_permissions(&passwords, Permissions::from_mode(0o600)).unwrap();
        std::fs::write(dir.path().join("sluis.toml"), format!("[stations]\npasswords_file = {passwords:?}\n")).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        Self::start_in(dir, ":", upstream, log.into()).await
    }

    /// Starts it with a directory of its own, where a configuration may lie, and with its log going to `log`.
    async fn start_in(dir: tempfile::TempDir, before: &str, upstream: SocketAddr, log: Stdio) -> Self {
        let (door, admin) = (free_port(), free_port());
        let (config, data) = (dir.path().join("sluis.toml"), dir.path().join("data"));
        OpenOptions::new().append(true).create(true).open(&config).unwrap();
        let command = format!(
            "{before}; exec \"$0\" serve --config \"$1\" --listen {door} --admin {admin} --upstream ws://{upstream}/csms --data-dir \"$2\""
        );
        let child = Command::new("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_sluis")])
            .args([config, data])
            .stdout(log)
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
        self.signal("-TERM");
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    fn passwords(&self) -> PathBuf {
        self.dir.path().join("passwords")
    }

    /// Puts a pipe in place of the passwords. Whoever reads it waits for as long as what is returned is kept.
    fn hang_passwords(&self) -> File {
        let pipe = self.dir.path().join("pipe");
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
        let held = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        std::fs::rename(pipe, self.passwords()).unwrap();
        held
    }

    /// Whether it has a file open.
    fn has_open(&self, file: &Path) -> bool {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        open.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == file))
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

const PASSWORD: &[u8] = b"a password that is long enough";
/// What a stop may take here, with a margin for a busy machine: nobody is connected who would have to be waited for.
const SOON: Duration = Duration::from_secs(8);
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

/// Regression: a process that was stopped for a while (a machine that was moved, a debugger) found everybody silent when it went on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_heard_because_the_process_was_frozen_stays() {
    let csms = Csms::start(|_, head| first(head)).await;
    let program = Program::start("export SLUIS_STATIONS__PING_SECONDS=1", csms.address).await;
    let mut stations = Vec::new();
    for n in 0..4 {
        stations.push(program.station(&format!("CS-{n}")).await.talk().await);
    }
    for station in &stations {
        station.works().await;
    }
    program.signal("-STOP");
    // Longer than anybody may be silent (2.6 s). It is the time itself that matters.
    tokio::time::sleep(Duration::from_secs(4)).await;
    program.signal("-CONT");
    for station in &stations {
        station.works().await;
    }
    // A whole look at all of them later they are still there.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for station in &stations {
        station.works().await;
        assert!(station.closed().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_the_log_that_stalls_delays_no_station_and_no_stop() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::start_in(tempfile::tempdir().unwrap(), ":", csms.address, Stdio::piped()).await;
    let standing = program.station("CS-standing").await.talk().await;
    // Two lines each: several times what the pipe holds.
    for n in 0..600 {
        let station = program.station(&format!("CS-{n}")).await;
        assert_eq!(station.head.status(), 101, "station {n}");
    }
    standing.works().await;
    assert_eq!(program.page("/readyz").0, 200);
    assert!(program.page("/metrics").1.contains("\nsluis_log_lines_lost_total 0\n"), "so few lines wait, and none is lost");
    program.terminate();
    assert!(program.ends(SOON).await);
    assert!(program.child.wait().unwrap().success());
    let mut read = String::new();
    program.child.stdout.take().unwrap().read_to_string(&mut read).unwrap();
    assert!(read.contains("connection opened") && !read.contains("stopped"), "the pipe was full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_logged_to_its_last_line() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::start(":", csms.address).await;
    program.terminate();
    assert!(program.ends(SOON).await);
    let log = std::fs::read_to_string(program.dir.path().join("log")).unwrap();
    assert!(log.lines().last().is_some_and(|line| line.contains("\"stopped\"")), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_hangs_during_a_reload_does_not_keep_the_program_from_stopping() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::with_passwords(csms.address).await;
    let _held = program.hang_passwords();
    program.signal("-HUP");
    until("it waits for the file", || program.has_open(&program.passwords())).await;
    program.terminate();
    assert!(program.ends(SOON).await);
    assert!(program.child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_hangs_while_it_is_watched_does_not_keep_the_program_from_stopping() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::with_passwords(csms.address).await;
    let _held = program.hang_passwords();
    until("it looks at the file, which has changed, and waits for it", || program.has_open(&program.passwords())).await;
    program.terminate();
    assert!(program.ends(SOON).await);
    assert!(program.child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_hangs_does_not_keep_a_second_signal_from_ending_the_program_at_once() {
    let csms = Csms::start(|_, head| first(head)).await;
    let mut program = Program::with_passwords(csms.address).await;
    let credentials = [b"CS-1:", PASSWORD].concat();
    let authorization = format!("Authorization: Basic {}", STANDARD.encode(credentials));
    let asks = request("/CS-1", &["Sec-WebSocket-Protocol: ocpp1.6", &authorization]);
    // A call that is never answered keeps the stop waiting.
    let station = Station::knock(program.door, &asks).await.talk().await;
    station.send(START);
    until("it is outstanding", || csms.texts().len() == 1).await;
    let _held = program.hang_passwords();
    program.signal("-HUP");
    until("it waits for the file", || program.has_open(&program.passwords())).await;
    program.terminate();
    until("it is not ready", || program.page("/readyz").0 == 503).await;
    assert!(station.closed().is_none() && !program.ends(Duration::from_millis(300)).await, "it waits for the answer");
    program.terminate();
    assert!(program.ends(Duration::from_secs(1)).await, "the second signal ends it");
}
