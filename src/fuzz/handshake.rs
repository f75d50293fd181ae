//! The opening handshakes of both sides: a station's upgrade request and the central system's answer. What is taken over from one goes into
//! a request of ours, so nothing in it may begin a line or a header of its own.
//!
//! The first byte says which: even, a request; odd, an answer, in which `@accept@` stands for the right `Sec-WebSocket-Accept`.

use crate::gateway::Away;
use crate::gateway::handshake::{self, Paths, Refusal};
use crate::gateway::upstream::{self, NoUpstream};
use crate::ocpp::Version;

/// The key of the answers (RFC 6455 §1.3), and what is right for it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const OFFERS: [&[Version]; 4] = [&[Version::V16], &Version::ALL, &[Version::V21, Version::V16], &[]];

/// Reads a request or an answer.
///
/// # Panics
/// If what was read could do harm where it is used.
pub fn run(bytes: &[u8]) {
    let Some((what, bytes)) = bytes.split_first() else { return };
    if what & 1 == 0 { request(bytes) } else { answer(bytes, OFFERS[usize::from(what >> 1 & 3)]) }
}

fn request(bytes: &[u8]) {
    let refused = |away: Away| {
        let Some(Refusal(status, reason, header)) = away.refusal else { panic!("a request that is there is answered") };
        assert!((400..500).contains(&status) && !reason.is_empty() && header.is_none_or(|h| h.contains(": ")), "no refusal");
    };
    let request = match handshake::parse(bytes, Vec::new(), Paths::default()) {
        Ok(request) => request,
        Err(away) => return refused(away),
    };
    let id = request.raw_id.as_bytes();
    assert!(!id.is_empty() && id.len() <= 144 && memchr::memmem::find(bytes, id).is_some(), "the id is not from the request");
    assert!(id.iter().all(|b| *b > b' ' && *b != 0x7f && !b"/?#".contains(b)), "the id would break our request: {id:?}");
    let station = &request.station;
    assert!(!station.is_empty() && !station.contains(['/', '\\']) && !station.contains("..") && !station.chars().any(char::is_control));
    let credentials = request.authorization.as_deref().unwrap_or_default();
    assert!(credentials.iter().all(|b| !b"\r\n\0".contains(b)), "the credentials would break our request");
    assert!(!request.key.is_empty() && request.key.bytes().all(|b| b.is_ascii_graphic()), "no key");
    let offered = &request.offered;
    assert!(
        offered.iter().enumerate().all(|(at, version)| offered[..at].iter().all(|other| other.version != version.version)),
        "a version twice"
    );
    // Taken over into a request of ours, it is the same station with the same credentials.
    let protocols = offered.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut ours = format!(
        "GET /csms/{} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocols}\r\n",
        request.raw_id
    )
    .into_bytes();
    if request.authorization.is_some() {
        ours.extend([b"Authorization: ", credentials, b"\r\n"].concat());
    }
    ours.extend_from_slice(b"\r\n");
    let Ok(again) = handshake::parse(&ours, Vec::new(), Paths::default()) else { panic!("our request is not read: {ours:?}") };
    assert_eq!((&again.raw_id, &again.station, &again.offered), (&request.raw_id, &request.station, &request.offered));
    assert_eq!(again.authorization.as_deref().map(<[u8]>::trim_ascii), request.authorization.as_deref().map(<[u8]>::trim_ascii));
}

fn answer(bytes: &[u8], offer: &[Version]) {
    let placed;
    let bytes = match memchr::memmem::find(bytes, b"@accept@") {
        Some(at) => {
            placed = [&bytes[..at], ACCEPT, &bytes[at + 8..]].concat();
            &placed
        }
        None => bytes,
    };
    match upstream::read_answer(bytes, KEY, offer) {
        Ok(version) => {
            assert!(version.is_none_or(|v| offer.contains(&v)), "a version that was not offered");
            assert!(memchr::memmem::find(bytes, ACCEPT).is_some(), "upgraded without the right key");
        }
        Err(why) => {
            let Some(Refusal(status, reason, _)) = why.away().refusal else { panic!("the station is answered") };
            assert!((400..600).contains(&status) && !reason.is_empty(), "no refusal");
            assert!(!matches!(why, NoUpstream::Unreachable | NoUpstream::Tls), "it was there");
        }
    }
}
