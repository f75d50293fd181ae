//! Counters of delivery. E-MSPs are companies, and those of the register a closed list: their party ids may be labels. Nothing else that a
//! peer can choose is one.

use super::{Shared, pause};
use crate::recipient::Party;
use metrics::{counter, gauge};
use std::sync::Arc;
use tokio::sync::watch;

/// Owners that stand in no register (any more).
const OTHERS: &str = "others";

/// Keeps the gauges of the queues until it is time to stop.
pub(super) async fn count(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    loop {
        queues(&shared);
        // Not at each ring: counting a long queue takes milliseconds.
        if !pause(shared.parts.pace.tick, &mut stop, &mut []).await {
            return;
        }
    }
}

fn queues(shared: &Shared) {
    let Ok(queues) = shared.parts.custody.store().cdr_queues() else { return };
    let now = (shared.parts.clock)();
    let mut others = 0;
    for queue in &queues {
        let known = Party::parse(&queue.owner).is_some_and(|party| shared.parts.recipients.find(&party).is_some());
        others += if known { 0 } else { queue.length };
    }
    for recipient in shared.parts.recipients.all() {
        let name = recipient.party.to_string();
        let queue = queues.iter().find(|queue| queue.owner == name);
        let seconds = queue.map_or(0, |queue| now.seconds().saturating_sub(queue.oldest.seconds()).max(0));
        gauge!("sluis_cdr_queue", "recipient" => name.clone()).set(queue.map_or(0, |queue| queue.length) as f64);
        gauge!("sluis_cdr_oldest_seconds", "recipient" => name).set(seconds as f64);
    }
    gauge!("sluis_cdr_queue", "recipient" => OTHERS).set(others as f64);
}

/// An attempt to push a CDR, and what came of it.
pub(super) fn attempt(to: &Party, outcome: &'static str) {
    counter!("sluis_delivery_attempts_total", "recipient" => to.to_string(), "outcome" => outcome).increment(1);
}

/// Why nothing is sent to a recipient, if nothing is.
pub(super) fn held(to: &Party, why: Option<&'static str>) {
    for reason in ["agreement", "no_way"] {
        gauge!("sluis_delivery_held", "recipient" => to.to_string(), "reason" => reason).set(f64::from(u8::from(why == Some(reason))));
    }
}

/// Whether a recipient does not let us in.
pub(super) fn shut(to: &Party, shut: bool) {
    gauge!("sluis_delivery_shut", "recipient" => to.to_string()).set(f64::from(u8::from(shut)));
}

/// A question to the owner of a token, and what came of it.
pub(super) fn authorized(to: &Party, outcome: &'static str) {
    counter!("sluis_authorizations_asked_total", "recipient" => to.to_string(), "outcome" => outcome).increment(1);
}

/// Tokens the central system was told of, and what came of it.
pub(super) fn told(outcome: &'static str) {
    counter!("sluis_tokens_sent_total", "outcome" => outcome).increment(1);
}

/// Tokens that were pulled: `kept`, `unchanged`, or `skipped` because they cannot be read.
pub(super) fn pulled(from: &Party, outcome: &'static str) {
    counter!("sluis_tokens_pulled_total", "recipient" => from.to_string(), "outcome" => outcome).increment(1);
}

/// A pull as a whole.
pub(super) fn pull(from: &Party, outcome: &'static str) {
    counter!("sluis_token_pulls_total", "recipient" => from.to_string(), "outcome" => outcome).increment(1);
}
