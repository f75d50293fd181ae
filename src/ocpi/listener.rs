//! The sockets below the surface: so many connections, of one network and in all, each bounded in time and size.

use super::envelope::Outcome;
use super::places::Places;
use super::server::Surface;
use crate::reload::Watched;
use crate::tls::Server;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections at a time: many e-MSPs hold a few each. Those beyond are closed at once.
const CONNECTIONS: usize = 512;
/// Of them, those of one network (/24, /48): more than all parties behind one proxy need at a time, and one network alone shuts nobody else out.
const SHARE: usize = CONNECTIONS / 4;
/// Bytes of a body: a credentials object of a platform with a hundred roles, and many times a token.
pub(super) const BODY: usize = 64 << 10;
/// Bytes of a request's head.
const HEAD: usize = 16 << 10;
/// Until the head of the first request is there: who connects has something to ask.
const FIRST: Duration = Duration::from_secs(5);
/// Until the head of a later one is there, idle time before it included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Until hands are shaken.
const TLS_PATIENCE: Duration = Duration::from_secs(5);
/// Until its body is there.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection lives; the request that is under way then may end.
const LIFE: Duration = Duration::from_secs(600);
/// How long the last request of a connection may take: an exchange of credentials fetches two documents.
const LAST: Duration = Duration::from_secs(150);
/// How long requests under way may take when the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often old references are swept.
const SWEEP: Duration = Duration::from_secs(3600);

impl Surface {
    /// Serves, over TLS if there is any, until `stop` is done, then lets the requests under way end.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Option<Arc<Watched<Server>>>, stop: impl Future<Output = ()> + Send) {
        let places = Places::new(CONNECTIONS, SHARE);
        let (closing, _) = watch::channel(false);
        let mut talks = JoinSet::new();
        let mut sweep = tokio::time::interval(SWEEP);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = sweep.tick() => self.sweep().await,
                _ = talks.join_next(), if !talks.is_empty() => {}
                accepted = listener.accept() => {
                    let Ok((socket, from)) = accepted else {
                        // Out of descriptors, or the caller is gone already: not at full speed.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    match places.take(from.ip()) {
                        Some(place) => {
                            let (surface, closing, tls) = (Arc::clone(&self), closing.subscribe(), tls.clone());
                            talks.spawn(async move {
                                let _ = socket.set_nodelay(true);
                                match tls {
                                    None => talk(surface, socket, from.ip(), closing).await,
                                    Some(tls) => match tls.get().accept(socket, TLS_PATIENCE).await {
                                        Ok(stream) => talk(surface, stream, from.ip(), closing).await,
                                        Err(trouble) => tracing::info!(reason = trouble.code(), "an OCPI party could not connect"),
                                    },
                                }
                                drop(place);
                            });
                        }
                        None => self.refused_connection(),
                    }
                }
            }
        }
        closing.send_replace(true);
        let ended = async { while talks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, ended).await;
        talks.shutdown().await;
    }

    async fn hear(&self, from: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        match tokio::time::timeout(BODY_PATIENCE, Limited::new(body, BODY).collect()).await {
            Ok(Ok(body)) => self.answer(from, Request::from_parts(head, body.to_bytes())).await,
            // Too big, too slow or broken off: nothing of it was read.
            _ => self.respond(Outcome::no_json(), &head.headers),
        }
    }
}

async fn talk<S>(surface: Arc<Surface>, socket: S, from: IpAddr, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let heard = AtomicBool::new(false);
    let service = service_fn(|request| {
        heard.store(true, Ordering::Relaxed);
        let surface = Arc::clone(&surface);
        async move { Ok::<_, Infallible>(surface.hear(from, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let silent = async {
        tokio::time::sleep(FIRST).await;
        if heard.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = silent => return,
        () = tokio::time::sleep(LIFE) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(LAST, connection).await;
}
