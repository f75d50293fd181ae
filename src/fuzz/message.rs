//! Messages shaped by choices: of any version, sender and action, with the fields of the catalogue, canaries in their strings, and now and then
//! something that the standard does not allow. A message of which everything is allowed says so, and then so must be what becomes of it.

use super::canary::{self, Canaries, Planted};
use super::choices::Choices;
use crate::ocpp::catalogue::{FieldSpec, Fields, MessageSpec, Sender};
use crate::ocpp::json::write_string;
use crate::ocpp::{Side, Version};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Deepest nesting that is shaped: below what the gateway refuses.
const DEPTH: u32 = 14;
/// Longest message that is shaped, in bytes.
const LONGEST: usize = 16 << 10;

/// A request for a certificate, and a certificate, as `openssl` makes them.
const REQUEST: &str = include_str!("../ocpp/sample/request.pem").trim_ascii_end();
const CERTIFICATE: &str = include_str!("../ocpp/sample/certificate.pem").trim_ascii_end();

/// What there is to shape messages from.
pub struct Book {
    pub(super) standard: crate::policy::Book,
    keys: Vec<String>,
    pairs: Vec<(String, String)>,
    vendors: Vec<(String, String)>,
}

/// The book, read once.
pub static BOOK: LazyLock<Book> = LazyLock::new(|| {
    let standard = crate::policy::Book::read();
    let variables = &standard.variables;
    let pairs = variables.components.iter().flat_map(|(c, all)| all.keys().map(move |v| (c.clone(), v.clone())));
    let vendors = variables.vendor.iter().flat_map(|(vendor, all)| all.keys().map(move |m| (vendor.clone(), m.clone())));
    let (keys, pairs, vendors) = (variables.keys.keys().cloned().collect(), pairs.collect(), vendors.collect());
    Book { standard, keys, pairs, vendors }
});

impl Book {
    /// A message by its action.
    pub fn message(&self, version: Version, action: &str) -> &MessageSpec {
        &self.standard.catalogues[version as usize].messages[action]
    }

    /// The messages of a version that a side may send as a CALL or SEND.
    pub fn sent_by(&self, version: Version, from: Side) -> Vec<(&String, &MessageSpec)> {
        let not = if from == Side::Station { Sender::Csms } else { Sender::Station };
        self.standard.catalogues[version as usize].messages.iter().filter(|(_, spec)| spec.from != not).collect()
    }

    /// Types and words of a version, then those of vendor messages.
    pub fn tables(&self, version: Version) -> Tables<'_> {
        let (catalogue, variables) = (&self.standard.catalogues[version as usize], &self.standard.variables);
        Tables { types: [&catalogue.types, &variables.types], words: [&catalogue.words, &variables.words] }
    }
}

/// Where shared objects and closed lists are looked up.
#[derive(Clone, Copy)]
pub struct Tables<'b> {
    types: [&'b BTreeMap<String, Fields>; 2],
    words: [&'b BTreeMap<String, Vec<String>>; 2],
}

impl<'b> Tables<'b> {
    /// The fields of a shared object.
    pub fn object(self, name: &str) -> Option<&'b Fields> {
        self.types.iter().find_map(|types| types.get(name))
    }

    /// The words of a field's closed list.
    pub fn words(self, spec: &FieldSpec) -> &'b [String] {
        let list = spec.values.as_deref().unwrap_or_default();
        self.words.iter().find_map(|words| words.get(list)).map_or(&[], Vec::as_slice)
    }
}

/// Identifiers that the treatment has seen on this connection, and the codes it made of them.
#[derive(Debug, Default)]
pub struct Known {
    /// Spelt as planted.
    pub cards: Vec<String>,
    /// As the central system knows them.
    pub codes: Vec<String>,
}

/// A payload in the making.
pub struct Shaper<'c, 'a, 'b> {
    choices: &'c mut Choices<'a>,
    canaries: &'c mut Canaries,
    known: &'c Known,
    tables: Tables<'b>,
    from: Side,
    out: String,
    /// What was planted.
    pub planted: Vec<(Planted, bool)>,
    /// Whether everything in it is as the catalogue says.
    pub valid: bool,
    /// The component and variable that the object at hand names.
    pair: (&'b str, &'b str),
    vendor: Option<&'b (String, String)>,
    answering: bool,
    odd: bool,
}

/// A shaped payload.
pub struct Shaped {
    /// JSON.
    pub text: String,
    /// What was planted in it, and whether in another coding.
    pub planted: Vec<(Planted, bool)>,
    /// Whether everything in it is as the catalogue says.
    pub valid: bool,
}

impl<'c, 'a, 'b> Shaper<'c, 'a, 'b> {
    /// Shapes a payload that `from` sends: of a CALL, or of an answer.
    pub fn payload(
        choices: &'c mut Choices<'a>,
        canaries: &'c mut Canaries,
        known: &'c Known,
        version: Version,
        from: Side,
        fields: &'b Fields,
        answering: bool,
    ) -> Shaped {
        let odd = choices.rarely(128);
        let tables = BOOK.tables(version);
        let mut shaper = Shaper {
            choices,
            canaries,
            known,
            tables,
            from,
            out: String::with_capacity(1024),
            planted: Vec::new(),
            valid: true,
            pair: ("", ""),
            vendor: None,
            answering,
            odd,
        };
        shaper.object(fields, 0);
        Shaped { text: shaper.out, planted: shaper.planted, valid: shaper.valid }
    }

    fn object(&mut self, fields: &'b Fields, depth: u32) {
        if fields.contains_key("component") && fields.contains_key("variable") {
            let (component, variable) = self.choices.one_of(&BOOK.pairs);
            self.pair = (component, variable);
        }
        if fields.values().any(|f| f.is == "vendor") || fields.values().any(|f| f.is == "vendor-data") && self.vendor.is_none() {
            self.vendor = Some(self.choices.one_of(&BOOK.vendors));
        }
        self.out.push('{');
        let mut first = true;
        for (name, spec) in fields {
            let wanted = if spec.required { !self.oddly(4) } else { self.choices.byte() & 1 == 1 };
            if !wanted || (depth > DEPTH || self.out.len() > LONGEST) && !spec.required {
                self.valid &= !spec.required;
                continue;
            }
            self.next(&mut first);
            self.name(name);
            self.list(spec, depth);
            if self.oddly(3) {
                // The same member again: no two readers agree on what that means.
                self.valid = false;
                self.next(&mut first);
                self.name(name);
                self.list(spec, depth);
            }
        }
        if self.oddly(16) {
            self.valid = false;
            self.next(&mut first);
            self.unknown();
        }
        self.out.push('}');
    }

    fn next(&mut self, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.out.push(',');
        }
        if self.oddly(4) {
            self.out.push_str(["\n", " ", "\t\r\n "][self.choices.below(3)]);
        }
    }

    fn name(&mut self, name: &str) {
        if self.oddly(4)
            && let Some(first) = name.chars().next()
        {
            let _ = write!(self.out, "\"\\u{:04x}{}\" : ", u32::from(first), &name[first.len_utf8()..]);
        } else {
            self.out.extend(["\"", name, "\":"]);
        }
    }

    /// A member that the catalogue does not know.
    fn unknown(&mut self) {
        let name = self.canary("unknown", 255).unwrap_or_default();
        let name = if self.choices.rarely(128) { name } else { "customData".to_owned() };
        write_string(&mut self.out, &name);
        self.out.push_str(":{\"vendorId\":");
        self.text("unknown", 255);
        self.out.push_str(",\"deep\":[[");
        self.text("unknown", 255);
        self.out.push_str("],null,1e3]}");
    }

    fn list(&mut self, spec: &'b FieldSpec, depth: u32) {
        if !spec.list {
            return self.value(spec, depth);
        }
        let most = if self.out.len() > LONGEST { 0 } else { 3 };
        let count = spec.min.max(1) as usize + self.choices.below(most + 1);
        self.out.push('[');
        for at in 0..count {
            if at > 0 {
                self.out.push(',');
            }
            self.value(spec, depth);
        }
        self.out.push(']');
    }

    fn value(&mut self, spec: &'b FieldSpec, depth: u32) {
        if self.oddly(6) {
            self.valid = false;
            return self.wrong(spec);
        }
        if let Some(fields) = self.tables.object(&spec.is) {
            return self.object(fields, depth + 1);
        }
        let most = spec.max.map_or(255, |max| max as usize).min(400);
        match spec.is.as_str() {
            "boolean" => self.out.push_str(["true", "false"][self.choices.below(2)]),
            "integer" => {
                let number = self.choices.below(4);
                let _ = write!(self.out, "{}", [1, 0, 4711, 1_000_000][number]);
            }
            "number" => self.out.push_str(["1", "1.5", "-2.25e1", "230.10"][self.choices.below(4)]),
            "decimal" => self.out.push_str(["\"12.5\"", "\"0\"", "\"1234\"", "\"-3.0\""][self.choices.below(4)]),
            "time" => {
                let minute = self.choices.below(3600);
                let (hour, minute) = (minute / 60 % 24, minute % 60);
                let _ = write!(self.out, "\"2026-11-24T{hour:02}:{minute:02}:00{}", ["Z\"", ".123Z\"", "+01:00\""][self.choices.below(3)]);
            }
            "enum" => {
                let words = self.tables.words(spec);
                let word = if words.is_empty() { "" } else { self.choices.one_of(words) };
                write_string(&mut self.out, word);
            }
            "language" => self.out.push_str("\"nl-NL\""),
            "any" => self.out.push_str("{\"any\":1}"),
            "key" => {
                let key: &String = self.choices.one_of(&BOOK.keys);
                write_string(&mut self.out, key);
            }
            "component" => self.out.extend(["\"", self.pair.0, "\""]),
            "variable" => self.out.extend(["\"", self.pair.1, "\""]),
            "vendor" => self.out.extend(["\"", self.vendor.map_or("", |v| &v.0), "\""]),
            "vendor-message" => self.out.extend(["\"", self.vendor.map_or("", |v| &v.1), "\""]),
            "vendor-data" => self.nested(depth),
            "token" => self.token(most),
            "csr" if self.choices.byte() & 3 != 0 => write_string(&mut self.out, REQUEST),
            "pem" if self.choices.byte() & 3 != 0 => write_string(&mut self.out, CERTIFICATE),
            "exi" if self.choices.byte() & 3 != 0 => self.out.push_str("\"gJgCEA==\""),
            _ => self.text(&spec.is, most),
        }
    }

    fn token(&mut self, most: usize) {
        let these = if self.from == Side::Csms { &self.known.codes } else { &self.known.cards };
        if !these.is_empty() && self.choices.byte() & 1 == 1 {
            let known = self.choices.one_of(these);
            if known.chars().count() <= most {
                return write_string(&mut self.out, known);
            }
        }
        self.text("token", most);
    }

    /// The data of a vendor message: JSON in a string.
    fn nested(&mut self, depth: u32) {
        let Some((vendor, message)) = self.vendor else { return self.out.push_str("\"\"") };
        let spec = &BOOK.standard.variables.vendor[vendor][message];
        let outer = std::mem::take(&mut self.out);
        self.object(if self.answering { &spec.response } else { &spec.request }, depth + 2);
        let inner = std::mem::replace(&mut self.out, outer);
        write_string(&mut self.out, &inner);
    }

    /// Something that is not what the catalogue says.
    fn wrong(&mut self, spec: &FieldSpec) {
        match self.choices.below(8) {
            0 => self.out.push_str("null"),
            1 => self.out.push_str("[]"),
            2 => self.out.push_str("{}"),
            3 => self.out.push_str("17"),
            4 => self.out.push_str("\"\""),
            5 => {
                self.out.push_str("{\"x\":[");
                self.text("unknown", 255);
                self.out.push_str("]}");
            }
            6 => {
                self.out.push('[');
                self.text(&spec.is, 255);
                self.out.push(']');
            }
            _ => self.text(&spec.is, 255),
        }
    }

    /// A string with a canary, if one fits.
    fn text(&mut self, field: &str, most: usize) {
        let text = self.canary(field, most).unwrap_or_else(|| "ab".chars().take(most).collect());
        if self.oddly(8) {
            self.out.push('"');
            for unit in text.encode_utf16() {
                let _ = write!(self.out, "\\u{unit:04X}");
            }
            self.out.push('"');
        } else {
            write_string(&mut self.out, &text);
        }
    }

    fn canary(&mut self, field: &str, most: usize) -> Option<String> {
        // In another coding only a card that is active here, which is what the tripwire is for.
        if self.from == Side::Station && !self.known.cards.is_empty() && self.choices.rarely(48) {
            let card = self.choices.one_of(&self.known.cards).clone();
            let (text, coded) = canary::coded(&card, self.choices.byte());
            if text.chars().count() <= most {
                self.planted.push((Planted::new(text.clone(), canary::Class::Rfid7, field), coded));
                return Some(text);
            }
        }
        let (text, class) = self.canaries.make(self.choices, most)?;
        self.planted.push((Planted::new(text.clone(), class, field), false));
        Some(text)
    }

    fn oddly(&mut self, of: u8) -> bool {
        self.odd && self.choices.rarely(of)
    }
}
