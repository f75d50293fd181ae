//! Starts the whole gateway from a configuration and stops it: opens the data directory, binds both ports, then serves. Nothing is bound
//! until everything that can be wrong was looked at.

mod adopt;
mod errands;
mod now;
mod ready;

use crate::admin;
use crate::billing::{self, Billing, Desk, Pulse};
use crate::charging::Patience;
use crate::clock;
use crate::config::{Config, EmspConfig};
use crate::custody::{Custody, Notice, OpenError, Opening, Role};
use crate::delivery::{Delivering, Delivery, Doorbell, Pace, Parts};
use crate::gateway::{Crew, Gateway};
use crate::metrics::Metrics;
use crate::ocpi::client::Client;
use crate::ocpi::directory::Directory;
use crate::ocpi::server::Surface;
use crate::policy::{Mode, Rules};
use crate::publication::{Gate, Publication};
use crate::reload::{Reload, Reloaded};
use crate::store::{Op, Store, StoreError};
use crate::tls::{self, ClientFiles};
use arc_swap::ArcSwap;
use errands::Errands;
use now::Now;
pub use ready::{Ready, desk, dialler, terms};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How often the store is looked at: keys rotated by another process, counts, old facts.
const UPKEEP: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted: a storm of stations that come back at once must not be lost in the kernel.
const BACKLOG: u32 = 4096;
/// How often files that may change are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often periods of statistics are looked at that may be due.
const PUBLISH: Duration = Duration::from_secs(600);
/// How long a stop waits for what does not end by itself.
const WIND_UP: Duration = Duration::from_millis(500);
/// Rows purged at a time, so that a purge never holds the store for long.
const PURGE: usize = 1000;
/// How often an hour so many are purged at most: 10 million facts, which is more than the largest operator stores in an hour.
const PURGES: usize = 10_000;

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Mistakes of the configuration that only show when it is used, each with its key.
    #[error("the configuration is wrong")]
    Config(Vec<String>),
    /// The data directory cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A port cannot be bound.
    #[error("cannot listen on {0} ({1}): {2}")]
    Bind(&'static str, SocketAddr, std::io::ErrorKind),
    /// Counters could not be set up.
    #[error("{0}")]
    Metrics(&'static str),
}

/// What is read again when its files change.
type Reloads = Arc<ArcSwap<Vec<Arc<dyn Reload>>>>;

/// A running gateway.
pub struct Serving {
    /// Where stations connect.
    pub listen: SocketAddr,
    /// Where they connect with TLS, if that is another place.
    pub secure: Option<SocketAddr>,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    /// The gateway itself.
    pub gateway: Arc<Gateway>,
    /// Where OCPI parties call.
    pub ocpi: Option<SocketAddr>,
    delivering: Option<Delivering>,
    surface: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    reloads: Reloads,
    /// What is in force: what was started with, and what was adopted since.
    running: Mutex<Config>,
    stop: watch::Sender<bool>,
    breaks: watch::Receiver<bool>,
    serving: JoinHandle<()>,
    others: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Starts the gateway, all of it on this runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left bound or locked.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, None).await
    }

    /// Starts the gateway with its connections on the threads of a crew.
    ///
    /// # Errors
    /// As for [`Serving::start`].
    pub async fn start_with(config: &Config, crew: Option<Crew>) -> Result<Self, StartError> {
        let rules = rules(config, config.identity.keeps_passwords()).map_err(StartError::Config)?;
        let ready = Ready::read(config).map_err(StartError::Config)?;
        let reloads: Reloads = Arc::new(ArcSwap::from_pointee(ready.reloads()));
        let Ready { upstream, desk, entrance, terms } = ready;
        let opening =
            Opening { alphabet: config.alphabet, credentials: config.credentials.clone(), ..Opening::new(Role::Serve, clock::now()) };
        let custody = Arc::new(Custody::open(&config.data_dir, config.kek_file.as_deref(), &opening)?);
        let doorbell = Doorbell::new();
        let delivery = delivery(config, &custody, doorbell.clone()).map_err(StartError::Config)?;
        if desk.is_some() {
            let left = billing::begin(&custody).await.map_err(|why| OpenError::Store { dir: config.data_dir.clone(), why })?;
            if left > 0 {
                tracing::warn!(facts = left, "billing begins now: sessions from before it are not billed");
            }
        }
        let metrics = Metrics::install().map_err(StartError::Metrics)?;
        let errands = Arc::new(Errands {
            delivery: delivery.clone(),
            doorbell: doorbell.clone(),
            homes: desk.as_ref().map(Desk::homes).unwrap_or_default(),
        });
        let client = ocpi_client(config).map_err(StartError::Config)?;
        let surface = Surface::open(config, Arc::clone(&custody), client, errands, metrics.clone()).map_err(StartError::Config)?;
        let listener = bind("listen", config.listen).await?;
        let secure_address = config.tls.as_ref().and_then(|tls| tls.listen);
        let secure_listener = match secure_address {
            Some(address) => Some(bind("tls.listen", address).await?),
            None => None,
        };
        let secure = secure_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let admin_listener = bind("admin", config.admin).await?;
        let address = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
        let (listen, admin) = (address(&listener, config.listen), address(&admin_listener, config.admin));
        let surface = match (surface, &config.ocpi) {
            (Some(surface), Some(ocpi)) => Some((surface, bind("ocpi.listen", ocpi.listen).await?)),
            _ => None,
        };
        let ocpi = surface.as_ref().and_then(|(_, listener)| listener.local_addr().ok());
        let observes = rules.mode == Mode::Observe;
        metrics.describe(&rules.name, observes, config.allow_plaintext);
        tracing::info!(policy = rules.name, %listen, %admin, "sluis is open");
        if observes {
            tracing::warn!("this policy only observes: everything passes as it came and NOBODY IS PROTECTED");
        }
        if config.allow_plaintext {
            tracing::warn!("allow_plaintext is set: this gateway is not compliant unless TLS ends right in front of it");
        }
        for notice in &custody.notices {
            match notice {
                Notice::KeyCreated => tracing::warn!("a key-encryption key was made in the data directory"),
                Notice::KeyBesideData => {
                    tracing::warn!("the key-encryption key lies beside the data it protects: move it away and name it with keys.kek_file");
                }
                Notice::FirstEpoch => tracing::info!("the first epoch has begun"),
            }
        }
        let gateway = Gateway::new(Arc::new(rules), custody, upstream, entrance, config.stations.clone(), metrics, crew);
        // With a listener of its own for TLS, the other one is plain.
        let first = config.tls.is_some() && secure_listener.is_none();
        let doors = [
            Some(("listen", config.listen, listener, first)),
            secure_listener.zip(secure_address).map(|(listener, address)| ("tls.listen", address, listener, true)),
        ];
        let door =
            |(key, address, listener, secure)| gateway.door(listener, secure).map_err(|error| StartError::Bind(key, address, error.kind()));
        let doors = doors.into_iter().flatten().map(door).collect::<Result<Vec<_>, _>>()?;
        for reservation in gateway.entrance.reservations() {
            tracing::warn!(reason = reservation, "look after the certificates");
        }
        let publication =
            terms.map(|terms| Arc::new(Publication { custody: Arc::clone(&gateway.custody), terms, dir: config.statistics.dir.clone() }));
        let gate = publication.as_ref().map(|_| Gate { zone: config.statistics.zone });
        let billing = desk.zip(config.billing.as_ref()).map(|(desk, config)| Billing {
            desk: Arc::new(desk),
            gate,
            custody: Arc::clone(&gateway.custody),
            patience: Patience { settle: config.settle, max_age: config.max_age },
            metrics: gateway.metrics.clone(),
            pulse: Arc::new(Pulse::new(clock::now())),
            queued: Box::new(move || doorbell.cdrs()),
        });
        let pulse = billing.as_ref().map(|billing| Arc::clone(&billing.pulse));
        let plaintext = config.allow_plaintext;
        let condition = Arc::new(Now { gateway: Arc::clone(&gateway), pulse: pulse.clone(), plaintext, delivery: delivery.clone() });
        let delivering = delivery.map(|delivery| delivery.start());
        let surface = surface.map(|(surface, listener)| {
            let (stop, stopped) = oneshot::channel::<()>();
            let tls = gateway.entrance.tls.clone().filter(|_| config.ocpi.as_ref().is_some_and(|ocpi| ocpi.tls));
            let serving = Arc::new(surface).serve(listener, tls, async {
                let _ = stopped.await;
            });
            (stop, tokio::spawn(serving))
        });
        let admin_tls = gateway.entrance.tls.clone().filter(|_| config.tls.as_ref().is_some_and(|tls| tls.admin));
        let pages = tokio::spawn(admin::serve(admin_listener, admin_tls, condition));
        let days = Days { journal: config.journal_days, billing: config.billing.as_ref().map(|billing| billing.keep_days) };
        let upkeep = tokio::spawn(upkeep(Arc::clone(&gateway), days, pulse));
        let watching = tokio::spawn(watch_files(Arc::clone(&reloads), gateway.metrics.clone()));
        let publishing = publication.map(|publication| tokio::spawn(publish(publication, gateway.metrics.clone())));
        let billing = billing.map(|billing| tokio::spawn(billing.run()));
        let (stop, stopped) = watch::channel(false);
        let (broken, breaks) = watch::channel(false);
        let doors = doors.into_iter().map(|door| {
            let (gateway, mut stopped, broken) = (Arc::clone(&gateway), stopped.clone(), broken.clone());
            async move {
                let stop = async move {
                    let _ = stopped.wait_for(|stopped| *stopped).await;
                };
                if gateway.serve(door, stop).await.is_err() {
                    broken.send_replace(true);
                }
            }
        });
        let doors = futures_util::future::join_all(doors);
        let serving = tokio::spawn(async move { drop(doors.await) });
        let others = [pages, upkeep, watching].into_iter().chain(billing).chain(publishing).collect();
        Ok(Self {
            listen,
            secure,
            admin,
            gateway,
            ocpi,
            delivering,
            surface,
            reloads,
            running: Mutex::new(config.clone()),
            stop,
            breaks,
            serving,
            others,
        })
    }

    /// Reads certificates, revocation lists and passwords again, whether or not their files seem to have changed. What cannot be used
    /// is told in the log, and what was read before stays; connections stay in any case.
    pub async fn reload(&self) {
        refresh(&self.reloads, &self.gateway.metrics, true).await;
    }

    /// Returns if a door broke. The gateway cannot go on then, also not with the other door, and is to be stopped.
    pub async fn broke(&self) {
        if self.breaks.clone().wait_for(|broken| *broken).await.is_err() {
            // All doors were shut as they should be.
            std::future::pending::<()>().await;
        }
    }

    /// Closes all connections and returns when they are gone, or the drain limit has passed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let limit = self.gateway.course().settings.drain_limit;
        let delivered = async {
            if let Some(delivering) = self.delivering.take() {
                delivering.stop(limit).await;
            }
        };
        let answered = async {
            if let Some((stop, serving)) = self.surface.take() {
                let _ = stop.send(());
                let _ = serving.await;
            }
        };
        // Each keeps to the limit by itself, save for an OCPI party that never ends its request.
        let _ = timeout(limit + WIND_UP, async { tokio::join!(&mut self.serving, delivered, answered) }).await;
        for other in &self.others {
            other.abort();
        }
        let _ = timeout(WIND_UP, futures_util::future::join_all(self.others)).await;
    }
}

/// Compiles the policy. `keeps_passwords` says that passwords which the central system sets do not reach stations.
fn rules(config: &Config, keeps_passwords: bool) -> Result<Rules, Vec<String>> {
    let mut rules = Rules::compile(&config.policy, config.namespaces.clone())?;
    if keeps_passwords {
        rules.keep_station_passwords();
    }
    Ok(rules)
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error: std::io::Error| StartError::Bind(key, address, error.kind()))
}

/// Reads files again when they have changed, until it is stopped.
async fn watch_files(reloads: Reloads, metrics: Metrics) {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tick.tick().await;
        refresh(&reloads, &metrics, false).await;
    }
}

async fn refresh(reloads: &Reloads, metrics: &Metrics, force: bool) {
    let all = reloads.load_full();
    let looked = tokio::task::spawn_blocking(move || all.iter().map(|one| (one.what(), one.refresh(force))).collect::<Vec<_>>());
    for (what, came) in looked.await.unwrap_or_default() {
        if came != Reloaded::Same {
            metrics.reloaded(what, came.code());
        }
    }
}

/// When the first of our certificates ends.
fn certificate_ends(gateway: &Gateway) -> Option<clock::Timestamp> {
    gateway.entrance.tls.as_ref().and_then(|tls| tls.get().ends())
}

/// How many days rows are kept.
#[derive(Clone, Copy)]
struct Days {
    journal: u64,
    /// Of billing; `None` where there is none.
    billing: Option<u64>,
}

/// Looks after the store: keys that another process rotated, counts, old facts.
async fn upkeep(gateway: Arc<Gateway>, days: Days, pulse: Option<Arc<Pulse>>) {
    let mut tick = tokio::time::interval(UPKEEP);
    let mut beats = 0u64;
    loop {
        tick.tick().await;
        if let Err(error) = gateway.custody.refresh() {
            tracing::error!(reason = %error, "cannot look for rotated keys");
        }
        let store = gateway.custody.store();
        // Whoever honours readiness sends no stations meanwhile, and without stations nothing else is written.
        if store.trouble().is_some() && store.probe().await.is_ok() {
            tracing::info!("the store can be written again");
        }
        if let Ok(sizes) = store.sizes() {
            gateway.metrics.certificate_ends(certificate_ends(&gateway));
            gateway.metrics.store(sizes.vault, sizes.journal, store.trouble().is_some());
        }
        if let Some(pulse) = &pulse
            && let (Ok(cdrs), Ok(lag)) = (store.cdr_counts(), lag(store))
        {
            gateway.metrics.billing(&cdrs, lag, pulse.is_stuck(clock::now()));
        }
        // Old facts, once an hour and once at the start.
        if beats.is_multiple_of(720) {
            purge(&gateway, days).await;
        }
        beats += 1;
    }
}

/// Closes the periods of statistics that are due; off the threads that serve stations.
async fn publish(publication: Arc<Publication>, metrics: Metrics) {
    let mut tick = tokio::time::interval(PUBLISH);
    loop {
        tick.tick().await;
        let publication = Arc::clone(&publication);
        match tokio::task::spawn_blocking(move || publication.round(clock::now())).await {
            Ok(Ok(round)) => metrics.statistics(round.open, round.overdue, round.released),
            Ok(Err(why)) => tracing::error!(reason = %why, "statistics cannot be looked after"),
            Err(_) => tracing::error!("statistics broke off, and are tried again"),
        }
    }
}

/// Facts that billing has not worked on yet.
fn lag(store: &Store) -> Result<u64, StoreError> {
    Ok(store.journal_newest()?.saturating_sub(store.mark(billing::READER)?))
}

/// Drops what is older than it may be.
async fn purge(gateway: &Gateway, days: Days) {
    let before = |days: u64| clock::Timestamp(clock::now().0 - i64::try_from(days).unwrap_or(400) * 86_400_000);
    let reader = days.billing.map(|_| billing::READER);
    for _ in 0..PURGES {
        match gateway.custody.journal.purge(before(days.journal), PURGE, reader).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                tracing::warn!("old facts could not be purged");
                break;
            }
        }
    }
    // Without billing there still is a log of disclosures to e-MSPs, and there may be bills from before: a quarter of a year at least.
    let keep = days.billing.unwrap_or(days.journal.max(92));
    let store = gateway.custody.store();
    let rows = || -> Result<u64, StoreError> {
        let sizes = store.sizes()?;
        Ok(sizes.charging + sizes.disclosures + store.cdr_counts()?.iter().map(|(_, n)| n).sum::<u64>())
    };
    for _ in 0..PURGES {
        let Ok(there) = rows() else { break };
        if store.commit(vec![Op::PurgeBilling { before: before(keep), most: PURGE }]).await.is_err() {
            tracing::warn!("old sessions and CDRs could not be purged");
            break;
        }
        if rows().is_ok_and(|left| left >= there) {
            break;
        }
    }
}

/// Delivery, if there is anybody to deliver to or to ask; reads the token files.
fn delivery(config: &Config, custody: &Arc<Custody>, doorbell: Doorbell) -> Result<Option<Delivery>, Vec<String>> {
    let reachable = |emsp: &EmspConfig| emsp.cdrs_url.is_some() || emsp.tokens_url.is_some();
    if config.ocpi.is_none() && !config.emsps.iter().any(reachable) {
        return Ok(None);
    }
    let directory = Directory::read(Arc::clone(custody), config)?;
    let client = ocpi_client(config)?;
    let recipients = config.recipients();
    let custody = Arc::clone(custody);
    let parts = Parts { custody, client, directory, recipients, doorbell, pace: Pace::default(), clock: Arc::new(clock::now) };
    Ok(Some(Delivery::new(parts)))
}

/// Calls parties of OCPI.
///
/// # Errors
/// All that is wrong with the CA file, by its key.
pub fn ocpi_client(config: &Config) -> Result<Client, Vec<String>> {
    // A CA of the operator's own vouches for the other machines it talks to as well. Without any, a call over TLS fails as unreachable.
    let ca_file = config.upstream.as_ref().and_then(|upstream| upstream.files.ca_file.clone());
    let tls = tls::client(&ClientFiles { ca_file, identity: None }, "ocpi", false)?;
    let us = config.ocpi.as_ref().map(|ocpi| ocpi.cpo).or(config.billing.as_ref().map(|billing| billing.cpo));
    Ok(Client::new(tls, us, config.allow_plaintext))
}
