//! Custody: opens the data directory, the key file and the store, and hands out keys, vault and journal as one. The shell around the pure
//! rooms `keys` and `seal`: the only place that reads the key-encryption key.

mod codes;
mod epochs;
mod files;
mod guests;
mod share;
mod signing;

use crate::clock::Timestamp;
use crate::journal::Journal;
use crate::keys::{EpochKey, KeyError, Keyring, StandingKey};
use crate::pseudonym::Alphabet;
use crate::seal::{self, Entropy, Kek, SealError};
use crate::secret::Sensitive;
use crate::store::{DATABASE, Embedded, EpochRow, Limits, Op, Store, StoreError};
use crate::vault::Vault;
pub use codes::{Coded, CodesError, LONGEST_LINE};
pub use epochs::{EpochState, EpochStatus, RotationError};
pub use files::{KEK_FILE, SERVE_LOCK, no_room};
pub use guests::Guests;
pub use signing::SigningKey;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys, vault and journal of one data directory.
pub struct Custody {
    /// Makes and recognises codes.
    pub keys: Arc<Keyring>,
    /// Restores them.
    pub vault: Vault,
    /// Keeps billing facts.
    pub journal: Journal,
    /// What the operator should be told at the start.
    pub notices: Vec<Notice>,
    store: Store,
    kek: Kek,
    entropy: Arc<dyn Entropy>,
    generation: AtomicU64,
    /// Held until drop; the operating system lets go of it when the process dies.
    _serve: Option<files::ServeLock>,
}

/// Something the operator should know. Not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// No key file was named and none was there: one was made in the data directory.
    KeyCreated,
    /// The key lies beside the data it protects: whoever copies the directory has both.
    KeyBesideData,
    /// The first epoch was begun.
    FirstEpoch,
}

/// Who opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The gateway itself: only one per data directory.
    Serve,
    /// A tool, also beside a running gateway.
    Beside,
}

/// How to open.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Who opens.
    pub role: Role,
    /// The moment of opening.
    pub now: Timestamp,
    /// Alphabet of the first epoch, if it is begun now. Later epochs name theirs when they are created.
    pub alphabet: Alphabet,
    /// Bounds of the database.
    pub limits: Limits,
    /// `$CREDENTIALS_DIRECTORY`, if systemd set it: a key file in it may be readable by its group, since systemd has seen to access.
    pub credentials: Option<PathBuf>,
}

impl Opening {
    /// Opens with the usual settings.
    pub fn new(role: Role, now: Timestamp) -> Self {
        Self { role, now, alphabet: Alphabet::Base32, limits: Limits::default(), credentials: None }
    }
}

/// Why a data directory could not be opened. Names files, never their content.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be made or entered.
    #[error("cannot use the data directory {}: {why}", .dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the operating system said.
        why: std::io::ErrorKind,
    },
    /// Another gateway serves from it.
    #[error("another sluis serve is running on {}", .0.display())]
    Served(PathBuf),
    /// The key file cannot be read or made.
    #[error("cannot read the key file {}: {why}", .file.display())]
    KeyFile {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        why: std::io::ErrorKind,
    },
    /// Others may read the key file.
    #[error("the key file {} is readable by others (mode {mode:03o}): chmod 600", .file.display())]
    KeyReadable {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold a key.
    #[error("the key file {} holds neither 32 bytes nor 64 hex digits", .0.display())]
    KeyForm(PathBuf),
    /// There is data, but no key file where it should be; making a new key would lose the data.
    #[error("there is data, but no key file {}: name the right one", .0.display())]
    KeyMissing(PathBuf),
    /// The key is not the one the data was sealed with, or the stored roots were altered.
    #[error("the key does not open the stored roots: it is another key, or they were altered")]
    WrongKey,
    /// The stored epochs cannot be used.
    #[error("stored epochs: {0}")]
    Epochs(KeyError),
    /// The store cannot be opened.
    #[error("database in {}: {why}", .dir.display())]
    Store {
        /// The data directory.
        dir: PathBuf,
        /// What went wrong.
        why: StoreError,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoEntropy,
}

impl OpenError {
    /// The key of the configuration that is to be corrected, where it is one: to try again changes nothing.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::KeyFile { .. } | Self::KeyReadable { .. } | Self::KeyForm(_) | Self::KeyMissing(_) | Self::WrongKey => {
                Some("keys.kek_file")
            }
            _ => None,
        }
    }
}

/// What is wrong with the file that is to hold the key-encryption key, as a mistake of the configuration: with `kek_file`, or without one with
/// [`KEK_FILE`] in the data directory, which may be missing as long as there are no data. `credentials` is the directory of systemd's credentials,
/// whose files a group may read.
pub fn key_mistake(data_dir: &Path, kek_file: Option<&Path>, credentials: Option<&Path>) -> Option<String> {
    let beside = data_dir.join(KEK_FILE);
    let why = match kek_file {
        None if !beside.exists() => data_dir.join(DATABASE).exists().then_some(OpenError::KeyMissing(beside))?,
        file => files::read_kek(file.unwrap_or(&beside), credentials).err()?,
    };
    Some(format!("keys.kek_file: {why}"))
}

impl Custody {
    /// Opens a data directory, and on the first start makes it, its key file (unless one is named) and its first epoch.
    ///
    /// `kek_file`: where the key-encryption key is; `None` for [`KEK_FILE`] in the data directory.
    pub fn open(data_dir: &Path, kek_file: Option<&Path>, opening: &Opening) -> Result<Self, OpenError> {
        let entropy: Arc<dyn Entropy> = Arc::new(files::SystemEntropy::new());
        files::make_dir(data_dir)?;
        let serve = match opening.role {
            Role::Serve => Some(files::ServeLock::take(data_dir)?),
            Role::Beside => None,
        };
        let store_error = |why| OpenError::Store { dir: data_dir.to_owned(), why };
        let store = Store::embedded(Embedded::open(data_dir, opening.limits).map_err(store_error)?);
        let new = store.epochs().map_err(store_error)?.is_empty();
        let mut notices = Vec::new();
        let kek = match kek_file {
            Some(path) => files::read_kek(path, opening.credentials.as_deref())?,
            None => {
                let path = data_dir.join(KEK_FILE);
                if !path.exists() {
                    if !new {
                        return Err(OpenError::KeyMissing(path));
                    }
                    files::create_kek(&path, &*entropy)?;
                    notices.push(Notice::KeyCreated);
                }
                notices.push(Notice::KeyBesideData);
                files::read_kek(&path, opening.credentials.as_deref())?
            }
        };
        if new {
            begin(&store, &kek, opening, &*entropy).map_err(|error| match error {
                RotationError::Store(error) => store_error(error),
                RotationError::Keys(error) => OpenError::Epochs(error),
            })?;
            notices.push(Notice::FirstEpoch);
        }
        let generation = store.generation().map_err(store_error)?;
        let (live, current) = live(&store.epochs().map_err(store_error)?, &kek).map_err(open_error)?;
        let standing = store.standing().map_err(store_error)?.ok_or_else(|| store_error(StoreError::Corrupt))?;
        let standing = StandingKey::unwrap(&standing, &kek).map_err(open_error)?;
        let keys = Arc::new(Keyring::new(live, current, standing, &kek).map_err(open_error)?);
        let vault = Vault::new(store.clone(), Arc::clone(&keys), Arc::clone(&entropy));
        let journal = Journal::new(store.clone());
        Ok(Self { keys, vault, journal, notices, store, kek, entropy, generation: AtomicU64::new(generation), _serve: serve })
    }

    /// Takes over what another process did to epochs and records (`sluis keys`, an erasure): reloads the keys and forgets what is in memory.
    /// Costs one small read when there is nothing new; the gateway calls it every few seconds. Returns whether there was.
    pub fn refresh(&self) -> Result<bool, RotationError> {
        let generation = self.store.generation()?;
        if generation == self.generation.load(Ordering::Acquire) {
            return Ok(false);
        }
        let (live, current) = live(&self.store.epochs()?, &self.kek)?;
        self.keys.replace(live, current, &self.kek)?;
        self.vault.forget_memory();
        self.generation.store(generation, Ordering::Release);
        Ok(true)
    }

    /// Keeps a secret that outlives epochs (credentials of an OCPI party), sealed under its name. Durable when it returns.
    ///
    /// # Errors
    /// It is not kept: no random bytes, longer than [`LONGEST`](crate::seal::LONGEST), or the store failed.
    pub async fn keep_secret(&self, name: &str, secret: &Sensitive<String>) -> Result<(), SecretError> {
        let sealed = seal::seal(secret, &secret_place(name), self.keys.standing_wrapping(), &*self.entropy)?;
        Ok(self.store.commit(vec![Op::SecretPut { name: name.to_owned(), sealed }]).await?)
    }

    /// A secret that was kept; `None` if there is none of that name.
    ///
    /// # Errors
    /// It does not open, or the store failed.
    pub fn secret(&self, name: &str) -> Result<Option<Sensitive<String>>, SecretError> {
        let Some(sealed) = self.store.secret(name)? else { return Ok(None) };
        Ok(Some(seal::open(&sealed, &secret_place(name), self.keys.standing_wrapping())?))
    }

    /// Random bytes of the operating system.
    ///
    /// # Errors
    /// It has none to give.
    pub fn random<const N: usize>(&self) -> Result<[u8; N], SealError> {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes).map(|()| bytes)
    }

    /// The store, for rooms that keep their own rows in it.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// What a secret is bound to: under another name it does not open.
fn secret_place(name: &str) -> Vec<u8> {
    format!("v1|secret|{name}").into_bytes()
}

/// Why a secret could not be kept or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It could not be stored or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SecretError {
    /// A secret that does not open.
    pub(crate) fn broken() -> Self {
        Self::Seal(SealError::Broken)
    }
}

/// The first start: a standing key and epoch 0. If another process does the same at the same moment, one of them wins, and both go on.
fn begin(store: &Store, kek: &Kek, opening: &Opening, entropy: &dyn Entropy) -> Result<(), RotationError> {
    let root = EpochKey::generate(crate::identity::Epoch(0), opening.alphabet, entropy)?;
    let standing = StandingKey::generate(entropy)?;
    let first = vec![
        Op::StandingInsert(standing.wrap(kek, entropy)?.to_vec()),
        Op::EpochInsert(epochs::row(&root, kek, entropy, opening.now)?),
        Op::EpochCurrent { from: None, to: root.epoch(), at: opening.now },
    ];
    match store.commit_blocking(first) {
        Err(StoreError::Conflict) => Ok(()),
        other => Ok(other?),
    }
}

/// Unwraps the epochs that are not destroyed.
fn live(rows: &[EpochRow], kek: &Kek) -> Result<(Vec<EpochKey>, crate::identity::Epoch), KeyError> {
    let open = |row: &EpochRow| EpochKey::unwrap(row.epoch, epochs::alphabet(row.mark), &row.wrapped, kek);
    let live = rows.iter().filter(|row| row.destroyed.is_none()).map(open).collect::<Result<_, _>>()?;
    let current = rows.iter().find(|row| row.current).ok_or(KeyError::NotLive)?;
    Ok((live, current.epoch))
}

fn open_error(error: KeyError) -> OpenError {
    match error {
        KeyError::Seal(SealError::NoEntropy) => OpenError::NoEntropy,
        KeyError::Seal(_) => OpenError::WrongKey,
        other => OpenError::Epochs(other),
    }
}

impl std::fmt::Debug for Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Custody({:?})", self.keys)
    }
}
