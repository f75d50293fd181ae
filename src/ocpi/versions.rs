//! Versions and their details: what a party may speak with us, and where. A party of the register sees the one version that it is configured for,
//! so there is nothing to disagree on.
//!
//! Source: OCPI 2.2.1 §Versions. An own module is not listed there unless it is agreed on, so `resolve` is not; see its own room.

use super::auth::Caller;
use super::envelope::Outcome;
use super::peer::Who;
use super::server::Surface;
use crate::recipient::Ocpi;
use serde_json::json;

impl Surface {
    pub(super) fn versions(&self, caller: &Caller) -> Outcome {
        let entry = |version: &Ocpi| json!({ "version": version.number(), "url": format!("{}/{}", self.us.url, version.number()) });
        Outcome::data(&self.spoken(caller.who).iter().map(entry).collect())
    }

    pub(super) fn details(&self, caller: &Caller, version: Ocpi) -> Outcome {
        let modules: &[(&str, &str)] = match caller.who {
            Who::Emsp(_) => &[("credentials", "SENDER"), ("cdrs", "SENDER"), ("tokens", "RECEIVER")],
            // To the central system we stand for the e-MSPs: it asks us whether a token may charge.
            Who::Csms => &[("credentials", "SENDER"), ("tokens", "SENDER")],
        };
        let endpoint = |(module, role): &(&str, &str)| {
            let url = format!("{}/{}/{module}", self.us.url, version.number());
            match version {
                Ocpi::V211 => json!({ "identifier": module, "url": url }),
                _ => json!({ "identifier": module, "role": role, "url": url }),
            }
        };
        let endpoints: Vec<_> = modules.iter().map(endpoint).collect();
        Outcome::data(&json!({ "version": version.number(), "endpoints": endpoints }))
    }

    /// The versions that a party may speak with us.
    pub(super) fn spoken(&self, who: Who) -> Vec<Ocpi> {
        match who {
            Who::Emsp(party) => self.register.find(&party).map(|recipient| recipient.version).into_iter().collect(),
            Who::Csms => Ocpi::ALL.to_vec(), // no configuration says which
        }
    }
}
