//! Where a host name leads: asked for once for all stations that dial at the same time, and remembered, so that a storm of stations is none
//! of queries, and a name server that is away for a while takes nobody's central system away.

use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
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
    /// The one last heard from, or not, where there is a choice.
    last: std::sync::Mutex<Option<Last>>,
}

/// What is known of the address that was used last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The central system answered there: the next station tries it first.
    Answered(SocketAddr),
    /// It can be connected to, but nobody answered: the next station tries the others first.
    Silent(SocketAddr),
}

impl Addresses {
    #[cfg(test)]
    pub(super) fn knowing(places: Vec<SocketAddr>) -> Self {
        Self { known: Mutex::new(Some((Instant::now(), places))), ..Self::default() }
    }

    /// The addresses of a host, in the order in which they are to be tried; what was known before if nobody answers now. `None` if nothing ever was.
    pub(super) async fn of(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(vec![SocketAddr::new(address, port)]);
        }
        let mut found = self.by(async { Some(lookup_host((host, port)).await.ok()?.take(MOST).collect()) }).await?;
        self.put_in_order(&mut found);
        Some(found)
    }

    /// An address that was connected to was of use, or not. One that is not does not speak against another that is.
    pub(super) fn tried(&self, place: SocketAddr, answered: bool) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            _ if answered => *last = Some(Last::Answered(place)),
            Some(Last::Answered(other)) if other != place => {}
            _ => *last = Some(Last::Silent(place)),
        }
    }

    fn put_in_order(&self, places: &mut [SocketAddr]) {
        let at = |place| places.iter().position(|one| *one == place);
        match *self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Last::Answered(place)) => at(place).map(|at| places[..=at].rotate_right(1)),
            Some(Last::Silent(place)) => at(place).map(|at| places[at..].rotate_left(1)),
            None => None,
        };
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

    #[test]
    fn the_address_that_answered_last_comes_first_and_a_silent_one_last() {
        let places = ["192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443"].map(|place| place.parse::<SocketAddr>().unwrap());
        let [a, b, c] = places;
        let addresses = Addresses::default();
        let order = || {
            let mut order = places;
            addresses.put_in_order(&mut order);
            order
        };
        assert_eq!(order(), [a, b, c]);
        addresses.tried(a, false);
        assert_eq!(order(), [b, c, a]);
        addresses.tried(c, true);
        assert_eq!(order(), [c, a, b]);
        addresses.tried(a, false);
        assert_eq!(order(), [c, a, b], "a straggler's silence does not speak against the one that answered");
        addresses.tried(c, false);
        assert_eq!(order(), [a, b, c]);
        addresses.tried("192.0.2.9:443".parse().unwrap(), true);
        assert_eq!(order(), [a, b, c], "one that the name does not lead to any more");
    }
}
