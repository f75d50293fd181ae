//! Stations that load a proxy, and the central system behind it.

use crate::traffic::{self, Says, Script};
use crate::wire::{self, Refused, Wire};
use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Anything that bytes go through.
pub(crate) trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// How stations reach a proxy.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) to: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// What they say there.
    pub(crate) says: Says,
}

impl Way {
    /// Without TLS, saying all.
    pub(crate) fn plain(to: SocketAddr) -> Self {
        Self { to, tls: None, says: Says::All }
    }

    async fn socket(&self, from: u8) -> Result<Box<dyn Bytes>> {
        let tcp = if from > 1 {
            // More stations than one address has ports.
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 0, from], 0)))?;
            // Ends by a reset: the ports of thousands that end otherwise are taken for a minute, and the next proxy needs them for its own.
            socket.set_zero_linger()?;
            socket.connect(self.to).await?
        } else {
            TcpStream::connect(self.to).await?
        };
        tcp.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
                Box::new(TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?)
            }
        })
    }

    /// Connects a station.
    pub(crate) async fn station(&self, number: usize) -> Result<Station> {
        self.station_from(number, 1).await
    }

    /// Connects a station from the address 127.0.0.`from`.
    pub(crate) async fn station_from(&self, number: usize, from: u8) -> Result<Station> {
        let socket = self.socket(from).await?;
        let wire = Wire::connect(socket, &format!("/csms/CP-{number}"), Script::protocol(number, self.says)).await?;
        Ok(Station { wire, script: Script::new(number, self.says) })
    }

    /// The same, where an answer that refuses is no error.
    pub(crate) async fn try_station(&self, number: usize, from: u8) -> Result<std::result::Result<Station, Refused>> {
        let socket = self.socket(from).await?;
        let wire = Wire::ask(socket, &format!("/csms/CP-{number}"), Script::protocol(number, self.says)).await?;
        Ok(wire.map(|wire| Station { wire, script: Script::new(number, self.says) }))
    }
}

/// A station that is connected.
pub(crate) struct Station {
    wire: Wire<Box<dyn Bytes>>,
    script: Script,
}

impl Station {
    /// Sends the next message of its script and waits for the answer. Returns whether a bill may need it.
    pub(crate) async fn exchange(&mut self) -> Result<bool> {
        let Self { wire, script } = self;
        let (frame, billed) = script.next();
        wire.write(frame).await?;
        let frame = wire.next().await?;
        let mut head = [0; 64];
        let answer = wire.peek(&frame, &mut head);
        assert!(answer.starts_with("[3,"), "an answer that is none: {answer}");
        script.heard(answer);
        Ok(billed)
    }

    /// A whole session.
    pub(crate) async fn session(&mut self) -> Result<()> {
        for _ in 0..self.script.len() {
            self.exchange().await?;
        }
        Ok(())
    }
}

/// A central system that answers at once and costs little, plain or with TLS.
pub(crate) async fn csms(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) {
    let secure = tls.map(TlsAcceptor::from);
    let transactions = Arc::new(AtomicU32::new(1_000_000));
    loop {
        // Out of descriptors: those of the proxy before are being given back.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (transactions, secure) = (Arc::clone(&transactions), secure.clone());
        tokio::spawn(async move {
            let _ = socket.set_nodelay(true);
            // Ends by a reset: the proxy's ports would be taken for a minute otherwise, and looking for free ones costs each new connection more than the
            // one before.
            let _ = socket.set_zero_linger();
            let socket: Box<dyn Bytes> = match secure {
                Some(secure) => Box::new(secure.accept(socket).await?),
                None => Box::new(socket),
            };
            let mut wire = Wire::accept(socket).await?;
            loop {
                let frame = wire.next().await?;
                let mut head = [0; 96];
                let answer =
                    traffic::answer(wire.peek(&frame, &mut head), transactions.fetch_add(1, Ordering::Relaxed) % 9_000_000 + 1_000_000);
                if let Some(answer) = answer {
                    wire.write(&wire::text(&answer, false)).await?;
                }
            }
            #[expect(unreachable_code, reason = "names the type of the errors")]
            Result::Ok(())
        });
    }
}

/// What came of a time under load.
pub(crate) struct Rate {
    /// Exchanges, or connections, in a second.
    pub(crate) per_second: f64,
    /// In all.
    pub(crate) count: u64,
}

/// Exchanges with stations that never wait.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) async fn saturate(way: &Way, stations: usize, time: Duration) -> Rate {
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut connected = Vec::new();
    for number in 0..stations {
        connected.push(way.station(number).await.expect("a station connects"));
    }
    let mut tasks = Vec::new();
    for mut station in connected {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                station.exchange().await.expect("an exchange");
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let start = Instant::now();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("a station ends");
    }
    let count = done.load(Ordering::Relaxed);
    Rate { per_second: count as f64 / start.elapsed().as_secs_f64(), count }
}

/// Latencies in microseconds, sorted, of `stations` that send at a fixed rate each on average: of messages that no bill needs, and of those that one may.
pub(crate) async fn paced(way: &Way, stations: usize, per_second: u32, time: Duration) -> [Vec<f64>; 2] {
    paced_by(under_way(way, stations).await, per_second, time).await
}

/// Stations that are connected and at different places of their sessions.
pub(crate) async fn under_way(way: &Way, stations: usize) -> Vec<Station> {
    let mut all = Vec::new();
    for number in 0..stations {
        let mut station = way.station(number).await.expect("a station connects");
        for _ in 0..7 * number % station.script.len() {
            station.exchange().await.expect("an exchange");
        }
        all.push(station);
    }
    all
}

/// The same as [`paced`], of stations that are connected. Each sends when its turn comes, at moments that are as far apart as chance has it (a Poisson process, the
/// same in each run), whether the one before has its answer or not.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) async fn paced_by(stations: Vec<Station>, per_second: u32, time: Duration) -> [Vec<f64>; 2] {
    let rate = stations.len() as f64 * f64::from(per_second);
    let count = (time.as_secs_f64() * rate) as usize;
    let (mut turns, mut tasks) = (Vec::new(), Vec::new());
    for mut station in stations {
        let (turn, mut told) = mpsc::unbounded_channel();
        turns.push(turn);
        tasks.push(tokio::spawn(async move {
            let mut latencies = [Vec::new(), Vec::new()];
            while let Some(()) = told.recv().await {
                let start = Instant::now();
                let billed = station.exchange().await.expect("an exchange");
                latencies[usize::from(billed)].push(start.elapsed().as_secs_f64() * 1e6);
            }
            latencies
        }));
    }
    // On a thread of its own: the runtime's timers go by the millisecond, and would have two stations speak at once, each time.
    std::thread::spawn(move || {
        let (mut next, mut chance) = (Instant::now(), 0x9E37_79B9_7F4A_7C15_u64);
        for turn in turns.iter().cycle().take(count) {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let part = (chance >> 11) as f64 / (1_u64 << 53) as f64;
            next += Duration::from_secs_f64(-(1.0 - part).ln() / rate);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let _ = turn.send(());
        }
    });
    let mut all = [Vec::new(), Vec::new()];
    for task in tasks {
        for (all, one) in all.iter_mut().zip(task.await.expect("a station ends")) {
            all.extend(one);
        }
    }
    all.iter_mut().for_each(|all| all.sort_by(f64::total_cmp));
    all
}

/// The most connections that are set up at once by [`connections`]: what every proxy has descriptors for.
const MOST_SET_UP: usize = 8_000;

/// Connections that are set up by sixteen at a time and kept, for so long or until there are [`MOST_SET_UP`]. They are returned, so that what
/// their end costs is not counted here.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
pub(crate) async fn connections(way: &Way, time: Duration) -> (Rate, Vec<Station>) {
    const AT_A_TIME: usize = 16;
    let start = Instant::now();
    let tasks: Vec<_> = (0..AT_A_TIME)
        .map(|number| {
            let way = way.clone();
            tokio::spawn(async move {
                let mut held = Vec::new();
                while held.len() < MOST_SET_UP / AT_A_TIME && start.elapsed() < time {
                    // Each is another station, so that none displaces another.
                    held.push(way.station(100_000 * (number + 1) + held.len()).await.expect("a station connects"));
                }
                held
            })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.extend(task.await.expect("a station connects"));
    }
    let count = held.len() as u64;
    (Rate { per_second: count as f64 / start.elapsed().as_secs_f64(), count }, held)
}
