//! The command line.

#[cfg(feature = "attack")]
mod attack;
mod cdr;
mod emsp;
mod keys;
mod ocpi;
mod opt_out;
mod person;
mod signals;
mod stations;
mod stats;
mod whom;

use crate::clock;
use crate::config::file::strangers;
use crate::config::{Config, Flags, Looked};
use crate::custody::{Custody, OpenError, Opening, Role};
use crate::gateway::Crew;
use crate::log::Queue;
use crate::policy::explain::{Layout, explain};
use crate::serve::{Ready, Serving, StartError};
use crate::store::DATABASE;
use clap::{Args, Parser, Subcommand, ValueEnum};
use keys::Keys;
use signals::Signals;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// Exit code: something failed while running.
pub const FAILED: u8 = 1;
/// Exit code: the arguments are wrong, as clap has it.
const WRONG_ARGUMENTS: u8 = 2;
/// Exit code: the configuration is wrong (`EX_CONFIG` of sysexits.h).
pub const WRONG_CONFIG: u8 = 78;
/// Once all connections have ended: how long files that are still being read may take, and after them the reader of the log.
const LINGER: Duration = Duration::from_millis(500);

/// An EV charging privacy gateway: an OCPP proxy that forwards codes instead of card numbers.
#[derive(Parser)]
#[command(name = "sluis", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(Options),
    /// Say what is wrong with a configuration, and start nothing.
    Check(Options),
    /// Print, field by field, what the policy lets pass, why, and what it withholds.
    Explain {
        #[command(flatten)]
        options: Options,
        /// Only this message.
        #[arg(long)]
        action: Option<String>,
        /// As Markdown, for a data protection officer.
        #[arg(long)]
        markdown: bool,
    },
    /// Read identifiers, one a line, and print each with its code; during a rotation also with the code of the epoch before.
    Codes {
        #[command(flatten)]
        options: Options,
        /// Make the codes of this epoch instead of the current one.
        #[arg(long)]
        epoch: Option<u32>,
    },
    /// List, create, rotate and destroy the epochs of keys.
    Keys {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: Keys,
    },
    /// List charge detail records, and decide on those that are held.
    Cdr {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: cdr::Cdr,
    },
    /// Hand an e-MSP the key of its codes; at the e-MSP, tell which customer each CDR is for.
    #[command(subcommand)]
    Emsp(emsp::Emsp),
    /// Exchange credentials with OCPI parties, and list them.
    Ocpi {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: ocpi::Action,
    },
    /// Hash the passwords that stations connect with.
    #[command(subcommand)]
    Stations(stations::Stations),
    /// Attack a running gateway from both its sides, and report leaks, unanswered calls, hangs and crashes.
    #[cfg(feature = "attack")]
    Attack(attack::Arguments),
    /// Release statistics that cannot be traced to a person; check, plan and account for them.
    Stats {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: stats::Stats,
    },
    /// Say who is not to be counted in statistics.
    OptOut {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: opt_out::OptOut,
    },
    /// Erase somebody: the original of a card or contract, e-MSPs' tokens of it, and what it added to statistics that are not released. Its codes
    /// stay in facts and CDRs, and restore to nothing.
    Erase {
        #[command(flatten)]
        options: Options,
        #[command(flatten)]
        whom: whom::Whom,
    },
    /// List what was disclosed, to whom, when and for what.
    Disclosures {
        #[command(flatten)]
        options: Options,
        #[command(subcommand)]
        action: person::Disclosures,
    },
    /// See it work: a gateway, a central system, two e-MSPs and a dozen stations in one process.
    Demo {
        /// Play a fixed number of sessions; exit 0 only if nothing leaked and each was billed once.
        #[arg(long)]
        once: bool,
        /// Where stations connect [default: 127.0.0.1:9000, or any free port]
        #[arg(long)]
        listen: Option<String>,
        /// strict, smart-charging or observe [default: strict]
        #[arg(long, value_parser = ["strict", "smart-charging", "observe"])]
        policy: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Json,
    Text,
}

#[derive(Args)]
struct Options {
    /// The configuration file.
    #[arg(short, long, global = true)]
    config: Option<PathBuf>,
    /// Where stations connect [default: 127.0.0.1:9000]
    #[arg(long, global = true)]
    listen: Option<String>,
    /// The central system, as ws:// or wss:// URL.
    #[arg(long, global = true)]
    upstream: Option<String>,
    /// Where health and metrics are [default: 127.0.0.1:8080]
    #[arg(long, global = true)]
    admin: Option<String>,
    /// Where vault and journal are kept [default: sluis-data]
    #[arg(long, global = true)]
    data_dir: Option<String>,
    /// strict, smart-charging, observe, or a policy file [default: strict]
    #[arg(long, global = true)]
    policy: Option<String>,
    /// The form of the log [default: json]
    #[arg(long, global = true)]
    log_format: Option<LogFormat>,
    /// error, warn, info or debug [default: info]
    #[arg(long, global = true)]
    log_level: Option<String>,
}

impl Options {
    fn flags(self) -> Flags {
        let format = self.log_format.map(|f| if matches!(f, LogFormat::Json) { "json" } else { "text" }.to_owned());
        let given = [
            ("listen", self.listen),
            ("upstream.url", self.upstream),
            ("admin", self.admin),
            ("data_dir", self.data_dir),
            ("policy", self.policy),
            ("log.format", format),
            ("log.level", self.log_level),
        ];
        Flags { config: self.config, values: given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect() }
    }

    fn config(self) -> Result<Config, ExitCode> {
        look(&self.flags()).done().map_err(|mistakes| told(&mistakes))
    }
}

/// A variable that is not UTF-8 is read with marks in place of what is not, so that the key says that its value is wrong.
fn look(flags: &Flags) -> Looked {
    Config::look(flags, &|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

/// The configuration, with the files that it names looked at too.
fn configured(flags: &Flags) -> Result<Config, Vec<String>> {
    let looked = look(flags);
    let files = Ready::read(&looked.config).err();
    looked.and(files.unwrap_or_default()).done()
}

/// Variables of the environment that look like keys and are none.
fn strange_variables() -> Vec<String> {
    strangers(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

/// Tells all mistakes, each on a line.
fn told(mistakes: &[String]) -> ExitCode {
    for mistake in mistakes {
        error(mistake);
    }
    ExitCode::from(WRONG_CONFIG)
}

fn error(what: &str) {
    let _ = writeln!(std::io::stderr(), "sluis: {what}");
}

/// Prints; a reader that went away is no error of ours.
fn print(text: &str) {
    let _ = try_print(text);
}

/// Prints; `false` if nobody reads any more.
fn try_print(text: &str) -> bool {
    std::io::stdout().write_all(text.as_bytes()).is_ok()
}

/// Runs the program. Exit codes: 0 fine, 1 failed, 2 wrong arguments, 78 wrong configuration.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(options) => serve(options.flags()),
        Command::Check(options) => check(options),
        Command::Explain { options, action, markdown } => options.config().and_then(|config| {
            let layout = if markdown { Layout::Markdown } else { Layout::Text };
            let page = match explain(&config.policy, action.as_deref(), layout) {
                Ok(Some(page)) => page,
                Ok(None) => {
                    error("no message of any version has this name");
                    return Err(ExitCode::from(WRONG_ARGUMENTS));
                }
                Err(mistakes) => return Err(told(&mistakes)),
            };
            print(&page);
            Ok(())
        }),
        Command::Codes { options, epoch } => options.config().and_then(|config| keys::codes(&config, epoch)),
        Command::Keys { options, action } => options.config().and_then(|config| keys::run(&config, &action)),
        Command::Cdr { options, action } => options.config().and_then(|config| cdr::run(&config, action)),
        Command::Emsp(command) => emsp::run(command),
        Command::Ocpi { options, action } => ocpi::run(options, action),
        Command::Stations(command) => stations::run(&command),
        #[cfg(feature = "attack")]
        Command::Attack(arguments) => return attack::run(arguments),
        Command::Stats { options, action } => stats::run(options, action),
        Command::OptOut { options, action } => options.config().and_then(|config| opt_out::run(&config, action)),
        Command::Erase { options, whom } => options.config().and_then(|config| person::erase(&config, whom)),
        Command::Disclosures { options, action } => options.config().and_then(|config| person::disclosures(&config, action)),
        Command::Demo { once, listen, policy } => return demo(once, listen, policy),
    };
    result.map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

fn check(options: Options) -> Result<(), ExitCode> {
    let config = configured(&options.flags()).map_err(|mistakes| told(&mistakes))?;
    let ready = Ready::read(&config).map_err(|mistakes| told(&mistakes))?;
    print("the configuration is fine\n");
    for line in ready.report(&config) {
        print(&format!("{line}\n"));
    }
    if config.allow_plaintext {
        print("note: allow_plaintext is set, which is reported as non-compliant\n");
    }
    for name in strange_variables() {
        print(&format!("note: {name} is set in the environment, but there is no such key\n"));
    }
    if config.kek_file.is_none() {
        print("note: keys.kek_file is not set, so the key lies beside the data it protects\n");
    }
    Ok(())
}

/// Sets up the log. To be ended when nothing more is to be said.
fn log(config: &Config) -> Result<Arc<Queue>, ExitCode> {
    // A descriptor of its own: whoever else prints does not wait for what is being written to it.
    let lines = match std::io::stdout().as_fd().try_clone_to_owned() {
        Ok(own) => Queue::start(File::from(own)),
        Err(_) => Queue::start(std::io::stdout()),
    }
    .map_err(no_threads)?;
    // A line that cannot be written is lost. To say so on stderr, which may be on the same full disk, would panic.
    let log = tracing_subscriber::fmt()
        .with_writer(Arc::clone(&lines))
        .with_env_filter(ours(config.log_level))
        .with_target(false)
        .with_ansi(std::io::stdout().is_terminal())
        .log_internal_errors(false);
    // Failing means that a log is set up already.
    let _ = if config.log_json { log.json().flatten_event(true).try_init() } else { log.try_init() };
    Ok(lines)
}

/// Our own events only, whatever the level: libraries tell of begin, end and price of a session, and of addresses they call.
fn ours(level: tracing::Level) -> EnvFilter {
    EnvFilter::new(format!("{}={level}", env!("CARGO_CRATE_NAME")))
}

fn no_threads(_: std::io::Error) -> ExitCode {
    error("the operating system gives no threads");
    ExitCode::from(FAILED)
}

fn runtime() -> Result<Runtime, ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(no_threads)
}

fn serve(flags: Flags) -> Result<(), ExitCode> {
    let config = &configured(&flags).map_err(|mistakes| told(&mistakes))?;
    let lines = log(config)?;
    for variable in strange_variables() {
        tracing::warn!(variable, "is set in the environment, but there is no such key: it is ignored");
    }
    let (result, linger) = match runtime() {
        Err(code) => (Err(code), LINGER),
        Ok(runtime) => {
            let (result, linger) = runtime.block_on(run(config, flags));
            // A file that hangs holds the thread that reads it, maybe for ever. What was acknowledged is on the disk already.
            runtime.shutdown_timeout(linger);
            (result, linger)
        }
    };
    lines.end(linger);
    result
}

/// Runs the gateway until it is asked to stop. Also says how long what is left behind may take.
async fn run(config: &Config, flags: Flags) -> (Result<(), ExitCode>, Duration) {
    // First of all, or one that asks for a reload as soon as the gateway is ready would end it.
    let mut signals = Signals::listen();
    // Without a crew of its own it goes on as well.
    let crew = Crew::of_all_cores()
        .inspect_err(|reason| tracing::warn!(reason = %reason.kind(), "connections share the threads of everything else"))
        .ok();
    let serving = match Serving::start_with(config, crew).await {
        Ok(serving) => serving,
        Err(StartError::Config(mistakes)) => return (Err(told(&mistakes)), LINGER),
        Err(StartError::Open(why)) => return (Err(cannot_open(&why)), LINGER),
        Err(other) => {
            error(&other.to_string());
            return (Err(ExitCode::from(FAILED)), LINGER);
        }
    };
    let result = tokio::select! {
        () = signals.obey(&serving, flags) => Ok(()),
        // Whoever looks after the process starts it again.
        () = serving.broke() => Err(ExitCode::from(FAILED)),
    };
    tracing::info!("stopping");
    let linger = tokio::select! {
        () = serving.stop() => {
            tracing::info!("stopped");
            LINGER
        }
        // What was acknowledged is on the disk already.
        () = signals.stop() => {
            tracing::warn!("asked to stop twice: stopped at once");
            LINGER / 10
        }
    };
    (result, linger)
}

/// Says why a data directory cannot be opened.
fn cannot_open(why: &OpenError) -> ExitCode {
    if let Some(key) = why.key() {
        return told(&[format!("{key}: {why}")]);
    }
    error(&why.to_string());
    ExitCode::from(FAILED)
}

/// Opens the data directory of a gateway, running or not. One that has never been served from is refused: what was made there would be restored
/// nowhere.
fn custody(config: &Config) -> Result<Custody, ExitCode> {
    let dir = config.data_dir.display();
    match config.data_dir.join(DATABASE).try_exists() {
        Ok(true) => custody_or_new(config),
        Ok(false) => {
            let advice = "name its directory (--data-dir), or start it there once";
            Err(told(&[format!("data_dir: no gateway has kept anything in {dir}: {advice}")]))
        }
        Err(why) => {
            error(&format!("{dir} cannot be looked into: {}", why.kind()));
            Err(ExitCode::from(FAILED))
        }
    }
}

/// The same, and makes what is not there yet: files of sessions are released where no gateway is.
fn custody_or_new(config: &Config) -> Result<Custody, ExitCode> {
    let opening =
        Opening { alphabet: config.alphabet, credentials: config.credentials.clone(), ..Opening::new(Role::Beside, clock::now()) };
    Custody::open(&config.data_dir, config.kek_file.as_deref(), &opening).map_err(|why| cannot_open(&why))
}

#[cfg(not(feature = "demo"))]
fn demo(_once: bool, _listen: Option<String>, _policy: Option<String>) -> ExitCode {
    error("this program was built without the demo (cargo feature `demo`)");
    ExitCode::from(FAILED)
}

#[cfg(feature = "demo")]
#[expect(clippy::disallowed_methods, reason = "the environment enters here, and only here")]
fn demo(once: bool, listen: Option<String>, policy: Option<String>) -> ExitCode {
    let plain = std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty());
    crate::demo::run(&crate::demo::Options { once, listen, policy, plain })
}
