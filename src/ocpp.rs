//! The vocabulary of OCPP that every room shares: version, side, kind of frame.

pub mod catalogue;
pub mod frame;
pub mod json;
pub(crate) mod scan;

/// An OCPP version that the gateway speaks. The subprotocol name is what a station offers in `Sec-WebSocket-Protocol`
/// (OCPP-J 1.6 §3.1.2; OCPP 2.0.1 Part 4 §3.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// OCPP 1.6J, with the security extension.
    V16,
    /// OCPP 2.0.1.
    V201,
    /// OCPP 2.1.
    V21,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Self; 3] = [Self::V16, Self::V201, Self::V21];

    /// The WebSocket subprotocol: `ocpp1.6`, `ocpp2.0.1` or `ocpp2.1`.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::V16 => "ocpp1.6",
            Self::V201 => "ocpp2.0.1",
            Self::V21 => "ocpp2.1",
        }
    }

    /// The version a subprotocol name stands for, compared without case; `None` if it is not one of ours.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.subprotocol().eq_ignore_ascii_case(name.trim()))
    }

    /// The plain number, as in the standard's title: `1.6`, `2.0.1`, `2.1`. Used as a metric label.
    pub fn number(self) -> &'static str {
        &self.subprotocol()[4..]
    }
}

/// Which end of the gateway something comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The charging station.
    Station,
    /// The central system.
    Csms,
}

impl Side {
    /// The opposite end.
    pub fn other(self) -> Self {
        match self {
            Self::Station => Self::Csms,
            Self::Csms => Self::Station,
        }
    }

    /// `station` or `csms`. Used as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Station => "station",
            Self::Csms => "csms",
        }
    }
}

/// The OCPP-J message type: the first element of a frame (OCPP-J 2.1 Part 4 §4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// 2: a request.
    Call,
    /// 3: its answer.
    CallResult,
    /// 4: its refusal.
    CallError,
    /// 5: the sender of a CALL could not read the answer (2.1).
    CallResultError,
    /// 6: an unconfirmed message (2.1).
    Send,
}

impl Kind {
    /// The metric label: `call`, `callresult`, `callerror`, `callresulterror` or `send`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::CallResult => "callresult",
            Self::CallError => "callerror",
            Self::CallResultError => "callresulterror",
            Self::Send => "send",
        }
    }
}

/// A word of the standard as a `'static` string, for labels. Only ever called with the built-in catalogue's own words, so what it
/// keeps is bounded by the catalogue.
pub(crate) fn intern(word: &str) -> &'static str {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(word) {
        return known;
    }
    let known: &'static str = Box::leak(word.to_owned().into_boxed_str());
    words.insert(known);
    known
}
