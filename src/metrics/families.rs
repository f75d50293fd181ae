//! What each metric says: for Prometheus' HELP lines, and for docs/operations.md, which a test holds to be the same.

use metrics::{describe_counter, describe_gauge};

/// All there are, each with what it says. A name that ends in `_total` is a counter's, any other a gauge's.
pub(super) const FAMILIES: &[(&str, &str)] = &[
    ("ocpp_connections_active", "Stations that are connected, each with its connection to the central system"),
    ("ocpp_connections_ended_total", "Connections that ended, and what ended them"),
    ("ocpp_connections_refused_total", "Stations that were not let in: answered with an HTTP error before they were connected"),
    ("ocpp_connections_displaced_total", "Connections that a newer one of the same station replaced"),
    ("ocpp_accept_failures_total", "Connections that the operating system could not hand over: mostly, descriptors ran out"),
    ("ocpp_tls_handshakes_total", "TLS handshakes of stations"),
    ("ocpp_messages_total", "Messages that came, and what became of them"),
    ("ocpp_sent_bytes_total", "Bytes of messages that went on to a side"),
    ("sluis_withheld_fields_total", "Fields that were withheld or substituted"),
    ("sluis_replaced_identifiers_total", "Identifiers that were replaced by their codes, or codes by what they stand for"),
    ("sluis_incidents_total", "Frames that held an identifier after their treatment and were blocked. Each is a defect: report it"),
    ("sluis_policy_info", "1 for the policy that is in force"),
    ("sluis_observing", "1 if the policy only observes: everything passes as it came, and nobody is protected"),
    ("sluis_plaintext", "1 if plain text is allowed where others could read it"),
    ("sluis_upstream_away", "1 while the central system does not answer, and stations are told to come later"),
    ("sluis_tls_certificate_expiry_timestamp_seconds", "When the first of our certificates ends, in seconds since 1970: subtract time()"),
    ("sluis_reloads_total", "Files that were read again and used, or could not be used"),
    ("sluis_log_lines_lost_total", "Lines missing in the log: whoever reads it was too slow, or could not be written to"),
    ("sluis_store_trouble", "1 while the store cannot keep what must be kept: nothing is acknowledged"),
    ("sluis_vault_records", "Identifiers that the vault keeps sealed, each once for each code"),
    ("sluis_journal_rows", "Billing facts that the journal keeps"),
    ("sluis_billing_lag_facts", "Facts that billing has not looked at yet"),
    ("sluis_billing_stuck", "1 if billing makes no progress though there are facts"),
    ("sluis_billing_strays_total", "Facts that belong to no charging session"),
    ("sluis_charging_sessions_open", "Charging sessions that have begun and are not billed yet"),
    ("sluis_charging_sessions_unreadable", "Charging sessions that are kept but cannot be read: by a newer version, or damaged"),
    ("sluis_sessions_unbilled_total", "Charging sessions with too little energy for a CDR"),
    ("sluis_cdr_corrections_total", "CDRs that were corrected by what came late"),
    ("sluis_cdrs", "CDRs: quarantined, queued, delivered, refused, discarded"),
    ("sluis_cdr_queue", "CDRs that wait for a recipient"),
    ("sluis_cdr_oldest_seconds", "How long the oldest of them has been waiting"),
    ("sluis_delivery_attempts_total", "CDRs that were pushed, and what came of it"),
    ("sluis_delivery_held", "1 if nothing is sent to a recipient: its agreement is not in force, or there is no way to it"),
    ("sluis_delivery_shut", "1 if a recipient does not let us in: its token is wrong"),
    ("sluis_authorizations_asked_total", "Questions to the owner of a token whether it may charge"),
    ("sluis_tokens_sent_total", "Tokens that the central system was told of"),
    ("sluis_tokens_pulled_total", "Tokens that were pulled from an e-MSP: kept, unchanged, or skipped because they cannot be read"),
    ("sluis_token_pulls_total", "Pulls of an e-MSP's list of tokens"),
    ("ocpi_requests_total", "Requests of OCPI parties"),
    ("ocpi_resolves_total", "Questions of e-MSPs what a code stands for"),
    ("ocpi_connections_refused_total", "OCPI parties that could not connect: there were too many"),
    ("sluis_statistics_periods_open", "Periods whose statistics are not released yet"),
    ("sluis_statistics_periods_overdue", "Those of them that should have been"),
    ("sluis_statistics_releases_total", "Releases of statistics"),
    ("process_resident_memory_bytes", "Resident memory of the process"),
];

/// Tells the recorder.
pub(super) fn describe() {
    for (name, says) in FAMILIES {
        if name.ends_with("_total") {
            describe_counter!(*name, *says);
        } else {
            describe_gauge!(*name, *says);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FAMILIES;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn sources(dir: &Path, all: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, all);
            } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("metrics/families.rs") {
                *all += &std::fs::read_to_string(path).unwrap();
            }
        }
    }

    /// Found by a reader: thirty metrics that nothing explained.
    #[test]
    fn every_metric_is_described_and_documented() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all = String::new();
        sources(&root.join("src"), &mut all);
        let uses = ["counter!(\"", "gauge!(\"", "counter!(LOG_LINES_LOST"].map(|start| all.split(start).skip(1).collect::<Vec<_>>());
        assert!(!uses[2].is_empty());
        let used: BTreeSet<&str> = uses[..2].iter().flatten().map(|rest| rest.split('"').next().unwrap()).collect();
        let mut described: BTreeSet<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
        assert_eq!(described.len(), FAMILIES.len(), "twice");
        let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
        for (name, says) in FAMILIES {
            let row = page.lines().any(|line| line.starts_with(&format!("| `{name}` |")) && line.ends_with(&format!("| {says} |")));
            assert!(row, "not in docs/operations.md: {name}: {says}");
        }
        described.remove(super::super::LOG_LINES_LOST);
        assert_eq!(used, described);
    }
}
