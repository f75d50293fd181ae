//! The screen: each kind of frame the first time it goes by, before and after, in words and colours for readers who know no OCPP.

use super::differ::{After, Change};
use crate::ocpp::{Kind, Side, Version};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;

/// How a text is meant; a terminal shows it in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Faint,
    /// What must not get out.
    Clear,
    /// What stands in its place.
    Code,
    /// What stays behind.
    Held,
}

/// Kinds of frames remembered as shown: bounded by the standard's actions, and by this for a visitor's invented ones.
const MAX_SHOWN: usize = 2048;
/// Columns of a page.
const WIDTH: usize = 110;

/// Where the demo shows what it does.
pub(super) struct Screen {
    out: Box<dyn Write + Send>,
    colour: bool,
    shown: BTreeSet<String>,
    untouched: BTreeSet<String>,
}

impl Screen {
    /// A screen that writes to `out`, in colour or plain.
    pub(super) fn new(out: Box<dyn Write + Send>, colour: bool) -> Self {
        Self { out, colour, shown: BTreeSet::new(), untouched: BTreeSet::new() }
    }

    /// One line. That nobody reads it (a closed pipe) is no reason to stop: what counts is the exit code.
    pub(super) fn line(&mut self, parts: &[(Ink, &str)]) {
        let mut line = String::new();
        for (ink, text) in parts {
            let code = match ink {
                _ if !self.colour => "",
                Ink::Plain => "",
                Ink::Bold => "\x1b[1m",
                Ink::Faint => "\x1b[2m",
                Ink::Clear => "\x1b[31m",
                Ink::Code => "\x1b[32m",
                Ink::Held => "\x1b[33m",
            };
            line.push_str(code);
            line.push_str(text);
            line.push_str(if code.is_empty() { "" } else { "\x1b[0m" });
        }
        let _ = writeln!(self.out, "{}", line.trim_end()).and_then(|()| self.out.flush());
    }

    /// A line of plain text.
    pub(super) fn text(&mut self, text: &str) {
        self.line(&[(Ink::Plain, text)]);
    }

    /// A heading.
    pub(super) fn heading(&mut self, text: &str) {
        self.text("");
        self.line(&[(Ink::Bold, text)]);
    }

    /// Shows every kind of frame anew.
    pub(super) fn forget(&mut self) {
        self.shown.clear();
    }

    /// Kinds of frames that have only passed as they were.
    pub(super) fn untouched(&self) -> impl Iterator<Item = &str> {
        self.untouched.iter().map(String::as_str)
    }

    fn is_new(&mut self, kind: String) -> bool {
        self.shown.len() < MAX_SHOWN && self.shown.insert(kind)
    }

    /// Whether something happens to this kind of frame that was not shown before.
    fn is_news(&mut self, kind: &str, changes: &[Change]) -> bool {
        let names = changes.iter().map(|change| change.field.split_whitespace().next().unwrap_or_default());
        let news: Vec<bool> = names.map(|name| self.is_new(format!("{kind} {name}"))).collect();
        news.contains(&true)
    }

    /// A frame that arrived, and how it differs from what was sent.
    pub(super) fn frame(&mut self, station: &str, version: Version, to: Side, what: &str, kind: Kind, changes: &[Change]) {
        let what = what.trim();
        let kind = match kind {
            Kind::Call | Kind::Send => "",
            Kind::CallResult => " (answer)",
            Kind::CallError | Kind::CallResultError => " (error)",
        };
        if changes.is_empty() {
            if self.untouched.len() < MAX_SHOWN {
                self.untouched.insert(format!("{what}{kind}"));
            }
            return;
        }
        let always = matches!(what, "RemoteStartTransaction" | "RequestStartTransaction") && kind.is_empty();
        if self.is_news(&format!("{} {what}{kind} {}", version.number(), to.name()), changes) || always {
            self.title(station, version, to, what, kind);
            self.changes(changes, "");
        }
    }

    fn title(&mut self, station: &str, version: Version, to: Side, what: &str, kind: &str) {
        let arrow = if to == Side::Csms { "  ▲ " } else { "  ▼ " };
        let whither = if to == Side::Csms { "to the central system" } else { "to the station" };
        let gloss = gloss(what);
        let gloss = if gloss.is_empty() || !kind.is_empty() { String::new() } else { format!(": {gloss}") };
        let about = format!("   [{station}, OCPP {}, {whither}]", version.number());
        self.line(&[(Ink::Plain, arrow), (Ink::Bold, what), (Ink::Plain, kind), (Ink::Plain, &gloss), (Ink::Faint, &about)]);
    }

    /// `said` is a reason that stands above already.
    fn changes(&mut self, changes: &[Change], said: &str) {
        let mut held: Vec<(&str, Vec<String>)> = Vec::new();
        for change in changes {
            let name = format!("      {:<28} ", change.field);
            match &change.after {
                After::Coded(code) => {
                    self.line(&[(Ink::Plain, &name), (Ink::Clear, &change.before), (Ink::Plain, " → "), (Ink::Code, code)]);
                }
                After::Restored(card) => {
                    self.line(&[(Ink::Plain, &name), (Ink::Code, &change.before), (Ink::Plain, " → "), (Ink::Clear, card)]);
                }
                After::Neutral(now, why) => self.line(&[
                    (Ink::Plain, &name),
                    (Ink::Held, &change.before),
                    (Ink::Plain, " → "),
                    (Ink::Plain, now),
                    (Ink::Faint, &format!("  ({why})")),
                ]),
                After::Withheld(why, _) => {
                    let field = format!("{} {}", change.field, change.before);
                    match held.iter_mut().find(|(known, _)| *known == why.as_str()) {
                        Some((_, fields)) => fields.push(field),
                        None => held.push((why, vec![field])),
                    }
                }
            }
        }
        for (why, fields) in held {
            if why != said {
                self.line(&[(Ink::Plain, "      stays behind: "), (Ink::Faint, why)]);
            }
            self.held(&fields);
        }
    }

    /// Fields that stayed behind for one reason, in as many lines as it takes.
    fn held(&mut self, fields: &[String]) {
        let mut row = String::new();
        for field in fields {
            if !row.is_empty() && row.chars().count() + field.chars().count() + 10 > WIDTH {
                self.line(&[(Ink::Plain, "        "), (Ink::Held, &row)]);
                row.clear();
            }
            row.push_str(if row.is_empty() { "" } else { " · " });
            row.push_str(field);
        }
        self.line(&[(Ink::Plain, "        "), (Ink::Held, &row)]);
    }

    /// A message that did not arrive at all, and what its sender was answered.
    #[expect(clippy::too_many_arguments, reason = "each is one column of what is shown")]
    pub(super) fn stayed(&mut self, station: &str, version: Version, to: Side, what: &str, why: &str, changes: &[Change], answer: &Value) {
        let kind = format!("{} {what} stays {}", version.number(), to.name());
        let new = self.is_new(kind.clone());
        if !self.is_news(&kind, changes) && !new {
            return;
        }
        self.title(station, version, to, what, "");
        let sender = if to == Side::Csms { "the station" } else { "the central system" };
        let answer = match answer.as_array() {
            Some(error) => error.first().and_then(Value::as_str).unwrap_or_default().to_owned(),
            None => answer.to_string(),
        };
        self.line(&[(Ink::Plain, "      "), (Ink::Held, "stays behind whole"), (Ink::Faint, &format!(": {why}"))]);
        self.line(&[(Ink::Faint, &format!("      {sender} is answered at the gateway: {answer}"))]);
        self.changes(changes, why);
    }

    /// A frame of a station that is not part of the demo: only the central system's side of it is known.
    pub(super) fn visitor(&mut self, station: &str, what: &str, payload: &Value) {
        if self.is_new(format!("visitor {what}")) {
            let about = format!("  {station}, as the central system sees it");
            self.line(&[(Ink::Plain, "  ▲ "), (Ink::Bold, what), (Ink::Faint, &about)]);
            let text: String = payload.to_string().chars().take(4 * WIDTH).collect();
            self.text(&format!("      {text}"));
        }
    }
}

/// What a message says, for those who read no OCPP.
fn gloss(what: &str) -> &'static str {
    match what {
        "BootNotification" => "a station says what it is",
        "StatusNotification" => "the state of a connector",
        "Authorize" => "may this driver charge?",
        "StartTransaction" | "TransactionEvent Started" => "a session begins",
        "MeterValues" | "TransactionEvent Updated" => "a reading during the session",
        "StopTransaction" | "TransactionEvent Ended" => "the session ends, with what the bill is made of",
        "DataTransfer" => "something that only this vendor understands",
        "SecurityEventNotification" => "something happened to the station",
        "NotifyEVChargingNeeds" => "what the vehicle says of itself",
        "RemoteStartTransaction" | "RequestStartTransaction" => "start a session for this driver",
        "ReserveNow" => "keep a connector free for this driver",
        "SendLocalList" => "who may charge while the line is down",
        "GetDiagnostics" | "GetLog" => "send your log files somewhere else",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(colour: bool) -> String {
        let page = Page::default();
        let mut screen = Screen::new(Box::new(page.clone()), colour);
        let held = |field: &str, before: &str| Change {
            field: field.into(),
            before: before.into(),
            after: After::Withheld("needed for smart-charging only".into(), "vehicle"),
        };
        let changes = [
            Change { field: "idTag".into(), before: "04A22B6A5C1180".into(), after: After::Coded("Z0K3V9QF6T2M8XC4R7HA".into()) },
            held("SoC", "61"),
            held("Voltage L1", "231.4"),
        ];
        for _ in 0..2 {
            screen.frame("UTR-0101", Version::V16, Side::Csms, "StopTransaction ", Kind::Call, &changes);
        }
        screen.frame("UTR-0101", Version::V16, Side::Csms, "Heartbeat ", Kind::Call, &[]);
        assert_eq!(screen.untouched().collect::<Vec<_>>(), ["Heartbeat"]);
        drop(screen);
        let text = page.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn shows_a_kind_of_frame_once_with_what_was_replaced_and_what_stayed_behind() {
        let lines = "  ▲ StopTransaction: the session ends, with what the bill is made of   [UTR-0101, OCPP 1.6, to the central system]\n      \
                     idTag                        04A22B6A5C1180 → Z0K3V9QF6T2M8XC4R7HA\n      \
                     stays behind: needed for smart-charging only\n        \
                     SoC 61 · Voltage L1 231.4\n";
        assert_eq!(shown(false), lines);
    }

    #[test]
    fn colours_only_where_a_terminal_shows_them() {
        assert!(!shown(false).contains('\x1b'));
        assert!(shown(true).contains("\x1b[31m04A22B6A5C1180\x1b[0m"));
    }
}
