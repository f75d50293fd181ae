//! The live connection of each station. A newer one takes the place of an older one; the older one's end, which may come late, does not
//! remove the newer one, for each entry carries its generation.

use super::Ending;
use dashmap::DashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What a connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Ping the station now.
    Ping,
    /// End as soon as no CALL is outstanding, and at this moment at the latest.
    Finish(Instant),
    /// End now, for this reason.
    Leave(Ending),
}

/// Orders that were given and not yet taken.
#[derive(Default)]
struct Given {
    ping: bool,
    finish: Option<Instant>,
    leave: Option<Ending>,
}

/// A live connection, as others see it: they give it orders and hear of its life.
pub(super) struct Line {
    /// Its number, for logs.
    number: u64,
    given: Mutex<Given>,
    ordered: Notify,
    /// How often the station was heard since it was first asked for a sign of life.
    heard: AtomicU64,
    asked: AtomicBool,
    ended: AtomicBool,
    /// Rung when the station is heard and when the connection ends.
    news: Notify,
}

impl Line {
    fn new(number: u64) -> Self {
        Self {
            number,
            given: Mutex::default(),
            ordered: Notify::new(),
            heard: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            news: Notify::new(),
        }
    }

    fn give(&self, order: Order) -> bool {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let first = given.leave.is_none();
        match order {
            Order::Ping => given.ping = true,
            Order::Finish(by) => given.finish = Some(by),
            // The first reason counts.
            Order::Leave(ending) => given.leave = given.leave.or(Some(ending)),
        }
        drop(given);
        self.ordered.notify_one();
        first
    }

    /// Tells the connection to end now; whether it was not told before.
    pub(super) fn leave(&self, why: Ending) -> bool {
        self.give(Order::Leave(why))
    }

    /// Tells the connection to end when it has finished, and at `by` at the latest.
    pub(super) fn finish(&self, by: Instant) {
        self.give(Order::Finish(by));
    }

    /// Pings the station; whether anything is heard of it in time.
    pub(super) async fn answers(&self, patience: Duration) -> bool {
        self.asked.store(true, Ordering::SeqCst);
        let before = self.heard.load(Ordering::SeqCst);
        self.give(Order::Ping);
        let heard = self.wait(|| self.heard.load(Ordering::SeqCst) != before || self.ended.load(Ordering::SeqCst));
        timeout(patience, heard).await.is_ok() && !self.ended.load(Ordering::SeqCst)
    }

    /// Waits until the connection has ended; whether it did in time.
    pub(super) async fn ends(&self, patience: Duration) -> bool {
        timeout(patience, self.wait(|| self.ended.load(Ordering::SeqCst))).await.is_ok()
    }

    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    async fn wait(&self, is_so: impl Fn() -> bool) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on no ring is missed.
            news.as_mut().enable();
            if is_so() {
                return;
            }
            news.await;
        }
    }
}

/// Stations and their connections.
#[derive(Default)]
pub(super) struct Live {
    stations: DashMap<Box<str>, Arc<Line>>,
    generation: AtomicU64,
}

/// A connection's own entry; dropping it ends the connection's time among the living.
pub(super) struct Place {
    live: Arc<Live>,
    station: Box<str>,
    line: Arc<Line>,
    /// The older connection of the station that had to make room, and has been told so.
    pub(super) displaced: Option<Arc<Line>>,
    /// Whether it was told so only now.
    pub(super) took_over: bool,
}

impl Place {
    /// The number of the connection, for logs.
    pub(super) fn number(&self) -> u64 {
        self.line.number
    }

    /// The next order; one that ends the connection before all others. Safe to cancel.
    pub(super) async fn order(&self) -> Order {
        loop {
            {
                let mut given = self.line.given.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(ending) = given.leave {
                    return Order::Leave(ending);
                }
                if std::mem::take(&mut given.ping) {
                    return Order::Ping;
                }
                if let Some(by) = given.finish.take() {
                    return Order::Finish(by);
                }
            }
            self.line.ordered.notified().await;
        }
    }

    /// Something came from the station: any traffic counts as life.
    pub(super) fn heard(&self) {
        if self.line.asked.load(Ordering::Relaxed) {
            self.line.heard.fetch_add(1, Ordering::SeqCst);
            self.line.news.notify_waiters();
        }
    }

    /// Tells the connection itself to finish, as others do.
    pub(super) fn finish(&self, by: Instant) {
        self.line.finish(by);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Unless a newer one stands in its place.
        self.live.stations.remove_if(&self.station, |_, line| line.number == self.line.number);
        self.line.ended.store(true, Ordering::SeqCst);
        self.line.news.notify_waiters();
    }
}

impl Live {
    /// Stations that are connected.
    pub(super) fn len(&self) -> usize {
        self.stations.len()
    }

    /// The connection that a station has.
    pub(super) fn of(&self, station: &str) -> Option<Arc<Line>> {
        self.stations.get(station).map(|line| Arc::clone(&line))
    }

    /// All connections.
    pub(super) fn all(&self) -> Vec<Arc<Line>> {
        self.stations.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    /// Enters a connection; one that the station had before is told to end.
    pub(super) fn enter(self: &Arc<Self>, station: &str) -> Place {
        let line = Arc::new(Line::new(self.generation.fetch_add(1, Ordering::Relaxed)));
        let displaced = self.stations.insert(station.into(), Arc::clone(&line));
        let took_over = displaced.as_ref().is_some_and(|old| old.leave(Ending::Displaced));
        Place { live: Arc::clone(self), station: station.into(), line, displaced, took_over }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_old_ones_late_end_does_not_remove_the_new_one() {
        let live = Arc::new(Live::default());
        let old = live.enter("CS-1");
        let new = live.enter("CS-1");
        assert_eq!(old.order().await, Order::Leave(Ending::Displaced));
        assert_eq!(new.displaced.as_ref().map(|line| line.number), Some(old.number()));
        drop(old);
        assert_eq!(live.of("CS-1").map(|line| line.number), Some(new.number()));
        assert!(new.displaced.as_ref().unwrap().ends(Duration::ZERO).await);
        drop(new);
        assert_eq!(live.len(), 0);
    }

    #[tokio::test]
    async fn a_line_is_alive_if_anything_is_heard_of_it_in_time() {
        let live = Arc::new(Live::default());
        let place = live.enter("CS-1");
        let line = live.of("CS-1").unwrap();
        assert!(!line.answers(Duration::from_millis(5)).await, "nobody spoke");
        assert_eq!(place.order().await, Order::Ping);
        let (answers, ()) = tokio::join!(line.answers(Duration::from_secs(5)), async {
            assert_eq!(place.order().await, Order::Ping);
            place.heard();
        });
        assert!(answers);
        let (answers, ()) = tokio::join!(line.answers(Duration::from_secs(5)), async { drop(place) });
        assert!(!answers, "what has ended is not alive");
    }
}
