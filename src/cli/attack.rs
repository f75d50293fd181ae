//! `sluis attack`: exit codes 0 nothing found, 1 something found, 2 wrong arguments or nothing to attack.

use crate::attack::{Attack, CanaryClass, Options, Report};
use crate::ocpp::Version;
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const WRONG_ARGUMENTS: u8 = 2;

/// What the command line says.
#[derive(Args)]
pub(super) struct Arguments {
    /// The running gateway, as stations dial it, without a station's id: ws://HOST/path/ or wss://HOST/path/.
    #[arg(long)]
    target: String,
    /// Where to be the central system: the gateway's upstream must point here.
    #[arg(long)]
    upstream_listen: String,
    /// Plays a reproduction file again; exit 1 if it still fails.
    #[arg(long, conflicts_with_all = ["minutes", "rounds", "seed"])]
    replay: Option<PathBuf>,
    /// The same seed plays the same attack [default: from the clock, and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// How long [default: 10, unless --rounds is given]
    #[arg(long)]
    minutes: Option<u64>,
    /// How many rounds; 60 have each kind of attack in each version.
    #[arg(long)]
    rounds: Option<u64>,
    /// Conversations at a time.
    #[arg(long, default_value_t = 4)]
    concurrency: usize,
    /// CA certificates (PEM) to trust for the target, instead of the machine's.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The station's certificate chain (PEM).
    #[arg(long)]
    client_cert: Option<PathBuf>,
    /// The station's private key (PEM).
    #[arg(long)]
    client_key: Option<PathBuf>,
    /// Certificate chain (PEM) of the hostile central system, if the gateway's upstream is wss://.
    #[arg(long)]
    upstream_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long)]
    upstream_key: Option<PathBuf>,
    /// User of basic authentication [default: the station's id]
    #[arg(long)]
    user: Option<String>,
    /// File with the password of basic authentication.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// A station's id to use, where the gateway knows its stations; give it twice for each conversation at a time.
    #[arg(long = "station")]
    stations: Vec<String>,
    /// How made-up stations' ids begin.
    #[arg(long, default_value = "attack-")]
    id_prefix: String,
    /// 1.6, 2.0.1 or 2.1 [default: all]
    #[arg(long, value_parser = version)]
    version: Vec<Version>,
    /// The directory for reproduction files.
    #[arg(long, default_value = "sluis-attack")]
    report: PathBuf,
    /// Seconds that an answer may take: more than the gateway's own patience.
    #[arg(long, default_value_t = 40)]
    deadline: u64,
    /// Milliseconds to wait after each step, for a gateway that limits how much a station may say.
    #[arg(long, default_value_t = 0)]
    pace: u64,
    /// Kinds of identifier that the policy lets cross on purpose, and that are no leak.
    #[arg(long, value_delimiter = ',')]
    crosses: Vec<CanaryClass>,
    /// Messages in a flood.
    #[arg(long, default_value_t = 2000)]
    flood: usize,
    /// The biggest message that the gateway accepts, in bytes.
    #[arg(long, default_value_t = 1 << 20)]
    frame_bytes: usize,
    /// Half-open connections at a time.
    #[arg(long, default_value_t = 200)]
    crowd: usize,
}

fn version(text: &str) -> Result<Version, String> {
    Version::ALL.into_iter().find(|v| v.number() == text).ok_or_else(|| "1.6, 2.0.1 or 2.1".to_owned())
}

/// Attacks, or plays again.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    let Arguments { replay, minutes, rounds, .. } = &arguments;
    let replay = replay.clone();
    let minutes = minutes.or(rounds.is_none().then_some(10));
    let options = Options {
        target: arguments.target,
        upstream_listen: arguments.upstream_listen,
        seed: arguments.seed.unwrap_or_else(|| crate::clock::now().0.unsigned_abs()),
        rounds: arguments.rounds,
        time: minutes.map(|minutes| Duration::from_secs(minutes * 60)),
        concurrency: arguments.concurrency.clamp(1, 256),
        ca: arguments.ca,
        client_cert: arguments.client_cert,
        client_key: arguments.client_key,
        upstream_cert: arguments.upstream_cert,
        upstream_key: arguments.upstream_key,
        user: arguments.user,
        password_file: arguments.password_file,
        stations: arguments.stations,
        id_prefix: arguments.id_prefix,
        versions: if arguments.version.is_empty() { Version::ALL.to_vec() } else { arguments.version },
        report: replay.is_none().then_some(arguments.report),
        deadline: Duration::from_secs(arguments.deadline.max(1)),
        pace: Duration::from_millis(arguments.pace),
        crosses: arguments.crosses,
        flood_frames: arguments.flood,
        frame_bytes: arguments.frame_bytes,
        max_crowd: arguments.crowd,
        trials: 24,
    };
    let Ok(runtime) = super::runtime() else { return ExitCode::from(WRONG_ARGUMENTS) };
    let done = runtime.block_on(async {
        match replay {
            Some(file) => again(options, &file).await,
            None => attack(options).await,
        }
    });
    done.unwrap_or_else(|why| {
        super::error(&why);
        ExitCode::from(WRONG_ARGUMENTS)
    })
}

async fn attack(options: Options) -> Result<ExitCode, String> {
    super::error(&format!("attacking with --seed {}", options.seed));
    let began = tokio::time::Instant::now();
    let attack = Attack::open(options).await?;
    let report = attack.run(super::error).await?;
    let Report { findings, rounds, conversations, frames, canaries, checks, actions, stopped } = report;
    super::print(&format!(
        "{rounds} rounds in {} s: {conversations} conversations, {frames} frames, {actions} actions of the standard, {canaries} canaries, {checks} checks\n",
        began.elapsed().as_secs()
    ));
    for (finding, file) in &findings {
        let file = file.as_ref().map_or_else(String::new, |file| file.display().to_string());
        super::print(&format!("{:<12} {}  {file}\n", finding.class.name(), finding.what));
    }
    if let Some(why) = stopped {
        super::print(&format!("stopped early: {why}\n"));
    }
    super::print(&format!("{} findings\n", findings.len()));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}

async fn again(options: Options, file: &Path) -> Result<ExitCode, String> {
    let replayed = Attack::open(options).await?.replay(file).await?;
    super::print(&format!("then: {}: {}\n", replayed.then.class.name(), replayed.then.what));
    for finding in &replayed.now {
        super::print(&format!("now:  {}: {}\n", finding.class.name(), finding.what));
    }
    super::print(if replayed.still { "it still fails\n" } else { "it does not fail any more\n" });
    Ok(if replayed.still { ExitCode::from(super::FAILED) } else { ExitCode::SUCCESS })
}
