//! What an e-MSP is given so that it can read its CDRs: the two keys of its own domain in each live epoch, as a small text file. From them
//! follow the codes of its own domain and nothing else: they are outputs of HKDF-Expand, so neither a root, nor another domain's key, nor
//! anything of the vault can be had from them. Roots never get here.

use super::derive::{DomainKeys, domain_pair};
use super::{Keyring, LIVE_EPOCHS};
use crate::clock::Timestamp;
use crate::identity::{Epoch, Identifier};
use crate::pseudonym::{Alphabet, EMSP_LENGTH, Pseudonym};
use crate::recipient::Party;
use crate::seal::KEY;
use crate::secret::Sensitive;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fmt::Write;
use toml::{Table, Value};
use zeroize::{Zeroize, Zeroizing};

/// The first word of every share: another form takes another word.
const FORMAT: &str = "sluis-emsp-key-1";
/// Most bytes that are read of a share: three epochs take one thousand.
pub const LONGEST_SHARE: usize = 16 << 10;
/// Bytes of the checksum that are written.
const CHECKSUM: usize = 16;

/// One e-MSP's keys for the live epochs of the day it was made.
pub struct DomainShare {
    party: Party,
    /// RFC 3339.
    made: String,
    /// Oldest first; one to [`LIVE_EPOCHS`], each with a digit of its own.
    epochs: Vec<Shared>,
}

struct Shared {
    epoch: Epoch,
    /// The keys of codes and of their check.
    pair: [Sensitive<[u8; KEY]>; 2],
    keys: DomainKeys,
}

/// Why a share cannot be read. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// Not TOML, or longer than [`LONGEST_SHARE`].
    #[error("line {0}: this is no key file of an e-MSP")]
    NotToml(usize),
    /// Another form, or no share at all.
    #[error("this is no key file of an e-MSP in the form {FORMAT}")]
    OtherForm,
    /// A key is missing, is there twice, or says what it cannot say.
    #[error("{0} is missing or not what it must be")]
    Wrong(&'static str),
    /// There is something in it that does not belong there.
    #[error("there is something in it that does not belong there")]
    Stranger,
    /// The checksum does not fit.
    #[error("the checksum does not fit: it was damaged or changed on the way; ask for it again")]
    Checksum,
}

impl Keyring {
    /// The keys of one e-MSP's domain in all live epochs. Only an e-MSP has such a thing: the central system's and the statistics' keys
    /// never leave.
    pub fn share(&self, party: &Party, made: Timestamp) -> DomainShare {
        let label = label(party);
        let share = |keys: &super::EpochKeys| Shared::new(keys.epoch, domain_pair(keys.key.root(), &label));
        DomainShare { party: *party, made: made.rfc3339(), epochs: self.live.load().epochs.iter().map(share).collect() }
    }
}

impl DomainShare {
    /// Whose it is.
    pub fn party(&self) -> Party {
        self.party
    }

    /// When it was made, as RFC 3339.
    pub fn made(&self) -> &str {
        &self.made
    }

    /// The epochs it holds, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> {
        self.epochs.iter().map(|shared| shared.epoch)
    }

    /// The codes of an identifier, one for each epoch: the same that the gateway writes into this e-MSP's CDRs.
    pub fn codes(&self, identifier: &Identifier) -> impl Iterator<Item = Pseudonym> {
        self.epochs.iter().map(move |shared| shared.keys.code(Alphabet::Base32, shared.epoch, EMSP_LENGTH, identifier))
    }

    /// If `text` is, in any spelling, a code of this e-MSP's domain in one of its epochs: that code in upper case. A code of another e-MSP's
    /// is a stranger, but for one in 32,768 whose check fits by chance.
    pub fn recognise(&self, text: &str) -> Option<Pseudonym> {
        let code = Pseudonym::normalised(text)?;
        let digit = code.epoch_digit().filter(|_| code.as_str().len() == EMSP_LENGTH)?;
        let shared = self.epochs.iter().find(|shared| shared.epoch.0 % 10 == digit)?;
        shared.keys.proves(Alphabet::Base32, &code).then_some(code)
    }

    /// The share as a file: TOML, with a word on what it is. Holds the keys in the clear.
    pub fn to_text(&self) -> Sensitive<String> {
        // Room for all of it: growing would leave keys behind in freed memory.
        let mut text = String::with_capacity(2048);
        let party = self.party;
        let _ = write!(
            text,
            "# The key to the customer codes in {party}'s CDRs. Whoever has it and a card number can tell which CDRs are of that card: keep it as\n\
             # the customer list is kept. It opens nothing of any other party's. To read CDRs with it:\n\
             #   sluis emsp resolve --key FILE --tokens tokens.csv cdrs.json\n\
             format = \"{FORMAT}\"\nparty = \"{party}\"\nmade = \"{}\"\nchecksum = \"{}\"\n",
            self.made,
            hex(&self.checksum()),
        );
        for shared in &self.epochs {
            let [pseudonym, recognise] = shared.pair.each_ref().map(|key| Zeroizing::new(STANDARD.encode(key.expose()))); // into the file
            let counter = shared.epoch.0;
            let _ = write!(text, "\n[[epoch]]\ncounter = {counter}\ndigit = {}\n", counter % 10);
            let _ = write!(text, "pseudonym = \"{}\"\nrecognise = \"{}\"\n", *pseudonym, *recognise);
        }
        Sensitive::new(text)
    }

    /// Reads a share. It is refused whole if anything in it is not as it was written, but for white space, comments and order.
    ///
    /// # Errors
    /// [`ShareError`]
    pub fn parse(text: &Sensitive<String>) -> Result<Self, ShareError> {
        let text = text.expose(); // into the parser, whose errors are not passed on: they quote the line
        if text.len() > LONGEST_SHARE {
            return Err(ShareError::NotToml(1));
        }
        let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let mut table: Table =
            text.parse().map_err(|e: toml::de::Error| ShareError::NotToml(e.span().map_or(1, |span| line(span.start))))?;
        let share = Self::read(&table);
        wipe(&mut table);
        share
    }

    fn read(table: &Table) -> Result<Self, ShareError> {
        let text = |name: &'static str| table.get(name).and_then(Value::as_str);
        if text("format") != Some(FORMAT) {
            return Err(ShareError::OtherForm);
        }
        if table.keys().any(|key| !["format", "party", "made", "checksum", "epoch"].contains(&key.as_str())) {
            return Err(ShareError::Stranger);
        }
        let party = text("party").and_then(Party::parse).ok_or(ShareError::Wrong("party"))?;
        let made = text("made").filter(|made| chrono::DateTime::parse_from_rfc3339(made).is_ok()).ok_or(ShareError::Wrong("made"))?;
        let rows = table.get("epoch").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let epochs = rows.iter().map(Shared::read).collect::<Result<Vec<_>, _>>()?;
        let in_order = epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch);
        let digits = |n: usize| epochs[..n].iter().all(|other| other.epoch.0 % 10 != epochs[n].epoch.0 % 10);
        if epochs.is_empty() || epochs.len() > LIVE_EPOCHS || !in_order || !(0..epochs.len()).all(digits) {
            return Err(ShareError::Wrong("epoch"));
        }
        let share = Self { party, made: made.to_owned(), epochs };
        if text("checksum") == Some(&hex(&share.checksum())) { Ok(share) } else { Err(ShareError::Checksum) }
    }

    /// Guards against damage and slips of the hand. Not against whoever changes the file on purpose and knows how it is made: what that would
    /// give is codes that fit no CDR.
    fn checksum(&self) -> [u8; CHECKSUM] {
        let mut hash = Sha256::new();
        hash.update(format!("{FORMAT}\n{}\n{}\n", self.party, self.made));
        for shared in &self.epochs {
            hash.update(shared.epoch.0.to_be_bytes());
            for key in &shared.pair {
                hash.update(key.expose()); // 16 bytes of a hash over at least 64 secret ones say nothing of them
            }
        }
        let mut checksum = [0; CHECKSUM];
        checksum.copy_from_slice(&hash.finalize()[..CHECKSUM]);
        checksum
    }
}

impl Shared {
    fn new(epoch: Epoch, pair: [Sensitive<[u8; KEY]>; 2]) -> Self {
        let keys = DomainKeys::of(&pair);
        Self { epoch, pair, keys }
    }

    fn read(row: &Value) -> Result<Self, ShareError> {
        let row = row.as_table().ok_or(ShareError::Wrong("epoch"))?;
        if row.keys().any(|key| !["counter", "digit", "pseudonym", "recognise"].contains(&key.as_str())) {
            return Err(ShareError::Stranger);
        }
        let number = |name: &'static str| row.get(name).and_then(Value::as_integer).and_then(|n| u32::try_from(n).ok());
        let counter = number("counter").ok_or(ShareError::Wrong("counter"))?;
        if number("digit") != Some(counter % 10) {
            return Err(ShareError::Wrong("digit"));
        }
        let key = |name: &'static str| {
            let bytes = row.get(name).and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok()).map(Zeroizing::new);
            let key = bytes.and_then(|bytes| <[u8; KEY]>::try_from(bytes.as_slice()).ok());
            key.map(Sensitive::new).ok_or(ShareError::Wrong(name))
        };
        Ok(Self::new(Epoch(counter), [key("pseudonym")?, key("recognise")?]))
    }
}

/// Prints whose and which, and nothing of a key.
impl fmt::Debug for DomainShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DomainShare({}, {:?}, [sensitive])", self.party, self.epochs().collect::<Vec<_>>())
    }
}

fn label(party: &Party) -> Vec<u8> {
    super::Domain::emsp(party.country(), party.id()).expect("a party is a country and a party id").label()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Overwrites every text in the table, since some of them are keys. What the parser copied meanwhile is beyond our reach.
fn wipe(table: &mut Table) {
    for (_, value) in table.iter_mut() {
        match value {
            Value::String(text) => text.zeroize(),
            Value::Table(inner) => wipe(inner),
            Value::Array(rows) => rows.iter_mut().filter_map(Value::as_table_mut).for_each(wipe),
            _ => {}
        }
    }
}
