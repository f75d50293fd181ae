//! URLs of other parties: put together, compared, and whether they may be called at all.

use hyper::Uri;
use std::fmt::Write;

/// A base URL with path segments after it, each percent-encoded (RFC 3986 §2.1); a query of the base stays at the end.
pub fn joined(base: &str, segments: &[&str]) -> String {
    let (path, query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
    let mut url = path.trim_end_matches('/').to_owned();
    for segment in segments {
        url.push('/');
        url.push_str(&encoded(segment));
    }
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// A base URL with one more parameter in its query; `value` is percent-encoded.
pub fn with_query(base: &str, name: &str, value: &str) -> String {
    let mark = if base.contains('?') { '&' } else { '?' };
    format!("{base}{mark}{name}={}", encoded(value))
}

/// Percent-encodes all but the unreserved characters.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Whether two URLs have the same scheme, host and port.
pub fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| {
        let uri: Uri = url.parse().ok()?;
        let tls = uri.scheme_str()? == "https";
        Some((tls, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(if tls { 443 } else { 80 })))
    };
    origin(one).is_some_and(|origin_of_one| origin(other) == Some(origin_of_one))
}

/// `https://`; `http://` only on this machine, or where plain text was asked for (R78). Parties tell their URLs in the exchange of
/// credentials, so what the configuration allows is asked again at each call.
pub(super) fn may_be_called(uri: &Uri, plaintext: bool) -> bool {
    let Some(host) = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']')) else { return false };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return false;
    }
    let here = host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => here || plaintext,
        _ => false,
    }
}

/// The URL of `rel="next"` in a `Link` header (RFC 8288 §3).
pub(super) fn next_page(header: &str) -> Option<String> {
    header.split('<').skip(1).find_map(|part| {
        let (url, parameters) = part.split_once('>')?;
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        is_next.then(|| url.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded_and_a_query_stays_last() {
        assert_eq!(joined("https://a.example/t/", &["04:A2/B3", "authorize"]), "https://a.example/t/04%3AA2%2FB3/authorize");
        assert_eq!(joined("https://a.example/t?key=1", &["x"]), "https://a.example/t/x?key=1");
        assert_eq!(with_query("https://a.example/t?key=1", "type", "RFID"), "https://a.example/t?key=1&type=RFID");
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next_page(r#"<https://a/1>; rel="prev", <https://a/2?x=1,2>; rel="next""#).as_deref(), Some("https://a/2?x=1,2"));
        assert_eq!(next_page("<https://a/2>;rel=next").as_deref(), Some("https://a/2"));
        for none in ["", "https://a/2; rel=next", "<https://a/2", "<https://a/2>; rel=\"last\""] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        assert!(same_origin("https://A.example/x", "https://a.example:443/y?z"));
        for other in ["http://a.example/x", "https://a.example:444/", "https://b.example/", "https://a.example.evil/", "/x", ""] {
            assert!(!same_origin("https://a.example/x", other), "{other}");
        }
    }

    #[test]
    fn plain_text_stays_on_this_machine_unless_asked_for() {
        let may = |url: &str, plaintext| url.parse().is_ok_and(|uri| may_be_called(&uri, plaintext));
        assert!(may("https://a.example/", false) && may("http://127.0.0.1:1/", false) && may("http://[::1]/", false));
        assert!(!may("http://a.example/", false) && may("http://a.example/", true));
        assert!(!may("https://user@a.example/", true) && !may("ftp://a.example/", true) && !may("/x", true));
    }
}
