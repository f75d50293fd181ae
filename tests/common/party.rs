//! A party of OCPI on loopback that does what a test tells it to: a small HTTP/1.1 server that can also break off, drip and babble.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: String,
    /// Every byte of it.
    pub raw: Vec<u8>,
}

/// What the party says.
#[derive(Debug, Clone)]
pub enum Say {
    /// Status, headers, body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The connection is reset.
    Reset,
    /// A byte of the head at a time, for ever.
    Drip,
}

impl Say {
    pub fn ocpi(status: u16, code: u16, data: Value) -> Self {
        let envelope =
            json!({"data": data, "status_code": code, "status_message": "secret message quagga", "timestamp": "2026-11-24T10:00:00Z"});
        Self::Http(status, vec![("content-type", "application/json".into())], envelope.to_string().into_bytes())
    }

    pub fn status(status: u16) -> Self {
        Self::Http(status, Vec::new(), Vec::new())
    }

    pub fn with(self, name: &'static str, value: impl Into<String>) -> Self {
        let Self::Http(status, mut headers, body) = self else { return self };
        headers.push((name, value.into()));
        Self::Http(status, headers, body)
    }
}

type Mind = dyn Fn(usize, &Asked) -> Say + Send + Sync;

/// A running party. Dropped, it stops listening.
pub struct Party {
    pub url: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    listening: JoinHandle<()>,
}

impl Party {
    /// `mind` is told the number of the request and the request.
    pub async fn start(mind: impl Fn(usize, &Asked) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (mind, record): (Arc<Mind>, _) = (Arc::new(mind), Arc::clone(&asked));
        let listening = tokio::spawn(async move {
            // Aborted with the listener.
            let mut talks = tokio::task::JoinSet::new();
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                talks.spawn(talk(socket, Arc::clone(&mind), Arc::clone(&record)));
                while talks.try_join_next().is_some() {}
            }
        });
        Self { url, asked, listening }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn talk(socket: TcpStream, mind: Arc<Mind>, record: Arc<Mutex<Vec<Asked>>>) {
    let mut socket = BufStream::new(socket);
    while let Some(asked) = read(&mut socket).await {
        let number = {
            let mut record = record.lock().unwrap();
            record.push(asked.clone());
            record.len() - 1
        };
        match mind(number, &asked) {
            Say::Http(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head += &format!("{name}: {value}\r\n");
                }
                head += "\r\n";
                let sent = async {
                    socket.write_all(head.as_bytes()).await?;
                    socket.write_all(&body).await?;
                    socket.flush().await
                };
                if sent.await.is_err() {
                    return;
                }
            }
            Say::Reset => {
                let socket = socket.into_inner();
                let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
                return;
            }
            Say::Drip => {
                for byte in b"HTTP/1.1 201 Created\r\nx-drip: ".iter().chain(std::iter::repeat(&b'x')) {
                    if socket.write_all(&[*byte]).await.is_err() || socket.flush().await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

async fn read(socket: &mut BufStream<TcpStream>) -> Option<Asked> {
    let mut raw = Vec::new();
    let mut lines = Vec::new();
    loop {
        let start = raw.len();
        if socket.read_until(b'\n', &mut raw).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&raw[start..]).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let header = |line: &String| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: HashMap<_, _> = lines[1..].iter().filter_map(header).collect();
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    socket.read_exact(&mut body).await.ok()?;
    raw.extend_from_slice(&body);
    Some(Asked { method, target, headers, body: String::from_utf8_lossy(&body).into_owned(), raw })
}
