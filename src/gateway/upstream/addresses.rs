//! Where a host name leads: asked for once for all stations that dial at the same time, and remembered, so that a storm of stations is none
//! of queries, and a name server that is away for a while takes nobody's central system away.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer is used without asking again.
const FRESH: Duration = Duration::from_secs(10);
/// How long the name server may think.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most addresses that are tried.
const MOST: usize = 8;

/// The addresses last heard of.
#[derive(Default)]
pub(super) struct Addresses {
    /// When they were asked for, and what was said.
    known: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Addresses {
    /// The addresses of a host; what was known before if nobody answers now. `None` if nothing ever was.
    pub(super) async fn of(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(vec![SocketAddr::new(address, port)]);
        }
        // Held while asking: whoever comes meanwhile waits for the same answer.
        let mut known = self.known.lock().await;
        if let Some((_, addresses)) = known.as_ref().filter(|(asked, _)| asked.elapsed() < FRESH) {
            return Some(addresses.clone());
        }
        let asked = Instant::now();
        match timeout(PATIENCE, lookup_host((host, port))).await {
            Ok(Ok(found)) => {
                let found: Vec<_> = found.take(MOST).collect();
                if !found.is_empty() {
                    *known = Some((asked, found));
                }
            }
            _ => {
                // The old answer is good for another while: not each station has to wait for the same silence.
                if let Some((time, _)) = known.as_mut() {
                    *time = Instant::now();
                }
            }
        }
        known.as_ref().map(|(_, addresses)| addresses.clone())
    }
}
