//! `sluis attack`: a black-box harness for security teams. It plays a hostile station and a hostile central system around a *running* gateway (the
//! staging one), whichever it is: it knows OCPP and nothing of the gateway's inside, and imports nothing of the treatment, so that it is an oracle
//! of its own. What it finds it writes down as a script that can be played again.
//!
//! A round is a script, made from the seed and the round's number alone; `scene` plays it and judges what comes out. See
//! `docs/attack.md`.

mod canary;
mod dice;
mod judge;
mod leaks;
mod line;
mod listener;
mod messages;
mod plan;
mod rules;
mod scene;
mod script;
mod target;
mod world;
mod ws;

pub use canary::Class as CanaryClass;
pub use script::{Class, Finding};

use crate::ocpp::Version;
use scene::play;
use script::{Script, Step};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use world::World;

/// Findings that are written down; a gateway with more has been told enough.
const MAX_FINDINGS: usize = 100;
/// How long a script may be played again to make it shorter.
const TRIAL_TIME: Duration = Duration::from_secs(20);
/// Rounds in a row in which no station could connect, after which the attack stops.
const MAX_SHUT: u64 = 12;

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway, as a station's URL without the station's id.
    pub target: String,
    /// Where the gateway's upstream points: address and port.
    pub upstream_listen: String,
    /// The seed: the same seed plays the same attack.
    pub seed: u64,
    /// How many rounds; without bound if `None`.
    pub rounds: Option<u64>,
    /// How long; without bound if `None`.
    pub time: Option<Duration>,
    /// Conversations at a time.
    pub concurrency: usize,
    /// CA certificates to trust for the target, instead of the machine's.
    pub ca: Option<PathBuf>,
    /// The station's certificate and key.
    pub client_cert: Option<PathBuf>,
    /// See `client_cert`.
    pub client_key: Option<PathBuf>,
    /// Certificate and key of the hostile central system, for a gateway whose upstream is `wss://`.
    pub upstream_cert: Option<PathBuf>,
    /// See `upstream_cert`.
    pub upstream_key: Option<PathBuf>,
    /// The user of basic authentication; the station's id if `None`.
    pub user: Option<String>,
    /// The file with the password of basic authentication.
    pub password_file: Option<PathBuf>,
    /// Names of stations to use; empty: made up, beginning with `id_prefix`.
    pub stations: Vec<String>,
    /// How made-up names of stations begin.
    pub id_prefix: String,
    /// The versions to speak.
    pub versions: Vec<Version>,
    /// Where reproduction files go; nowhere if `None`.
    pub report: Option<PathBuf>,
    /// How long an answer may take.
    pub deadline: Duration,
    /// A pause after each step, for a gateway that limits how much a station may say.
    pub pace: Duration,
    /// Kinds of identifier that the policy lets cross on purpose.
    pub crosses: Vec<CanaryClass>,
    /// Messages in a flood.
    pub flood_frames: usize,
    /// The biggest message that the gateway accepts, in bytes.
    pub frame_bytes: usize,
    /// Half-open connections at a time.
    pub max_crowd: usize,
    /// How often a script that shows something is played again to make it shorter.
    pub trials: usize,
}

/// What an attack found and did.
#[derive(Debug, Default)]
pub struct Report {
    /// The findings, each with its reproduction file if one was written.
    pub findings: Vec<(Finding, Option<PathBuf>)>,
    /// Rounds played.
    pub rounds: u64,
    /// Conversations, frames sent and received, canaries planted, and looks of the oracles.
    pub conversations: u64,
    /// See `conversations`.
    pub frames: u64,
    /// See `conversations`.
    pub canaries: u64,
    /// See `conversations`.
    pub checks: u64,
    /// Actions of the standard that were played, of all versions and both senders.
    pub actions: usize,
    /// Why it stopped early.
    pub stopped: Option<String>,
}

/// An attack whose central system is listening.
pub struct Attack {
    world: Arc<World>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    seed: u64,
}

impl Attack {
    /// Reads the options and listens for the gateway.
    ///
    /// # Errors
    /// What is wrong with the options, in words.
    pub async fn open(options: Options) -> Result<Self, String> {
        let target = target::Target::read(&options)?;
        let tls = target::acceptor(&options)?;
        // A health check needs a station beside the one that strains the gateway.
        if !options.stations.is_empty() && options.stations.len() < 2 * options.concurrency {
            return Err("--station must be given at least twice for each conversation at a time".into());
        }
        let listener =
            TcpListener::bind(&options.upstream_listen).await.map_err(|_| "--upstream-listen cannot be listened on".to_owned())?;
        if let Some(dir) = &options.report {
            std::fs::create_dir_all(dir).map_err(|_| "--report cannot be created".to_owned())?;
        }
        let seed = options.seed;
        let run = seed ^ crate::clock::now().0.unsigned_abs();
        Ok(Self { world: Arc::new(World::new(options, target, run)), listener, tls, seed })
    }

    /// Where the gateway's upstream must point.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Attacks until rounds or time are over, and says now and then how far it is.
    ///
    /// # Errors
    /// A normal station cannot get through to this central system, so there is nothing to attack: why.
    pub async fn run(self, say: impl Fn(&str) + Send + Sync + 'static) -> Result<Report, String> {
        let Self { world, listener, tls, seed } = self;
        let door = AbortOnDrop(tokio::spawn(Arc::clone(&world.door).run(listener, tls)));
        let probe = play(&world, &plan::health(world.options.versions[0], 0)).await;
        if let Some(finding) = probe.findings.iter().find(|f| f.key.ends_with(":open")) {
            return Err(finding.what.clone());
        }
        let (rounds, time) = (world.options.rounds.unwrap_or(u64::MAX), world.options.time);
        let run = Arc::new(Run {
            seed,
            next: AtomicU64::new(0),
            shut: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            rounds,
            until: time.map(|time| Instant::now() + time),
            found: Mutex::default(),
            keys: Mutex::default(),
            say: Box::new(say),
        });
        let mut lanes = JoinSet::new();
        for _ in 0..world.options.concurrency.max(1) {
            lanes.spawn(lane(Arc::clone(&world), Arc::clone(&run)));
        }
        let progress = AbortOnDrop(tokio::spawn(progress(Arc::clone(&world), Arc::clone(&run))));
        let asked = Arc::clone(&run);
        let stopping = AbortOnDrop(tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                asked.stop.store(true, Ordering::Relaxed);
            }
        }));
        while lanes.join_next().await.is_some() {}
        drop((progress, door, stopping));
        let shut = run.shut.load(Ordering::Relaxed) >= MAX_SHUT;
        Ok(Report {
            findings: std::mem::take(&mut *run.found.lock().unwrap_or_else(PoisonError::into_inner)),
            rounds: run.next.load(Ordering::Relaxed).min(rounds),
            conversations: world.stats.conversations.load(Ordering::Relaxed),
            frames: world.stats.frames.load(Ordering::Relaxed),
            canaries: world.stats.canaries.load(Ordering::Relaxed),
            checks: world.stats.checks.load(Ordering::Relaxed),
            actions: world.stats.actions(|version, action| world.messages(version).knows(action)),
            stopped: shut.then(|| "no station can connect any more".to_owned()),
        })
    }

    /// Plays a reproduction file again, and gives what it finds now.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn replay(self, file: &Path) -> Result<Replayed, String> {
        let Self { world, listener, tls, .. } = self;
        let text = std::fs::read_to_string(file).map_err(|_| "the reproduction file cannot be read".to_owned())?;
        let (script, then, _) = script::read(&text)?;
        let door = AbortOnDrop(tokio::spawn(Arc::clone(&world.door).run(listener, tls)));
        let now = play(&world, &script).await.findings;
        drop(door);
        Ok(Replayed { still: now.iter().any(|f| f.class == then.class), then, now })
    }
}

/// What came of a reproduction file.
#[derive(Debug)]
pub struct Replayed {
    /// What was found when it was written.
    pub then: Finding,
    /// What is found now.
    pub now: Vec<Finding>,
    /// Whether something of the same class is found.
    pub still: bool,
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Run {
    seed: u64,
    next: AtomicU64,
    /// Rounds in a row in which no station could connect.
    shut: AtomicU64,
    /// Somebody asked it to stop: the rounds that are being played are the last.
    stop: AtomicBool,
    rounds: u64,
    until: Option<Instant>,
    found: Mutex<Vec<(Finding, Option<PathBuf>)>>,
    keys: Mutex<HashSet<String>>,
    say: Box<dyn Fn(&str) + Send + Sync>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.until.is_some_and(|until| Instant::now() >= until)
            || self.shut.load(Ordering::Relaxed) >= MAX_SHUT
            || self.found.lock().unwrap_or_else(PoisonError::into_inner).len() >= MAX_FINDINGS
    }
}

async fn lane(world: Arc<World>, run: Arc<Run>) {
    let bounds =
        plan::Bounds { flood_frames: world.options.flood_frames, frame_bytes: world.options.frame_bytes, crowd: world.options.max_crowd };
    while !run.is_over() {
        let round = run.next.fetch_add(1, Ordering::Relaxed);
        if round >= run.rounds {
            return;
        }
        let script = plan::script(run.seed, round, &world.options.versions, bounds);
        let played = play(&world, &script).await;
        if played.findings.iter().any(|f| f.key.ends_with(":open")) {
            run.shut.fetch_add(1, Ordering::Relaxed);
        } else {
            run.shut.store(0, Ordering::Relaxed);
        }
        for finding in played.findings {
            let new = run.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(finding.key.clone());
            if new {
                let (script, finding, wire) = shortened(&world, &run, &script, finding, &played.wire).await;
                let file = world.options.report.as_deref().and_then(|dir| written(dir, &script, &finding, &world, &wire));
                let place = file.as_ref().map_or_else(String::new, |file| format!(" ({})", file.display()));
                (run.say)(&format!("{}: {}{place}", finding.class.name(), finding.what));
                run.found.lock().unwrap_or_else(PoisonError::into_inner).push((finding, file));
            }
        }
    }
}

/// The shortest script found, within reason, that still shows the finding. What is found by waiting in vain is not tried again and again.
async fn shortened(
    world: &Arc<World>,
    run: &Run,
    script: &Script,
    finding: Finding,
    wire: &[script::Wire],
) -> (Script, Finding, Vec<script::Wire>) {
    let mut best = Script { steps: script.steps.iter().take(finding.step + 1).cloned().collect(), ..script.clone() };
    let mut found = (finding, wire.to_vec());
    if matches!(found.0.class, Class::Hang | Class::Unanswered) {
        return (best, found.0, found.1);
    }
    let until = Instant::now() + TRIAL_TIME;
    let mut size = best.steps.len() / 2;
    let mut trials = 0;
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() && trials < world.options.trials && Instant::now() < until && !run.is_over() {
            let kept = |(n, step): (usize, &Step)| (!(at..at + size).contains(&n) || matches!(step, Step::Open)).then(|| step.clone());
            let steps: Vec<Step> = best.steps.iter().enumerate().filter_map(kept).collect();
            if steps.len() < best.steps.len() {
                trials += 1;
                let shorter = Script { steps, ..best.clone() };
                let played = play(world, &shorter).await;
                if let Some(same) = played.findings.into_iter().find(|f| f.key == found.0.key) {
                    best = Script { steps: shorter.steps.into_iter().take(same.step + 1).collect(), ..best };
                    found = (same, played.wire);
                    continue;
                }
            }
            at += size;
        }
        size /= 2;
    }
    (best, found.0, found.1)
}

fn written(dir: &Path, script: &Script, finding: &Finding, world: &World, wire: &[script::Wire]) -> Option<PathBuf> {
    let path = dir.join(format!("{}-round{}-{:04}.jsonl", finding.class.name(), script.round, world.next() % 10_000));
    let mut bytes = Vec::new();
    let deadline = u64::try_from(world.deadline.as_millis()).unwrap_or(u64::MAX);
    script::write(&mut bytes, script, finding, deadline, wire).ok()?;
    std::fs::write(&path, bytes).ok()?;
    Some(path)
}

/// Says every while how far it is.
async fn progress(world: Arc<World>, run: Arc<Run>) {
    let mut tick = tokio::time::interval(Duration::from_secs(30));
    tick.tick().await;
    loop {
        tick.tick().await;
        let stats = &world.stats;
        (run.say)(&format!(
            "{} rounds, {} frames, {} canaries, {} findings",
            run.next.load(Ordering::Relaxed).min(run.rounds),
            stats.frames.load(Ordering::Relaxed),
            stats.canaries.load(Ordering::Relaxed),
            run.found.lock().unwrap_or_else(PoisonError::into_inner).len()
        ));
    }
}
