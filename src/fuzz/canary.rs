//! Canaries: identifiers of every class, spelt as people and stations spell them, each planted once so that its way can be followed; and the
//! forms in which one may come out again.

use super::choices::Choices;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

/// What a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A card's UID of 4 bytes.
    Rfid4,
    /// Of 7 bytes.
    Rfid7,
    /// Of 10 bytes.
    Rfid10,
    /// A contract (ISO 15118, eMI3).
    Emaid,
    /// A vehicle's MAC address, as AutoCharge uses it.
    Evccid,
    /// A vehicle identification number.
    Vin,
    /// A digest, as ISO 15118 has them for certificates: nobody can tell one from another.
    Digest,
    /// A phone number.
    Phone,
    /// An e-mail address.
    Email,
    /// A person's name, in words.
    Name,
    /// A SIM card (ICCID).
    Iccid,
    /// A subscriber (IMSI).
    Imsi,
    /// The serial number of a device.
    Serial,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 13] = [
        Self::Rfid7,
        Self::Rfid4,
        Self::Rfid10,
        Self::Emaid,
        Self::Evccid,
        Self::Vin,
        Self::Digest,
        Self::Phone,
        Self::Email,
        Self::Name,
        Self::Iccid,
        Self::Imsi,
        Self::Serial,
    ];

    /// Whether signs between its groups are no part of it.
    pub(super) fn is_grouped(self) -> bool {
        matches!(self, Self::Rfid4 | Self::Rfid7 | Self::Rfid10 | Self::Emaid | Self::Evccid)
    }

    /// Whether it is a plain number, which a meter reading could be as well.
    fn is_number(self) -> bool {
        matches!(self, Self::Phone | Self::Iccid | Self::Imsi)
    }
}

/// A canary where it was planted.
#[derive(Debug, Clone)]
pub struct Planted {
    /// As it was spelt.
    pub text: String,
    /// Its class.
    pub class: Class,
    /// What the catalogue says of the field (`is`); `unknown` where it knows none.
    pub field: String,
    /// What to look for: its letters and digits in upper case.
    form: Vec<u8>,
}

impl Planted {
    /// A canary in a field.
    pub fn new(text: String, class: Class, field: &str) -> Self {
        let form = plain(&text);
        Self { text, class, field: field.to_owned(), form }
    }

    /// Whether it is in a text that [`plain`] has made plain.
    pub fn is_in(&self, plain: &[u8]) -> bool {
        memchr::memmem::find(plain, &self.form).is_some()
    }

    /// Whether it may go up from where it stands, because no rule can tell it from what belongs there:
    /// a number from a reading, a digest from a digest, a person's name or an encoded text from the name of a thing.
    pub fn is_excused(&self, coded: bool) -> bool {
        match self.field.as_str() {
            "decimal" | "number" | "integer" => self.class.is_number(),
            "hash" => coded || self.class == Class::Digest,
            // What the central system may have chosen itself must not depend on the cards that are active here (I5).
            "label" | "given" => coded || matches!(self.class, Class::Name | Class::Digest),
            // A word of fewer than sixteen characters may happen to be base64 of something.
            "name" | "instance" => matches!(self.class, Class::Name | Class::Digest) || coded && self.text.trim_end_matches('=').len() < 16,
            "variable-value" | "key-value" => coded || self.class == Class::Name || self.class == Class::Digest || self.class.is_number(),
            // What the name of a member or an undeclared field holds never goes up.
            _ => false,
        }
    }
}

/// Makes canaries, no two of them alike.
#[derive(Debug)]
pub struct Canaries {
    made: u64,
}

impl Canaries {
    /// Canaries that differ from those of another seed.
    pub fn new(seed: u8) -> Self {
        Self { made: u64::from(seed) << 32 }
    }

    /// A canary of at most `most` characters with its class; `None` if none fits.
    pub fn make(&mut self, choices: &mut Choices<'_>, most: usize) -> Option<(String, Class)> {
        let class = *choices.one_of(&Class::ALL);
        let how = choices.byte();
        let text = self.spelt(class, how);
        if text.chars().count() <= most {
            return Some((text, class));
        }
        let class = if most >= 14 { Class::Rfid7 } else { Class::Rfid4 };
        (most >= 8).then(|| (self.spelt(class, 0), class))
    }

    /// A canary of a class: the same `how` is the same manner of spelling.
    pub fn spelt(&mut self, class: Class, how: u8) -> String {
        let digits = |bytes: usize, draw: &mut dyn FnMut() -> u64| loop {
            let text: String = (0..2 * bytes).map(|_| char::from(b"0123456789ABCDEF"[(draw() & 15) as usize])).collect();
            // As they are issued: neither a word nor a plain number.
            if text.bytes().filter(u8::is_ascii_digit).count() >= 3 && text.bytes().any(|b| matches!(b, b'A'..=b'D' | b'F')) {
                return text;
            }
        };
        self.made += 1;
        let mut state = self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut draw = || {
            state ^= state >> 29;
            state = state.wrapping_mul(0xBF58_476D_1CE4_E5B9);
            state >> 32
        };
        let mut number = |count: usize| -> String { (0..count).map(|_| char::from(b'0' + (draw() % 10) as u8)).collect() };
        let text = match class {
            Class::Rfid4 => grouped(&digits(4, &mut draw), how),
            Class::Rfid7 => grouped(&format!("04{}", digits(6, &mut draw)), how),
            Class::Rfid10 => grouped(&digits(10, &mut draw), how),
            Class::Evccid => {
                let mac = digits(6, &mut draw);
                if how & 0x40 == 0 { grouped(&mac, how) } else { format!("VID:{mac}") }
            }
            Class::Emaid => {
                let instance = number(8);
                let mark = ["", "-", "*"][usize::from(how >> 4) % 3];
                format!("NL{mark}ABC{mark}C{instance}")
            }
            Class::Vin => format!("WVWZZZ1JZ3W{}", number(6)),
            Class::Digest => digits(32, &mut draw),
            Class::Phone => match how & 3 {
                0 => format!("+316{}", number(8)),
                1 => format!("06-{}", number(8)),
                2 => format!("+31 6 {} {}", number(4), number(4)),
                _ => format!("00316{}", number(8)),
            },
            Class::Email => format!("jan.{}@example.org", number(5)),
            Class::Name => {
                // Letters only, so that nothing but words gives it away.
                let family: String = (0..9).map(|_| char::from(b'a' + (draw() % 26) as u8)).collect();
                format!("Willemijn van {family}")
            }
            Class::Iccid => format!("89314404{}", number(11)),
            Class::Imsi => format!("20404{}", number(10)),
            Class::Serial => format!("SN-{}-{}", number(4), number(8)),
        };
        match how & 0xc {
            4 => text.to_lowercase(),
            8 => text.to_uppercase(),
            _ => text,
        }
    }
}

/// Hexadecimal with the separators of a manner.
fn grouped(digits: &str, how: u8) -> String {
    let (size, mark) = match how & 3 | how >> 4 & 4 {
        0 | 4 => return digits.to_owned(),
        1 => (2, ":"),
        2 => (2, "-"),
        3 => (2, " "),
        5 => (4, " "),
        6 => (4, "-"),
        _ => (2, "."),
    };
    let groups: Vec<String> = digits.as_bytes().chunks(size).map(|group| group.iter().map(|b| char::from(*b)).collect()).collect();
    groups.join(mark)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(b"0123456789ABCDEF"[usize::from(n)])).collect()
}

/// A card once more: in hexadecimal, base64 or as JSON in a string, or (then `false`) only spelt otherwise.
pub fn coded(text: &str, how: u8) -> (String, bool) {
    let bare: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    match how % 5 {
        0 => (hex(bare.as_bytes()), true),
        // Inside a longer text a short card's base64 is a word like any other.
        1 if bare.len() >= 14 => (BASE64.encode(format!("  {bare} ")), true),
        1 | 2 => (BASE64.encode(&bare), true),
        3 => (format!("{{\"card\":\"{text}\"}}"), true),
        _ => (bare.to_lowercase(), false),
    }
}

/// The letters and digits of a text in upper case, escapes undone (those of JSON in a string too): what an identifier is looked for in.
pub fn plain(text: &str) -> Vec<u8> {
    let mut text = std::borrow::Cow::Borrowed(text);
    for _ in 0..3 {
        if !text.contains('\\') {
            break;
        }
        text = std::borrow::Cow::Owned(unescaped(&text));
    }
    let mut plain = Vec::with_capacity(text.len());
    for c in text.chars().filter(|c| c.is_alphanumeric()) {
        let mut bytes = [0; 4];
        plain.extend(c.to_ascii_uppercase().encode_utf8(&mut bytes).bytes());
    }
    plain
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        match chars.next() {
            Some('u') => match chars.as_str().get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
                Some(code) => {
                    out.extend(char::from_u32(code));
                    rest = &chars.as_str()[4..];
                }
                None => rest = chars.as_str(),
            },
            Some('n' | 'r' | 't' | 'b' | 'f') => {
                out.push(' ');
                rest = chars.as_str();
            }
            Some(other) => {
                out.push(other);
                rest = chars.as_str();
            }
            None => rest = "",
        }
    }
    out.push_str(rest);
    out
}
