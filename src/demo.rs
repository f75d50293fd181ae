//! `sluis demo`: a small world to run the gateway in. A dozen made-up stations, a central system and two e-MSPs in one process, real sockets
//! through the real gateway, and a screen that shows what becomes of each kind of frame, and of each session a bill. In the end it searches
//! everything the central system and the e-MSPs received and everything the gateway wrote for every identifier of that world, and publishes statistics of a
//! made-up fleet.
//!
//! What it knows of the gateway it knows from outside: both ends of every line report what they sent and what they received. Messages of 1.6 and 2.0.1
//! are worded by `rust-ocpp`; no frame of the gateway ever goes through its types.

mod bills;
mod books;
mod cast;
mod csms;
mod differ;
mod emsp;
mod figures;
mod fleet;
mod leaks;
mod ledger;
mod messages;
mod papers;
mod screen;
mod station;
mod summary;
mod wire;
mod world;

use std::io::Write;
use std::process::ExitCode;

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Play a fixed number of sessions and stop, rather than stay up for a station of one's own.
    pub once: bool,
    /// Where stations connect; the usual port if it is free, else any.
    pub listen: Option<String>,
    /// A built-in policy; `strict` if not given.
    pub policy: Option<String>,
    /// No colours, even on a terminal (`NO_COLOR`).
    pub plain: bool,
}

/// Plays the demo. Succeeds only if every promise was kept: nothing leaked, every session ended and every call had its one answer.
pub fn run(options: &Options) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return told("the operating system gives no threads");
    };
    match runtime.block_on(world::play(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => told(&trouble.to_string()),
    }
}

fn told(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "sluis: the demo stopped: {why}");
    ExitCode::FAILURE
}
