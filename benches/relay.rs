//! What the whole gateway costs, in pairs: the same stations and the same central system, without it and through it, in one run and in
//! turns. `cargo bench --bench relay` prints CPU per exchange (a CALL and its answer), added latency at a moderate rate, and resident
//! memory per idle connection; `-- --quick` is a short round that shows that it works. The gateway is a process of its own, so that its
//! CPU time and memory are its alone.

use futures_util::{SinkExt, StreamExt};
use sluis::config::{Config, Flags};
use sluis::serve::Serving;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn settings() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0)
}

/// What a station sends, over and over: a heartbeat, a status, an authorisation with a known card, 1.2 KB of meter values.
fn traffic() -> [String; 4] {
    let sample = |measurand: &str, value: &str| {
        format!(
            r#"{{"value":"{value}","context":"Transaction.Begin","format":"Raw","measurand":"{measurand}","location":"Outlet","unit":"Wh"}}"#
        )
    };
    let samples: Vec<_> = (0..8).map(|n| sample("Energy.Active.Import.Register", &format!("{n}234567.5"))).collect();
    [
        r#"[2,"1","Heartbeat",{}]"#.to_owned(),
        r#"[2,"2","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Charging"}]"#.to_owned(),
        r#"[2,"3","Authorize",{"idTag":"04A2B3C4D5E6F7"}]"#.to_owned(),
        format!(
            r#"[2,"4","MeterValues",{{"connectorId":1,"transactionId":42,"meterValue":[{{"timestamp":"2026-11-24T10:15:00Z","sampledValue":[{}]}}]}}]"#,
            samples.join(",")
        ),
    ]
}

/// A central system that answers at once and costs little.
async fn csms(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            #[expect(clippy::result_large_err, reason = "the library's signature")]
            let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                response.headers_mut().insert("Sec-WebSocket-Protocol", "ocpp1.6".parse().unwrap());
                Ok(response)
            };
            let Ok(mut socket) = tokio_tungstenite::accept_hdr_async_with_config(socket, choose, Some(settings())).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let answer = match text.split('"').nth(3) {
                    Some("Heartbeat") => r#"{"currentTime":"2026-11-24T10:00:00Z"}"#,
                    Some("Authorize") => r#"{"idTagInfo":{"status":"Accepted"}}"#,
                    _ => "{}",
                };
                let id = text.split('"').nth(1).unwrap_or_default();
                if socket.send(Message::text(format!("[3,\"{id}\",{answer}]"))).await.is_err() {
                    return;
                }
            }
        });
    }
}

type Socket = WebSocketStream<TcpStream>;

async fn station(to: SocketAddr, number: usize) -> Socket {
    let mut request = format!("ws://{to}/csms/CP-{number}").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "ocpp1.6".parse().unwrap());
    let tcp = TcpStream::connect(to).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tokio_tungstenite::client_async_with_config(request, tcp, Some(settings())).await.unwrap().0
}

async fn exchange(socket: &mut Socket, frame: &str) {
    socket.send(Message::text(frame)).await.unwrap();
    while !matches!(socket.next().await.unwrap().unwrap(), Message::Text(_)) {}
}

/// Exchanges per second with `connections` stations that never wait.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn saturate(to: SocketAddr, connections: usize, time: Duration) -> (f64, u64) {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut stations = Vec::new();
    for number in 0..connections {
        let (mut socket, stop, done) = (station(to, number).await, Arc::clone(&stop), Arc::clone(&done));
        stations.push(tokio::spawn(async move {
            let frames = traffic();
            while !stop.load(Ordering::Relaxed) {
                for frame in &frames {
                    exchange(&mut socket, frame).await;
                }
                done.fetch_add(frames.len() as u64, Ordering::Relaxed);
            }
            let _ = socket.close(None).await;
        }));
    }
    let start = Instant::now();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for station in stations {
        station.await.unwrap();
    }
    let exchanges = done.load(Ordering::Relaxed);
    (exchanges as f64 / start.elapsed().as_secs_f64(), exchanges)
}

/// Latencies in microseconds, sorted, of 20 stations that send 25 exchanges a second each, by a fixed schedule.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
async fn paced(to: SocketAddr, time: Duration) -> Vec<f64> {
    let mut stations = Vec::new();
    for number in 0..20 {
        let mut socket = station(to, number).await;
        stations.push(tokio::spawn(async move {
            let frames = traffic();
            let mut tick = tokio::time::interval(Duration::from_millis(40));
            let mut latencies = Vec::new();
            for turn in 0..time.as_millis() as usize / 40 {
                tick.tick().await;
                let start = Instant::now();
                exchange(&mut socket, &frames[turn % frames.len()]).await;
                latencies.push(start.elapsed().as_secs_f64() * 1e6);
            }
            let _ = socket.close(None).await;
            latencies
        }));
    }
    let mut all = Vec::new();
    for station in stations {
        all.extend(station.await.unwrap());
    }
    all.sort_by(f64::total_cmp);
    all
}

/// A gateway in a process of its own.
struct Gateway {
    child: Child,
    listen: SocketAddr,
}

impl Gateway {
    fn start(upstream: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--gateway", &upstream.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, listen: line.trim().parse().unwrap() }
    }

    /// CPU time used so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // In ticks of a hundredth of a second, on every Linux that matters.
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// Resident memory in KiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: a gateway until its standard input ends.
async fn gateway(upstream: &str) {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("data").display().to_string();
    let values = vec![
        ("listen", "127.0.0.1:0".into()),
        ("admin", "127.0.0.1:0".into()),
        ("upstream.url", format!("ws://{upstream}/csms")),
        ("data_dir", dir),
    ];
    let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
    let serving = Serving::start(&config).await.unwrap();
    #[expect(clippy::print_stdout, reason = "tells its parent where it listens")]
    {
        println!("{}", serving.listen);
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    serving.stop().await;
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a bench prints its table")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(at) = arguments.iter().position(|a| a == "--gateway") {
        runtime.block_on(gateway(&arguments[at + 1]));
        return;
    }
    let quick = arguments.iter().any(|a| a == "--quick");
    let (rounds, time, idle) = if quick { (1, Duration::from_secs(1), 200) } else { (5, Duration::from_secs(3), 2000) };
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let direct = listener.local_addr().unwrap();
        tokio::spawn(csms(listener));
        let ours = Gateway::start(direct);
        // Once, so that the card is known.
        saturate(ours.listen, 1, Duration::from_millis(100)).await;

        let (mut without, mut through, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
        let (mut calm, mut calm_through) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            without.push(saturate(direct, 32, time).await.0);
            let before = ours.cpu();
            let (rate, exchanges) = saturate(ours.listen, 32, time).await;
            cpu.push((ours.cpu() - before) * 1e6 / exchanges as f64);
            through.push(rate);
            calm.push(paced(direct, time).await);
            calm_through.push(paced(ours.listen, time).await);
        }
        let at = |rounds: &[Vec<f64>], part: f64| median(rounds.iter().map(|r| r[(r.len() as f64 * part) as usize]).collect());

        let fresh = Gateway::start(direct);
        saturate(fresh.listen, 1, Duration::from_millis(100)).await;
        let empty = fresh.resident();
        let mut held = Vec::new();
        for number in 0..idle {
            let mut socket = station(fresh.listen, number).await;
            exchange(&mut socket, &traffic()[0]).await;
            held.push(socket);
        }
        let per_pair = (fresh.resident() - empty) / idle as f64;

        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        println!("{cores} cores, medians of {rounds} rounds in turns, stations and central system on the same machine\n");
        println!("| | direct | through sluis |\n|---|---|---|");
        println!("| exchanges per second, 32 stations that never wait | {:.0} | {:.0} |", median(without), median(through));
        println!("| CPU of the gateway per exchange, µs | – | {:.1} |", median(cpu));
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            println!("| latency {name} at 500 exchanges per second, µs | {:.0} | {:.0} |", at(&calm, part), at(&calm_through, part));
        }
        println!("| resident memory per idle connection pair, KiB ({idle} connections) | – | {per_pair:.1} |");
    });
}
