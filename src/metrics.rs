//! Counters for Prometheus. Labels are closed lists: no person, no station, no address, nothing that a peer can choose.

mod families;
mod frames;

use crate::gateway::Ending;
use crate::ocpp::{Side, Version};
use crate::session::{Outcome, Seen};
use crate::store::CdrState;
use metrics::{Gauge, counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

const LOG_LINES_LOST: &str = "sluis_log_lines_lost_total";

/// The counters of this process.
#[derive(Clone)]
pub struct Metrics {
    page: PrometheusHandle,
}

impl Metrics {
    /// The counters; the first call sets them up, later ones share them.
    ///
    /// # Errors
    /// Another recorder was installed in this process before.
    pub fn install() -> Result<Self, &'static str> {
        static PAGE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let page = PAGE.get_or_init(|| {
            let page = PrometheusBuilder::new().install_recorder().ok()?;
            families::describe();
            Some(page)
        });
        page.clone().map(|page| Self { page }).ok_or("another metrics recorder is installed")
    }

    /// The page that Prometheus reads.
    pub fn render(&self) -> String {
        self.page.run_upkeep();
        self.page.render()
    }

    /// Says once what this gateway is.
    pub fn describe(&self, policy: &str, observes: bool, plaintext: bool) {
        gauge!("sluis_policy_info", "policy" => policy.to_owned()).set(1.0);
        gauge!("sluis_observing").set(f64::from(u8::from(observes)));
        gauge!("sluis_plaintext").set(f64::from(u8::from(plaintext)));
        counter!("sluis_incidents_total").absolute(0);
        counter!(LOG_LINES_LOST).absolute(0);
        // From the start, so that nothing is not the same as unknown.
        for version in Version::ALL {
            gauge!("ocpp_connections_active", "version" => version.number()).increment(0.0);
        }
    }

    /// Says it again when the policy is another one.
    pub(crate) fn redescribe(&self, before: &str, policy: &str, observes: bool, plaintext: bool) {
        gauge!("sluis_policy_info", "policy" => before.to_owned()).set(0.0);
        self.describe(policy, observes, plaintext);
    }

    pub(crate) fn seen(&self, version: Version, seen: &Seen) {
        frames::seen(version, seen);
        if seen.outcome == Outcome::Tripwire {
            counter!("sluis_incidents_total").increment(1);
            tracing::error!(
                action = seen.action,
                from = seen.from.name(),
                "tripwire: a frame held an identifier after its treatment and was blocked"
            );
        }
    }

    pub(crate) fn sent(&self, to: Side, bytes: usize) {
        frames::sent(to, bytes);
    }

    pub(crate) fn ended(&self, ending: Ending) {
        counter!("ocpp_connections_ended_total", "reason" => ending.code()).increment(1);
    }

    pub(crate) fn turned_away(&self, reason: &'static str) {
        counter!("ocpp_connections_refused_total", "reason" => reason).increment(1);
    }

    /// Whether the central system does not answer.
    pub(crate) fn upstream(&self, away: bool) {
        gauge!("sluis_upstream_away").set(f64::from(u8::from(away)));
    }

    /// Memory of this process that is resident.
    pub(crate) fn resident(&self, bytes: u64) {
        gauge!("process_resident_memory_bytes").set(bytes as f64);
    }

    pub(crate) fn displaced(&self) {
        counter!("ocpp_connections_displaced_total").increment(1);
    }

    pub(crate) fn accept_failed(&self) {
        counter!("ocpp_accept_failures_total").increment(1);
    }

    /// A fact that belongs to no charging session.
    pub(crate) fn stray(&self, reason: &'static str) {
        counter!("sluis_billing_strays_total", "reason" => reason).increment(1);
    }

    /// What a batch of facts came to.
    pub(crate) fn billed(&self, open: usize, unreadable: usize, corrections: u64, too_little: u64) {
        gauge!("sluis_charging_sessions_open").set(open as f64);
        gauge!("sluis_charging_sessions_unreadable").set(unreadable as f64);
        counter!("sluis_cdr_corrections_total").increment(corrections);
        counter!("sluis_sessions_unbilled_total").increment(too_little);
    }

    /// How many CDRs there are in each state, and how many facts wait for billing.
    pub(crate) fn billing(&self, cdrs: &[(CdrState, u64)], lag: u64, stuck: bool) {
        for (state, n) in cdrs {
            gauge!("sluis_cdrs", "state" => state.name()).set(*n as f64);
        }
        gauge!("sluis_billing_lag_facts").set(lag as f64);
        gauge!("sluis_billing_stuck").set(f64::from(u8::from(stuck)));
    }

    /// Periods of statistics. Says nothing of sessions, people, or who does not want to be counted: a number that moves with each session would tell
    /// of that session to whoever looks often enough.
    pub(crate) fn statistics(&self, open: usize, overdue: usize, released: usize) {
        gauge!("sluis_statistics_periods_open").set(open as f64);
        gauge!("sluis_statistics_periods_overdue").set(overdue as f64);
        counter!("sluis_statistics_releases_total").increment(released as u64);
    }

    /// A request of an OCPI party, by closed words.
    pub(crate) fn ocpi(&self, module: &'static str, method: &'static str, class: &'static str) {
        counter!("ocpi_requests_total", "module" => module, "method" => method, "status_class" => class).increment(1);
    }

    /// An e-MSP asked what a code stands for.
    pub(crate) fn ocpi_resolved(&self, found: bool) {
        counter!("ocpi_resolves_total", "outcome" => if found { "found" } else { "unknown" }).increment(1);
    }

    /// An OCPI party could not connect: there were too many connections.
    pub(crate) fn ocpi_refused(&self) {
        counter!("ocpi_connections_refused_total").increment(1);
    }

    /// Files were read again, or could not be used.
    pub(crate) fn reloaded(&self, what: &'static str, outcome: &'static str) {
        counter!("sluis_reloads_total", "what" => what, "outcome" => outcome).increment(1);
    }

    /// A station has shaken hands over TLS: of what version, and whether it resumed a session.
    pub(crate) fn shaken(&self, tls: Option<(&'static str, bool)>) {
        if let Some((version, resumed)) = tls {
            counter!("ocpp_tls_handshakes_total", "version" => version, "resumed" => if resumed { "yes" } else { "no" }).increment(1);
        }
    }

    /// When the first of our certificates ends, in seconds since 1970.
    pub(crate) fn certificate_ends(&self, ends: Option<crate::clock::Timestamp>) {
        if let Some(ends) = ends {
            gauge!("sluis_tls_certificate_expiry_timestamp_seconds").set(ends.seconds() as f64);
        }
    }

    /// What the store holds.
    pub(crate) fn store(&self, vault_records: u64, journal_rows: u64, in_trouble: bool) {
        gauge!("sluis_vault_records").set(vault_records as f64);
        gauge!("sluis_journal_rows").set(journal_rows as f64);
        gauge!("sluis_store_trouble").set(f64::from(u8::from(in_trouble)));
    }
}

/// Lines of the log could not be written.
pub(crate) fn log_lines_lost(lines: u64) {
    counter!(LOG_LINES_LOST).increment(lines);
}

/// Counts a connection for as long as it lives.
pub(crate) struct ConnectionGauge(Gauge);

impl ConnectionGauge {
    pub(crate) fn new(_: &Metrics, version: Version) -> Self {
        let gauge = frames::connections(version);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for ConnectionGauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
