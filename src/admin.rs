//! What an operator's tools read: health, readiness and metrics. Says nothing about a person or a single station.

mod listener;

use crate::reload::Watched;
use crate::tls::Server;
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the pages ask the running gateway.
pub trait Condition: Send + Sync + 'static {
    /// Whether new stations are served well: the store keeps, and nothing is stopping.
    fn ready(&self) -> bool;
    /// What is wrong, in closed words. Empty when healthy.
    fn troubles(&self) -> Vec<&'static str>;
    /// What works but should not be so: plain text, an observing policy.
    fn reservations(&self) -> Vec<&'static str>;
    /// The Prometheus page.
    fn metrics(&self) -> String;
    /// Period and name of every file of a signed release of statistics.
    fn releases(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    /// The bytes of one, the same at every request.
    fn release(&self, _period: &str, _file: &str) -> Option<Vec<u8>> {
        None
    }
}

/// The pages.
pub fn router(condition: Arc<dyn Condition>) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/healthz", get(health))
        .route("/health", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/statistics", get(releases))
        .route("/statistics/{period}/{file}", get(release))
        .with_state(condition)
}

/// Serves the pages, over TLS if there is any, for ever.
pub async fn serve(listener: TcpListener, tls: Option<Arc<Watched<Server>>>, condition: Arc<dyn Condition>) {
    let pages = router(condition);
    // Neither returns before it is dropped.
    let _ = match tls {
        Some(tls) => axum::serve(listener::Secure::new(listener, tls), pages).await,
        None => axum::serve(listener, pages).await,
    };
}

async fn health(State(condition): State<Arc<dyn Condition>>) -> Response {
    let (troubles, reservations) = (condition.troubles(), condition.reservations());
    let (code, status) = match (troubles.is_empty(), reservations.is_empty()) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy"),
        (true, false) => (StatusCode::OK, "degraded"),
        (true, true) => (StatusCode::OK, "healthy"),
    };
    let reasons: Vec<_> = troubles.into_iter().chain(reservations).collect();
    (code, axum::Json(json!({ "status": status, "reasons": reasons }))).into_response()
}

async fn ready(State(condition): State<Arc<dyn Condition>>) -> Response {
    if condition.ready() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
    }
}

async fn metrics(State(condition): State<Arc<dyn Condition>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], condition.metrics()).into_response()
}

async fn releases(State(condition): State<Arc<dyn Condition>>) -> Response {
    let mut periods = serde_json::Map::new();
    for (period, file) in condition.releases() {
        let files = periods.entry(period).or_insert_with(|| json!([]));
        files.as_array_mut().into_iter().for_each(|files| files.push(json!(file)));
    }
    axum::Json(periods).into_response()
}

/// Signed releases only, by the exact name of a file that was released: there is nothing else behind it to be had.
async fn release(State(condition): State<Arc<dyn Condition>>, UrlPath((period, file)): UrlPath<(String, String)>) -> Response {
    let kind = match file.rsplit_once('.').map(|(_, form)| form) {
        Some("json") => "application/json",
        Some("csv") => "text/csv; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    // A report runs nothing and loads nothing, whatever stands in a site register.
    let shut = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";
    match condition.release(&period, &file) {
        Some(bytes) => {
            let headers =
                [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, shut), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (headers, bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn home() -> Html<&'static str> {
    Html(
        "<!doctype html><html lang=\"en\"><title>Sluis</title><h1>Sluis</h1><p>An EV charging privacy gateway.</p>\
         <ul><li><a href=\"/healthz\">health</a><li><a href=\"/readyz\">readiness</a><li><a href=\"/metrics\">metrics</a><li><a href=\"/statistics\">statistics</a></ul></html>",
    )
}
