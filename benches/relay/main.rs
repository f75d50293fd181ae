//! What the whole gateway costs, in pairs: the same stations and the same central system with nothing between them, with nginx, with
//! HAProxy, with a naive relay and with Sluis, in one run and in turns.
//!
//! `cargo bench --bench relay` prints Markdown tables: CPU per exchange (a CALL and its answer), latency at a fixed rate, new connections a
//! second, and resident memory per connection. What is measured runs alone on core 1 and everything else on core 0, where there are two
//! cores and `taskset`. Options after `--`: `quick` (a short round that shows that it works), any of `cpu`, `latency`, `setup`, `memory` to do
//! only these, any of `nginx`, `haproxy`, `naive`, `sluis` to measure only these, `plain` or `tls`, and `unbilled` to have stations say nothing
//! that waits for the disk. Done only if asked for, and then alone: `growth` draws charts of what becomes of cost as load, connections and
//! stored rows grow into docs/performance, `storm` has thousands of stations come back at once, `durable` counts acknowledged facts.
//! nginx and HAProxy are measured where they are installed.

mod durable;
mod growth;
mod load;
mod naive;
mod process;
mod proxies;
mod storm;
mod traffic;
mod wire;

use load::Way;
use process::pinned;
use proxies::Proxy;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use traffic::Says;

/// Stations that never wait: few, and enough that some are always ready while others wait for the disk.
const LOADS: [usize; 2] = [32, 256];
/// Stations at a fixed rate, and exchanges of each in a second: 2,000 together.
const CALM: (usize, u32) = (40, 50);
/// Connections that one process of the bench holds: machines often allow 20,000 descriptors, and the proxy needs two a station.
const MOST_HELD: usize = 9_700;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let word = |at: usize| arguments.get(at).map_or("", String::as_str);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match word(0) {
        "naive" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = listen().await;
                naive::serve(listener, word(1).parse().expect("an address")).await;
            });
        }
        "csms" => runtime().block_on(async {
            let listener = listen().await;
            load::csms(listener, arguments.get(1).map(|dir| proving(Path::new(dir)))).await;
        }),
        "hold" => runtime().block_on(hold(&arguments[1..])),
        "run" => runtime().block_on(run(&arguments[1..])),
        _ => {
            // Once more, on the other core than what is measured.
            let program = std::env::current_exe().expect("a program has a path");
            let status = pinned(&program.display().to_string(), 0).arg("run").args(&arguments).status().expect("this program starts");
            assert!(status.success(), "the bench failed");
        }
    }
}

/// Binds a port and tells it to the parent.
#[expect(clippy::print_stdout, reason = "tells its parent where it listens")]
async fn listen() -> TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let listener = socket.listen(4096).expect("a listener");
    println!("{}", listener.local_addr().expect("an address"));
    listener
}

/// The child that holds connections. Its arguments: where to, the first number, how many, from which address, `used` or `idle`, and for
/// TLS the directory of the certificate.
#[expect(clippy::print_stdout, reason = "tells its parent that all are there")]
async fn hold(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<usize>().expect("a number");
    let tls = arguments.get(5).map(|dir| trusting(Path::new(dir), true));
    let way = Way { tls, ..Way::plain(arguments[0].parse().expect("an address")) };
    let mut held = Vec::new();
    for station in number(1)..number(1) + number(2) {
        let mut station = way.station_from(station, number(3) as u8).await.expect("a station connects");
        if arguments[4] == "used" {
            station.session().await.expect("a session");
        } else {
            station.exchange().await.expect("an exchange");
        }
        held.push(station);
    }
    println!("held");
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.expect("a thread").expect("a pipe");
}

/// A child that is killed when dropped.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this program again on core 0 and reads its first line.
fn helper(arguments: &[&str]) -> (Helper, String) {
    let program = std::env::current_exe().expect("a program has a path");
    let mut child = pinned(&program.display().to_string(), 0)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    (Helper(child), line.trim().to_owned())
}

/// A server that shows the certificate of the bench in `dir`.
fn proving(dir: &Path) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject;
    let cert = rustls::pki_types::CertificateDer::from_pem_file(dir.join("cert.pem")).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(dir.join("key.pem")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    Arc::new(config.with_no_client_auth().with_single_cert(vec![cert], key).expect("a pair"))
}

/// A client that trusts the certificate of the bench in `dir`, and resumes its sessions or not.
fn trusting(dir: &Path, resumes: bool) -> Arc<rustls::ClientConfig> {
    let pem = dir.join("cert.pem");
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_file_iter(pem).expect("a certificate") {
        roots.add(certificate.expect("a certificate")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(config)
}

/// All that stand between, plain or with TLS.
fn proxies(upstream: SocketAddr, dir: &Path, tls: bool) -> Vec<Proxy> {
    let mut all = Vec::new();
    if !tls {
        all.push(Proxy { name: "nothing", word: "", listen: upstream, tls, process: None });
    }
    all.extend(proxies::nginx(upstream, dir, tls));
    all.extend(proxies::haproxy(upstream, dir, tls));
    if !tls {
        all.push(proxies::naive(upstream));
    }
    all.push(proxies::sluis(upstream, dir, tls));
    all
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn part(sorted: &[f64], part: f64) -> f64 {
    sorted.get((sorted.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

/// What was measured of one proxy, round by round.
#[derive(Default)]
struct Column {
    /// Of few and of many stations.
    rate: [Vec<f64>; 2],
    cpu: [Vec<f64>; 2],
    /// Of messages that no bill needs, and of those that one may: three parts each.
    latency: [[Vec<f64>; 3]; 2],
    setups: SetUps,
    /// With TLS that does not resume.
    full_setups: SetUps,
}

/// Connections that were set up and ended, round by round.
#[derive(Default)]
struct SetUps {
    per_second: Vec<f64>,
    /// Of one set up, and of one ended, in microseconds.
    cpu: [Vec<f64>; 2],
}

impl SetUps {
    fn take(&mut self, (per_second, cpu): (f64, [f64; 2])) {
        self.per_second.push(per_second);
        self.cpu.iter_mut().zip(cpu).for_each(|(all, one)| all.push(one));
    }
}

/// Sets up connections through a proxy, then ends them all and waits until nobody holds one any more. Returns how many it was a second, and what
/// the setting up and the ending of one took of the proxy.
async fn set_up(way: &Way, proxy: &Proxy, csms: u32, time: Duration) -> (f64, [f64; 2]) {
    let cpu = || proxy.process.as_ref().map_or(f64::NAN, process::Process::cpu);
    let open = || process::descriptors(&[csms]) + proxy.process.as_ref().map_or(0, process::Process::descriptors);
    let (idle, before) = (open(), cpu());
    let (rate, held) = load::connections(way, time).await;
    let during = cpu();
    drop(held);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    // A few may be files that the proxy has opened meanwhile.
    while open() > idle + 16 {
        assert!(tokio::time::Instant::now() < deadline, "connections stay when their stations have gone");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let count = rate.count as f64;
    (rate.per_second, [(during - before) / count, (cpu() - during) / count])
}

#[expect(clippy::print_stdout, reason = "a bench prints its tables")]
async fn run(words: &[String]) {
    let quick = words.iter().any(|word| word == "quick");
    let chosen = |from: &[&str], what: &str| {
        let only: Vec<&str> = words.iter().map(String::as_str).filter(|w| from.contains(w)).collect();
        only.is_empty() || only.contains(&what)
    };
    let does = |what: &str| chosen(&["cpu", "latency", "setup", "memory"], what);
    let (rounds, time) = if quick { (1, Duration::from_secs(1)) } else { (5, Duration::from_secs(3)) };
    let dir = tempfile::tempdir().expect("a directory");
    certificate(dir.path());
    let (csms, line) = helper(&["csms"]);
    let upstream: SocketAddr = line.parse().expect("an address");
    println!("{rounds} rounds of {} s in turns, medians; a machine with {}.", time.as_secs(), growth::machine());
    let has = |what: &str| words.iter().any(|word| word == what);
    let says = if has("unbilled") { Says::Unbilled } else { Says::All };
    if has("growth") {
        return growth::run(upstream, dir.path(), Path::new("docs/performance"), quick).await;
    }
    if has("storm") {
        return storm::run(upstream, dir.path(), quick).await;
    }
    if has("durable") {
        return durable::run(upstream, dir.path(), quick).await;
    }
    let measures = ["cpu", "latency", "setup"].into_iter().any(does);
    for tls in [false, true].into_iter().filter(|_| measures).filter(|tls| chosen(&["plain", "tls"], if *tls { "tls" } else { "plain" })) {
        let mut all = proxies(upstream, dir.path(), tls);
        all.retain(|proxy| proxy.process.is_none() || chosen(&["nginx", "haproxy", "naive", "sluis"], proxy.word));
        let mut columns: Vec<Column> = all.iter().map(|_| Column::default()).collect();
        let ways: Vec<Way> =
            all.iter().map(|p| Way { tls: p.tls.then(|| trusting(dir.path(), true)), says, ..Way::plain(p.listen) }).collect();
        for way in &ways {
            // Once, so that cards are known and code is warm.
            load::saturate(way, 2, Duration::from_millis(200)).await;
        }
        for _ in 0..rounds {
            for ((proxy, way), column) in all.iter().zip(&ways).zip(&mut columns) {
                let cpu = || proxy.process.as_ref().map_or(f64::NAN, process::Process::cpu);
                if does("cpu") {
                    for (at, stations) in LOADS.into_iter().enumerate() {
                        let before = cpu();
                        let rate = load::saturate(way, stations, time).await;
                        column.cpu[at].push((cpu() - before) / rate.count as f64);
                        column.rate[at].push(rate.per_second);
                    }
                }
                if does("latency") {
                    let latencies = load::paced(way, CALM.0, CALM.1, time).await;
                    for (parts, latencies) in column.latency.iter_mut().zip(latencies) {
                        for (at, p) in [0.5, 0.99, 0.999].into_iter().enumerate() {
                            parts[at].push(part(&latencies, p));
                        }
                    }
                }
                if does("setup") {
                    column.setups.take(set_up(way, proxy, csms.0.id(), time).await);
                    if proxy.tls {
                        let way = Way { tls: Some(trusting(dir.path(), false)), ..way.clone() };
                        column.full_setups.take(set_up(&way, proxy, csms.0.id(), time).await);
                    }
                }
            }
        }
        println!("\n### {}\n", if tls { "TLS towards stations, plain towards the central system" } else { "Plain" });
        print!("{}", table(&all, &columns));
    }
    if does("memory") {
        memory(dir.path(), quick, &|word| chosen(&["nginx", "haproxy", "sluis"], word));
    }
}

/// One row a measure, one column a proxy; costs also as a multiple of nginx's.
fn table(all: &[Proxy], columns: &[Column]) -> String {
    let mut text = String::from("| |");
    for proxy in all {
        let _ = write!(text, " {} |", proxy.name);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(all.len()));
    text.push('\n');
    let nginx = all.iter().position(|p| p.name == "nginx");
    let mut row = |name: &str, of: &dyn Fn(&Column) -> Vec<f64>, digits: usize, ratio: bool| {
        let values: Vec<f64> = columns.iter().map(|c| median(of(c))).collect();
        if values.iter().all(|v| v.is_nan()) {
            return;
        }
        let _ = write!(text, "| {name} |");
        for value in &values {
            let _ = match (value.is_nan(), nginx.map(|at| values[at]).filter(|_| ratio)) {
                (true, _) => write!(text, " – |"),
                (false, Some(nginx)) => write!(text, " {value:.digits$} ({:.2}×) |", value / nginx),
                (false, None) => write!(text, " {value:.digits$} |"),
            };
        }
        text.push('\n');
    };
    for (at, stations) in LOADS.into_iter().enumerate() {
        row(&format!("CPU per exchange, {stations} stations that never wait, µs (× nginx)"), &move |c| c.cpu[at].clone(), 2, true);
        row(&format!("exchanges per second, {stations} stations that never wait"), &move |c| c.rate[at].clone(), 0, false);
    }
    for (of, what) in ["messages that no bill needs", "transaction messages"].into_iter().enumerate() {
        for (at, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
            row(&format!("latency {name} of {what} at 2,000 exchanges per second, µs"), &move |c| c.latency[of][at].clone(), 0, false);
        }
    }
    for (kind, of) in [("", (|c| &c.setups) as fn(&Column) -> &SetUps), (", TLS not resumed", |c| &c.full_setups)] {
        row(&format!("new connections per second{kind}"), &move |c| of(c).per_second.clone(), 0, false);
        row(&format!("CPU per new connection{kind}, µs (× nginx)"), &move |c| of(c).cpu[0].clone(), 1, true);
        row(&format!("CPU per connection that ends{kind}, µs (× nginx)"), &move |c| of(c).cpu[1].clone(), 1, true);
    }
    text
}

/// Resident memory per connection, by the slope from a few to more and more of them. Each proxy is alone while it is measured.
#[expect(clippy::print_stdout, reason = "a bench prints its tables")]
fn memory(dir: &Path, quick: bool, chosen: &dyn Fn(&str) -> bool) {
    let steps: &[usize] = if quick { &[200] } else { &[1_000, 5_000, MOST_HELD] };
    println!("\n### Resident memory per connection pair, KiB\n");
    println!("| | {} |", steps.iter().map(|n| format!("{n} idle")).chain([format!("{} used", steps[0])]).collect::<Vec<_>>().join(" | "));
    println!("|---|{}", "---|".repeat(steps.len() + 1));
    let certificate = dir.display().to_string();
    type Start<'a> = &'a dyn Fn(SocketAddr) -> Option<Proxy>;
    let all: [(&str, bool, Start<'_>); 7] = [
        ("nginx", false, &|upstream| proxies::nginx(upstream, dir, false)),
        ("HAProxy", false, &|upstream| proxies::haproxy(upstream, dir, false)),
        ("**sluis**, strict", false, &|upstream| Some(proxies::sluis(upstream, dir, false))),
        ("nginx, TLS towards stations", false, &|upstream| proxies::nginx(upstream, dir, true)),
        ("HAProxy, TLS towards stations", false, &|upstream| proxies::haproxy(upstream, dir, true)),
        ("**sluis**, strict, TLS towards stations", false, &|upstream| Some(proxies::sluis(upstream, dir, true))),
        ("**sluis**, strict, TLS on both hops", true, &|upstream| Some(proxies::sluis_secure(upstream, dir))),
    ];
    let word = |name: &str| ["nginx", "haproxy", "sluis"].into_iter().find(|word| name.to_ascii_lowercase().contains(word));
    for (name, secure, start) in all.into_iter().filter(|(name, ..)| word(name).is_some_and(chosen)) {
        // Each has a central system of its own, whose descriptors nobody else has used up.
        let arguments = if secure { vec!["csms", &certificate] } else { vec!["csms"] };
        let fresh = || {
            let (csms, line) = helper(&arguments);
            let proxy = start(line.parse().expect("an address"))?;
            let to = proxy.listen.to_string();
            // A few come and go first, so that what is made once is there.
            drop(hold_from(&to, 0..20, "used", proxy.tls, dir));
            let empty = proxy.process.as_ref().map_or(0.0, process::Process::resident);
            Some((csms, proxy, to, empty))
        };
        let Some((csms, proxy, to, empty)) = fresh() else { continue };
        let resident = |proxy: &Proxy| proxy.process.as_ref().map_or(f64::NAN, process::Process::resident);
        let (mut held, mut count, mut cells) = (Vec::new(), 0, Vec::new());
        for step in steps {
            held.push(hold_from(&to, 1000 + count..1000 + step, "idle", proxy.tls, dir));
            count = *step;
            cells.push((resident(&proxy) - empty) / count as f64);
        }
        drop((held, proxy, csms));
        let Some((_csms, proxy, to, empty)) = fresh() else { continue };
        let _held = hold_from(&to, 1000..1000 + steps[0], "used", proxy.tls, dir);
        cells.push((resident(&proxy) - empty) / steps[0] as f64);
        let cells: Vec<String> = cells.iter().map(|c| format!("{c:.1}")).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

/// Stations that stay until what is returned is dropped.
fn hold_from(to: &str, numbers: std::ops::Range<usize>, how: &str, tls: bool, dir: &Path) -> Helper {
    let (first, count) = (numbers.start.to_string(), numbers.len().to_string());
    let from = (2 + numbers.start / 10_000 % 200).to_string();
    let certificate = dir.display().to_string();
    let mut arguments = vec!["hold", to, &first, &count, &from, how];
    if tls {
        arguments.push(&certificate);
    }
    let (helper, line) = helper(&arguments);
    assert_eq!(line, "held", "stations are held");
    helper
}

/// A certificate for localhost, for all that speak TLS.
fn certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(dir.join("cert.pem"), &cert).expect("a file");
    std::fs::write(dir.join("key.pem"), &key).expect("a file");
    std::fs::write(dir.join("both.pem"), format!("{cert}{key}")).expect("a file");
    // The gateway takes no key that others may read.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.join("key.pem"), std::fs::Permissions::from_mode(0o600)).expect("permissions");
}
