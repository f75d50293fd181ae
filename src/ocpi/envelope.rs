//! What every answer looks like: OCPI's envelope, whatever happened. Its words are ours: nothing that a caller sent is in a message.
//!
//! Sources: OCPI 2.2.1 §Transport and format (response format), §Status codes. HTTP tells only what never reached OCPI's own layer: JSON that is
//! none (400), a token nobody has (401), an object or a path that is not there (404), a method that is not for it (405).

use crate::clock::Timestamp;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::borrow::Cow;

/// OCPI: it went well.
pub(super) const SUCCESS: u16 = 1000;
/// OCPI: the caller did something wrong.
pub(super) const CLIENT_ERROR: u16 = 2000;
/// OCPI: a parameter is missing or cannot be read.
pub(super) const INVALID: u16 = 2001;
/// OCPI: too little to decide upon.
pub(super) const NOT_ENOUGH: u16 = 2002;
/// OCPI: there is no such token.
pub(super) const UNKNOWN_TOKEN: u16 = 2004;
/// OCPI: something is wrong here.
pub(super) const SERVER_ERROR: u16 = 3000;
/// OCPI: the caller's own interface cannot be used.
pub(super) const NO_API: u16 = 3001;
/// OCPI: no version in common.
pub(super) const NO_VERSION: u16 = 3002;
/// OCPI: an endpoint that is needed is not there.
pub(super) const NO_ENDPOINT: u16 = 3003;

/// What came of a request.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The HTTP status.
    pub(super) http: StatusCode,
    /// The OCPI status.
    pub(super) code: u16,
    message: Cow<'static, str>,
    data: Option<Written>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// JSON text. Prints nothing of it: it may hold a token.
struct Written(String);

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[data]")
    }
}

impl Outcome {
    fn new(http: StatusCode, code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { http, code, message: message.into(), data: None, headers: Vec::new() }
    }

    /// Done, and there is nothing to say.
    pub(super) fn done() -> Self {
        Self::new(StatusCode::OK, SUCCESS, "Success")
    }

    /// Done; this is the answer.
    pub(super) fn data(data: &Value) -> Self {
        Self::text(data.to_string())
    }

    /// Done; this JSON text is the answer, byte for byte.
    pub(super) fn text(data: String) -> Self {
        Self { data: Some(Written(data)), ..Self::done() }
    }

    /// Refused by OCPI's own layer.
    pub(super) fn refused(code: u16, message: &'static str) -> Self {
        Self::new(StatusCode::OK, code, message)
    }

    /// A parameter or field, named by a word of ours, is missing or cannot be read.
    pub(super) fn invalid(what: &'static str) -> Self {
        Self::new(StatusCode::OK, INVALID, format!("Invalid or missing: {what}"))
    }

    /// The body is no JSON of the right kind.
    pub(super) fn no_json() -> Self {
        Self::new(StatusCode::BAD_REQUEST, INVALID, "The body is no JSON object")
    }

    /// Nobody that we know, or nobody who may receive anything today: one answer for all.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, CLIENT_ERROR, "Unauthorized")
    }

    /// There is no such path.
    pub(super) fn nowhere() -> Self {
        Self::new(StatusCode::NOT_FOUND, CLIENT_ERROR, "Not found")
    }

    /// There is no such token: the one answer for unknown, foreign and erased (R25).
    pub(super) fn unknown_token() -> Self {
        Self::new(StatusCode::NOT_FOUND, UNKNOWN_TOKEN, "Unknown token")
    }

    /// The path has no such method.
    pub(super) fn no_method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, CLIENT_ERROR, "Method not allowed").header(ALLOW, HeaderValue::from_static(allowed))
    }

    /// Something is wrong here; a later try may go well.
    pub(super) fn trouble() -> Self {
        Self::new(StatusCode::OK, SERVER_ERROR, "Server error")
    }

    /// The same, answered as HTTP 201.
    #[must_use]
    pub(super) fn created(self) -> Self {
        Self { http: StatusCode::CREATED, ..self }
    }

    /// The same with one more header.
    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The class of the answer, for metrics: a closed list.
    pub(super) fn class(&self) -> &'static str {
        match (self.http, self.code) {
            (StatusCode::UNAUTHORIZED, _) => "401",
            (StatusCode::BAD_REQUEST, _) => "400",
            (StatusCode::METHOD_NOT_ALLOWED, _) => "405",
            (StatusCode::NOT_FOUND, _) => "404",
            (_, ..2000) => "1xxx",
            (_, ..3000) => "2xxx",
            _ => "3xxx",
        }
    }

    /// As it goes out.
    pub(super) fn into_response(self, now: Timestamp) -> Response<Full<Bytes>> {
        let mut text = String::from("{");
        if let Some(Written(data)) = &self.data {
            text.push_str("\"data\":");
            text.push_str(data);
            text.push(',');
        }
        let rest = json!({ "status_code": self.code, "status_message": self.message, "timestamp": now.rfc3339() }).to_string();
        text.push_str(&rest[1..]);
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = self.http;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn data_goes_out_byte_for_byte_inside_the_envelope() {
        let response = Outcome::text("[{\"total_energy\":1.50}]".into()).into_response(Timestamp(1_795_514_400_000));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body,
            r#"{"data":[{"total_energy":1.50}],"status_code":1000,"status_message":"Success","timestamp":"2026-11-24T10:00:00Z"}"#
        );
        let response = Outcome::unauthorized().into_response(Timestamp(0));
        assert_eq!(response.status(), 401);
        let body: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert!(body.get("data").is_none() && body["status_code"] == 2000);
    }
}
