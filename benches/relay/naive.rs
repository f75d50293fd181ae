//! The relay that one writes first: every message parsed into a `serde_json::Value` and written again, two tasks a station, by a
//! WebSocket library with small buffers. It treats nothing and records nothing.

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

fn settings() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0)
}

/// Relays for ever.
pub(crate) async fn serve(listener: TcpListener, upstream: SocketAddr) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(relay(socket, upstream));
    }
}

async fn relay(socket: TcpStream, upstream: SocketAddr) -> Option<()> {
    let _ = socket.set_nodelay(true);
    let mut path = String::new();
    let mut protocol = None;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        path = request.uri().path().to_owned();
        protocol = request.headers().get("Sec-WebSocket-Protocol").cloned();
        if let Some(protocol) = &protocol {
            response.headers_mut().insert("Sec-WebSocket-Protocol", protocol.clone());
        }
        Ok(response)
    };
    let station = tokio_tungstenite::accept_hdr_async_with_config(socket, choose, Some(settings())).await.ok()?;
    let tcp = TcpStream::connect(upstream).await.ok()?;
    let _ = tcp.set_nodelay(true);
    let mut request = format!("ws://{upstream}{path}").into_client_request().ok()?;
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
    }
    let (csms, _) = tokio_tungstenite::client_async_with_config(request, tcp, Some(settings())).await.ok()?;
    let ((to_station, from_station), (to_csms, from_csms)) = (station.split(), csms.split());
    let mut up = tokio::spawn(pass(from_station, to_csms));
    let mut down = tokio::spawn(pass(from_csms, to_station));
    // What ends on one side ends on the other.
    tokio::select! {
        _ = &mut up => down.abort(),
        _ = &mut down => up.abort(),
    }
    Some(())
}

async fn pass(mut from: impl Stream<Item = Result<Message, Error>> + Unpin, mut to: impl Sink<Message> + Unpin) {
    while let Some(Ok(message)) = from.next().await {
        if let Message::Text(text) = message {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else { return };
            if to.send(Message::text(value.to_string())).await.is_err() {
                return;
            }
        }
    }
}
