//! Whether a text in PEM is what it says: certificates, or a station's request for one. What only looks like them could hold anything.
//!
//! Of the ASN.1 inside (X.690, DER) no more is read than its outline: that each part is there, of its kind, and exactly as long as it says. A key,
//! a signature, an extension is bytes of its maker's choice, and so is what a subject says: see [`Request`] and `docs/threat-model.md`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The longest PEM that is read, in bytes: the standard's longest field for it has 10,000 characters (OCPP 2.1, `certificateChain`).
const LONGEST: usize = 20_000;
/// The most certificates of a chain. ISO 15118 has four of them, from the leaf to the root.
const MOST: usize = 8;

/// How deep values are looked for in values. A name in an extension of a certificate lies eight deep.
const DEEPEST: u32 = 12;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The parts of a subject that name the station: `commonName` and `serialNumber` (X.520 §6.2.2, §6.2.9).
const STATIONS_OWN: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 5]];
/// The types of text in a name: UTF-8, numeric, printable, teletex, IA5, visible, universal, BMP.
const TEXTS: [u8; 8] = [0x0c, 0x12, 0x13, 0x14, 0x16, 0x1a, 0x1c, 0x1e];
/// The bit of a tag whose value is made of values.
const CONSTRUCTED: u8 = 0x20;
/// A constructed value in the context of its parent, number 0.
const CONTEXT: u8 = 0xa0;

/// Whether a text is one or more certificates (RFC 5280 §4.1) in PEM, and nothing else.
pub(crate) fn is_chain(text: &str) -> bool {
    let Some(blocks) = blocks(text) else { return false };
    blocks.iter().all(|block| block.label == "CERTIFICATE" && certificate(&block.bytes).is_some())
}

/// What a request for a certificate says, by who chose it.
pub(crate) struct Request {
    /// The names in its subject that a central system can have set: of the organisation, its unit, its country, its domain, a line each.
    pub(crate) names: String,
    /// All else: the station's own name and number, extensions, and bytes that are no text.
    pub(crate) others: String,
}

/// Reads one request for a certificate (PKCS #10, RFC 2986 §4) in PEM; `None` if the text is anything else, or more. The second label is that of
/// older tools.
pub(crate) fn request(text: &str) -> Option<Request> {
    let blocks = blocks(text)?;
    let [only] = &blocks[..] else { return None };
    matches!(only.label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST").then_some(())?;
    let given = given(outline(&only.bytes)?)?;
    let (mut names, mut others) = (String::new(), String::new());
    values(Der(&only.bytes), 0, &mut |content| {
        let lines = if given.iter().any(|name| std::ptr::eq(*name, content)) { &mut names } else { &mut others };
        lines.extend([&*String::from_utf8_lossy(content), "\n"]);
    });
    Some(Request { names, others })
}

/// The values of a subject but those of [`STATIONS_OWN`].
fn given(mut subject: Der<'_>) -> Option<Vec<&[u8]>> {
    let mut given = Vec::new();
    while !subject.0.is_empty() {
        let mut set = subject.take(SET)?;
        while !set.0.is_empty() {
            let mut attribute = set.take(SEQUENCE)?;
            let kind = attribute.take(OBJECT)?;
            let (_, value) = attribute.next()?;
            if !STATIONS_OWN.contains(&kind.0) {
                given.push(value.0);
            }
        }
    }
    Some(given)
}

/// The values inside of values, down to [`DEEPEST`].
fn values<'a>(mut der: Der<'a>, depth: u32, each: &mut impl FnMut(&'a [u8])) {
    while let Some((tag, content)) = der.next() {
        // An extension is a sequence in a string of bytes.
        let holds_more = tag & CONSTRUCTED != 0 || tag == OCTET_STRING && content.0.first() == Some(&SEQUENCE);
        if holds_more && depth < DEEPEST {
            values(content, depth + 1, each);
        } else {
            each(content.0);
        }
    }
    // What is no value any more.
    each(der.0);
}

struct Block<'a> {
    label: &'a str,
    bytes: Vec<u8>,
}

/// The blocks of a PEM text (RFC 7468): begin and end lines of one label with base64 between, and nothing around them.
fn blocks(text: &str) -> Option<Vec<Block<'_>>> {
    if text.len() > LONGEST {
        return None;
    }
    let mut lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let mut blocks = Vec::new();
    while let Some(first) = lines.next() {
        let label = label(first, "-----BEGIN ")?;
        let mut body = String::new();
        loop {
            let line = lines.next()?;
            if self::label(line, "-----END ") == Some(label) {
                break;
            }
            body.push_str(line);
        }
        // Strict: no white space, the right padding, no bits left over.
        blocks.push(Block { label, bytes: BASE64.decode(body).ok()? });
        if blocks.len() > MOST {
            return None;
        }
    }
    (!blocks.is_empty()).then_some(blocks)
}

/// What stands between the dashes of a line that begins or ends a block.
fn label<'a>(line: &'a str, edge: &str) -> Option<&'a str> {
    line.strip_prefix(edge)?.strip_suffix("-----")
}

/// Values in a row. The outlines below have a depth of their own, and no more than that is read.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag of one byte and its content. DER has definite lengths in their shortest form (X.690 §10.1).
    fn next(&mut self) -> Option<(u8, Self)> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
                let shortest = digits[0] != 0 && length >= 0x80;
                (shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        // Tags of more bytes stand nowhere in these outlines.
        (tag & 0x1f != 0x1f).then_some(())?;
        self.0 = rest;
        Some((tag, Der(content)))
    }

    /// The next value, which has this tag.
    fn take(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|(there, _)| *there == tag).map(|(_, content)| content)
    }

    /// The next value if it has this tag; else nothing is taken.
    fn take_if(&mut self, tag: u8) -> Option<Self> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }

    /// That nothing is left.
    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// `SEQUENCE { what is signed, algorithm, signature }`, as both are: what is signed.
fn signed(bytes: &[u8]) -> Option<Der<'_>> {
    let mut whole = Der(bytes);
    let mut parts = whole.take(SEQUENCE)?;
    whole.end()?;
    let inside = parts.take(SEQUENCE)?;
    algorithm(parts.take(SEQUENCE)?)?;
    bits(parts.take(BIT_STRING)?)?;
    parts.end()?;
    Some(inside)
}

/// `CertificationRequestInfo`: version 0, subject, key, attributes (which some leave out). Its subject.
fn outline(bytes: &[u8]) -> Option<Der<'_>> {
    let mut info = signed(bytes)?;
    (info.take(INTEGER)?.0 == [0]).then_some(())?;
    let subject = info.take(SEQUENCE)?;
    name(subject)?;
    key(info.take(SEQUENCE)?)?;
    if let Some(mut attributes) = info.take_if(CONTEXT) {
        while !attributes.0.is_empty() {
            attributes.take(SEQUENCE)?.take(OBJECT)?;
        }
    }
    info.end()?;
    Some(subject)
}

/// `TBSCertificate`: version, serial number, algorithm, issuer, validity, subject, key, extensions.
fn certificate(bytes: &[u8]) -> Option<()> {
    let mut tbs = signed(bytes)?;
    if let Some(mut version) = tbs.take_if(CONTEXT) {
        matches!(version.take(INTEGER)?.0, [0..=2]).then_some(())?;
        version.end()?;
    }
    // RFC 5280 allows twenty bytes.
    matches!(tbs.take(INTEGER)?.0.len(), 1..=21).then_some(())?;
    algorithm(tbs.take(SEQUENCE)?)?;
    name(tbs.take(SEQUENCE)?)?;
    let mut validity = tbs.take(SEQUENCE)?;
    for _ in 0..2 {
        let (tag, time) = validity.next()?;
        let digits = time.0.strip_suffix(b"Z")?;
        let fits = matches!((tag, digits.len()), (UTC_TIME, 12) | (GENERALIZED_TIME, 14));
        (fits && digits.iter().all(u8::is_ascii_digit)).then_some(())?;
    }
    validity.end()?;
    name(tbs.take(SEQUENCE)?)?;
    key(tbs.take(SEQUENCE)?)?;
    // Unique identifiers of issuer and subject, and extensions.
    for tag in [0x81, 0x82, CONTEXT + 3] {
        tbs.take_if(tag);
    }
    tbs.end()
}

/// `Name`: a sequence of sets of a type and a value each. It may be empty.
fn name(mut name: Der<'_>) -> Option<()> {
    while !name.0.is_empty() {
        let mut set = name.take(SET)?;
        while !set.0.is_empty() {
            let mut attribute = set.take(SEQUENCE)?;
            attribute.take(OBJECT)?;
            let (kind, _) = attribute.next()?;
            TEXTS.contains(&kind).then_some(())?;
            attribute.end()?;
        }
    }
    Some(())
}

/// `SubjectPublicKeyInfo`.
fn key(mut key: Der<'_>) -> Option<()> {
    algorithm(key.take(SEQUENCE)?)?;
    bits(key.take(BIT_STRING)?)?;
    key.end()
}

/// `AlgorithmIdentifier`: an object identifier and perhaps one parameter.
fn algorithm(mut algorithm: Der<'_>) -> Option<()> {
    algorithm.take(OBJECT)?;
    if !algorithm.0.is_empty() {
        algorithm.next()?;
    }
    algorithm.end()
}

/// A bit string: how many bits of its last byte do not count, then its bytes.
fn bits(bits: Der<'_>) -> Option<()> {
    matches!(bits.0, [0..=7, _, ..]).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_request(text: &str) -> bool {
        request(text).is_some()
    }

    const REQUEST: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIHiMIGKAgEAMCgxFDASBgNVBAoMC0V4YW1wbGUgQ1BPMRAwDgYDVQQDDAdTTi0w
MDQyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjZ5qV09lNbXX1/QX5pt/L8ZC
BQgoKKw6ZpVc89K1QjWpC8+vEZWBpJy1jbf1IvwPrvL8DTB4DWwR/SDVeBrKSaAA
MAoGCCqGSM49BAMCA0cAMEQCIHzfNBDbht5qnvGn9adYSq6+w8Y8SaKlgGJ75qfB
N9McAiA5/6NuhniBsDxmG4MNsWFMde7N5uBv+qCoFvCf2NHMBw==
-----END CERTIFICATE REQUEST-----
";

    fn pem(label: &str, bytes: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(bytes))
    }

    fn der(text: &str) -> Vec<u8> {
        blocks(text).unwrap().remove(0).bytes
    }

    /// What another program (`openssl req`) and two libraries make.
    #[test]
    fn real_requests_and_certificates_are_told() {
        assert!(is_request(REQUEST) && !is_chain(REQUEST));
        let said = request(REQUEST).unwrap();
        assert_eq!(said.names, "Example CPO\n");
        assert!(said.others.contains("\nSN-0042\n") && !said.others.contains("Example"));
        for line in ["\r\n", "\n\n", "  \n"] {
            assert!(is_request(&REQUEST.replace('\n', line)));
        }
        let subject = rcgen::CertificateParams::new(vec!["sn-0042.example".to_owned()]).unwrap();
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let request = subject.serialize_request(&key).unwrap().pem().unwrap();
            let leaf = subject.self_signed(&key).unwrap().pem();
            assert!(is_request(&request) && !is_chain(&request), "{request}");
            assert!(is_chain(&leaf) && is_chain(&leaf.repeat(MOST)) && !is_request(&leaf), "{leaf}");
            assert!(!is_chain(&leaf.repeat(MOST + 1)) && !is_request(&request.repeat(2)));
            assert!(super::request(&request).unwrap().others.contains("sn-0042.example"));
        }
    }

    #[test]
    fn what_is_only_dressed_as_one_is_told_too() {
        let inside = der(REQUEST);
        for bytes in [&b"CN=NLTNMC00122045, O=Contract"[..], b"04A2B3C4D5E6F7", b"", &[0x30, 0], &inside[4..]] {
            assert!(!is_request(&pem("CERTIFICATE REQUEST", bytes)) && !is_chain(&pem("CERTIFICATE", bytes)));
        }
        for wrong in [
            String::new(),
            "MIIB".to_owned(),
            REQUEST.replace("-----BEGIN", "card 04A2B3C4D5E6F7\n-----BEGIN"),
            format!("{REQUEST}card"),
            REQUEST.replace("MIHi", "MI:i"),
            REQUEST.replace("N9Mc", "N9M"),
            REQUEST.replacen("CERTIFICATE REQUEST", "NLTNMC00122045", 2),
            REQUEST.replacen("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", 1),
            REQUEST.replace("-----END CERTIFICATE REQUEST-----", ""),
            pem("CERTIFICATE", &inside),
            pem("CERTIFICATE REQUEST", &[&inside[..], b"04A2B3C4D5E6F7"].concat()),
            "-----BEGIN ".to_owned(),
            "-----BEGIN -----".to_owned(),
            "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----".to_owned(),
            " ".repeat(LONGEST + 1),
        ] {
            assert!(!is_request(&wrong) && !is_chain(&wrong), "{wrong}");
        }
        assert!(is_request(&pem("NEW CERTIFICATE REQUEST", &inside)));
    }

    /// A length that is one too many or too few, or not in its shortest form, is told at every level.
    #[test]
    fn every_part_is_as_long_as_it_says() {
        let inside = der(REQUEST);
        // Where the lengths of the outline stand: the whole, the info, version, subject, its set, its attribute, its type, its value, the key, …
        for at in [2, 5, 7, 10, 12, 14, 16, 21, 52, 54, 75, 143, 145, 157] {
            for more in [1, u8::MAX] {
                let mut bytes = inside.clone();
                bytes[at] = bytes[at].wrapping_add(more);
                assert!(!is_request(&pem("CERTIFICATE REQUEST", &bytes)), "{at}");
            }
        }
        for length in [&[0x80][..], &[0x81, 5], &[0x82, 0, 5], &[0x84, 0, 0, 0, 5], &[0xff], &[0x83, 0xff, 0xff, 0xff], &[6], &[0x81]] {
            let bytes = [&[SEQUENCE], length, b"12345"].concat();
            assert!(Der(&bytes).next().is_none(), "{length:?}");
        }
        assert!(Der(&[SEQUENCE, 5, 1, 2, 3, 4, 5]).next().is_some());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0usize..226, byte: u8) {
            is_request(&text);
            is_chain(&text);
            is_request(&format!("-----BEGIN {text}"));
            is_chain(&pem("CERTIFICATE", &bytes));
            let mut inside = der(REQUEST);
            inside[at] = byte;
            is_request(&pem("CERTIFICATE REQUEST", &inside));
        }
    }
}
