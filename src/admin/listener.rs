//! TLS for the admin port. Hands are shaken aside, so that one slow caller does not keep the others waiting.

use crate::reload::Watched;
use crate::tls::Server;
use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;

/// Handshakes at a time.
const SHAKING: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A caller with whom hands were shaken.
type Caller = (TlsStream<TcpStream>, SocketAddr);

/// A listener that speaks TLS.
pub(super) struct Secure {
    listener: TcpListener,
    tls: Arc<Watched<Server>>,
    places: Arc<Semaphore>,
    shaken: (mpsc::Sender<Caller>, mpsc::Receiver<Caller>),
}

impl Secure {
    pub(super) fn new(listener: TcpListener, tls: Arc<Watched<Server>>) -> Self {
        Self { listener, tls, places: Arc::new(Semaphore::new(SHAKING)), shaken: mpsc::channel(SHAKING) }
    }
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let accepted = tokio::select! {
                // There always is a sender, so this ends with a connection.
                Some(shaken) = self.shaken.1.recv() => return shaken,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((socket, from)) = accepted else {
                // Out of descriptors, or the caller is gone already: not at full speed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // A caller beyond those is closed at once.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
            let (tls, to) = (self.tls.get(), self.shaken.0.clone());
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(socket, PATIENCE).await {
                    let _ = to.send((stream, from)).await;
                }
                drop(place);
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
