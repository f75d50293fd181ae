//! The secret of one period of statistics: makes a contributor out of a card or contract, for that period alone, and seals what it added.
//! Random, independent of every other key, and destroyed when the period is released: from then on nobody can say who contributed or link
//! two periods.

use super::derive::{self, Mac256};
use crate::identity::Identifier;
use crate::seal::{self, Entropy, KEY, SealError, Sealed, WRAPPED, WrappingKey};
use crate::secret::Sensitive;
use std::fmt;

/// The secret of a period, opened.
pub struct PeriodKey {
    secret: Sensitive<[u8; KEY]>,
    name: String,
    people: Mac256,
    sessions: Mac256,
    rows: WrappingKey,
}

impl PeriodKey {
    /// Draws a secret.
    ///
    /// # Errors
    /// No random bytes.
    pub fn generate(name: &str, entropy: &dyn Entropy) -> Result<Self, SealError> {
        let mut secret = [0; KEY];
        entropy.fill(&mut secret)?;
        Ok(Self::of(name, Sensitive::new(secret)))
    }

    fn of(name: &str, secret: Sensitive<[u8; KEY]>) -> Self {
        let (people, sessions, rows) = derive::period(&secret);
        Self { secret, name: name.to_owned(), people, sessions, rows }
    }

    /// The secret under another key, bound to the period's name.
    ///
    /// # Errors
    /// No random bytes.
    pub(crate) fn wrap(&self, wrapping: &WrappingKey, entropy: &dyn Entropy) -> Result<[u8; WRAPPED], SealError> {
        wrapping.wrap(&self.secret, &place(&self.name), entropy)
    }

    /// Opens a wrapped secret.
    ///
    /// # Errors
    /// It was wrapped under another key, for another period, or is destroyed.
    pub(crate) fn unwrap(name: &str, wrapped: &[u8], wrapping: &WrappingKey) -> Result<Self, SealError> {
        Ok(Self::of(name, wrapping.unwrap(wrapped, &place(name))?))
    }

    /// Whoever has a card or contract: the same in every epoch, and in no other period.
    pub(crate) fn person(&self, identifier: &Identifier) -> [u8; 16] {
        cut(&self.people.of(&[&[identifier.class.byte()], identifier.canonical.expose().as_bytes()])) // into a MAC
    }

    /// A charging session by its id.
    pub fn session(&self, id: &str) -> [u8; 16] {
        cut(&self.sessions.of(&[id.as_bytes()]))
    }

    /// Seals what a session adds.
    ///
    /// # Errors
    /// No random bytes, or the text is too long.
    pub(crate) fn seal(&self, text: String, session: &[u8; 16], entropy: &dyn Entropy) -> Result<Sealed, SealError> {
        seal::seal(&Sensitive::new(text), &self.row(session), &self.rows, entropy)
    }

    /// Opens what a session added.
    ///
    /// # Errors
    /// It was sealed in another period or for another session, or altered.
    pub fn open(&self, sealed: &Sealed, session: &[u8; 16]) -> Result<String, SealError> {
        // Where, when and how much; whose it was is not in it.
        seal::open(sealed, &self.row(session), &self.rows).map(|text| text.expose().clone())
    }

    fn row(&self, session: &[u8; 16]) -> Vec<u8> {
        [b"v1|visit|", self.name.as_bytes(), b"|", session].concat()
    }
}

fn place(name: &str) -> Vec<u8> {
    format!("v1|period|{name}").into_bytes()
}

fn cut(mac: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&mac[..16]);
    short
}

impl fmt::Debug for PeriodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeriodKey({}, [sensitive])", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Declared;
    use crate::seal::tests::Counting;

    #[test]
    fn two_periods_have_nothing_in_common() {
        let entropy = Counting::default();
        let [month, quarter] = ["2026-10", "2026-Q4"].map(|name| PeriodKey::generate(name, &entropy).unwrap());
        let card = |text: &str| Identifier::from_wire(text, Declared::Undeclared);
        assert_eq!(month.person(&card("04a2b3c4")), month.person(&card("04:A2:B3:C4")));
        assert_ne!(month.person(&card("04A2B3C4")), quarter.person(&card("04A2B3C4")));
        assert_ne!(month.session("s"), quarter.session("s"));
        let session = month.session("s");
        let sealed = month.seal("a visit".to_owned(), &session, &entropy).unwrap();
        assert_eq!(month.open(&sealed, &session).unwrap(), "a visit");
        assert!(month.open(&sealed, &month.session("t")).is_err() && quarter.open(&sealed, &session).is_err());
    }

    #[test]
    fn a_secret_is_bound_to_its_period_and_gone_when_overwritten() {
        let (entropy, wrapping) = (Counting::default(), WrappingKey::new(&[7; KEY]));
        let key = PeriodKey::generate("2026-10", &entropy).unwrap();
        let wrapped = key.wrap(&wrapping, &entropy).unwrap();
        assert_eq!(PeriodKey::unwrap("2026-10", &wrapped, &wrapping).unwrap().session("s"), key.session("s"));
        assert!(PeriodKey::unwrap("2026-11", &wrapped, &wrapping).is_err());
        assert!(PeriodKey::unwrap("2026-10", &[0; WRAPPED], &wrapping).is_err());
    }
}
