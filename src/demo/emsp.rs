//! The demo's e-MSPs: each an OCPI server that gives its tokens away to the operator's gateway and takes CDRs from it. What comes in is read with
//! the e-MSP's own key and its own list of customers, as `sluis emsp resolve` would. One of them loses an answer now and then, to see
//! whether it gets the CDR twice.

use super::cast::{self, Customer, bare};
use super::ledger::Ledger;
use super::papers::Door;
use super::screen::{Ink, Screen};
use super::wire::Trouble;
use crate::emsp::{Bill, CdrsError, Customers, each};
use crate::keys::DomainShare;
use crate::recipient::Ocpi;
use crate::secret::Sensitive;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The largest request that is read.
const LARGEST: usize = 1 << 20;
/// CDRs kept: a demo that ran all night has fewer.
const MAX_KEPT: usize = 100_000;
/// The second e-MSP loses its answer to each CDR of this number.
const LOSES: usize = 4;

/// An e-MSP.
pub(super) struct Emsp {
    pub(super) cast: &'static cast::Emsp,
    place: usize,
    token: String,
    ledger: Arc<Ledger>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    customers: Customers,
    received: Vec<Received>,
    known: BTreeSet<String>,
    counts: Counts,
    /// Everything in its CDRs that could point to somebody.
    names: BTreeSet<String>,
    /// Whether a bill is shown as it comes in.
    aloud: bool,
}

/// A CDR that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) bill: Bill,
    /// Whose it is; `None` if the e-MSP cannot tell.
    pub(super) customer: Option<Customer>,
}

/// What an e-MSP has counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Answers lost on purpose.
    pub(super) lost: u64,
    /// CDRs that came again after they had been accepted.
    pub(super) again: u64,
    /// Requests that were refused.
    pub(super) refused: u64,
}

impl Emsp {
    /// Opens an e-MSP; returns where it is and what lets the operator in.
    pub(super) async fn start(place: usize, ledger: Arc<Ledger>) -> Result<(Arc<Self>, Door), Trouble> {
        let failed = |why: String| Trouble::Surroundings("no port for an e-MSP", why);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| failed(e.to_string()))?;
        let port = listener.local_addr().map_err(|e| failed(e.to_string()))?.port();
        let mut random = [0; 16];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).map_err(|_| failed("no random bytes".to_owned()))?;
        let token = random.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let emsp = Arc::new(Self { cast: &cast::EMSPS[place], place, token: token.clone(), ledger, inner: Mutex::default() });
        let router = axum::Router::new().fallback(take).with_state(Arc::clone(&emsp));
        tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok((emsp, Door { port, token }))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its customers, each card once, in the spelling of the first station that the customer comes by.
    fn customers(&self) -> impl Iterator<Item = (cast::Token, Customer)> {
        let ours = cast::customers().filter(|(_, customer)| customer.emsp == self.place);
        ours.map(|(token, customer)| (bare(token.text), (token, customer))).collect::<BTreeMap<_, _>>().into_values()
    }

    /// Takes the key that the operator has handed over, as it stands in its file, and makes the codes of its customers with it.
    pub(super) fn learns(&self, key: &Sensitive<String>) -> Result<(), Trouble> {
        let failed = |why: String| Trouble::Surroundings("an e-MSP cannot use its key", why);
        let share = DomainShare::parse(key).map_err(|e| failed(e.to_string()))?;
        let mut list = "uid,contract_id,customer\n".to_owned();
        for (token, customer) in self.customers() {
            let _ = writeln!(list, "{},{},{}", token.text, customer.contract, customer.number);
        }
        let customers = Customers::read(list.as_bytes(), &[share]).map_err(|e| failed(e.to_string()))?;
        self.with(|inner| inner.customers = customers);
        Ok(())
    }

    /// Shows bills as they come in, from now on.
    pub(super) fn aloud(&self) {
        self.with(|inner| inner.aloud = true);
    }

    /// The CDRs that were accepted, in the order they came.
    pub(super) fn received(&self) -> Vec<Received> {
        self.with(|inner| inner.received.clone())
    }

    /// What was counted.
    pub(super) fn counts(&self) -> Counts {
        self.with(|inner| inner.counts)
    }

    /// Everything in its CDRs that could point to somebody.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.with(|inner| inner.names.clone())
    }

    /// Whether it can tell whose a CDR is, its own or a stray one.
    pub(super) fn can_read(&self, bill: &Bill) -> bool {
        self.with(|inner| inner.customers.whose(bill).is_some())
    }

    fn is_let_in(&self, request: &axum::http::request::Parts) -> bool {
        let shown = request.headers.get("authorization").and_then(|value| value.to_str().ok());
        let token = if self.cast.version == Ocpi::V211 { self.token.clone() } else { STANDARD.encode(&self.token) };
        shown == Some(&format!("Token {token}"))
    }

    /// Its tokens as OCPI has them: the one place where the operator is told cards, by their owner.
    fn tokens(&self) -> Vec<Value> {
        let token = |(token, customer): (cast::Token, Customer)| {
            let kind = if token.kind == "eMAID" { "OTHER" } else { "RFID" };
            let mut object = json!({
                "uid": token.text, "type": kind, "issuer": self.cast.name, "valid": true, "whitelist": "ALLOWED",
                "last_updated": "2026-11-01T00:00:00Z",
            });
            if self.cast.version == Ocpi::V211 {
                object["auth_id"] = json!(customer.contract);
            } else {
                let (country, party) = self.cast.party.split_at(2);
                object["contract_id"] = json!(customer.contract);
                object["country_code"] = json!(country);
                object["party_id"] = json!(party.trim_start_matches('-'));
            }
            object
        };
        self.customers().map(token).collect()
    }

    /// How many tokens it has.
    pub(super) fn holds(&self) -> usize {
        self.customers().count()
    }

    fn answer(&self, request: &axum::http::request::Parts, body: &Bytes) -> Response<Body> {
        let module = request.uri.path().rsplit('/').next().unwrap_or_default();
        match (&request.method, module) {
            _ if !self.is_let_in(request) => {
                self.with(|inner| inner.counts.refused += 1);
                envelope(StatusCode::UNAUTHORIZED, 2000, None)
            }
            (&Method::GET, "tokens") => {
                let answer = Value::from(self.tokens());
                self.ledger.told_by_emsp(answer.to_string().as_bytes());
                envelope(StatusCode::OK, 1000, Some(answer))
            }
            (&Method::POST, "cdrs") => self.takes(request, body),
            _ => {
                self.with(|inner| inner.counts.refused += 1);
                envelope(StatusCode::NOT_FOUND, 2000, None)
            }
        }
    }

    fn takes(&self, request: &axum::http::request::Parts, body: &Bytes) -> Response<Body> {
        let mut bills = Vec::new();
        let read = each(&body[..], |bill| {
            bills.push(bill);
            Ok::<_, CdrsError>(())
        });
        let (Ok(()), Some(bill), Ok(cdr)) = (read, bills.pop(), serde_json::from_slice::<Value>(body)) else {
            self.with(|inner| inner.counts.refused += 1);
            return envelope(StatusCode::OK, 2001, None);
        };
        let url = format!("{}/{}", request.uri.path(), bill.id);
        let (status, shown) = self.with(|inner| {
            if inner.known.contains(&bill.id) {
                inner.counts.again += 1;
                return (StatusCode::OK, None);
            }
            if inner.received.len() >= MAX_KEPT {
                return (StatusCode::INSUFFICIENT_STORAGE, None);
            }
            names(&cdr, &mut inner.names);
            let number = inner.customers.whose(&bill).and_then(|found| found.name).map(|name| name.expose().clone()); // its own customer's
            let customer = number.and_then(|number| self.customers().map(|(_, customer)| customer).find(|c| c.number == number));
            inner.known.insert(bill.id.clone());
            let received = Received { bill, customer };
            inner.received.push(received.clone());
            let shown = inner.aloud.then_some(received);
            if self.place == 1 && inner.received.len() % LOSES == 0 {
                inner.counts.lost += 1;
                return (StatusCode::SERVICE_UNAVAILABLE, shown);
            }
            (StatusCode::CREATED, shown)
        });
        if let Some(received) = shown {
            let code = self.known_to_csms(&received);
            self.ledger.say(|screen| {
                screen.line(&[(Ink::Plain, "  ▶ "), (Ink::Bold, self.cast.name), (Ink::Plain, " was sent a CDR, and bills:")]);
                show(screen, self.cast, &received, code.as_deref());
            });
        }
        let mut answer = envelope(status, if status.is_success() { 1000 } else { 3000 }, None);
        if let Ok(url) = url.parse() {
            answer.headers_mut().insert("location", url);
        }
        answer
    }

    /// The code by which the central system knows the driver of a CDR.
    pub(super) fn known_to_csms(&self, received: &Received) -> Option<String> {
        let customer = received.customer?;
        let (token, _) = self.customers().find(|(_, other)| *other == customer)?;
        self.ledger.code_of(token.text)
    }
}

async fn take(State(emsp): State<Arc<Emsp>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST).await else { return envelope(StatusCode::PAYLOAD_TOO_LARGE, 2001, None) };
    let head = format!("{} {} {:?}\n", parts.method, parts.uri, parts.headers);
    emsp.ledger.at_emsp(emsp.cast.place, &[head.as_bytes(), &body].concat());
    emsp.answer(&parts, &body)
}

fn envelope(http: StatusCode, status: u16, data: Option<Value>) -> Response<Body> {
    let mut envelope = json!({"status_code": status, "timestamp": crate::clock::now().rfc3339()});
    if let Some(data) = data {
        envelope["data"] = data;
    }
    let mut answer = Response::new(Body::from(envelope.to_string()));
    *answer.status_mut() = http;
    answer.headers_mut().insert("content-type", axum::http::HeaderValue::from_static("application/json"));
    answer
}

/// Members of a CDR that speak of the operator, the place, the price or the time, and not of a driver.
const PUBLIC: [&str; 17] = [
    "cdr_location",
    "location",
    "tariffs",
    "charging_periods",
    "currency",
    "country_code",
    "party_id",
    "auth_method",
    "type",
    "start_date_time",
    "end_date_time",
    "stop_date_time",
    "last_updated",
    "total_cost",
    "total_energy",
    "total_time",
    "total_parking_time",
];

/// Every text in a CDR but what is public: what is not known counts as a name.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            found.insert(text.to_ascii_uppercase());
        }
        Value::Array(all) => all.iter().for_each(|value| names(value, found)),
        Value::Object(members) => {
            members.iter().filter(|(name, _)| !PUBLIC.contains(&name.as_str())).for_each(|(_, value)| names(value, found));
        }
        _ => {}
    }
}

/// A line of an invoice, and beneath it what each side knows of the driver.
pub(super) fn show(screen: &mut Screen, emsp: &cast::Emsp, received: &Received, csms: Option<&str>) {
    let Received { bill, customer } = received;
    let who = customer.map_or("customer of whom it cannot tell".to_owned(), |customer| format!("customer {}", customer.number));
    let kwh = bill.energy_kwh.map(|kwh| format!("{kwh:.3}")).unwrap_or_default();
    let (total, vat) = bill.total_incl_vat.map_or((bill.total_excl_vat, "excl. VAT"), |incl| (Some(incl), "incl. VAT"));
    let total = total.map(|total| format!("{:.2}", total.round_dp(2))).unwrap_or_default();
    let (day, from, to) = (bill.start.get(..10).unwrap_or("?"), bill.start.get(11..16).unwrap_or("?"), bill.end.get(11..16).unwrap_or("?"));
    let what = format!("  {kwh:>7} kWh  {} {total:>6} {vat}  {}, {day} {from}–{to}", bill.currency, bill.place);
    screen.line(&[(Ink::Plain, "  "), (Ink::Bold, &who), (Ink::Plain, &what)]);
    let code = bill.card.map(|code| code.to_string()).unwrap_or_default();
    screen.line(&[
        (Ink::Faint, "      to the central system: "),
        match (csms, customer) {
            (Some(code), _) => (Ink::Code, code),
            (None, Some(_)) => (Ink::Clear, "the card itself"), // a policy that only observes
            (None, None) => (Ink::Plain, "?"),
        },
        (Ink::Faint, &format!("   to {}: ", emsp.name)),
        (Ink::Code, &code),
    ]);
}
