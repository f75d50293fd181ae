//! Stations' passwords: how they arrive (RFC 7617, as OCPP-J uses it), how they are kept (salted and stretched, never clear), and the
//! password that the central system gets instead.

use crate::tls::files;
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The longest password, in bytes: 40 characters in OCPP 1.6 and 2.0.1 (`BasicAuthPassword`), 64 in 2.1.
pub const LONGEST: usize = 64;
/// The shortest that `sluis stations hash` takes, in bytes (security white paper §5.2; OCPP 2.0.1 Part 2, A00.FR.205).
pub const SHORTEST: usize = 16;
/// Rounds of PBKDF2 where nothing else is said. A station's password is no person's: 16 random characters cannot be guessed at any
/// number of rounds. These are for the ones that were not drawn at random; they cost a core 4.5 ms with instructions for SHA, and about 15 ms
/// without, so that a thousand stations that come for the first time are let in within seconds.
pub const ROUNDS: u32 = 20_000;
/// Rounds that a file may ask for: fewer would protect nobody, more would let a storm of stations stop the gateway.
const ROUNDS_ALLOWED: std::ops::RangeInclusive<u32> = 1_000..=100_000;
const SALT: usize = 16;
const DIGEST: usize = 32;
const NAME: &str = "pbkdf2-sha256";

/// Reads base64 with or without padding: some firmware leaves it out.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// Why an `Authorization` header is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not Basic, or not base64, or holds no colon.
    Malformed,
    /// Its user is not the station in the path.
    OtherUser,
}

/// The password in an `Authorization` header whose user is one of `names`. Bytes, not text: it may hold colons, and need not be UTF-8.
pub(super) fn basic(header: &[u8], names: [&str; 2]) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let header = header.trim_ascii();
    let (scheme, rest) = header.split_at_checked(5).ok_or(Unusable::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"basic") || !rest.first().is_some_and(u8::is_ascii_whitespace) {
        return Err(Unusable::Malformed);
    }
    let pair = Zeroizing::new(LENIENT.decode(rest.trim_ascii()).map_err(|_| Unusable::Malformed)?);
    // By the name, not by the first colon: a station's id may hold one as well as its password.
    let after = |name: &str| pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    match names.into_iter().find_map(after) {
        Some(password) => Ok(Zeroizing::new(password.to_vec())),
        None if pair.contains(&b':') => Err(Unusable::OtherUser),
        None => Err(Unusable::Malformed),
    }
}

/// An `Authorization` header.
pub(super) fn header(user: &str, password: &[u8]) -> Vec<u8> {
    let pair = Zeroizing::new([user.as_bytes(), b":", password].concat());
    let mut header = b"Basic ".to_vec();
    header.extend_from_slice(STANDARD.encode(&*pair).as_bytes());
    header
}

/// A password in the form in which it is hashed. OCPP 1.6's `AuthorizationKey` is written in hexadecimal and sent as the bytes that this
/// stands for, or, by many, as it is written: both are one password.
pub fn canonical(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Option<Vec<u8>> = password.iter().map(digit).collect();
    Zeroizing::new(match digits.map(Zeroizing::new) {
        Some(digits) if (2 * SHORTEST..=40).contains(&digits.len()) && digits.len() % 2 == 0 => {
            digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        }
        _ => password.to_vec(),
    })
}

/// A salted and stretched password: `pbkdf2-sha256$<rounds>$<salt>$<digest>`, the last two in base64 without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    rounds: NonZeroU32,
    salt: [u8; SALT],
    digest: [u8; DIGEST],
}

impl PasswordHash {
    /// Hashes a password with a fresh salt.
    ///
    /// # Errors
    /// What is wrong, in words: with the number of rounds, or with the machine's random bytes.
    pub fn make(password: &[u8], rounds: u32) -> Result<Self, &'static str> {
        let rounds = NonZeroU32::new(rounds).filter(|rounds| ROUNDS_ALLOWED.contains(&rounds.get()));
        let rounds = rounds.ok_or("the rounds must be from 1000 to 100000")?;
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| "the operating system gives no random bytes")?;
        let mut digest = [0; DIGEST];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, &canonical(password), &mut digest);
        Ok(Self { rounds, salt, digest })
    }

    /// Reads the text of a hash.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let (name, rounds, salt, digest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let rounds: NonZeroU32 = rounds.parse().ok()?;
        let bytes = |text: &str| STANDARD_NO_PAD.decode(text).ok();
        let fine = name == NAME && parts.next().is_none() && ROUNDS_ALLOWED.contains(&rounds.get());
        fine.then_some(Self { rounds, salt: bytes(salt)?.try_into().ok()?, digest: bytes(digest)?.try_into().ok()? })
    }

    /// Whether it is the hash of this password. Takes as long either way.
    pub fn is_of(&self, password: &[u8]) -> bool {
        pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA256, self.rounds, &self.salt, &canonical(password), &self.digest).is_ok()
    }

    /// A hash of nothing, which costs as much as one of these rounds.
    fn decoy(rounds: NonZeroU32) -> Self {
        Self { rounds, salt: [0; SALT], digest: [0; DIGEST] }
    }
}

impl std::fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let base64 = |bytes: &[u8]| general_purpose::STANDARD_NO_PAD.encode(bytes);
        write!(f, "{NAME}${}${}${}", self.rounds, base64(&self.salt), base64(&self.digest))
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hash]")
    }
}

/// One station of the register.
#[derive(Debug, Clone, Default)]
struct Entry {
    hashes: Vec<Arc<PasswordHash>>,
    /// The name that its certificate has instead of its id: a serial number (OCPP 2.0.1 Part 2, A00.FR.405).
    certificate: Option<Box<str>>,
}

/// The stations that may come, and how each proves who it is.
#[derive(Debug)]
pub struct Passwords {
    stations: HashMap<Box<str>, Entry>,
    /// What every question is made to cost, whoever asks: so many hashes, none with more rounds than this one.
    most: usize,
    decoy: PasswordHash,
}

impl Passwords {
    /// Reads the register: CSV with the columns `station`, `hash` and, if need be, `hash2` (a second password that is accepted beside the
    /// first, during a change) and `certificate` (the name in its certificate, where that is not its id).
    ///
    /// # Errors
    /// All mistakes, each with its key and line.
    pub fn read(path: &Path) -> Result<Self, Vec<String>> {
        let wrong = |line: u64, why: &str| format!("stations.passwords_file: line {line}: {why}");
        let mut stations: HashMap<Box<str>, Entry> = HashMap::new();
        let mut mistakes = Vec::new();
        rows("stations.passwords_file", path, &["station", "hash", "hash2", "certificate"], &mut mistakes, |line, fields| {
            let [station, hash, hash2, certificate] = fields else { return Some(wrong(line, "has too few columns")) };
            if station.is_empty() {
                return Some(wrong(line, "names no station"));
            }
            let hashes: Option<Vec<_>> =
                [hash, hash2].into_iter().filter(|text| !text.is_empty()).map(|text| PasswordHash::parse(text).map(Arc::new)).collect();
            let Some(hashes) = hashes else {
                return Some(wrong(line, "holds something that is no hash: make it with `sluis stations hash`"));
            };
            let certificate = Some(*certificate).filter(|name| !name.is_empty()).map(Into::into);
            if stations.insert((*station).into(), Entry { hashes, certificate }).is_some() {
                return Some(wrong(line, "names a station for the second time"));
            }
            None
        });
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let most = stations.values().map(|entry| entry.hashes.len()).max().unwrap_or(1).max(1);
        let rounds = stations.values().flat_map(|entry| &entry.hashes).map(|hash| hash.rounds).max();
        let decoy = PasswordHash::decoy(rounds.or(NonZeroU32::new(ROUNDS)).unwrap_or(NonZeroU32::MIN));
        Ok(Self { stations, most, decoy })
    }

    /// How many stations there are.
    pub fn len(&self) -> usize {
        self.stations.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    pub(super) fn knows(&self, station: &str) -> bool {
        self.stations.contains_key(station)
    }

    /// The name that a station's certificate has instead of its id.
    pub(super) fn certificate_of(&self, station: &str) -> Option<&str> {
        self.stations.get(station)?.certificate.as_deref()
    }

    /// Whether a hash is one of a station's.
    pub(super) fn holds(&self, station: &str, hash: &PasswordHash) -> bool {
        self.stations.get(station).is_some_and(|entry| entry.hashes.iter().any(|held| **held == *hash))
    }

    /// The hash that a password fits. Slow: it is made to cost the same for all stations, those that are unknown included.
    pub(super) fn check(&self, station: &str, password: &[u8]) -> Option<Arc<PasswordHash>> {
        let hashes = self.stations.get(station).map(|entry| entry.hashes.as_slice()).unwrap_or_default();
        for hash in hashes {
            if hash.is_of(password) {
                return Some(Arc::clone(hash));
            }
        }
        for _ in hashes.len()..self.most {
            std::hint::black_box(self.decoy.is_of(password));
        }
        None
    }
}

/// What the central system is told instead of the stations' own passwords.
pub struct Outbound {
    all: Option<Zeroizing<Vec<u8>>>,
    each: HashMap<Box<str>, Zeroizing<String>>,
}

impl Outbound {
    /// Reads one password for all stations, a list of passwords (CSV: `station`, `password`), or both: the list goes first.
    ///
    /// # Errors
    /// All mistakes, each with its key and, where there is one, its line.
    pub fn read(all: Option<&Path>, each: Option<&Path>) -> Result<Self, Vec<String>> {
        let mut mistakes = Vec::new();
        let one = all.and_then(|path| match files::read_secret(path) {
            Ok(content) => {
                let password = content.trim_ascii_end().to_vec();
                if password.is_empty() {
                    mistakes.push("upstream.password_file: is empty".to_owned());
                }
                Some(Zeroizing::new(password))
            }
            Err(why) => {
                mistakes.push(format!("upstream.password_file: {why}"));
                None
            }
        });
        let mut list: HashMap<Box<str>, Zeroizing<String>> = HashMap::new();
        if let Some(path) = each {
            rows("upstream.passwords_file", path, &["station", "password"], &mut mistakes, |line, fields| {
                let fine = !fields[0].is_empty() && !fields[1].is_empty();
                let new = fine && list.insert(fields[0].into(), Zeroizing::new(fields[1].to_owned())).is_none();
                (!new).then(|| format!("upstream.passwords_file: line {line}: must name a station, once, and its password"))
            });
        }
        if mistakes.is_empty() { Ok(Self { all: one, each: list }) } else { Err(mistakes) }
    }

    /// The `Authorization` header for a station; `None` if there is no password for it.
    pub(super) fn header(&self, station: &str) -> Option<Vec<u8>> {
        let own = self.each.get(station).map(|password| password.as_bytes());
        own.or(self.all.as_ref().map(|password| password.as_slice())).map(|password| header(station, password))
    }
}

/// Reads the rows of a CSV file that others may not read. Columns that it does not have are empty; those it must not have are a mistake.
fn rows(key: &str, path: &Path, columns: &[&str], mistakes: &mut Vec<String>, mut row: impl FnMut(u64, &[&str]) -> Option<String>) {
    let content = match files::read_secret(path) {
        Ok(content) => content,
        Err(why) => return mistakes.push(format!("{key}: {why}")),
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(content.as_slice());
    let Ok(names) = reader.headers().cloned() else { return mistakes.push(format!("{key}: line 1: cannot be read as CSV")) };
    let places: Vec<Option<usize>> = columns.iter().map(|column| names.iter().position(|name| name == *column)).collect();
    if names.iter().any(|name| !columns.contains(&name)) || places[..2].contains(&None) {
        return mistakes.push(format!("{key}: line 1: must name the columns {}", columns.join(", ")));
    }
    for record in reader.records() {
        // The library's message may quote what it read.
        let Ok(record) = record else {
            return mistakes.push(format!("{key}: cannot be read as CSV in UTF-8, with as many fields in each line"));
        };
        let line = record.position().map_or(0, csv::Position::line);
        let fields: Vec<&str> = places.iter().map(|place| place.and_then(|at| record.get(at)).unwrap_or_default()).collect();
        mistakes.extend(row(line, &fields));
        if mistakes.len() >= 20 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn encoded(pair: &[u8]) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    /// A password with colons was cut at the first one; one that is not UTF-8 was refused (field failure 12).
    #[test]
    fn field_12_a_password_is_bytes_and_may_hold_colons() {
        for password in [&b"0123456789abcdef"[..], b"a:b::c:0123456789", b"\xff\x00\xfe:\x80 and more of it", b""] {
            let pair = [&b"CS-1:"[..], password].concat();
            assert_eq!(basic(&encoded(&pair), ["CS-1", "CS-1"]).unwrap().as_slice(), password);
        }
        let bare = format!("bAsIc   {}  ", STANDARD_NO_PAD.encode("CS-1:0123456789abcdef"));
        assert_eq!(basic(bare.as_bytes(), ["CS-1", "CS-1"]).unwrap().as_slice(), b"0123456789abcdef");
    }

    /// The user is the id as decoded, or as it stood in the path (field failures 11 and 12).
    #[test]
    fn field_12_the_user_is_the_station() {
        let names = ["CS|1:a", "CS%7C1:a"];
        for user in names {
            assert_eq!(basic(&encoded(format!("{user}:secret:s").as_bytes()), names).unwrap().as_slice(), b"secret:s");
        }
        assert_eq!(basic(&encoded(b"CS-2:x"), names), Err(Unusable::OtherUser));
        assert_eq!(basic(&encoded(b"CS|1"), names), Err(Unusable::Malformed));
        for header in [&b"Bearer abc"[..], b"Basic", b"Basic ", b"Basic !!!", b"Basicabcd", b"", b"Digest username=\"CS-1\""] {
            assert_eq!(basic(header, names), Err(Unusable::Malformed));
        }
    }

    #[test]
    fn field_12_a_key_in_hexadecimal_is_the_bytes_that_it_stands_for() {
        let key: Vec<u8> = (200..220).collect();
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = PasswordHash::make(text.as_bytes(), 1000).unwrap();
        assert!(hash.is_of(&key) && hash.is_of(text.as_bytes()) && hash.is_of(text.to_uppercase().as_bytes()));
        assert!(!hash.is_of(&key[1..]) && !hash.is_of(&text.as_bytes()[2..]) && !hash.is_of(b""));
        // Too short to be a key: a text like any other.
        let hash = PasswordHash::make(b"00112233445566", 1000).unwrap();
        assert!(hash.is_of(b"00112233445566") && !hash.is_of(&[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66]));
    }

    #[test]
    fn a_hash_can_be_written_down_and_read_again() {
        let hash = PasswordHash::make(b"correct horse battery", 1000).unwrap();
        let text = hash.to_string();
        assert!(PasswordHash::parse(&text) == Some(hash) && !text.contains("horse"));
        assert!(PasswordHash::make(b"correct horse battery", 1000).unwrap().to_string() != text);
        for bad in [
            "",
            "x",
            &text[..text.len() - 2],
            &text.replace("1000", "999"),
            &text.replace("1000", "100001"),
            &format!("{text}$"),
            &text.replace("sha256", "sha1"),
        ] {
            assert!(PasswordHash::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_register_tells_its_mistakes_by_line_and_quotes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stations.csv");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let hash = PasswordHash::make(b"0123456789abcdef", 1000).unwrap();
        write(&format!("station,hash,hash2,certificate\nCS-1,{hash},,SN-1\n# gone\nCS-2,{hash},{hash},\nCS-3,,,\n"), 0o640);
        let register = Passwords::read(&path).unwrap();
        assert_eq!(
            (register.len(), register.most, register.certificate_of("CS-1"), register.certificate_of("CS-2")),
            (3, 2, Some("SN-1"), None)
        );
        assert!(
            register.check("CS-2", b"0123456789abcdef").is_some()
                && register.check("CS-3", b"").is_none()
                && register.check("CS-9", b"x").is_none()
        );
        write(&format!("station,hash\nCS-1,secret-4711\n,{hash}\nCS-2,{hash}\nCS-2,{hash}\n"), 0o600);
        let mistakes = Passwords::read(&path).unwrap_err();
        assert_eq!(mistakes.iter().map(|m| m.split(": ").nth(1).unwrap()).collect::<Vec<_>>(), ["line 2", "line 3", "line 5"]);
        assert!(!mistakes.concat().contains("4711") && !mistakes.concat().contains("CS-"));
        write("station,hash\n", 0o604);
        assert!(Passwords::read(&path).unwrap_err()[0].contains("everybody"));
        write("station;hash\n", 0o600);
        assert!(Passwords::read(&path).unwrap_err()[0].contains("columns"));
    }
}
