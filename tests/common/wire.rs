//! A gateway between a central system and stations that are scripted down to the byte: real sockets, a real gateway from a configuration.

use futures_util::{SinkExt, StreamExt};
use sluis::config::{Config, Flags};
use sluis::metrics::Metrics;
use sluis::serve::Serving;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The bound only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The value of a line of the metrics page; 0 if it is not there.
pub fn metric(line: &str) -> f64 {
    let page = Metrics::install().unwrap().render();
    page.lines().find_map(|l| l.strip_prefix(line)).and_then(|rest| rest.trim().parse().ok()).unwrap_or_default()
}

pub fn refused(reason: &str) -> f64 {
    metric(&format!("ocpp_connections_refused_total{{reason=\"{reason}\"}}"))
}

/// A request or answer up to its empty line, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Head(pub Vec<u8>);

impl Head {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    pub fn lines(&self) -> Vec<String> {
        self.text().split("\r\n").map(str::to_owned).collect()
    }

    /// The value of a header whose name is written exactly so.
    pub fn value(&self, name: &str) -> Option<String> {
        self.lines().iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    }

    pub fn status(&self) -> u16 {
        self.text().split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default()
    }

    pub fn target(&self) -> String {
        self.text().split(' ').nth(1).unwrap_or_default().to_owned()
    }
}

/// What a central system does with a request for an upgrade.
pub enum Answer {
    /// Agrees, and names this subprotocol.
    Yes(Option<String>),
    /// Agrees, byte by byte.
    Drip(Option<String>),
    /// Says these bytes and closes.
    Say(Vec<u8>),
    /// Says nothing and keeps the connection.
    Silence,
}

/// Agrees to the first subprotocol.
pub fn first(head: &Head) -> Answer {
    Answer::Yes(head.value("Sec-WebSocket-Protocol").map(|list| list.split(", ").next().unwrap().to_owned()))
}

/// What happened at the central system, in order; each connection has a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Opened(usize),
    Text(usize, String),
    /// With the close code, or 1006 if there was none.
    Closed(usize, u16),
}

#[derive(Default)]
pub struct Book {
    pub heads: Mutex<Vec<Head>>,
    pub events: Mutex<Vec<Event>>,
    senders: Mutex<Vec<(usize, mpsc::UnboundedSender<Message>)>>,
}

impl Book {
    /// Closes all connections.
    pub fn close_all(&self) {
        for (_, sender) in self.senders.lock().unwrap().iter() {
            let _ = sender.send(Message::Close(None));
        }
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        let events = self.events.lock().unwrap();
        let opened = events.iter().filter(|event| matches!(event, Event::Opened(_))).count();
        opened - events.iter().filter(|event| matches!(event, Event::Closed(..))).count()
    }
}

/// A central system.
pub struct Csms {
    pub address: SocketAddr,
    pub book: Arc<Book>,
    task: JoinHandle<()>,
}

impl Drop for Csms {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Csms {
    pub async fn start(mind: impl Fn(usize, &Head) -> Answer + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", mind).await
    }

    pub async fn at(address: &str, mind: impl Fn(usize, &Head) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Book::default());
        let (theirs, mind) = (Arc::clone(&book), Arc::new(mind));
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            for number in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                all.spawn(serve(number, socket, Arc::clone(&theirs), Arc::clone(&mind)));
            }
        });
        Self { address, book, task }
    }

    pub fn heads(&self) -> Vec<Head> {
        self.book.heads.lock().unwrap().clone()
    }

    pub fn events(&self) -> Vec<Event> {
        self.book.events.lock().unwrap().clone()
    }

    pub fn texts(&self) -> Vec<String> {
        self.events().into_iter().filter_map(|event| if let Event::Text(_, text) = event { Some(text) } else { None }).collect()
    }

    pub fn closed(&self, number: usize) -> Option<u16> {
        self.events().into_iter().find_map(|event| match event {
            Event::Closed(n, code) if n == number => Some(code),
            _ => None,
        })
    }

    /// Sends a text on a connection.
    pub fn send(&self, number: usize, text: &str) {
        let senders = self.book.senders.lock().unwrap();
        senders.iter().find(|(n, _)| *n == number).unwrap().1.send(Message::text(text.to_owned())).unwrap();
    }
}

async fn serve(number: usize, mut socket: TcpStream, book: Arc<Book>, mind: Arc<impl Fn(usize, &Head) -> Answer>) {
    let Some((head, rest)) = read_head(&mut socket).await else { return };
    let answer = mind(number, &head);
    let key = head.value("Sec-WebSocket-Key").unwrap_or_default();
    book.heads.lock().unwrap().push(head);
    let yes = |protocol: Option<String>| {
        let protocol = protocol.map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
        let accept = derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nCONNECTION: keep-alive, Upgrade\r\nsec-websocket-accept:   {accept} \r\n{protocol}\r\n"
        )
    };
    match answer {
        Answer::Yes(protocol) => socket.write_all(yes(protocol).as_bytes()).await.unwrap(),
        Answer::Drip(protocol) => {
            let _ = socket.set_nodelay(true);
            for byte in yes(protocol).into_bytes() {
                socket.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        Answer::Say(bytes) => {
            let _ = socket.write_all(&bytes).await;
            let _ = socket.shutdown().await;
            return;
        }
        Answer::Silence => {
            let _ = socket.read(&mut [0]).await;
            return;
        }
    }
    let (sender, mut orders) = mpsc::unbounded_channel();
    book.senders.lock().unwrap().push((number, sender));
    let note = |event| book.events.lock().unwrap().push(event);
    note(Event::Opened(number));
    let mut line = WebSocketStream::from_partially_read(socket, rest, Role::Server, None).await;
    loop {
        let message = tokio::select! {
            message = line.next() => message,
            Some(order) = orders.recv() => {
                let _ = line.send(order).await;
                continue;
            }
        };
        match message {
            Some(Ok(Message::Text(text))) => {
                note(Event::Text(number, text.to_string()));
                if let Some(answer) = usual_answer(&text) {
                    let _ = line.send(Message::text(answer)).await;
                }
            }
            Some(Ok(Message::Close(frame))) => {
                // Before it is answered: whoever sees the end of the connection sees it here too.
                note(Event::Closed(number, frame.map_or(1005, |frame| frame.code.into())));
                while let Some(Ok(_)) = line.next().await {}
                return;
            }
            Some(Ok(_)) => {}
            _ => return note(Event::Closed(number, 1006)),
        }
    }
}

/// Heartbeats are answered by anybody; other CALLs only by whoever a test has answer them.
fn usual_answer(text: &Utf8Bytes) -> Option<String> {
    let frame: serde_json::Value = serde_json::from_str(text).ok()?;
    (frame[2] == "Heartbeat").then(|| format!(r#"[3,{},{{"currentTime":"2026-11-24T10:00:00Z"}}]"#, frame[1]))
}

async fn read_head(socket: &mut TcpStream) -> Option<(Head, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((Head(bytes), rest));
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A gateway and its central system.
pub struct World {
    pub csms: Csms,
    pub gateway: Serving,
    pub dir: tempfile::TempDir,
}

impl World {
    /// With a central system that agrees to the first subprotocol of each list.
    pub async fn open(values: &[(&'static str, &str)]) -> Self {
        Self::with(values, |_, head| first(head)).await
    }

    pub async fn with(values: &[(&'static str, &str)], mind: impl Fn(usize, &Head) -> Answer + Send + Sync + 'static) -> Self {
        Self::beneath(Csms::start(mind).await, values).await
    }

    pub async fn beneath(csms: Csms, values: &[(&'static str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("ws://{}/csms", csms.address);
        let usual =
            [("listen", "127.0.0.1:0"), ("admin", "127.0.0.1:0"), ("data_dir", dir.path().to_str().unwrap()), ("upstream.url", &url)];
        let values: Vec<_> = values.iter().chain(&usual).map(|(key, value)| (*key, (*value).to_owned())).collect();
        let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
        Self { csms, gateway: Serving::start(&config).await.unwrap(), dir }
    }

    pub fn door(&self) -> SocketAddr {
        self.gateway.listen
    }

    pub fn data(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A station that speaks 1.6.
    pub async fn station(&self, id: &str) -> Station {
        Station::knock(self.door(), &request(&format!("/ocpp/{id}"), &["Sec-WebSocket-Protocol: ocpp1.6"])).await
    }

    /// The same, connected and talking.
    pub async fn talking(&self, id: &str) -> Talking {
        let station = self.station(id).await;
        assert_eq!(station.head.status(), 101, "{}", station.head.text());
        station.talk().await
    }
}

/// An upgrade request.
pub fn request(target: &str, more: &[&str]) -> Vec<u8> {
    let mut lines =
        vec![format!("GET {target} HTTP/1.1"), "Host: gateway".into(), "Upgrade: websocket".into(), "Connection: Upgrade".into()];
    lines.extend([format!("Sec-WebSocket-Key: {KEY}"), "Sec-WebSocket-Version: 13".into()]);
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}

/// A station that has been answered.
pub struct Station {
    pub socket: TcpStream,
    pub head: Head,
    pub rest: Vec<u8>,
}

impl Station {
    /// Sends bytes and reads the answer; an empty one if the connection is closed without.
    pub async fn knock(door: SocketAddr, bytes: &[u8]) -> Self {
        let mut socket = TcpStream::connect(door).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        Self::answered(socket).await
    }

    /// Reads the answer to what was sent.
    pub async fn answered(mut socket: TcpStream) -> Self {
        let answer = tokio::time::timeout(PATIENCE, read_head(&mut socket)).await.expect("the gateway never answered");
        let (head, rest) = answer.unwrap_or_default();
        Self { socket, head, rest }
    }

    /// All that still comes until the gateway closes.
    pub async fn remains(mut self) -> Vec<u8> {
        let _ = tokio::time::timeout(PATIENCE, self.socket.read_to_end(&mut self.rest)).await.expect("the gateway never closed");
        self.rest
    }

    /// Begins to speak WebSocket: answers pings by itself.
    pub async fn talk(self) -> Talking {
        let mut line = WebSocketStream::from_partially_read(self.socket, self.rest, Role::Client, None).await;
        let (sender, mut orders) = mpsc::unbounded_channel::<Message>();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (ours, closed) = (Arc::clone(&heard), Arc::new(Mutex::new(None)));
        let theirs = Arc::clone(&closed);
        let task = tokio::spawn(async move {
            let code = loop {
                tokio::select! {
                    message = line.next() => match message {
                        Some(Ok(Message::Text(text))) => ours.lock().unwrap().push(text.to_string()),
                        Some(Ok(Message::Close(frame))) => {
                            let code = frame.map_or(1005, |frame: CloseFrame| frame.code.into());
                            while let Some(Ok(_)) = line.next().await {}
                            break code;
                        }
                        Some(Ok(_)) => {}
                        _ => break 1006,
                    },
                    Some(order) = orders.recv() => {
                        let _ = line.send(order).await;
                    }
                }
            };
            *theirs.lock().unwrap() = Some(code);
        });
        Talking { head: self.head, sender, heard, closed, task }
    }
}

/// A station in conversation. Dropping it breaks the connection off.
pub struct Talking {
    pub head: Head,
    sender: mpsc::UnboundedSender<Message>,
    heard: Arc<Mutex<Vec<String>>>,
    closed: Arc<Mutex<Option<u16>>>,
    task: JoinHandle<()>,
}

impl Drop for Talking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Talking {
    pub fn send(&self, text: &str) {
        let _ = self.sender.send(Message::text(text.to_owned()));
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// The code that it was closed with.
    pub fn closed(&self) -> Option<u16> {
        *self.closed.lock().unwrap()
    }

    /// Sends a heartbeat and waits for its answer: the connection works in both directions.
    pub async fn works(&self) {
        let id = format!("h{}", self.heard().len());
        self.send(&format!(r#"[2,"{id}","Heartbeat",{{}}]"#));
        let prefix = format!(r#"[3,"{id}","#);
        until("the heartbeat is answered", || self.heard().iter().any(|text| text.starts_with(&prefix))).await;
    }
}
