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
        self.by(async { Some(lookup_host((host, port)).await.ok()?.take(MOST).collect()) }).await
    }

    /// The same, with the question that is asked if what is known is not fresh.
    async fn by(&self, ask: impl Future<Output = Option<Vec<SocketAddr>>>) -> Option<Vec<SocketAddr>> {
        // Held while asking: whoever comes meanwhile waits for the same answer.
        let mut known = self.known.lock().await;
        if let Some((_, addresses)) = known.as_ref().filter(|(asked, _)| asked.elapsed() < FRESH) {
            return Some(addresses.clone());
        }
        match timeout(PATIENCE, ask).await {
            Ok(Some(found)) if !found.is_empty() => *known = Some((Instant::now(), found)),
            // The old answer is good for another while: not each station has to wait for the same silence.
            _ => {
                if let Some((asked, _)) = known.as_mut() {
                    *asked = Instant::now();
                }
            }
        }
        known.as_ref().map(|(_, addresses)| addresses.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn a_storm_asks_once_and_an_old_answer_is_better_than_none() {
        let (addresses, asked) = (Addresses::default(), Cell::new(0));
        let place: SocketAddr = "192.0.2.1:443".parse().unwrap();
        let answer = async || {
            asked.set(asked.get() + 1);
            tokio::task::yield_now().await;
            Some(vec![place])
        };
        assert_eq!(addresses.by(async { None }).await, None, "nothing was ever known");
        let storm = (0..100).map(|_| addresses.by(answer()));
        assert!(futures_util::future::join_all(storm).await.into_iter().all(|found| found == Some(vec![place])));
        assert_eq!(asked.get(), 1);
        addresses.known.lock().await.as_mut().unwrap().0 -= FRESH;
        assert_eq!(addresses.by(async { None }).await, Some(vec![place]), "the name server is away");
        assert_eq!(addresses.by(answer()).await, Some(vec![place]));
        assert_eq!(asked.get(), 1, "and is left alone for a while");
    }
}
