//! The director: opens the gateway and everything around it, has the sessions played, and tells in the end whether all went as promised.

use super::Options;
use super::bills::{Bills, Charged};
use super::books::Order;
use super::cast::{EMSPS, Habit, Token, UNITS, Unit};
use super::csms::Csms;
use super::emsp::Emsp;
use super::figures::{self, Figures};
use super::leaks::Finder;
use super::ledger::Ledger;
use super::screen::{Ink, Screen};
use super::station::{self, Cue, Pace, Stage};
use super::wire::{PATIENCE, Trouble};
use super::{cast, papers, summary};
use crate::config::{Config, Flags};
use crate::ocpp::Version;
use crate::recipient::Party;
use crate::serve::{Serving, StartError};
use serde_json::Value;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, JoinSet};

/// Milliseconds between two frames of a station before the live view, and in it.
const BRISK: u64 = 40;
const SLOW: u64 = 250;
/// Said while the last bills are on their way.
pub(super) const WAITING: &str = "The sessions have ended. The gateway makes the bills and delivers the last of them …";
/// Between two sessions of the live view.
const PAUSE: Duration = Duration::from_secs(3);

/// What was promised and played.
#[derive(Debug, Default, Clone)]
pub(super) struct Played {
    /// Who charged, and what the stations' meters measured.
    pub(super) charged: Vec<Charged>,
    pub(super) remote_starts: u64,
    pub(super) guesses: u64,
    pub(super) guesses_refused: u64,
}

/// Everything that runs.
pub(super) struct World {
    pub(super) ledger: Arc<Ledger>,
    pub(super) csms: Arc<Csms>,
    pub(super) emsps: Vec<Arc<Emsp>>,
    pub(super) gateway: Serving,
    pub(super) data: PathBuf,
    pub(super) played: Played,
    /// The statistics, made meanwhile.
    pub(super) figures: JoinHandle<Result<Figures, Trouble>>,
    pace: Pace,
    stages: Vec<(&'static Unit, Stage)>,
}

/// Plays the demo. `Ok(true)` if it kept every promise.
pub(super) async fn play(options: &Options) -> Result<bool, Trouble> {
    let finder = Finder::new(&cast::secrets()).map_err(|e| Trouble::Surroundings("the leak check cannot be set up", e.to_string()))?;
    let colour = std::io::stdout().is_terminal() && !options.plain;
    let ledger = Ledger::new(finder, Screen::new(Box::new(std::io::stdout()), colour), policy(options));
    let data = scratch()?;
    let kept = perform(options, ledger, &data).await;
    let _ = std::fs::remove_dir_all(&data); // it lies where temporary things lie, sealed, if this fails
    kept
}

async fn perform(options: &Options, ledger: Arc<Ledger>, data: &Path) -> Result<bool, Trouble> {
    summary::listen_to_the_log(&ledger);
    let (csms, port) = Csms::start(Arc::clone(&ledger)).await?;
    let (mut emsps, mut doors) = (Vec::new(), Vec::new());
    for place in 0..EMSPS.len() {
        let (emsp, door) = Emsp::start(place, Arc::clone(&ledger)).await?;
        emsps.push(emsp);
        doors.push(door);
    }
    let papers = papers::write(data, &doors)?;
    let gateway = open(options, port, data, &papers).await?;
    ledger.say(|screen| introduce(screen, &gateway, policy(options)));
    let pace = Arc::new(AtomicU64::new(if options.once { 0 } else { BRISK }));
    let played = Played::default();
    let (papers, report) = (data.join("fleet"), data.with_extension("statistics"));
    let figures = tokio::task::spawn_blocking(move || figures::make(&papers, &report));
    let mut world = World { ledger, csms, emsps, gateway, data: data.to_owned(), played, figures, pace, stages: Vec::new() };
    tokio::select! {
        rounds = async {
            world.agree().await?;
            world.connect().await?;
            world.first_round().await?;
            world.second_round().await
        } => rounds?,
        _ = tokio::signal::ctrl_c() => return Err(Trouble::Surroundings("it was interrupted", "before there was anything to sum up".to_owned())),
    }
    if !options.once {
        world.live().await?;
    }
    summary::tell(world).await
}

fn policy(options: &Options) -> &str {
    options.policy.as_deref().unwrap_or("strict")
}

/// A directory of our own for the gateway's files.
fn scratch() -> Result<PathBuf, Trouble> {
    let failed = |why: String| Trouble::Surroundings("no place for the gateway's files", why);
    let mut name = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut name).map_err(|_| failed("no random bytes".to_owned()))?;
    let dir = std::env::temp_dir().join(format!("sluis-demo-{:016x}", u64::from_be_bytes(name)));
    std::fs::create_dir(&dir).map_err(|e| failed(e.to_string()))?;
    Ok(dir)
}

/// Opens the real gateway, configured as `sluis serve` would be, and deaf to the environment.
async fn open(options: &Options, csms: u16, data: &Path, papers: &Path) -> Result<Serving, Trouble> {
    let start = async |listen: &str| {
        let values = vec![
            ("listen", listen.to_owned()),
            ("admin", "127.0.0.1:0".to_owned()),
            ("upstream.url", format!("ws://127.0.0.1:{csms}/csms")),
            ("policy", policy(options).to_owned()),
            ("data_dir", data.join("data").to_string_lossy().into_owned()),
        ];
        let config = Config::read(&Flags { config: Some(papers.to_owned()), values }, &|_| None).map_err(StartError::Config)?;
        Serving::start(&config).await
    };
    let wish = options.listen.clone().unwrap_or_else(|| if options.once { "127.0.0.1:0" } else { "127.0.0.1:9000" }.to_owned());
    let started = match start(&wish).await {
        // The usual port is taken and nobody insisted on it: any other will do.
        Err(StartError::Bind("listen", ..)) if options.listen.is_none() => start("127.0.0.1:0").await,
        other => other,
    };
    started.map_err(|failure| {
        let why = match &failure {
            StartError::Config(mistakes) => mistakes.join("; "),
            other => other.to_string(),
        };
        Trouble::Surroundings("the gateway did not start", why)
    })
}

fn introduce(screen: &mut Screen, gateway: &Serving, policy: &str) {
    screen.line(&[
        (Ink::Bold, "sluis demo"),
        (Ink::Plain, ": charging stations, their central system, two e-MSPs, and the gateway between them"),
    ]);
    screen.text("");
    screen.text(&format!("  stations ──▶ gateway ({}, policy {policy}) ──▶ central system", gateway.listen));
    screen.text("                  └── a bill for each session ──▶ the driver's e-MSP (who issued the card)");
    screen.text("  Twelve made-up stations speak three versions of OCPP through a real gateway, over real sockets. Both ends report");
    screen.text("  what they sent and what they received; what differs is shown here, each kind of frame the first time it goes by:");
    screen.line(&[
        (Ink::Plain, "  "),
        (Ink::Clear, "04A22B6A5C1180"),
        (Ink::Plain, " → "),
        (Ink::Code, "Z0…"),
        (Ink::Plain, "   an identifier, and the code that the central system gets in its place"),
    ]);
    screen.line(&[
        (Ink::Plain, "  "),
        (Ink::Held, "SoC 43"),
        (Ink::Plain, "                 stays behind, for want of a purpose that needs it"),
    ]);
}

impl World {
    /// Before the first driver comes: the gateway has fetched the e-MSPs' tokens, so that it knows whose customer is whose, and each e-MSP is
    /// handed the key of its own codes.
    async fn agree(&mut self) -> Result<(), Trouble> {
        let custody = &self.gateway.gateway.custody;
        let due: u64 = self.emsps.iter().map(|emsp| emsp.holds() as u64).sum();
        let fetched = async {
            while !custody.store().sizes().is_ok_and(|sizes| sizes.tokens >= due) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let silence = |_| Trouble::Silence("an e-MSP".to_owned(), "offer of tokens".to_owned());
        tokio::time::timeout(PATIENCE, fetched).await.map_err(silence)?;
        self.ledger.say(|screen| {
            screen.heading("Two e-MSPs tell the gateway their customers' cards, over OCPI, and get the key of their own codes:");
        });
        for emsp in &self.emsps {
            let party =
                Party::parse(emsp.cast.party).ok_or_else(|| Trouble::Surroundings("a party of the demo", "has no valid id".to_owned()))?;
            let custody = Arc::clone(custody);
            let share = tokio::task::spawn_blocking(move || custody.hand_out(&party, crate::clock::now())).await;
            let failed = |why: String| Trouble::Surroundings("an e-MSP cannot be given its key", why);
            let share = share.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
            emsp.learns(&share.to_text())?;
            let (name, number, cards) = (emsp.cast.name, emsp.cast.version.number(), emsp.holds());
            self.ledger.say(|screen| screen.text(&format!("  {name} ({party}, OCPI {number}): {cards} customers")));
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Trouble> {
        self.ledger.say(|screen| screen.heading("Twelve stations connect and say who they are."));
        for unit in &UNITS {
            let stage = station::connect(unit, self.gateway.listen, Arc::clone(&self.ledger), Arc::clone(&self.pace)).await?;
            self.stages.push((unit, stage));
        }
        Ok(())
    }

    /// One session at each station, one after the other, so that they can be followed.
    async fn first_round(&mut self) -> Result<(), Trouble> {
        for (at, (unit, stage)) in self.stages.clone().into_iter().enumerate() {
            let first = at == 0 || UNITS[at - 1].version != unit.version;
            if first {
                let how = format!("A driver charges at {}, which speaks OCPP {}.", unit.id, unit.version.number());
                self.ledger.say(|screen| screen.heading(&how));
            }
            let token = unit.visitors[0];
            let energy = stage.play(Cue::Charge(token)).await?;
            self.charged(token, energy);
            if first {
                self.ledger.say(|screen| screen.heading("The station has more to say than anybody asked."));
                stage.play(Cue::Chatter).await?;
            }
            if first && unit.version != Version::V21 {
                self.ledger.say(|screen| {
                    screen
                        .heading("A curious central system tries a card number it was never given, and asks for the station's log files.");
                });
                self.played.guesses += 1;
                let answer = self.csms.order(unit.id, Order::Guess).await?;
                self.played.guesses_refused += u64::from(answer["status"] != "Accepted");
                self.csms.order(unit.id, Order::Logs).await?;
            }
        }
        Ok(())
    }

    /// All stations at once, each in its own habit.
    async fn second_round(&mut self) -> Result<(), Trouble> {
        self.ledger.say(|screen| {
            screen.heading("All twelve at once: remote starts, reservations and card lists come down with the real card in them.");
        });
        let mut acts = JoinSet::new();
        for (unit, stage) in self.stages.clone() {
            let csms = Arc::clone(&self.csms);
            acts.spawn(async move { act(unit, &stage, &csms).await.map(|acted| (unit.visitors[1], acted)) });
        }
        while let Some(act) = acts.join_next().await {
            let (token, (energy, remote)) = act.map_err(|e| Trouble::Surroundings("a station gave up", e.to_string()))??;
            self.charged(token, energy);
            self.played.remote_starts += u64::from(remote);
        }
        Ok(())
    }

    fn charged(&mut self, token: Token, energy: i64) {
        self.played.charged.push(Charged { token, energy });
    }

    /// One session after the other, slowly, until somebody presses Ctrl-C.
    async fn live(&mut self) -> Result<(), Trouble> {
        let (listen, admin) = (self.gateway.listen, self.gateway.admin);
        self.ledger.say(|screen| screen.heading(WAITING));
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        tokio::select! {
            bills = Bills::gather(self) => {
                let bills = bills?;
                self.ledger.say(|screen| bills.show(screen));
            }
            _ = &mut interrupted => return Ok(()),
        }
        self.emsps.iter().for_each(|emsp| emsp.aloud());
        self.pace.store(SLOW, Ordering::Relaxed);
        self.ledger.say(|screen| {
            screen.heading("The gateway stays open. Connect a station of your own, or any OCPP simulator, in OCPP 1.6, 2.0.1 or 2.1:");
            screen.line(&[(Ink::Plain, "  "), (Ink::Bold, &format!("ws://{listen}/ocpp/<station id>"))]);
            screen.text(&format!("  metrics: http://{admin}/metrics     Ctrl-C ends the demo with its summary"));
            screen.text("  A station of your own has no place in the demo's register of sites: its bills are held.");
        });
        for turn in 0.. {
            let (unit, stage) = self.stages[turn % self.stages.len()].clone();
            tokio::select! {
                _ = &mut interrupted => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
            let how = format!("A driver comes to {} (OCPP {}).", unit.id, unit.version.number());
            self.ledger.say(|screen| {
                screen.forget();
                screen.heading(&how);
            });
            // A session that was begun is played to its end: the summary has no loose ends.
            let (energy, remote) = act(unit, &stage, &self.csms).await?;
            self.charged(unit.visitors[1], energy);
            self.played.remote_starts += u64::from(remote);
        }
        Ok(())
    }

    /// The gateway's page of metrics, as a scraper gets it.
    pub(super) async fn metrics(&self) -> Result<Vec<u8>, Trouble> {
        let failed = |e: std::io::Error| Trouble::Surroundings("/metrics cannot be read", e.to_string());
        let page = async {
            let mut socket = tokio::net::TcpStream::connect(self.gateway.admin).await?;
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.gateway.admin);
            socket.write_all(request.as_bytes()).await?;
            let mut page = Vec::new();
            socket.read_to_end(&mut page).await?;
            Ok(page)
        };
        let page =
            tokio::time::timeout(PATIENCE, page).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(failed)?;
        if page.starts_with(b"HTTP/1.1 200") { Ok(page) } else { Err(failed(std::io::ErrorKind::InvalidData.into())) }
    }
}

/// A session in the station's own habit: what was charged, and whether it was started from afar.
async fn act(unit: &'static Unit, stage: &Stage, csms: &Csms) -> Result<(i64, bool), Trouble> {
    let token = unit.visitors[1];
    match unit.habit {
        Habit::Plain | Habit::Quotes | Habit::Reserved | Habit::LocalList => {
            let order = match unit.habit {
                Habit::Plain => Order::Trigger,
                Habit::LocalList => Order::LocalList,
                _ => Order::Reserve,
            };
            csms.order(unit.id, order).await?;
            Ok((stage.play(Cue::Charge(token)).await?, false))
        }
        Habit::Remote => {
            // The driver makes the card known here; the session is then begun and ended from an app.
            stage.play(Cue::Show(token)).await?;
            let (charged, stopped) = tokio::join!(stage.play(Cue::Remote), async {
                csms.order(unit.id, Order::Start).await?;
                csms.until_charging(unit.id).await?;
                csms.order(unit.id, Order::Stop).await
            });
            let _: Value = stopped?;
            Ok((charged?, true))
        }
    }
}
