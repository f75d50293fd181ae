//! The register of recipients: which e-MSPs may receive anything, under which agreement, and from when until when. No entry, or an entry that
//! is not valid at the moment, means that nothing goes out (R05, R22, R87).

use std::fmt;

/// An OCPI party: ISO 3166 country and party id, upper case. Written `NL-ABC`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Party {
    country: [u8; 2],
    id: [u8; 3],
}

impl Party {
    /// From two letters and three letters or digits, in any case; `None` for anything else (OCPI 2.2.1 §Credentials: CiString(2), CiString(3)).
    pub fn new(country: &str, id: &str) -> Option<Self> {
        let mut party = Self { country: <[u8; 2]>::try_from(country.as_bytes()).ok()?, id: <[u8; 3]>::try_from(id.as_bytes()).ok()? };
        party.country.make_ascii_uppercase();
        party.id.make_ascii_uppercase();
        let fits = party.country.iter().all(u8::is_ascii_uppercase) && party.id.iter().all(u8::is_ascii_alphanumeric);
        fits.then_some(party)
    }

    /// Reads `NL-ABC`, `NL*ABC` or `NLABC`, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let country = text.get(..2)?;
        let id = text.get(2..)?;
        Self::new(country, id.strip_prefix(['-', '*']).unwrap_or(id))
    }

    /// The country, two upper-case letters.
    pub fn country(&self) -> &str {
        std::str::from_utf8(&self.country).unwrap_or_default()
    }

    /// The party id, three upper-case letters or digits.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.country(), self.id())
    }
}

impl fmt::Debug for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The OCPI version that a recipient is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ocpi {
    /// 2.1.1
    V211,
    /// 2.2.1
    V221,
    /// 2.3.0
    V230,
}

impl Ocpi {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::V211, Self::V221, Self::V230];

    /// `2.1.1`, `2.2.1` or `2.3.0`.
    pub fn number(self) -> &'static str {
        match self {
            Self::V211 => "2.1.1",
            Self::V221 => "2.2.1",
            Self::V230 => "2.3.0",
        }
    }

    /// The version a number stands for.
    pub fn from_number(number: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.number() == number)
    }
}

/// An e-MSP that may receive CDRs of its own customers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who it is in OCPI.
    pub party: Party,
    /// What people call it.
    pub name: String,
    /// The contract that says what it receives data for (R22, R87).
    pub agreement: String,
    /// First and last day of the agreement in UTC, as `2026-11-24`; open where `None`.
    pub valid: [Option<String>; 2],
    /// The OCPI version it is spoken to in.
    pub version: Ocpi,
    /// Whether CDRs are pushed to it; else it pulls them.
    pub push: bool,
    /// Patterns of identifiers that are its customers' (exact, or a prefix and `*`), where neither its tokens nor the identifier itself say so.
    pub ranges: Vec<String>,
}

impl Recipient {
    /// Whether it may receive anything on a day (`2026-11-24`, UTC).
    pub fn may_receive(&self, day: &str) -> bool {
        let [from, until] = &self.valid;
        from.as_deref().is_none_or(|from| from <= day) && until.as_deref().is_none_or(|until| day <= until)
    }
}

/// All recipients.
#[derive(Debug, Clone, Default)]
pub struct Recipients(Vec<Recipient>);

impl Recipients {
    /// The register; later entries of a party that is there already are left out.
    pub fn new(all: Vec<Recipient>) -> Self {
        let mut register = Self::default();
        for recipient in all {
            if register.find(&recipient.party).is_none() {
                register.0.push(recipient);
            }
        }
        register
    }

    /// A party's entry.
    pub fn find(&self, party: &Party) -> Option<&Recipient> {
        self.0.iter().find(|recipient| recipient.party == *party)
    }

    /// All entries, in the order of the configuration.
    pub fn all(&self) -> &[Recipient] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parties_are_read_in_the_spellings_people_use() {
        for text in ["NL-ABC", "nl*abc", "NLABC", "nlAbc"] {
            assert_eq!(Party::parse(text).map(|p| p.to_string()).as_deref(), Some("NL-ABC"), "{text}");
        }
        for text in ["", "N", "NL", "NL-AB", "NL-ABCD", "N1-ABC", "NL-AB-", "ÄNL-ABC", "NL--ABC"] {
            assert_eq!(Party::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_agreement_has_its_days() {
        let mut recipient = Recipient {
            party: Party::parse("NLABC").unwrap(),
            name: String::new(),
            agreement: "1".into(),
            valid: [Some("2026-01-01".into()), Some("2026-11-24".into())],
            version: Ocpi::V221,
            push: true,
            ranges: Vec::new(),
        };
        assert!(recipient.may_receive("2026-01-01") && recipient.may_receive("2026-11-24"));
        assert!(!recipient.may_receive("2025-12-31") && !recipient.may_receive("2026-11-25"));
        recipient.valid = [None, None];
        assert!(recipient.may_receive("1970-01-01"));
    }
}
