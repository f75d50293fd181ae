//! The keys: epochs × domains. Turns an identifier into a pseudonym by arithmetic alone. Pure: holds roots in memory, reads no file.
//!
//! ```text
//! KEK ── wraps ──▶ root R(e), 32 random bytes per epoch, independent of every other
//!                   ├─ HKDF-Expand(R, PSEUDONYM ‖ domain)   makes codes
//!                   ├─ HKDF-Expand(R, RECOGNISE ‖ domain)   makes and proves their check
//!                   ├─ HKDF-Expand(R, INDEX)                blind index of the vault
//!                   └─ HKDF(salt KEK, R, WRAP)              wraps the data keys of the epoch's vault records
//!      ── wraps ──▶ standing key S: digests that outlive epochs (devices, message ids, pins)
//! ```
//!
//! Destroying a root destroys all four: the epoch's codes can be made, proved and opened no more.
//!
//! **How often a foreign text passes for a code.** The check is keyed, so nobody outside can aim for it. Of texts with the shape of a
//! base-32 code and a live epoch's digit, 2^-15 pass by chance (1 in 32,768). Of 20-digit hex texts that begin with `F` and a live digit,
//! 2^-16; of all 10-byte UIDs with one live epoch, 2^-24 (1 in 16.8 million; the first byte of a UID names the chip maker, and `F0` to `F9` are
//! not assigned). Such a card would be taken for an erased code: refused, never passed on in the clear.

mod derive;
mod epochs;

use crate::identity::{Class, Codes, Epoch, Identifier};
use crate::pseudonym::{Alphabet, CSMS_LENGTH, EMSP_LENGTH, Pseudonym};
use crate::seal::{Kek, WrappingKey};
use arc_swap::ArcSwap;
use derive::DomainKeys;
pub use epochs::{EpochKey, KeyError, LIVE_EPOCHS, StandingKey};
use std::fmt;
use std::sync::Arc;

/// For whom codes are made. No two domains share a code, so their recipients find nothing to join on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The central system. One domain for all OCPP versions: a mixed fleet shares one card list.
    Csms,
    /// One e-MSP: ISO 3166 country and OCPI party id.
    Emsp {
        /// Two letters, upper case.
        country: [u8; 2],
        /// Three letters or digits, upper case.
        party: [u8; 3],
    },
    /// Quality and statistics inside the house.
    Quality,
}

impl Domain {
    /// The domain of an e-MSP, from `NL` and `ABC` in any case. `None` unless two ASCII letters and three ASCII letters or digits.
    pub fn emsp(country: &str, party: &str) -> Option<Self> {
        let mut domain = (<[u8; 2]>::try_from(country.as_bytes()).ok()?, <[u8; 3]>::try_from(party.as_bytes()).ok()?);
        domain.0.make_ascii_uppercase();
        domain.1.make_ascii_uppercase();
        let fits = domain.0.iter().all(u8::is_ascii_uppercase) && domain.1.iter().all(u8::is_ascii_alphanumeric);
        fits.then_some(Self::Emsp { country: domain.0, party: domain.1 })
    }

    /// Characters of a code in this domain: 20 for the CSMS, 31 elsewhere.
    pub fn code_length(&self) -> usize {
        if *self == Self::Csms { CSMS_LENGTH } else { EMSP_LENGTH }
    }

    fn label(&self) -> Vec<u8> {
        match self {
            Self::Csms => b"csms".to_vec(),
            Self::Emsp { country, party } => [b"emsp:", &country[..], b"-", &party[..]].concat(),
            Self::Quality => b"quality".to_vec(),
        }
    }
}

/// The live epochs' keys and the standing key. Shared by every connection; replaced as a whole when an operator rotates.
pub struct Keyring {
    live: ArcSwap<Live>,
    standing: StandingKey,
}

/// Never empty; oldest first.
struct Live {
    epochs: Vec<EpochKeys>,
    current: usize,
}

/// What one epoch's root becomes, derived once.
pub(crate) struct EpochKeys {
    pub(crate) epoch: Epoch,
    alphabet: Alphabet,
    csms: DomainKeys,
    index: derive::Mac256,
    pub(crate) wrapping: WrappingKey,
    key: EpochKey,
}

impl Keyring {
    /// Derives the keys of the live epochs. `current` is the one in which new codes are made.
    ///
    /// # Errors
    /// [`KeyError`] when there is no epoch, more than [`LIVE_EPOCHS`], two that share a digit, or `current` is not among them.
    pub fn new(epochs: Vec<EpochKey>, current: Epoch, standing: StandingKey, kek: &Kek) -> Result<Self, KeyError> {
        Ok(Self { live: ArcSwap::from_pointee(Live::new(epochs, current, kek)?), standing })
    }

    /// Takes over another set of live epochs, after a rotation or a destruction. Roots that are not in the new set are wiped from memory
    /// once the last operation under way has let go of them.
    ///
    /// # Errors
    /// As [`Keyring::new`]; the keyring stays as it was.
    pub fn replace(&self, epochs: Vec<EpochKey>, current: Epoch, kek: &Kek) -> Result<(), KeyError> {
        self.live.store(Arc::new(Live::new(epochs, current, kek)?));
        Ok(())
    }

    /// The live epochs, oldest first.
    pub fn epochs(&self) -> Vec<Epoch> {
        self.live.load().epochs.iter().map(|keys| keys.epoch).collect()
    }

    /// The code of an identifier in any domain: in the given epoch if live, else in the current one. [`Class::KeyCode`] too, though the
    /// vault will not keep it.
    pub fn code_in(&self, domain: &Domain, identifier: &Identifier, epoch: Option<Epoch>) -> Pseudonym {
        let live = self.live.load();
        let keys = epoch.and_then(|epoch| live.find(epoch)).unwrap_or_else(|| live.current());
        match domain {
            Domain::Csms => keys.csms.code(keys.alphabet, keys.epoch, CSMS_LENGTH, identifier),
            _ => DomainKeys::derive(keys.key.root(), &domain.label()).code(Alphabet::Base32, keys.epoch, EMSP_LENGTH, identifier),
        }
    }

    /// [`Codes::recognise`] in any domain.
    pub fn recognise_in(&self, domain: &Domain, text: &str) -> Option<Pseudonym> {
        let code = Pseudonym::normalised(text)?;
        let live = self.live.load();
        let keys = live.by_shape(&code)?;
        let ours = match domain {
            Domain::Csms => code.as_str().len() == CSMS_LENGTH && code.alphabet() == Some(keys.alphabet) && keys.csms.proves(keys.alphabet, &code),
            _ => {
                code.as_str().len() == EMSP_LENGTH && DomainKeys::derive(keys.key.root(), &domain.label()).proves(Alphabet::Base32, &code)
            }
        };
        ours.then_some(code)
    }

    /// The blind index of an identifier in a live epoch: 16 bytes that say whether two records hold the same card, and not which.
    pub(crate) fn blind_index(&self, identifier: &Identifier, epoch: Epoch) -> Option<[u8; 16]> {
        self.live.load().find(epoch).map(|keys| {
            let mac = keys.index.of(&[&[identifier.class.byte()], identifier.canonical.expose().as_bytes()]); // into a MAC
            let mut index = [0; 16];
            index.copy_from_slice(&mac[..16]);
            index
        })
    }

    /// Runs `f` with the key that wraps the data keys of an epoch's vault records; `None` if the epoch is not live.
    pub(crate) fn with_wrapping<T>(&self, epoch: Epoch, f: impl FnOnce(&WrappingKey) -> T) -> Option<T> {
        self.live.load().find(epoch).map(|keys| f(&keys.wrapping))
    }

    /// A keyed digest of any length up to 32 bytes, under the standing key.
    pub(crate) fn blind<const N: usize>(&self, label: &str, parts: &[&[u8]]) -> [u8; N] {
        let mac = self.standing.digest(label, parts);
        let mut digest = [0; N];
        digest.copy_from_slice(&mac[..N]);
        digest
    }
}

impl Codes for Keyring {
    fn code(&self, identifier: &Identifier, epoch: Option<Epoch>) -> Pseudonym {
        self.code_in(&Domain::Csms, identifier, epoch)
    }

    fn recognise(&self, text: &str) -> Option<Pseudonym> {
        self.recognise_in(&Domain::Csms, text)
    }

    fn epoch_of(&self, code: &Pseudonym) -> Option<Epoch> {
        self.live.load().by_shape(code).map(|keys| keys.epoch)
    }

    fn current(&self) -> Epoch {
        self.live.load().current().epoch
    }

    fn digest(&self, label: &str, text: &str) -> [u8; 16] {
        let mut spelled = Vec::with_capacity(16);
        Alphabet::Base32.spell(&self.blind::<10>(label, &[text.as_bytes()]), 16, &mut spelled);
        let mut digest = [b'0'; 16];
        digest.copy_from_slice(&spelled);
        digest
    }
}

impl Live {
    fn new(mut epochs: Vec<EpochKey>, current: Epoch, kek: &Kek) -> Result<Self, KeyError> {
        epochs.sort_by_key(EpochKey::epoch);
        if epochs.is_empty() || epochs.len() > LIVE_EPOCHS {
            return Err(KeyError::TooMany);
        }
        for (place, key) in epochs.iter().enumerate() {
            if epochs[..place].iter().any(|other| other.digit() == key.digit()) {
                return Err(KeyError::DigitTaken);
            }
        }
        let current = epochs.iter().position(|key| key.epoch() == current).ok_or(KeyError::NotLive)?;
        let epochs = epochs.into_iter().map(|key| EpochKeys::derive(key, kek)).collect();
        Ok(Self { epochs, current })
    }

    fn find(&self, epoch: Epoch) -> Option<&EpochKeys> {
        self.epochs.iter().find(|keys| keys.epoch == epoch)
    }

    fn by_shape(&self, code: &Pseudonym) -> Option<&EpochKeys> {
        let digit = code.epoch_digit()?;
        self.epochs.iter().find(|keys| keys.key.digit() == digit)
    }

    fn current(&self) -> &EpochKeys {
        &self.epochs[self.current] // a place found in `new`, in a list that never changes
    }
}

impl EpochKeys {
    fn derive(key: EpochKey, kek: &Kek) -> Self {
        let root = key.root();
        Self {
            epoch: key.epoch(),
            alphabet: key.alphabet(),
            csms: DomainKeys::derive(root, &Domain::Csms.label()),
            index: derive::index(root),
            wrapping: derive::wrapping(root, kek),
            key,
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({:?}, [sensitive])", self.epochs())
    }
}

/// Whether an identifier of this class may be kept in the vault. A PIN may not: it is coded and forgotten.
pub fn may_be_kept(class: Class) -> bool {
    class != Class::KeyCode
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::identity::Declared;
    use crate::seal::tests::Counting;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn kek() -> Kek {
        Kek::from_file_content(&[9; 32]).unwrap()
    }

    /// A ring of epochs with roots that are the same in each run; the last is current.
    pub(crate) fn ring(epochs: &[(u32, Alphabet)]) -> Keyring {
        let entropy = Counting::default();
        let keys = epochs.iter().map(|&(n, alphabet)| EpochKey::generate(Epoch(n), alphabet, &entropy).unwrap()).collect();
        Keyring::new(keys, Epoch(epochs.last().unwrap().0), StandingKey::generate(&entropy).unwrap(), &kek()).unwrap()
    }

    fn card(text: &str) -> Identifier {
        Identifier::from_wire(text, Declared::Undeclared)
    }

    const BOTH: [Alphabet; 2] = [Alphabet::Base32, Alphabet::Hex];

    #[test]
    fn a_code_is_a_valid_id_tag_and_differs_per_domain_and_epoch() {
        for alphabet in BOTH {
            let ring = ring(&[(3, alphabet), (4, alphabet)]);
            let card = card("04A2B3C4D5E6F7");
            let [nl, de] = [("NL", "ABC"), ("DE", "ABC")].map(|(country, party)| Domain::emsp(country, party).unwrap());
            let code = ring.code(&card, None);
            assert_eq!(code.as_str().len(), 20);
            assert_eq!((code.alphabet(), code.epoch_digit(), ring.epoch_of(&code)), (Some(alphabet), Some(4), Some(Epoch(4))));
            let all = [
                code,
                ring.code(&card, Some(Epoch(3))),
                ring.code_in(&nl, &card, None),
                ring.code_in(&de, &card, None),
                ring.code_in(&Domain::Quality, &card, None),
            ];
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
            assert_eq!(all.iter().map(|c| &c.as_str()[5..12]).collect::<HashSet<_>>().len(), all.len());
            assert!(all[2..].iter().all(|c| c.as_str().len() == 31));
            assert_eq!(ring.code(&card, Some(Epoch(77))), code, "an epoch that is not live gives way to the current one");
            assert_eq!(ring.recognise_in(&nl, all[2].as_str()), Some(all[2]));
            assert_eq!(ring.recognise_in(&de, all[2].as_str()), None);
            assert_eq!(ring.recognise(all[2].as_str()), None);
            assert_ne!(Class::from_byte(b'R'), Some(Identifier::from_wire(code.as_str(), Declared::Undeclared).class).filter(|_| alphabet == Alphabet::Base32));
        }
    }

    #[test]
    fn codes_are_pinned_to_their_keys_for_ever() {
        // If this fails, every card list that an operator converted is void: make a new label, not a new value.
        let ring = ring(&[(0, Alphabet::Base32)]);
        assert_eq!(ring.code(&card("04A2B3C4"), None).as_str(), "Z09WJ19N10K8YGMXVC8Y");
        assert_eq!(std::str::from_utf8(&ring.digest("serial", "ABC-123")).unwrap(), "0XF3JJPSPD0KMCGS");
    }

    #[test]
    fn epochs_are_few_and_distinct() {
        let entropy = Counting::default();
        let make = |numbers: &[u32], current| {
            let keys = numbers.iter().map(|&n| EpochKey::generate(Epoch(n), Alphabet::Base32, &entropy).unwrap()).collect();
            Keyring::new(keys, Epoch(current), StandingKey::generate(&entropy).unwrap(), &kek()).err()
        };
        assert_eq!(make(&[1, 2, 3], 2), None);
        assert_eq!(make(&[], 0), Some(KeyError::TooMany));
        assert_eq!(make(&[1, 2, 3, 4], 4), Some(KeyError::TooMany));
        assert_eq!(make(&[2, 12], 12), Some(KeyError::DigitTaken));
        assert_eq!(make(&[1, 2], 3), Some(KeyError::NotLive));
    }

    #[test]
    fn a_destroyed_epochs_codes_are_strangers() {
        let (ring, entropy) = (ring(&[(1, Alphabet::Base32)]), Counting::default());
        let code = ring.code(&card("04A2B3C4"), None);
        let next = EpochKey::generate(Epoch(2), Alphabet::Base32, &entropy).unwrap();
        ring.replace(vec![next], Epoch(2), &kek()).unwrap();
        assert_eq!((ring.recognise(code.as_str()), ring.epoch_of(&code)), (None, None));
        assert!(ring.with_wrapping(Epoch(1), |_| ()).is_none() && ring.blind_index(&card("04A2B3C4"), Epoch(1)).is_none());
        // The same counter with another root does not bring them back.
        ring.replace(vec![EpochKey::generate(Epoch(1), Alphabet::Base32, &entropy).unwrap()], Epoch(1), &kek()).unwrap();
        assert_eq!(ring.recognise(code.as_str()), None);
    }

    #[test]
    fn wrapped_roots_open_in_their_own_row_only() {
        let (entropy, kek) = (Counting::default(), kek());
        let key = EpochKey::generate(Epoch(1), Alphabet::Base32, &entropy).unwrap();
        let wrapped = key.wrap(&kek, &entropy).unwrap();
        assert!(EpochKey::unwrap(Epoch(1), Alphabet::Base32, &wrapped, &kek).is_ok());
        let broken = Some(KeyError::Seal(crate::seal::SealError::Broken));
        assert_eq!(EpochKey::unwrap(Epoch(2), Alphabet::Base32, &wrapped, &kek).err(), broken);
        assert_eq!(EpochKey::unwrap(Epoch(1), Alphabet::Hex, &wrapped, &kek).err(), broken);
        assert_eq!(EpochKey::unwrap(Epoch(1), Alphabet::Base32, &wrapped, &Kek::from_file_content(&[8; 32]).unwrap()).err(), broken);
        assert_eq!(StandingKey::unwrap(&wrapped, &kek).err(), broken);
        let printed = format!("{key:?} {kek:?} {:?} {:?}", ring(&[(1, Alphabet::Base32)]), kek.wrapping());
        assert_eq!(printed, "EpochKey(1, [sensitive]) Kek([sensitive]) Keyring([Epoch(1)], [sensitive]) WrappingKey([sensitive])");
    }

    /// 1 in 32,768 and 1 in 65,536 by arithmetic; the bounds are five standard deviations wide.
    #[test]
    fn foreign_texts_seldom_pass_for_codes() {
        // 1 M: 30.5 and 15.3 expected; 20,000: 0.6 and 0.3.
        let (tries, most) = if cfg!(debug_assertions) { (20_000, [5, 4]) } else { (1_000_000, [58, 35]) };
        for (alphabet, most) in BOTH.into_iter().zip(most) {
            let ring = ring(&[(5, alphabet)]);
            let mut passed = 0;
            for n in 0..tries {
                let mut text = vec![alphabet.mark(), b'5'];
                alphabet.spell(&ring.standing.digest("noise", &[&u32::to_be_bytes(n)]), 18, &mut text);
                passed += usize::from(ring.recognise(std::str::from_utf8(&text).unwrap()).is_some());
            }
            assert!(passed <= most, "{alphabet:?}: {passed}");
        }
    }

    #[test]
    fn many_cards_have_as_many_codes() {
        let cards = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
        for alphabet in BOTH {
            let ring = ring(&[(0, alphabet)]);
            let codes: HashSet<Pseudonym> = (0..cards).map(|n| ring.code(&card(&format!("{n:08X}")), None)).collect();
            assert_eq!(codes.len(), cards);
        }
    }

    proptest! {
        #[test]
        fn every_code_is_recognised_in_any_spelling_and_no_other(text in "\\PC{1,30}", hex in any::<bool>(), lower in any::<bool>(), cut in 1usize..20, old in any::<bool>()) {
            let alphabet = BOTH[usize::from(hex)];
            let ring = ring(&[(8, alphabet), (9, alphabet), (10, alphabet)]);
            let code = ring.code(&card(&text), old.then_some(Epoch(8)));
            let mut spelled = format!("{}-{}", &code.as_str()[..cut], &code.as_str()[cut..]);
            if lower {
                spelled.make_ascii_lowercase();
            }
            prop_assert_eq!(ring.recognise(&spelled), Some(code));
            prop_assert_eq!(ring.epoch_of(&code), Some(Epoch(if old { 8 } else { 10 })));
            let other = Keyring::recognise(&super::tests::ring(&[(8, alphabet), (20, alphabet), (9, alphabet)]), &spelled);
            prop_assert!(other.is_none() || old, "another ring's code");
        }
    }
}
