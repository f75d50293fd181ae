//! `[limits]`: the bounds on newcomers; and which stations speak which version.

use super::file::Reader;
use crate::gateway::{Limits, Range};
use crate::ocpp::Version;

/// Networks that have no bound of their own unless the file says otherwise: the machine itself and private networks, where balancers, VPN
/// gateways and a mobile operator's private access stand for many stations.
const PRIVATE: &[&str] = &["127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// Reads `[limits]`.
pub(super) fn read(reader: &mut Reader<'_>) -> Limits {
    let usual = Limits::default();
    let mut count = |key, usual: u32, least, most| u32::try_from(reader.number(key, usual.into(), least, most)).unwrap_or(usual);
    let accepts_per_second = count("limits.accepts_per_second", usual.accepts_per_second, 0, 1_000_000);
    let accept_burst = count("limits.accept_burst", usual.accept_burst, 1, 1_000_000);
    let station_handshakes = count("limits.station_handshakes_per_minute", usual.station_handshakes, 0, 100_000);
    let takeovers = count("limits.takeovers_per_minute", usual.takeovers, 0, 100_000);
    let mut size = |key, usual: usize, least, most| reader.number(key, usual as u64, least, most) as usize;
    let handshakes = size("limits.handshakes", usual.handshakes, 1, 1_000_000);
    let per_network = size("limits.connections_per_network", usual.per_network, 0, 1_000_000);
    let dials = size("limits.dials", usual.dials, 1, 100_000);
    let memory_mib = reader.number("limits.memory_mib", usual.memory_mib, 0, 1 << 24);
    let named = reader.listed("limits.unlimited_networks");
    let named = named.unwrap_or_else(|| PRIVATE.iter().map(|range| (*range).to_owned()).collect());
    let mut unlimited = Vec::new();
    for (number, text) in named.iter().enumerate() {
        match text.parse::<Range>() {
            Ok(range) => unlimited.push(range),
            Err(why) => reader.mistake(&format!("limits.unlimited_networks[{number}]"), why),
        }
    }
    Limits { accepts_per_second, accept_burst, handshakes, per_network, unlimited, station_handshakes, takeovers, dials, memory_mib }
}

/// Reads `stations.versions`: pairs of an id, or a prefix of ids with `*` at its end, and a version.
pub(super) fn versions(reader: &mut Reader<'_>) -> Vec<(String, Version)> {
    let mut versions = Vec::new();
    for (number, pair) in reader.list("stations.versions").into_iter().enumerate() {
        let read = pair.rsplit_once('=').and_then(|(pattern, version)| {
            let version = Version::ALL.into_iter().find(|v| v.number() == version.trim())?;
            let pattern = pattern.trim();
            (!pattern.is_empty() && !pattern.strip_suffix('*').unwrap_or(pattern).contains('*')).then(|| (pattern.to_owned(), version))
        });
        match read {
            Some(pair) => versions.push(pair),
            None => reader.mistake(
                &format!("stations.versions[{number}]"),
                "must be a station's id, or the beginning of ids and *, then = and 1.6, 2.0.1 or 2.1",
            ),
        }
    }
    versions
}
