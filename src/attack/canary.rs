//! Canaries: made-up identifiers of every kind, each unlike all others of its script, that must not come out at the other end.

use super::dice::Dice;
use super::script::End;
use serde::{Deserialize, Serialize};

/// What kind of identifier it is. A policy may let some of them cross on purpose (`--crosses`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// RFID UID of 4, 7 or 10 bytes, in the spellings of readers.
    Card,
    /// Contract number (eMAID), with or without separators.
    Contract,
    /// EVCCID or MAC address of a vehicle, also with `VID:` before it.
    Vehicle,
    /// Vehicle identification number.
    Vin,
    /// ICCID or IMSI of a SIM card.
    Sim,
    /// A person's name.
    Person,
    /// An e-mail address.
    Mail,
    /// A telephone number.
    Phone,
    /// A serial number.
    Serial,
    /// A password.
    Password,
}

/// What can stand where a driver is named.
pub(super) const TOKENS: &[Class] = &[Class::Card, Class::Card, Class::Card, Class::Contract, Class::Contract, Class::Vehicle];
/// What can stand in a technical name: everything that can be told from a word by its form. A person's name cannot (README).
pub(super) const NAMES: &[Class] =
    &[Class::Card, Class::Card, Class::Contract, Class::Vehicle, Class::Vin, Class::Sim, Class::Mail, Class::Phone];
/// What can stand in free text.
pub(super) const ALL: &[Class] = &[
    Class::Card,
    Class::Card,
    Class::Contract,
    Class::Vehicle,
    Class::Vin,
    Class::Sim,
    Class::Person,
    Class::Mail,
    Class::Phone,
    Class::Serial,
    Class::Password,
];

/// A canary and whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Canary {
    /// As it is spelt.
    pub(super) text: String,
    pub(super) class: Class,
    /// Who plants it: a station's is looked for at the central system, a guess of the central system's at the station.
    pub(super) of: End,
    /// A guess where texts and addresses stand: it may come to the station, as long as nothing is learnt from it.
    #[serde(default)]
    pub(super) harmless: bool,
}

/// What readers and people put between the digits of a card.
const SEPARATORS: [&str; 3] = [":", "-", " "];
const HEX: &[u8] = b"0123456789ABCDEF";
const FIGURES: &[u8] = b"0123456789";
const ALPHANUMERIC: &[u8] = b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Draws canaries and remembers them.
pub(super) struct Nest {
    pub(super) all: Vec<Canary>,
}

impl Nest {
    pub(super) fn new() -> Self {
        Self { all: Vec::new() }
    }

    /// A new canary of one of `classes` that fits in `room` characters; `None` if the place is too short for any identifier.
    pub(super) fn draw(&mut self, dice: &mut Dice, of: End, classes: &[Class], room: usize) -> Option<String> {
        if room < 8 {
            return None;
        }
        // A few throws: most classes fit in most places.
        for _ in 0..40 {
            let class = *dice.pick(classes);
            let text = spell(dice, class);
            let taken = self.all.iter().any(|c| bare(&c.text) == bare(&text));
            if text.chars().count() <= room && !taken {
                self.all.push(Canary { text: text.clone(), class, of, harmless: false });
                return Some(text);
            }
        }
        let text = hex(dice, 4);
        self.all.push(Canary { text: text.clone(), class: Class::Card, of, harmless: false });
        Some(text)
    }
}

/// Without separators and in upper case: two spellings of one identifier are the same so.
pub(super) fn bare(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

fn spell(dice: &mut Dice, class: Class) -> String {
    match class {
        Class::Card => card(dice),
        Class::Contract => {
            let country = dice.pick(&["NL", "DE", "FR", "BE"]);
            let provider = dice.letters(b"ABCDEFGHJKLMNPQRSTUVWXYZ", 3);
            let instance = format!("C{}{}", dice.letters(FIGURES, 5), dice.letters(ALPHANUMERIC, 3));
            match dice.roll(4) {
                0 => format!("{country}-{provider}-{instance}"),
                1 => format!("{country}*{provider}*{instance}"),
                2 => format!("{country}{provider}{instance}").to_lowercase(),
                _ => format!("{country}{provider}{instance}"),
            }
        }
        Class::Vehicle => {
            let mac = mixed(dice, 12);
            match dice.roll(4) {
                0 => format!("VID:{mac}"),
                1 => pairs(&mac, ":"),
                2 => pairs(&mac.to_lowercase(), "-"),
                _ => mac,
            }
        }
        Class::Vin => format!("WVWZZZ{}{}", dice.letters(b"123456789", 2), dice.letters(ALPHANUMERIC, 9)),
        Class::Sim if dice.chance(50) => format!("893144{}", dice.letters(FIGURES, 13)),
        Class::Sim => format!("20404{}", dice.letters(FIGURES, 10)),
        Class::Person => {
            let syllables = ["ma", "ri", "to", "be", "lo", "ka", "nu", "vi", "de", "sa"];
            let mut name = |parts: usize| {
                let name: String = (0..parts).map(|_| *dice.pick(&syllables)).collect();
                name[..1].to_uppercase() + &name[1..]
            };
            format!("{} {}", name(3), name(4))
        }
        Class::Mail => format!("{}@{}.example", dice.letters(b"abcdefghijklmnoprstuvw", 9), dice.letters(b"abcdefghijk", 5)),
        Class::Phone => format!("+316{}", dice.letters(FIGURES, 8)),
        Class::Serial => format!("SN{}{}", dice.letters(FIGURES, 7), dice.letters(ALPHANUMERIC, 4)),
        Class::Password => format!("pw-{}{}", dice.letters(b"abcdefghijkmnpqrstuvwxyz", 9), dice.letters(FIGURES, 4)),
    }
}

fn card(dice: &mut Dice) -> String {
    let bytes = *dice.pick(&[4, 7, 7, 7, 10]);
    let digits = hex(dice, bytes);
    match dice.roll(8) {
        0 => digits.to_lowercase(),
        1 | 2 => pairs(&digits, SEPARATORS[dice.roll(3)]),
        3 => pairs(&digits.to_lowercase(), SEPARATORS[dice.roll(3)]),
        // As many readers type it: the number of a 4-byte card in ten decimal figures.
        4 if bytes == 4 => format!("{:010}", u32::from_str_radix(&digits, 16).unwrap_or_default()),
        _ => digits,
    }
}

/// A UID of so many bytes, never one that could be a word, a number or a date: at least three figures, a letter other than E, and not too
/// small for its decimal form to be told from other numbers.
fn hex(dice: &mut Dice, bytes: usize) -> String {
    let first = if bytes == 4 { dice.letters(b"56789ABCDEF", 1) } else { "04".to_owned() };
    let rest = mixed(dice, 2 * bytes - first.len());
    first + &rest
}

fn mixed(dice: &mut Dice, digits: usize) -> String {
    loop {
        let text = dice.letters(HEX, digits);
        let figures = text.bytes().filter(u8::is_ascii_digit).count();
        let letters = text.bytes().filter(|b| b"ABCDF".contains(b)).count();
        if figures >= 3 && letters >= 1 {
            return text;
        }
    }
}

fn pairs(digits: &str, between: &str) -> String {
    let pairs: Vec<&str> = (0..digits.len() / 2).map(|at| &digits[2 * at..2 * at + 2]).collect();
    pairs.join(between)
}
