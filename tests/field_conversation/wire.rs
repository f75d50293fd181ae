//! A real gateway between a socket of a station and one of a central system.

use futures_util::{SinkExt, StreamExt};
use sluis::config::{Config, Flags};
use sluis::serve::Serving;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const PATIENCE: Duration = Duration::from_secs(30);

/// One end of a connection.
pub(crate) struct End(WebSocketStream<TcpStream>);

impl End {
    pub(crate) async fn says(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text that comes, whatever it is.
    pub(crate) async fn hears(&mut self) -> String {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("the connection ended: {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("something is said")
    }

    /// The close code with which the connection ends.
    pub(crate) async fn ends(&mut self) -> u16 {
        let next = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return 1006,
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("it ends")
    }

    /// Waits until the other end is gone.
    pub(crate) async fn hangs_up(mut self) {
        let _ = self.0.close(None).await;
        self.ends().await;
    }
}

/// A running gateway, and where its central system listens.
pub(crate) struct Scene {
    pub(crate) serving: Serving,
    listener: TcpListener,
    _data: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn new(more: &[(&'static str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("data").display().to_string();
        let upstream = format!("ws://{}/csms", listener.local_addr().unwrap());
        let mut values: Vec<(&'static str, String)> =
            vec![("listen", "127.0.0.1:0".into()), ("admin", "127.0.0.1:0".into()), ("upstream.url", upstream), ("data_dir", dir)];
        values.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
        Self { serving: Serving::start(&config).await.unwrap(), listener, _data: data }
    }

    /// A station connects; both ends of the way through the gateway.
    pub(crate) async fn connects(&self, protocol: &str) -> (End, End) {
        let mut request = format!("ws://{}/ocpp/CP-1", self.serving.listen).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        let station = async {
            let tcp = TcpStream::connect(self.serving.listen).await.unwrap();
            End(tokio_tungstenite::client_async(request, tcp).await.unwrap().0)
        };
        let csms = async {
            let (tcp, _) = self.listener.accept().await.unwrap();
            #[expect(clippy::result_large_err, reason = "the library's signature")]
            let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                let offered = request.headers().get("Sec-WebSocket-Protocol").unwrap().clone();
                response.headers_mut().insert("Sec-WebSocket-Protocol", offered);
                Ok(response)
            };
            End(tokio_tungstenite::accept_hdr_async(tcp, choose).await.unwrap())
        };
        tokio::join!(station, csms)
    }
}
