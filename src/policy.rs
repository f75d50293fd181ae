//! The policy: three layers, all data. The catalogue says what every field carries and who needs it; the policy file says
//! which purposes are enabled for whom; both are compiled into a [`Plan`] per version, sender and action, which cannot
//! fail at run time.

mod compile;
pub mod explain;
pub mod file;
mod words;

pub use crate::ocpp::catalogue::Purpose;
use crate::ocpp::catalogue::{Catalogue, Sender, VariableSpec, Variables};
use crate::ocpp::{Side, Version};
pub use file::{Mode, PolicyFile};
use std::collections::HashMap;
use std::sync::Arc;
pub(crate) use words::Words;

/// A set of purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purposes(u16);

impl Purposes {
    /// Whether any of `wanted` is in the set.
    pub fn any(self, wanted: &[Purpose]) -> bool {
        wanted.iter().any(|p| self.has(*p))
    }

    /// Whether the purpose is in the set.
    pub fn has(self, purpose: Purpose) -> bool {
        self.0 & (1 << purpose as u16) != 0
    }
}

impl FromIterator<Purpose> for Purposes {
    fn from_iter<I: IntoIterator<Item = Purpose>>(purposes: I) -> Self {
        Self(purposes.into_iter().fold(0, |set, p| set | 1 << p as u16))
    }
}

/// Identifiers that the operator's own central system issues (app users, fleets): they are no secret from it and pass as they
/// are in both directions. A pattern is an exact identifier or a prefix followed by `*`, compared without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    stem: String,
    prefix: bool,
}

impl Namespace {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says why the pattern is refused: it could match a card number or a contract number, which would let the central system
    /// learn them in clear (I5).
    pub fn parse(pattern: &str) -> Result<Self, &'static str> {
        let (stem, prefix) = match pattern.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (pattern, false),
        };
        let stem = stem.trim().to_ascii_uppercase();
        let bare: String = stem.chars().filter(char::is_ascii_alphanumeric).collect();
        if bare.len() < 3 {
            return Err("a namespace needs at least three letters or digits");
        }
        if !stem.is_ascii() || stem.contains('*') {
            return Err("a namespace is plain ASCII with at most one * at its end");
        }
        if bare.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("the namespace could match a card number: it needs a letter beyond F before the *");
        }
        let contract = |c: &[u8]| c[..2].iter().all(u8::is_ascii_alphabetic) && c.iter().all(u8::is_ascii_alphanumeric);
        // An eMAID is two letters, three letters or digits, and nine more, with separators allowed after the second and fifth.
        let could_be_contract = bare.len() <= 15 && contract(bare.as_bytes()) && stem.bytes().all(|b| b != b'_' && b != b'.');
        let separated = stem.find(['-', '*', ' ']).is_some_and(|at| at != 2 && at != 6);
        if could_be_contract && (if prefix { !separated } else { bare.len() >= 14 }) {
            return Err(
                "the namespace could match a contract number (eMAID): end the prefix with _ or . or put a - after its third character or later",
            );
        }
        Ok(Self { stem, prefix })
    }

    /// Whether an identifier belongs to it.
    pub fn matches(&self, identifier: &str) -> bool {
        let identifier = identifier.trim();
        let Some(head) = identifier.get(..self.stem.len()) else { return false };
        head.eq_ignore_ascii_case(&self.stem) && (self.prefix || identifier.len() == self.stem.len())
    }
}

pub(crate) type NodeId = u32;

/// What to do with the value at one place of a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Node {
    /// Does not cross.
    Withhold,
    /// Crosses whatever it is, but must be readable.
    Any,
    /// Crosses whole, never edited, and the tripwire passes over it: signed meter data under calibration law.
    Whole,
    Boolean,
    Integer,
    Number,
    Text(Text),
    Object(Object),
    List {
        item: NodeId,
        min: u32,
    },
}

/// What to do with a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// Crosses as it is.
    Plain,
    Decimal,
    /// A number that stands in quotes where none should be.
    QuotedNumber,
    Time,
    Word(Arc<Words>),
    /// The identifier of a driver; `max`: the most characters that the station's field has room for.
    Token {
        max: u32,
    },
    Ref,
    /// The same, chosen by the station: the central system knows it by what went up only.
    Transaction,
    /// A technical name. `given`: the central system may have chosen it, and the station only says it again.
    Name {
        max: u32,
        given: bool,
    },
    /// An id that the central system chooses, and the station only says again.
    Given {
        max: u32,
    },
    Scrub,
    Language,
    /// Certificates in PEM.
    Certificates,
    /// A request for a certificate in PEM.
    CertificateRequest,
    /// A message of ISO 15118, in base64.
    Exi,
    Hash,
    /// Replaced by a stable one-way code of at most so many characters.
    Code {
        max: u32,
    },
    Component,
    Variable,
    VariableValue,
    /// The name of a setting, on its way down.
    AskedName,
    Key,
    Vendor,
    VendorMessage,
    VendorData,
}

/// What an object's fields mean to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Special {
    #[default]
    None,
    /// A token with a sibling `type` that says what it is.
    Token,
    /// One sampled value: filtered by measurand.
    Sampled,
    /// One reading: thinned by time.
    Meter,
    /// One entry of the list of cards that a station accepts by itself: merged with others of its card.
    Entry,
    /// Names a component and a variable.
    Pair,
    /// Names a configuration key.
    Key,
    /// DataTransfer.
    Vendor,
}

/// The part a field plays for the rules that look at more than one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    #[default]
    None,
    Measurand,
    Context,
    Location,
    Format,
    /// Changes what the number means.
    Qualifier,
    Value,
    MeterTime,
    Series,
    /// The card that an entry is about.
    Card,
    /// What an entry says of it; one that says nothing takes the card away.
    Info,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) fields: Vec<Field>,
    pub(crate) special: Special,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) node: NodeId,
    pub(crate) required: bool,
    pub(crate) otherwise: Option<Box<str>>,
    pub(crate) role: Role,
}

/// What to do with a CALL from one side and with its answer.
#[derive(Debug, PartialEq)]
pub(crate) struct CallPlan {
    /// Whether it is passed on at all.
    pub(crate) crosses: bool,
    pub(crate) request: NodeId,
    pub(crate) response: NodeId,
    /// The answer given when it is not passed on; a CALLERROR otherwise.
    pub(crate) answer: Option<Box<str>>,
    pub(crate) send: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct ActionPlan {
    pub(crate) name: &'static str,
    /// By the side that sends the CALL: station, csms.
    pub(crate) from: [Option<CallPlan>; 2],
}

/// The plan of one version.
#[derive(Debug, PartialEq)]
pub struct Plan {
    pub(crate) nodes: Vec<Node>,
    /// The names of the actions, each in the place of its plan in `actions`.
    pub(crate) names: Words,
    pub(crate) actions: Vec<ActionPlan>,
    /// By side that sends the CALL, vendor and message.
    pub(crate) vendors: HashMap<(String, String), [Option<CallPlan>; 2]>,
    pub(crate) vendor_ids: Vec<String>,
}

impl Plan {
    pub(crate) fn call(&self, from: Side, action: &str) -> Option<(&'static str, Option<&CallPlan>)> {
        let plan = self.actions.get(self.names.place(action)?)?;
        Some((plan.name, plan.from[from as usize].as_ref()))
    }
}

/// The treatment of one key or variable.
#[derive(Debug, PartialEq)]
pub(crate) struct VariableRule {
    pub(crate) up: Text,
    pub(crate) readable: bool,
    pub(crate) settable: bool,
    pub(crate) token: bool,
    pub(crate) secret: bool,
}

/// All that the standard says, as far as policies are compiled from it.
pub(crate) struct Book {
    /// By version.
    pub(crate) catalogues: [Catalogue; 3],
    pub(crate) variables: Variables,
}

impl Book {
    /// Reads the tables, which are part of the program.
    pub(crate) fn read() -> Self {
        Self { catalogues: Version::ALL.map(Catalogue::of), variables: Variables::read() }
    }
}

/// A compiled policy: everything the treatment needs, shared by all sessions.
#[derive(Debug, PartialEq)]
pub struct Rules {
    /// The policy's name.
    pub name: String,
    /// Enforce or observe.
    pub mode: Mode,
    pub(crate) namespaces: Vec<Namespace>,
    /// Purposes by recipient: station, csms.
    pub(crate) purposes: [Purposes; 2],
    pub(crate) plans: [Plan; 3],
    pub(crate) keys: HashMap<String, VariableRule>,
    pub(crate) components: HashMap<String, HashMap<String, VariableRule>>,
    /// All words of the standard, which the tripwire lets pass.
    pub(crate) words: Words,
    pub(crate) allow_all: bool,
}

impl Rules {
    /// Compiles a policy: the name of a built-in profile (`strict`, `smart-charging`, `observe`) or the text of a policy file.
    ///
    /// # Errors
    /// Every mistake of the file, each with its key.
    pub fn compile(profile_or_text: &str, namespaces: Vec<Namespace>) -> Result<Self, Vec<String>> {
        Self::compile_with(profile_or_text, namespaces, &Book::read())
    }

    /// [`Rules::compile`] with a book that was read before.
    pub(crate) fn compile_with(profile_or_text: &str, namespaces: Vec<Namespace>, book: &Book) -> Result<Self, Vec<String>> {
        compile::compile(profile_or_text, namespaces, book)
    }

    /// A policy that lets everything pass untouched. For property tests and as the yardstick of benches.
    pub fn allow_all() -> Self {
        let mut rules = Self::compile(file::PROFILES[0].0, Vec::new()).expect("the built-in profile is tested");
        compile::open(&mut rules);
        rules
    }

    /// Keeps the central system from changing the passwords that stations connect with: for a gateway that checks them itself, and would
    /// lock out a station whose password was changed behind its back. Such an order is refused, as one for any setting that may not be set.
    pub fn keep_station_passwords(&mut self) {
        let names = ["authorizationkey", "basicauthpassword"];
        for table in self.components.values_mut().chain([&mut self.keys]) {
            for name in names {
                if let Some(rule) = table.get_mut(name) {
                    rule.settable = false;
                }
            }
        }
    }

    /// The plan of a version.
    pub fn plan(&self, version: Version) -> &Plan {
        &self.plans[version as usize]
    }

    pub(crate) fn variable(&self, component: &str, variable: &str) -> Option<&VariableRule> {
        let variable = variable.to_ascii_lowercase();
        let find = |component: &str| self.components.get(component)?.get(&variable);
        find(&component.to_ascii_lowercase()).or_else(|| find("*"))
    }

    pub(crate) fn operator_issued(&self, identifier: &str) -> bool {
        self.namespaces.iter().any(|n| n.matches(identifier))
    }
}

/// A parser's message without the value it quotes: that could be a secret. What was expected is in closed words, and comes last.
fn plain_words(message: &str) -> String {
    let kinds = ["unknown variant", "invalid type", "invalid value", "invalid length"];
    match (kinds.iter().find(|kind| message.starts_with(**kind)), message.rsplit_once(", expected ")) {
        (Some(kind), Some((_, expected))) => format!("{kind}, expected {expected}"),
        (Some(kind), None) => (*kind).to_owned(),
        (None, _) => message.lines().next().unwrap_or_default().to_owned(),
    }
}

pub(crate) fn senders(from: Sender) -> [bool; 2] {
    [from != Sender::Csms, from != Sender::Station]
}

pub(crate) fn reading_purposes(spec: &VariableSpec) -> &[Purpose] {
    spec.purposes.as_deref().unwrap_or(&[Purpose::Operate])
}
