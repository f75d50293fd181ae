//! What this gateway reads of a certificate beyond what the verifier checks: names, dates, the kind of key. Of a revocation list: when
//! the next one is due. Certificates and lists are read only once a trusted authority is known to have signed them, or from files of the
//! operator; even so, nothing here can fail but by saying nothing (X.690, RFC 5280 §4.1, §5.1).

use crate::clock::Timestamp;

/// The most names of a certificate that are looked at.
const MAX_NAMES: usize = 100;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// 2.5.4.3 and 2.5.4.10
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 29, 17];
/// 1.2.840.10045.2.1 and 1.2.840.113549.1.1.1
const EC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const RSA_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// An elliptic curve: cheap to use, and the only kind that stations with the TLS 1.2 list of OCPP 2.0.1 share with this program.
    Ecdsa,
    /// RSA.
    Rsa,
    /// Another, Ed25519 for instance.
    Other,
}

impl KeyKind {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ecdsa => "ECDSA",
            Self::Rsa => "RSA",
            Self::Other => "other",
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Common names of the subject, the most specific last.
    pub common_names: Vec<String>,
    /// DNS names of the subject's alternative names.
    pub dns_names: Vec<String>,
    /// Organizations of the subject.
    pub organizations: Vec<String>,
    /// Before that it is not valid.
    pub not_before: Timestamp,
    /// After that it is not valid.
    pub not_after: Timestamp,
    /// Its key.
    pub key: KeyKind,
}

impl Certificate {
    /// Reads DER; `None` if it is not a certificate that can be read.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Der(der).take(SEQUENCE)?;
        let mut body = whole.take(SEQUENCE)?;
        body.take_if(0xa0);
        body.take(INTEGER)?;
        body.take(SEQUENCE)?;
        body.take(SEQUENCE)?;
        let mut validity = body.take(SEQUENCE)?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let (common_names, organizations) = subject(body.take(SEQUENCE)?);
        let mut key = body.take(SEQUENCE)?;
        let key = match key.take(SEQUENCE)?.take(OBJECT)?.0 {
            EC_KEY => KeyKind::Ecdsa,
            RSA_KEY => KeyKind::Rsa,
            _ => KeyKind::Other,
        };
        body.take_if(0x81);
        body.take_if(0x82);
        let dns_names = body.take_if(0xa3).and_then(|mut tagged| tagged.take(SEQUENCE)).map(dns_names).unwrap_or_default();
        Some(Self { common_names, dns_names, organizations, not_before, not_after, key })
    }

    /// Whether it names a station: a common name that is the id, letter by letter, or a DNS name that is, but for case.
    pub fn names(&self, station: &str) -> bool {
        self.common_names.iter().any(|name| name == station) || self.dns_names.iter().any(|name| name.eq_ignore_ascii_case(station))
    }
}

/// When the next revocation list is due, by this one; `None` if it does not say or cannot be read.
pub fn next_update(crl: &[u8]) -> Option<Timestamp> {
    let mut whole = Der(crl).take(SEQUENCE)?;
    let mut body = whole.take(SEQUENCE)?;
    body.take_if(INTEGER);
    body.take(SEQUENCE)?;
    body.take(SEQUENCE)?;
    body.time()?;
    body.time()
}

fn subject(mut name: Der<'_>) -> (Vec<String>, Vec<String>) {
    let (mut common, mut organizations) = (Vec::new(), Vec::new());
    while let Some(mut set) = name.take(SET) {
        while let Some(mut pair) = set.take(SEQUENCE) {
            let (Some(kind), Some((tag, value))) = (pair.take(OBJECT), pair.next()) else { continue };
            let list = match kind.0 {
                COMMON_NAME => &mut common,
                ORGANIZATION => &mut organizations,
                _ => continue,
            };
            // UTF8String, PrintableString, IA5String, and TeletexString as far as it is ASCII. A null in a name has fooled others.
            let text = [0x0c, 0x13, 0x16, 0x14].contains(&tag).then(|| std::str::from_utf8(value.0).ok()).flatten();
            if let Some(text) = text.filter(|text| list.len() < MAX_NAMES && !text.contains('\0')) {
                list.push(text.to_owned());
            }
        }
    }
    (common, organizations)
}

fn dns_names(mut extensions: Der<'_>) -> Vec<String> {
    while let Some(mut extension) = extensions.take(SEQUENCE) {
        let Some(kind) = extension.take(OBJECT) else { break };
        extension.take_if(BOOLEAN);
        if kind.0 != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        let mut found = Vec::new();
        let names = extension.take(OCTETS).and_then(|mut octets| octets.take(SEQUENCE));
        for (tag, value) in names.into_iter().flat_map(|mut names| std::iter::from_fn(move || names.next())).take(MAX_NAMES) {
            if tag == 0x82 && value.0.is_ascii() && !value.0.contains(&0) {
                found.push(String::from_utf8_lossy(value.0).into_owned());
            }
        }
        return found;
    }
    Vec::new()
}

/// The rest of a piece of DER.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, Self)> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Four bytes of length are more than any file that is read.
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
            (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), &rest[count..])
        };
        let content = rest.get(..length)?;
        self.0 = &rest[length..];
        Some((tag, Self(content)))
    }

    /// The next element, if it is a `tag`; nothing is taken otherwise.
    fn take_if(&mut self, tag: u8) -> Option<Self> {
        let mut ahead = *self;
        let (found, content) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    fn take(&mut self, tag: u8) -> Option<Self> {
        self.take_if(tag)
    }

    /// UTCTime or GeneralizedTime, in the one form that RFC 5280 §4.1.2.5 allows.
    fn time(&mut self) -> Option<Timestamp> {
        let mut ahead = *self;
        let (tag, content) = ahead.next()?;
        let digits = content.0.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => {
                let year = number(&digits[..2]);
                (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
            }
            (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
            _ => return None,
        };
        let part = |at: usize| number(&rest[at..at + 2]);
        let date = chrono::NaiveDate::from_ymd_opt(year.try_into().ok()?, part(0), part(2))?;
        let time = date.and_hms_opt(part(4), part(6), part(8).min(59))?;
        *self = ahead;
        Some(Timestamp(time.and_utc().timestamp_millis()))
    }
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_or_bent_is_not_read_and_nothing_breaks() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["gateway.example".to_owned(), "cs-1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "CS-1");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Voltbaas");
        params.not_before = rcgen::date_time_ymd(2026, 11, 24);
        params.not_after = rcgen::date_time_ymd(2056, 1, 1);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let read = Certificate::read(&der).unwrap();
        assert_eq!(
            (read.common_names.as_slice(), read.dns_names.as_slice()),
            (&["CS-1".to_owned()][..], &["gateway.example".to_owned(), "cs-1".to_owned()][..])
        );
        assert_eq!((read.organizations.as_slice(), read.key), (&["Voltbaas".to_owned()][..], KeyKind::Ecdsa));
        assert_eq!(
            (read.not_before.rfc3339().as_str(), read.not_after.rfc3339().as_str()),
            ("2026-11-24T00:00:00Z", "2056-01-01T00:00:00Z")
        );
        assert!(read.names("CS-1") && read.names("CS-1") && read.names("Gateway.Example") && !read.names("CS-12") && !read.names("CS"));
        for length in 0..der.len() {
            assert_eq!(Certificate::read(&der[..length]), None, "{length}");
        }
        for at in 0..der.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bent = der.clone();
                bent[at] ^= flip;
                let _ = Certificate::read(&bent);
                let _ = next_update(&bent);
            }
        }
    }
}
