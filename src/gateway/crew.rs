//! Threads that connections live on, one for each core, each with a runtime of its own: a connection stays on the thread that it was given to,
//! so no thread looks for work at another's, and what a connection wakes is where it is awaited. (Measured in docs/performance.md.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Newcomers that wait to be begun with, on each thread. What comes to a connection that stands waits behind those at most, and they take a few
/// milliseconds together; in a storm the others wait in the operating system's queue.
const WAITING: usize = 32;

/// The threads. Dropping it ends them, and with them every connection that is still there.
pub struct Crew {
    hands: Vec<Hand>,
    turn: AtomicUsize,
    waiting: Arc<Semaphore>,
}

struct Hand {
    runtime: Handle,
    /// Connections that live there.
    load: Arc<AtomicUsize>,
    _end: oneshot::Sender<()>,
}

/// A connection's place on a thread, for as long as it lives there.
pub(super) struct Post {
    /// The number of the thread.
    pub(super) hand: usize,
    load: Arc<AtomicUsize>,
}

impl Drop for Post {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crew {
    /// Starts as many threads as this process may use cores.
    ///
    /// # Errors
    /// The operating system gives no threads, or no descriptors for them to wait with.
    pub fn of_all_cores() -> io::Result<Self> {
        Self::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Starts `threads` threads, one at least.
    ///
    /// # Errors
    /// As for [`Crew::of_all_cores`].
    pub fn new(threads: usize) -> io::Result<Self> {
        let hand = |_| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (end, ended) = oneshot::channel::<()>();
            // Whether it is told to end or forgotten is the same.
            std::thread::Builder::new().name("sluis-relay".into()).spawn(move || runtime.block_on(async { drop(ended.await) }))?;
            Ok(Hand { runtime: handle, load: Arc::default(), _end: end })
        };
        let hands = (0..threads.max(1)).map(hand).collect::<io::Result<Vec<_>>>()?;
        let waiting = Arc::new(Semaphore::new(WAITING * hands.len()));
        Ok(Self { hands, turn: AtomicUsize::new(0), waiting })
    }

    /// A newcomer's place among those that wait to be begun with, as soon as there is one. To be dropped when it is.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).acquire_owned().await.ok()
    }

    /// A place on the thread where the fewest live; of several such, on the one whose turn it is.
    pub(super) fn post(&self) -> Post {
        let (turn, all) = (self.turn.fetch_add(1, Ordering::Relaxed), self.hands.len());
        let loaded = |number: &usize| self.hands[*number].load.load(Ordering::Relaxed);
        let hand = (turn..turn.saturating_add(all)).map(|number| number % all).min_by_key(loaded).unwrap_or(0);
        let load = Arc::clone(&self.hands[hand].load);
        load.fetch_add(1, Ordering::Relaxed);
        Post { hand, load }
    }

    /// A thread by its number.
    pub(super) fn hand(&self, number: usize) -> &Handle {
        &self.hands[number % self.hands.len()].runtime
    }

    /// A connection as one of another thread, which it wakes from now on.
    pub(super) fn moved(&self, socket: TcpStream, to: usize) -> io::Result<TcpStream> {
        let socket = socket.into_std()?;
        let _there = self.hand(to).enter();
        TcpStream::from_std(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::{Crew, Post};

    #[test]
    fn newcomers_beyond_the_bound_wait_until_one_is_begun_with() {
        let crew = Crew::new(1).unwrap();
        let handle = crew.hand(0).clone();
        handle.block_on(async {
            let mut places = Vec::new();
            for _ in 0..super::WAITING {
                places.push(crew.place().await);
            }
            let mut late = std::pin::pin!(crew.place());
            let waits = std::future::poll_fn(|task| std::task::Poll::Ready(late.as_mut().poll(task).is_pending())).await;
            assert!(waits, "one more than the bound");
            places.pop();
            assert!(late.await.is_some());
        });
    }

    #[test]
    fn work_goes_where_there_is_least_of_it_and_ends_with_the_crew() {
        let crew = Crew::new(2).unwrap();
        let thread = |post: &Post| crew.hand(post.hand).spawn(async { std::thread::current().id() });
        let posts: Vec<Post> = (0..4).map(|_| crew.post()).collect();
        let on: Vec<_> = posts.iter().map(|post| crew.hand(0).block_on(thread(post)).unwrap()).collect();
        assert_eq!((on[0], on[1]), (on[2], on[3]));
        assert_ne!(on[0], on[1]);
        let mut posts = posts.into_iter();
        let (first, _second, third, _fourth) = (posts.next().unwrap(), posts.next(), posts.next().unwrap(), posts.next());
        let here = first.hand;
        drop((first, third));
        assert_eq!([crew.post(), crew.post()].map(|post| post.hand), [here; 2], "nobody lives there any more");
        let left = crew.hand(crew.post().hand).spawn(std::future::pending::<()>());
        drop(crew);
        let waiting = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(waiting.block_on(left).unwrap_err().is_cancelled());
    }

    /// Regression: where the threads took turns, a probe of a load balancer before each station brought all stations onto one of two.
    #[test]
    fn a_probe_before_each_station_does_not_bring_all_stations_to_one_thread() {
        let crew = Crew::new(2).unwrap();
        let stations: Vec<Post> = (0..20)
            .map(|_| {
                drop(crew.post());
                crew.post()
            })
            .collect();
        assert_eq!(stations.iter().filter(|post| post.hand == 0).count(), 10);
    }
}
