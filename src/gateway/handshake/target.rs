//! Who calls: the station's identity in the request target. Its last segment that is not empty, decoded once for our own use; the central
//! system gets the raw bytes.

use std::borrow::Cow;

/// The longest station id, in bytes as sent (OCPP 2.1 Part 4 §3.1: 48 characters; percent-encoded it may triple).
const MAX_STATION_ID: usize = 144;

/// How paths are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paths {
    /// `…/TENANT/ID`: the last two segments together are the id, towards the central system too.
    pub tenants: bool,
    /// Ids that differ in case only are one station. The central system still gets what the station wrote.
    pub ignore_case: bool,
}

/// The station id in a request target: raw and decoded. `None` if there is none or it holds what no id may.
///
/// What is read past: scheme and host (absolute form, RFC 9112 §3.2.2), query, repeated slashes, slashes at the end. What is refused:
/// `.` and `..`, whether plain or encoded; encoded slashes; control characters; what is no UTF-8 once it is decoded.
pub(super) fn station(target: &str, paths: Paths) -> Option<(String, String)> {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => &rest[rest.find('/')?..],
        _ => target,
    };
    let path = path.split(['?', '#']).next().filter(|path| path.starts_with('/'))?;
    // The last two.
    let [mut tenant, mut station] = [None, None];
    for raw in path.split('/').filter(|segment| !segment.is_empty()) {
        let decoded = decoded(raw)?;
        // A path that climbs could mean another place to whoever reads it next.
        if decoded == "." || decoded == ".." {
            return None;
        }
        tenant = station.replace((raw, decoded));
    }
    let fine = |(raw, decoded): &(&str, Cow<'_, str>)| {
        raw.len() <= MAX_STATION_ID
            && !decoded.contains("..")
            && !decoded.contains(['/', '\\'])
            && !decoded.chars().any(|c| c.is_control() || c.is_whitespace() && c != ' ')
            && !decoded.trim().is_empty()
    };
    let (raw, name) = station.filter(fine)?;
    let (raw, name) = if paths.tenants {
        let (before, tenant) = tenant.filter(fine)?;
        (format!("{before}/{raw}"), format!("{tenant}/{name}"))
    } else {
        (raw.to_owned(), name.into_owned())
    };
    Some((raw, if paths.ignore_case { name.to_lowercase() } else { name }))
}

/// Percent-decodes a segment, once.
fn decoded(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(raw.into());
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            decoded.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            decoded.push(byte);
        }
    }
    Some(String::from_utf8(decoded).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(target: &str) -> Option<(String, String)> {
        station(target, Paths::default())
    }

    #[test]
    fn the_last_segment_is_the_station() {
        for (target, raw, name) in [
            ("/CS-1", "CS-1", "CS-1"),
            ("/ocpp/CS-1", "CS-1", "CS-1"),
            ("///CS-1//", "CS-1", "CS-1"),
            ("/a/b/c/d/CS_1/", "CS_1", "CS_1"),
            ("/CS%7C1", "CS%7C1", "CS|1"),
            ("/CS|1", "CS|1", "CS|1"),
            ("/CS%257C1", "CS%257C1", "CS%7C1"),
            ("/CS%201", "CS%201", "CS 1"),
            ("/caf%C3%A9", "caf%C3%A9", "café"),
            ("/café", "café", "café"),
            ("/CS-1?token=x/y", "CS-1", "CS-1"),
            ("/CS-1#x/y", "CS-1", "CS-1"),
            ("ws://gateway:9000/ocpp/CS-1", "CS-1", "CS-1"),
            ("http://gateway/CS-1/", "CS-1", "CS-1"),
            ("/http://x/CS-1", "CS-1", "CS-1"),
            ("/CS.1", "CS.1", "CS.1"),
        ] {
            assert_eq!(id(target), Some((raw.to_owned(), name.to_owned())), "{target}");
        }
    }

    #[test]
    fn what_is_no_station_is_refused() {
        let long = format!("/{}", "x".repeat(MAX_STATION_ID + 1));
        for target in [
            "/",
            "",
            "//",
            "*",
            "http://gateway:9000",
            "http://gateway",
            "/..",
            "/a/../CS-1",
            "/%2e%2E/CS-1",
            "/CS-1/..",
            "/./CS-1",
            "/CS..1",
            "/a%2Fb",
            "/a%5Cb",
            "/a\\b",
            "/CS%00",
            "/CS%0A",
            "/CS%7F",
            "/CS%C2%85",
            "/CS%E2%80%A8",
            "/CS%",
            "/CS%4",
            "/CS%zz",
            "/CS%FF",
            "/%20",
            "/?CS-1",
            &long,
        ] {
            assert_eq!(id(target), None, "{target:?}");
        }
        assert!(id(&long[..=MAX_STATION_ID]).is_some());
    }

    #[test]
    fn tenants_and_case_as_configured() {
        let tenants = Paths { tenants: true, ignore_case: false };
        assert_eq!(station("/ocpp/Org%201//CS-1/", tenants), Some(("Org%201/CS-1".into(), "Org 1/CS-1".into())));
        assert_eq!(station("/CS-1", tenants), None);
        let folded = Paths { tenants: false, ignore_case: true };
        assert_eq!(station("/Cs-1É", folded), Some(("Cs-1É".into(), "cs-1é".into())));
    }
}
