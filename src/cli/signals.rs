//! What the process is told by signals: to stop, and to read its files again.

use super::configured;
use crate::config::Flags;
use crate::serve::Serving;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process lives by. One that comes while nobody waits for it is not lost.
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Listens from now on. Until then each of them ends the process.
    pub(super) fn listen() -> Self {
        let [terminate, interrupt, hang_up] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(|kind| signal(kind).ok());
        Self { terminate, interrupt, hang_up }
    }

    /// Reads the configuration and its files again whenever the process is asked to (SIGHUP), and returns when it is asked to stop, also in the
    /// middle of that: a file may hang.
    pub(super) async fn obey(&mut self, serving: &Serving, flags: Flags) {
        loop {
            tokio::select! {
                () = next(&mut self.terminate) => return,
                () = next(&mut self.interrupt) => return,
                () = next(&mut self.hang_up) => {}
            }
            tracing::info!("reading the configuration and its files again");
            let flags = flags.clone();
            tokio::select! {
                () = self.stop() => return,
                _ = serving.adopt(move || configured(&flags)) => {}
            }
        }
    }

    /// Returns when the process is asked to stop (SIGTERM, SIGINT).
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            () = next(&mut self.terminate) => {}
            () = next(&mut self.interrupt) => {}
        }
    }
}

/// Returns at the next signal of a kind; never, if the system does not give any.
async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
