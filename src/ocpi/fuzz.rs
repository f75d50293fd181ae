//! Any bytes as a request, and what must hold of every answer: for fuzz targets and for the tests that replay their corpus.

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use serde_json::Value;

/// Reads bytes as a request: a line of method and target, lines of headers, an empty line, the body. A header `token` followed by a digit stands for
/// one of the `tokens`. `None` for what no HTTP library would hand on.
pub fn request(bytes: &[u8], tokens: &[&str]) -> Option<Request<Bytes>> {
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::new(Bytes::copy_from_slice(body));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = target.parse::<Uri>().ok()?;
    for line in lines.take(64) {
        if let [b't', b'o', b'k', b'e', b'n', digit] = line {
            let token = tokens.get(usize::from(digit.wrapping_sub(b'0')))?;
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&format!("Token {token}")).ok()?);
        } else if let Some(at) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = (HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(&line[at + 1..]).ok()?);
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}

/// What must hold of every answer: a status of those that OCPI leaves to HTTP, JSON, an envelope, and ids that say nothing.
///
/// # Errors
/// What does not hold.
pub fn conforms(response: &Response<Bytes>) -> Result<(), &'static str> {
    let envelope: Value = serde_json::from_slice(response.body()).map_err(|_| "the body is no JSON")?;
    let code = envelope.get("status_code").and_then(Value::as_u64).ok_or("no status_code")?;
    let classes = match response.status().as_u16() {
        200 => 1000..4000,
        201 => 1000..2000,
        400 | 401 | 404 | 405 => 2000..3000,
        _ => return Err("an HTTP status that OCPI has no use for"),
    };
    let text = |name: &str| envelope.get(name).and_then(Value::as_str);
    let names = ["data", "status_code", "status_message", "timestamp"];
    let id = |name: &str| response.headers().get(name).and_then(|id| id.to_str().ok()).is_some_and(|id| (1..=64).contains(&id.len()));
    let checks = [
        (classes.contains(&code), "HTTP and OCPI status do not fit"),
        (text("timestamp").and_then(super::token::moment).is_some(), "no timestamp"),
        (text("status_message").is_some_and(|text| (1..=255).contains(&text.len())), "no status_message"),
        (code < 2000 || envelope.get("data").is_none(), "data in a refusal"),
        (envelope.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&name.as_str()))), "a field too many"),
        (response.headers().get("content-type").is_some_and(|kind| kind == "application/json"), "no content type"),
        (id("x-request-id") && id("x-correlation-id"), "no ids"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
}
