//! Delivery: what leaves for parties of OCPI on our own initiative, and what is asked of them. CDRs are pushed to the e-MSPs that own them,
//! the e-MSPs' tokens are pulled and passed on to the central system with codes in place of identifiers, and an e-MSP is asked about its own
//! token in real time. This room sees codes only; what is clear stays in the rooms of the vault and of OCPI.
//!
//! Everything that must survive is in the store: a CDR's state, what the central system was told, how far a pull came. In memory is only how
//! long to wait. Each party has a worker of its own, so a dead one delays nobody else.
//!
//! **Disclosures** (R52) are on the disk *before* the first byte leaves: the log may name an attempt that reached nobody, it never misses
//! something that arrived.

mod backoff;
mod cdrs;
mod counts;
mod pull;
mod relay;

use crate::clock::Timestamp;
use crate::custody::Custody;
use crate::ocpi::client::{Authorization, Client, Trouble};
use crate::ocpi::directory::{Contact, Directory};
use crate::ocpi::peer::Who;
use crate::recipient::{Ocpi, Party, Recipient, Recipients};
use crate::store::{DisclosureRow, Op};
use crate::vault::tokens::EmspToken;
pub use backoff::Pace;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A bell for the workers, so that news does not wait for the next look at the store. Cheap to clone; all clones are one. A ring is never
/// lost, and many are as one.
#[derive(Clone)]
pub struct Doorbell {
    cdrs: Arc<watch::Sender<()>>,
    tokens: Arc<watch::Sender<()>>,
    parties: Arc<watch::Sender<()>>,
}

impl Doorbell {
    /// A bell that nobody hears yet.
    pub fn new() -> Self {
        let bell = || Arc::new(watch::Sender::new(()));
        Self { cdrs: bell(), tokens: bell(), parties: bell() }
    }

    /// A CDR was queued.
    pub fn cdrs(&self) {
        self.cdrs.send_replace(());
    }

    /// A token was kept.
    pub fn tokens(&self) {
        self.tokens.send_replace(());
    }

    /// Credentials were exchanged, or somebody wants tokens pulled now: whoever waits for a party tries at once.
    pub fn parties(&self) {
        self.parties.send_replace(());
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

/// What delivery works with.
pub struct Parts {
    /// Vault and store.
    pub custody: Arc<Custody>,
    /// Calls the parties.
    pub client: Client,
    /// Where they are.
    pub directory: Directory,
    /// Who may receive anything.
    pub recipients: Recipients,
    /// Rung by billing and by the OCPI surface.
    pub doorbell: Doorbell,
    /// Times and bounds.
    pub pace: Pace,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Delivery, as other rooms call it. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    /// One for each recipient, in the register's order: whether its door is shut to us at the moment.
    shut: Vec<AtomicBool>,
}

/// The workers.
pub struct Delivering {
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

impl Delivery {
    /// Puts the parts together. Nothing runs yet.
    pub fn new(parts: Parts) -> Self {
        let shut = parts.recipients.all().iter().map(|_| AtomicBool::new(false)).collect();
        Self { shared: Arc::new(Shared { parts, shut }) }
    }

    /// Starts the workers: for each recipient one that pushes (if it is pushed to) and one that pulls its tokens; one that tells the central
    /// system; one that counts.
    pub fn start(&self) -> Delivering {
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        for (place, recipient) in self.shared.parts.recipients.all().iter().enumerate() {
            if recipient.push {
                workers.spawn(cdrs::push(Arc::clone(&self.shared), place, stopped.clone()));
            }
            workers.spawn(pull::pull(Arc::clone(&self.shared), place, stopped.clone()));
        }
        if self.shared.parts.directory.has_csms() {
            workers.spawn(relay::relay(Arc::clone(&self.shared), stopped.clone()));
        }
        workers.spawn(counts::count(Arc::clone(&self.shared), stopped));
        Delivering { stop, workers }
    }

    /// Asks the owner of a token whether it may charge now. `location`: LocationReferences, if the driver is known to be at one.
    ///
    /// # Errors
    /// [`Trouble::NoWay`] if the owner may not receive anything today, is nowhere to be asked, or the question could not be logged; else
    /// what came of the call.
    pub async fn authorize(&self, token: &EmspToken, location: Option<&Value>) -> Result<Authorization, Trouble> {
        let shared = &self.shared;
        let recipient = shared.parts.recipients.find(&token.owner).ok_or(Trouble::NoWay)?;
        if !shared.may_receive(recipient) {
            return Err(Trouble::NoWay);
        }
        let contact = shared.contact(token.owner, None, "tokens", "SENDER").ok_or(Trouble::NoWay)?;
        let pass = contact.pass().ok_or(Trouble::NoWay)?;
        let codes = shared.parts.custody.vault.known_codes(token).await.map_err(|_| Trouble::NoWay)?;
        let asked = location.and_then(Value::as_object).map(|asked| asked.keys().map(String::as_str).collect::<Vec<_>>());
        let fields = std::iter::once("uid").chain(asked.unwrap_or_default()).collect::<Vec<_>>().join(" ");
        let reference = shared.random_id().ok_or(Trouble::NoWay)?;
        let subject = shared.parts.custody.vault.subject(codes.uid.as_str());
        let row = shared.disclosure(token.owner.to_string(), "charge", subject, reference, fields);
        shared.parts.custody.store().commit(vec![Op::Disclose(row)]).await.map_err(|_| Trouble::NoWay)?;
        let answer = tokio::time::timeout(shared.parts.pace.ask, shared.parts.client.authorize(contact.url(), &pass, token, location));
        let answer = answer.await.unwrap_or(Err(Trouble::TimedOut));
        counts::authorized(&token.owner, answer.as_ref().map_or_else(|trouble| trouble.code(), |_| "answered"));
        answer
    }

    /// What the operator should know, for the health page.
    pub fn reservations(&self) -> Vec<&'static str> {
        let shut = self.shared.shut.iter().any(|shut| shut.load(Ordering::Relaxed));
        shut.then_some("an e-MSP does not let us in: see sluis_delivery_shut").into_iter().collect()
    }
}

impl Delivering {
    /// Lets the requests that are under way end, for so long at most, and stops. What is abandoned is sent again after the next start.
    pub async fn stop(mut self, limit: Duration) {
        self.stop.send_replace(true);
        let ended = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!("a delivery under way was abandoned; it is made again after the next start");
        }
        self.workers.shutdown().await;
    }
}

impl Shared {
    fn recipient(&self, place: usize) -> &Recipient {
        &self.parts.recipients.all()[place]
    }

    fn may_receive(&self, recipient: &Recipient) -> bool {
        recipient.may_receive(&(self.parts.clock)().date())
    }

    /// How a module of an e-MSP is called; a store that cannot be read is as if there were no way.
    fn contact(&self, party: Party, version: Option<Ocpi>, module: &str, role: &str) -> Option<Contact> {
        match self.parts.directory.contact(Who::Emsp(party), version, module, role) {
            Ok(contact) => contact,
            Err(error) => {
                tracing::error!(recipient = %party, reason = %error, "credentials cannot be read");
                None
            }
        }
    }

    fn disclosure(&self, recipient: String, purpose: &str, subject: Option<[u8; 16]>, reference: String, fields: String) -> DisclosureRow {
        DisclosureRow { seq: 0, at: (self.parts.clock)(), recipient, purpose: purpose.to_owned(), subject, reference, fields }
    }

    fn random(&self) -> u64 {
        // Without entropy the jitter is gone, and nothing else.
        self.parts.custody.random::<8>().map_or(u64::MAX, u64::from_le_bytes)
    }

    fn random_id(&self) -> Option<String> {
        let bytes = self.parts.custody.random::<16>().ok()?;
        Some(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
    }

    /// Remembers whether a recipient's door is shut; says so once.
    fn shut(&self, place: usize, shut: bool) {
        let was = self.shut[place].swap(shut, Ordering::Relaxed);
        let party = self.recipient(place).party;
        counts::shut(&party, shut);
        if shut && !was {
            tracing::error!(recipient = %party, "does not let us in: its token or its URL is wrong, or it has shut the door");
        }
    }
}

/// Waits so long, or until a bell rings; `false` when it is time to stop.
async fn pause(wait: Duration, stop: &mut watch::Receiver<bool>, bells: &mut [&mut watch::Receiver<()>]) -> bool {
    if *stop.borrow() {
        return false;
    }
    let rung = async {
        match bells {
            [] => std::future::pending().await,
            bells => {
                let _ = futures_util::future::select_all(bells.iter_mut().map(|bell| Box::pin(bell.changed()))).await;
            }
        }
    };
    tokio::select! {
        biased;
        _ = stop.changed() => false,
        () = tokio::time::sleep(wait) => true,
        () = rung => true,
    }
}
