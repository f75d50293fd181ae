//! What a policy does, field by field, in words: for an operator at the terminal and, as Markdown, for a data protection
//! officer's file. It asks the very decision that the plan is compiled with, so it cannot say otherwise than the gateway does.

use super::compile::{Decision, Overrides, decide, needed_for, overrides};
use super::file::{Mode, Override, PolicyFile};
use super::{Purpose, Purposes, senders};
use crate::ocpp::catalogue::{Catalogue, FieldSpec, Fields, MessageSpec};
use crate::ocpp::{Side, Version};

/// How the explanation is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Lines for a terminal.
    Text,
    /// Tables for a document.
    Markdown,
}

/// Explains a policy (a built-in profile's name or a policy file's text): every message of every version, or only the action
/// named, compared without case. `None` if no message of any version has that name.
///
/// # Errors
/// The mistakes of the policy file.
pub fn explain(profile_or_text: &str, action: Option<&str>, layout: Layout) -> Result<Option<String>, Vec<String>> {
    let mut mistakes = Vec::new();
    let file = PolicyFile::read(profile_or_text, &mut mistakes);
    let overrides = overrides(&file, &Version::ALL.map(Catalogue::of), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let purposes: [Purposes; 2] = [file.station.purposes.iter().copied().collect(), file.csms.purposes.iter().copied().collect()];
    let mut page = Page { out: String::new(), layout, overrides: &overrides, version: Version::V16 };
    page.opening(&file);
    let mut found = false;
    for version in Version::ALL {
        let catalogue = Catalogue::of(version);
        page.version = version;
        let wanted = catalogue.messages.iter().filter(|(name, _)| action.is_none_or(|a| a.eq_ignore_ascii_case(name)));
        for (number, (name, message)) in wanted.enumerate() {
            found = true;
            if number == 0 {
                page.heading(1, &format!("OCPP {}", version.number()));
            }
            page.message(&catalogue, name, message, purposes);
        }
    }
    Ok(found.then_some(page.out))
}

struct Page<'a> {
    out: String,
    layout: Layout,
    overrides: &'a Overrides,
    version: Version,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn heading(&mut self, level: usize, text: &str) {
        match self.layout {
            Layout::Text if level == 1 => self.line(&format!("\n{text}\n{}", "=".repeat(text.len()))),
            Layout::Text => self.line(&format!("\n{text}")),
            Layout::Markdown => self.line(&format!("\n{} {text}\n", "#".repeat(level + 1))),
        }
    }

    fn opening(&mut self, file: &PolicyFile) {
        let names = |purposes: &[Purpose]| purposes.iter().map(|p| p.name()).collect::<Vec<_>>().join(", ");
        if self.layout == Layout::Markdown {
            self.line(&format!("# What the policy “{}” lets pass\n", file.name));
        } else {
            self.line(&format!("policy {}", file.name));
        }
        if file.mode == Mode::Observe {
            self.line("THIS POLICY ONLY OBSERVES: everything passes as it came. Below is what it would do if it were enforced.\n");
        }
        self.line(&format!("Purposes enabled for the central system: {}.", names(&file.csms.purposes)));
        self.line(&format!("Purposes enabled for the station: {}.", names(&file.station.purposes)));
        self.line("What is not listed never crosses; customData and vendor extensions of the messages never do.");
        for spec in &file.overrides {
            let treatment = spec.treatment.map_or("", Override::name);
            self.line(&format!("Exception: OCPP {} {}: {treatment}, because {}.", spec.version, spec.field, spec.reason));
        }
    }

    fn message(&mut self, catalogue: &Catalogue, name: &str, message: &MessageSpec, purposes: [Purposes; 2]) {
        let may = senders(message.from);
        for from in [Side::Station, Side::Csms].into_iter().filter(|side| may[*side as usize]) {
            let arrow = |from: Side| format!("{} to {}", from.name(), from.other().name());
            self.heading(2, &format!("{name} ({})", arrow(from)));
            let enabled = purposes[from.other() as usize];
            if !enabled.any(&message.purposes) {
                let answer = message.answer.as_deref().map_or("a CALLERROR".to_owned(), |a| format!("`{a}`"));
                self.line(&format!("Not passed on: needed for {} only. Its sender is answered with {answer}.", list(&message.purposes)));
                continue;
            }
            self.line(&format!("Passed on for {}.", list(&needed(&message.purposes, enabled))));
            self.table(catalogue, &format!("{name}.request"), &message.request, from.other(), purposes, "");
            if message.kind.as_deref() != Some("send") && !message.response.is_empty() {
                self.line(&format!("Its answer ({}):", arrow(from.other())));
                self.table(catalogue, &format!("{name}.response"), &message.response, from, purposes, "");
            }
        }
    }

    fn table(&mut self, catalogue: &Catalogue, container: &str, fields: &Fields, to: Side, purposes: [Purposes; 2], prefix: &str) {
        if prefix.is_empty() && self.layout == Layout::Markdown {
            self.line("\n| field | what happens | why |\n|---|---|---|");
        }
        let enabled = purposes[to as usize];
        for (name, spec) in fields {
            let forced = self.overrides.get(&(self.version, format!("{container}.{name}"))).copied();
            let decision = decide(spec, to, enabled, forced);
            let path = format!("{prefix}{name}{}", if spec.list { "[]" } else { "" });
            let (what, why) = words(spec, decision, to, enabled);
            match self.layout {
                Layout::Text => self.line(&format!("  {path:<58} {what}{}{why}", if why.is_empty() { "" } else { ": " })),
                Layout::Markdown => self.line(&format!("| `{path}` | {what} | {why} |")),
            }
            let nested = catalogue.types.get(&spec.is).filter(|_| decision == Decision::Crosses);
            if let Some(fields) = nested.filter(|_| prefix.matches('.').count() < 12) {
                self.table(catalogue, &spec.is, fields, to, purposes, &format!("{path}."));
            }
        }
        if prefix.is_empty() && self.layout == Layout::Markdown {
            self.line("");
        }
    }
}

fn list(purposes: &[Purpose]) -> String {
    if purposes.is_empty() { "no purpose".to_owned() } else { purposes.iter().map(|p| p.name()).collect::<Vec<_>>().join(", ") }
}

fn needed(purposes: &[Purpose], enabled: Purposes) -> Vec<Purpose> {
    purposes.iter().copied().filter(|p| enabled.has(*p)).collect()
}

/// What happens to one field, and why.
fn words(spec: &FieldSpec, decision: Decision, to: Side, enabled: Purposes) -> (&'static str, String) {
    let up = to == Side::Csms;
    if decision != Decision::Crosses {
        let what = match (&spec.otherwise, spec.required) {
            (Some(_), _) => "replaced by a neutral value",
            (None, true) if spec.is == "serial" => "replaced by a stable code",
            (None, true) => "withheld, with what it stands in",
            (None, false) => "withheld",
        };
        let why = match (decision, needed_for(spec, to)) {
            (Decision::Dropped, _) => "an exception of the policy".to_owned(),
            (_, Some(purposes)) if !purposes.is_empty() => format!("needed for {} only", list(purposes)),
            _ => "nobody needs it".to_owned(),
        };
        return (what, why);
    }
    let what = match (spec.is.as_str(), up) {
        ("token", true) => "pseudonymised",
        ("token", false) => "restored",
        ("ref" | "transaction", true) => "passes if too short or random to hold a card number, else a code",
        ("ref" | "hash", false) => "passes; a code of ours is restored",
        ("transaction", false) => "passes if too short or random to hold a card number; a code of ours is restored",
        ("hash", true) => "passes if it is a digest, else a code",
        ("name" | "label" | "instance", true) => "passes unless it looks like an identifier",
        ("given", true) => "passes unless a part of it is a card or contract number",
        ("text", true) => "scrubbed of anything shaped like an identifier",
        ("component" | "variable" | "key", true) => "passes if the standard has it",
        ("variable-value" | "key-value", _) => "as the table of variables says",
        ("vendor" | "vendor-message" | "vendor-data", _) => "passes for known vendor messages",
        ("enum" | "time" | "decimal" | "language" | "pem" | "csr" | "exi", true) => "passes if it is what it should be",
        _ => "passes",
    };
    let why = spec.purposes.as_ref().map_or(String::new(), |p| list(&needed(p, enabled)));
    (what, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_every_profile_in_both_layouts() {
        for (profile, _) in crate::policy::file::PROFILES {
            for layout in [Layout::Text, Layout::Markdown] {
                let page = explain(profile, None, layout).unwrap().unwrap();
                assert!(page.contains("OCPP 1.6") && page.contains("OCPP 2.1") && page.contains("pseudonymised"));
            }
        }
        assert!(explain("observe", None, Layout::Text).unwrap().unwrap().contains("ONLY OBSERVES"));
        assert!(explain("strict", Some("authorize"), Layout::Text).unwrap().unwrap().contains("idTag"));
        assert_eq!(explain("strict", Some("Nonsense"), Layout::Text), Ok(None));
    }
}
