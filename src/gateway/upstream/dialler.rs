//! All stations' way to the central system: only so many dial at a time, not in step, and none at all while it is known to be away.

use super::addresses::Addresses;
use super::circuit::Circuit;
use super::{Call, Dialled, NoUpstream, Upstream};
use crate::gateway::chance;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// When many dial, each waits for up to so long first.
const SPREAD: Duration = Duration::from_millis(250);

/// Dials for stations.
pub(crate) struct Dialler {
    upstream: Upstream,
    addresses: Addresses,
    circuit: Mutex<Circuit>,
    dials: Semaphore,
    most: usize,
}

impl Dialler {
    /// At most `most` stations dial at a time.
    pub(crate) fn new(upstream: Upstream, most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { upstream, addresses: Addresses::default(), circuit: Mutex::default(), dials: Semaphore::new(most), most }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the central system is away: several stations in a row did not get through, and none has since.
    pub(crate) fn is_away(&self) -> bool {
        self.circuit().is_away()
    }

    /// Whether the central system is offered versions, and so chooses one.
    pub(crate) fn offers_versions(&self) -> bool {
        self.upstream.offers_versions
    }

    /// Dials the central system for a station.
    ///
    /// # Errors
    /// [`NoUpstream`], which says what to answer the station.
    pub(crate) async fn dial(&self, call: &Call<'_>) -> Result<Dialled, NoUpstream> {
        let deadline = Instant::now() + self.upstream.patience;
        if self.circuit().is_shut(Instant::now()) {
            return Err(NoUpstream::Resting);
        }
        let Ok(Ok(_turn)) = timeout_at(deadline, self.dials.acquire()).await else { return Err(NoUpstream::Crowded) };
        if self.dials.available_permits() < self.most / 2 {
            sleep(SPREAD.mul_f64(chance::below(1 << 16) as f64 / 65536.0)).await;
        }
        if !self.circuit().asks(Instant::now()) {
            return Err(NoUpstream::Resting);
        }
        // The turn was waited for; the central system has its time for itself.
        let chosen = OnceLock::new();
        let dialled = timeout(self.upstream.patience, self.upstream.connect(&self.addresses, call, &chosen)).await;
        let dialled = dialled.unwrap_or(Err(NoUpstream::Unreachable));
        let away = matches!(&dialled, Err(no) if no.is_away());
        if let Some(place) = chosen.get() {
            self.addresses.tried(*place, !away);
        }
        if away {
            self.circuit().failed(Instant::now(), chance::about);
        } else {
            self.circuit().reached();
        }
        dialled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::upstream::{STAGGER, race};
    use crate::ocpp::Version;
    use socket2::{Domain, Socket, Type};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    /// An address that swallows whoever calls: its queue is full, and nobody is ever taken out of it.
    struct Dead {
        address: SocketAddr,
        _listener: Socket,
        _full: Vec<TcpStream>,
    }

    impl Dead {
        fn new() -> Self {
            let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            listener.bind(&"127.0.0.2:0".parse::<SocketAddr>().unwrap().into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            let mut full = Vec::new();
            while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
                full.push(one);
            }
            Self { address, _listener: listener, _full: full }
        }
    }

    /// An address that refuses at once.
    fn shut() -> SocketAddr {
        TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap()
    }

    /// A central system that agrees to everything.
    async fn csms() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.is_ok_and(|read| read > 0) {}
                let head = String::from_utf8(head).unwrap();
                let Some(key) = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")) else { continue };
                let accept = derive_accept_key(key.as_bytes());
                let answer =
                    format!("HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    fn dialler(places: Vec<SocketAddr>) -> Dialler {
        let upstream = Upstream {
            host: "csms.example".to_owned(),
            port: 80,
            base: String::new(),
            append_id: true,
            offers_versions: true,
            tls: None,
            server_name: None,
            patience: Duration::from_secs(3),
        };
        Dialler { addresses: Addresses::knowing(places), ..Dialler::new(upstream, 10) }
    }

    const CALL: Call<'_> = Call { raw_id: "CS-1", authorization: None, offer: &[Version::V16], nonce: [7; 16] };

    #[tokio::test]
    async fn a_dead_address_takes_nobodys_central_system_away_and_is_not_waited_for_twice() {
        let (dead, live) = (Dead::new(), csms().await);
        let dialler = dialler(vec![dead.address, live]);
        assert!(dialler.dial(&CALL).await.is_ok(), "the other address is there");
        assert_eq!(dialler.addresses.of("csms.example", 80).await.unwrap(), [live, dead.address], "and comes first from then on");
        assert!(dialler.dial(&CALL).await.is_ok());
    }

    #[tokio::test]
    async fn an_address_where_nobody_answers_comes_last_the_next_time() {
        let silent = TcpListener::bind("127.0.0.2:0").unwrap();
        let live = csms().await;
        let dialler = dialler(vec![silent.local_addr().unwrap(), live]);
        assert_eq!(
            dialler.dial(&CALL).await.err(),
            Some(NoUpstream::Unreachable),
            "it can be connected to, which is all that is known before"
        );
        assert!(dialler.dial(&CALL).await.is_ok());
    }

    #[tokio::test]
    async fn addresses_are_tried_one_beside_the_other_and_the_first_that_answers_is_taken() {
        let (dead, shut, live) = (Dead::new(), shut(), csms().await);
        for places in [vec![dead.address, shut, dead.address, live], vec![shut, dead.address, live, dead.address]] {
            let (tcp, place) = race(&places).await.unwrap();
            assert_eq!((place, tcp.peer_addr().unwrap()), (live, live));
        }
        assert!(race(&[shut, shut]).await.is_none() && race(&[]).await.is_none());
        let start = Instant::now();
        assert!(timeout(STAGGER * 3, race(&[dead.address, dead.address])).await.is_err() && start.elapsed() >= STAGGER * 3);
        // A busy machine may be late now and then, but not each time.
        let mut late = 0;
        loop {
            let start = Instant::now();
            assert_eq!(race(&[shut, live]).await.unwrap().1, live);
            if start.elapsed() < STAGGER {
                break;
            }
            late += 1;
            assert!(late < 10, "an address that refuses is waited for");
        }
    }
}
