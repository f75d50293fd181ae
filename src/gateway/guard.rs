//! Checks stations' passwords without being brought to its knees: a password that was right before costs a microsecond, a new one waits
//! for one of few threads, and guessing is slow.

use super::admission::Away;
use super::credentials::{PasswordHash, Passwords};
use super::handshake::Refusal;
use crate::reload::Watched;
use dashmap::DashMap;
use ring::hmac;
use ring::rand::SystemRandom;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Passwords that wait for a thread at most. At 15 ms each, or 30 where the register holds two for a station, they are checked within the
/// handshake's ten seconds; who comes later is sent away for a while.
pub(super) const WAITING: usize = 256;
/// Wrong passwords of one station from one network (/24, /48) within [`PERIOD`]; then no more of them are looked at.
pub(super) const TRIES: u32 = 5;
/// How long wrong passwords count.
const PERIOD: Duration = Duration::from_secs(60);
/// Pairs of a station and a network whose wrong passwords are counted. Beyond them the number of threads bounds the guessing.
const PAIRS: usize = 65_536;

/// Why a station is turned away: the word for logs and metrics, and the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str, pub(super) Refusal);

impl Refused {
    pub(super) fn away(self) -> Away {
        Away { code: self.0, refusal: Some(self.1) }
    }
}

/// What the station is asked for with a 401.
pub(super) const UNAUTHORIZED: Refusal = Refusal(401, "Unauthorized", Some("WWW-Authenticate: Basic realm=\"ocpp\""));
const LATER: Refusal = Refusal(503, "Service Unavailable", None);
/// For a station whose password could not be checked within the handshake.
pub(super) const SLOW: Refused = Refused("too_many_passwords_to_check", LATER);
const TOO_MANY: Refusal = Refusal(429, "Too Many Requests", None);

/// A password that was right: its digest under a key of this process, and the hash that it fitted.
struct Known {
    digest: [u8; 32],
    hash: Arc<PasswordHash>,
}

/// Who checks passwords.
pub struct Guard {
    passwords: Arc<Watched<Passwords>>,
    key: hmac::Key,
    known: DashMap<Box<str>, Known>,
    failures: DashMap<(Box<str>, Box<str>), (u32, Instant)>,
    threads: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Guard {
    /// Guards by a register of passwords.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn new(passwords: Arc<Watched<Passwords>>) -> Result<Self, &'static str> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| "the operating system gives no random bytes")?;
        // Half of the cores: the stations that are connected go on.
        let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        Ok(Self {
            passwords,
            key,
            known: DashMap::new(),
            failures: DashMap::new(),
            threads: Arc::new(Semaphore::new(threads)),
            waiting: Semaphore::new(WAITING),
        })
    }

    /// The register.
    pub(super) fn passwords(&self) -> Arc<Passwords> {
        self.passwords.get()
    }

    /// Checks a password that came from a network.
    pub(super) async fn check(&self, station: &str, network: &str, password: Zeroizing<Vec<u8>>) -> Result<(), Refused> {
        let passwords = self.passwords.get();
        let digest = self.digest(station, &password);
        let known =
            self.known.get(station).is_some_and(|known| bool::from(known.digest.ct_eq(&digest)) && passwords.holds(station, &known.hash));
        // A station that was let in before gets in again, however many others try its name.
        if known {
            return Ok(());
        }
        if self.tried_too_often(station, network, Instant::now()) {
            return Err(Refused("too_many_wrong_passwords", TOO_MANY));
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(SLOW) };
        let Ok(thread) = Arc::clone(&self.threads).acquire_owned().await else { return Err(SLOW) };
        let (register, asked) = (Arc::clone(&passwords), station.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            // Kept until it is done, even if nobody waits any more.
            let _thread = thread;
            register.check(&asked, &password)
        });
        match checked.await {
            Ok(Some(hash)) => {
                self.failures.remove(&(station.into(), network.into()));
                if self.known.len() > passwords.len() {
                    self.known.retain(|station, _| passwords.knows(station));
                }
                self.known.insert(station.into(), Known { digest, hash });
                Ok(())
            }
            Ok(None) => {
                self.failed(station, network, Instant::now());
                Err(Refused(if passwords.knows(station) { "wrong_password" } else { "unknown_station" }, UNAUTHORIZED))
            }
            Err(_) => Err(SLOW),
        }
    }

    fn digest(&self, station: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(station.len() as u64).to_be_bytes());
        context.update(station.as_bytes());
        context.update(password);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    fn tried_too_often(&self, station: &str, network: &str, now: Instant) -> bool {
        self.failures.get(&(station.into(), network.into())).is_some_and(|of| of.0 >= TRIES && now.duration_since(of.1) < PERIOD)
    }

    fn failed(&self, station: &str, network: &str, now: Instant) {
        if self.failures.len() >= PAIRS {
            self.failures.retain(|_, (_, since)| now.duration_since(*since) < PERIOD);
            if self.failures.len() >= PAIRS {
                return;
            }
        }
        let mut of = self.failures.entry((station.into(), network.into())).or_insert((0, now));
        if now.duration_since(of.1) >= PERIOD {
            *of = (0, now);
        }
        of.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reload::Reload;
    use std::fmt::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    fn write(path: &Path, rows: &[(&str, &[u8], &[u8])]) {
        let mut text = "station,hash,hash2\n".to_owned();
        for (station, first, second) in rows {
            let hash =
                |password: &[u8]| if password.is_empty() { String::new() } else { PasswordHash::make(password, 1000).unwrap().to_string() };
            writeln!(text, "{station},{},{}", hash(first), hash(second)).unwrap();
        }
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn guard(path: PathBuf) -> (Guard, Arc<Watched<Passwords>>) {
        let file = path.clone();
        let watched = Arc::new(Watched::open("passwords", vec![path], move || Passwords::read(&file)).unwrap());
        (Guard::new(Arc::clone(&watched)).unwrap(), watched)
    }

    async fn says(guard: &Guard, station: &str, network: &str, password: &[u8]) -> &'static str {
        guard.check(station, network, Zeroizing::new(password.to_vec())).await.err().map_or("fine", |refused| refused.0)
    }

    const OLD: &[u8] = b"the old password of it";
    const NEW: &[u8] = b"the new password of it";

    #[tokio::test]
    async fn field_12_old_and_new_password_are_accepted_while_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stations.csv");
        write(&path, &[("CS-1", OLD, b"")]);
        let (guard, watched) = guard(path.clone());
        assert_eq!((says(&guard, "CS-1", "a", OLD).await, says(&guard, "CS-1", "a", NEW).await), ("fine", "wrong_password"));
        write(&path, &[("CS-1", OLD, NEW)]);
        watched.refresh(true);
        assert_eq!((says(&guard, "CS-1", "a", NEW).await, says(&guard, "CS-1", "a", OLD).await), ("fine", "fine"));
        write(&path, &[("CS-1", NEW, b"")]);
        watched.refresh(true);
        // It was right a moment ago, and is remembered; it is wrong now.
        assert_eq!((says(&guard, "CS-1", "a", OLD).await, says(&guard, "CS-1", "a", NEW).await), ("wrong_password", "fine"));
        write(&path, &[("CS-2", NEW, b"")]);
        watched.refresh(true);
        assert_eq!(says(&guard, "CS-1", "a", NEW).await, "unknown_station");
    }

    #[tokio::test]
    async fn guessing_is_slow_and_does_not_lock_the_station_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stations.csv");
        write(&path, &[("CS-1", OLD, b"")]);
        let (guard, _) = guard(path);
        assert_eq!(says(&guard, "CS-1", "home", OLD).await, "fine");
        for _ in 0..TRIES {
            assert_eq!(says(&guard, "CS-1", "far", NEW).await, "wrong_password");
        }
        // Now even the right one would not be looked at from there.
        for password in [NEW, OLD] {
            let says = says(&guard, "CS-1", "far", password).await;
            assert_eq!(says, if password == OLD { "fine" } else { "too_many_wrong_passwords" });
        }
        assert_eq!(says(&guard, "CS-1", "home", OLD).await, "fine");
        // A name that nobody has is treated alike.
        for _ in 0..TRIES {
            assert_eq!(says(&guard, "CS-9", "far", NEW).await, "unknown_station");
        }
        assert_eq!(says(&guard, "CS-9", "far", NEW).await, "too_many_wrong_passwords");
        let later = Instant::now() + PERIOD;
        assert!(!guard.tried_too_often("CS-1", "far", later));
        guard.failed("CS-1", "far", later);
        assert!(!guard.tried_too_often("CS-1", "far", later));
    }

    #[tokio::test]
    async fn no_more_failures_are_remembered_than_there_is_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stations.csv");
        write(&path, &[("CS-1", OLD, b"")]);
        let (guard, _) = guard(path);
        let now = Instant::now();
        for n in 0..=PAIRS {
            guard.failed(&n.to_string(), "far", now);
        }
        assert_eq!(guard.failures.len(), PAIRS);
        guard.failed("CS-1", "far", now + PERIOD);
        assert_eq!(guard.failures.len(), 1);
    }

    #[tokio::test]
    async fn a_guess_from_elsewhere_is_not_in_the_way_of_a_station_that_comes_for_the_first_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stations.csv");
        write(&path, &[("CS-1", OLD, b"")]);
        let (guard, _) = guard(path);
        for _ in 0..2 * TRIES {
            says(&guard, "CS-1", "far", NEW).await;
        }
        assert_eq!(says(&guard, "CS-1", "home", OLD).await, "fine");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn more_passwords_than_may_wait_are_sent_away_and_the_rest_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stations.csv");
        let names: Vec<String> = (0..2 * WAITING).map(|n| format!("CS-{n}")).collect();
        let rows: Vec<_> = names.iter().map(|name| (name.as_str(), OLD, &b""[..])).collect();
        write(&path, &rows);
        let (guard, _) = guard(path);
        let guard = Arc::new(guard);
        // All threads are taken until every station stands in line.
        let held = Arc::clone(&guard.threads).acquire_many_owned(guard.threads.available_permits() as u32).await.unwrap();
        let asking: Vec<_> = names
            .into_iter()
            .map(|name| {
                let guard = Arc::clone(&guard);
                tokio::spawn(async move { says(&guard, &name, "home", OLD).await })
            })
            .collect();
        while asking.iter().filter(|task| task.is_finished()).count() < WAITING {
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut answers = std::collections::HashMap::new();
        for task in asking {
            *answers.entry(task.await.unwrap()).or_insert(0) += 1;
        }
        assert_eq!((answers["fine"], answers["too_many_passwords_to_check"]), (WAITING, WAITING));
    }
}
