//! The demo's ends of a line: one text frame at a time over a WebSocket, reported to the ledger, and worded by the types of `rust-ocpp`
//! where it has them (1.6 and 2.0.1; not 2.1, not the security extension of 1.6).

use super::ledger::Ledger;
use crate::ocpp::{Side, Version};
use futures_util::{SinkExt, StreamExt};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How long an end waits for an answer. The gateway needs a millisecond.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The largest message an end accepts.
const LARGEST: usize = 256 << 10;

/// Why a part of the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The line to the gateway broke.
    #[error("the line of {0} broke: {1}")]
    Line(String, &'static str),
    /// No answer came.
    #[error("{0} had no answer to its {1}")]
    Silence(String, String),
    /// A message of the demo is not what the standard says.
    #[error("the demo's own {0} is worded wrongly: {1}")]
    Wording(String, String),
    /// Something of the surroundings: a port, a directory.
    #[error("{0}: {1}")]
    Surroundings(&'static str, String),
}

/// Socket settings of both ends.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(8192).max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST))
}

/// One end of one station's line.
pub(super) struct Line {
    socket: WebSocketStream<TcpStream>,
    pub(super) station: String,
    side: Side,
    ledger: Arc<Ledger>,
    next: u64,
}

impl Line {
    pub(super) fn new(socket: WebSocketStream<TcpStream>, station: &str, side: Side, ledger: Arc<Ledger>) -> Self {
        Self { socket, station: station.to_owned(), side, ledger, next: 0 }
    }

    /// Sends a CALL and returns its id.
    pub(super) async fn call(&mut self, action: &str, payload: &Value) -> Result<String, Trouble> {
        self.next += 1;
        // Few letters and digits: such an id could not hold a card number, so the gateway leaves it as it is.
        let id = format!("{}{}", if self.side == Side::Station { "s" } else { "c" }, self.next);
        self.send(&json!([2, id, action, payload])).await?;
        Ok(id)
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, frame: &Value) -> Result<(), Trouble> {
        let text = frame.to_string();
        self.ledger.sent(&self.station, self.side, &text);
        self.socket.send(Message::text(text)).await.map_err(|_| self.broken("it could not be written to"))
    }

    /// The next frame. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Value, Trouble> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.ledger.received(&self.station, self.side, &text);
                    return serde_json::from_str(&text).map_err(|_| self.broken("what came is not JSON"));
                }
                Some(Ok(Message::Close(_))) | None => return Err(self.broken("it was closed")),
                Some(Ok(_)) => {}
                Some(Err(_)) => return Err(self.broken("it could not be read from")),
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        let _ = self.socket.close(None).await; // it may be closed already
    }

    fn broken(&self, why: &'static str) -> Trouble {
        Trouble::Line(format!("{} ({} end)", self.station, self.side.name()), why)
    }
}

/// Words a payload by its type in `rust-ocpp`. What that does not have stays as it is.
///
/// # Errors
/// The payload is not what the type wants, or would lose something by it.
pub(super) fn worded(version: Version, action: &str, answer: bool, payload: Value) -> Result<Value, Trouble> {
    macro_rules! typed {
        ($($of:ident, $action:literal, $place:ident :: {$request:ident, $response:ident};)*) => {
            match (version, action) {
                $((Version::$of, $action) => {
                    typed!(@root $of $place {$request $response})
                })*
                _ => return Ok(payload),
            }
        };
        (@root V16 $place:ident {$request:ident $response:ident}) => {
            if answer { through::<rust_ocpp::v1_6::messages::$place::$response> } else { through::<rust_ocpp::v1_6::messages::$place::$request> }
        };
        (@root V201 $place:ident {$request:ident $response:ident}) => {
            if answer { through::<rust_ocpp::v2_0_1::messages::$place::$response> } else { through::<rust_ocpp::v2_0_1::messages::$place::$request> }
        };
    }
    let through: fn(&Value) -> Result<Value, serde_json::Error> = typed! {
        V16, "Authorize", authorize::{AuthorizeRequest, AuthorizeResponse};
        V16, "BootNotification", boot_notification::{BootNotificationRequest, BootNotificationResponse};
        V16, "DataTransfer", data_transfer::{DataTransferRequest, DataTransferResponse};
        V16, "GetDiagnostics", get_diagnostics::{GetDiagnosticsRequest, GetDiagnosticsResponse};
        V16, "Heartbeat", heart_beat::{HeartbeatRequest, HeartbeatResponse};
        V16, "MeterValues", meter_values::{MeterValuesRequest, MeterValuesResponse};
        V16, "RemoteStartTransaction", remote_start_transaction::{RemoteStartTransactionRequest, RemoteStartTransactionResponse};
        V16, "RemoteStopTransaction", remote_stop_transaction::{RemoteStopTransactionRequest, RemoteStopTransactionResponse};
        V16, "ReserveNow", reserve_now::{ReserveNowRequest, ReserveNowResponse};
        V16, "SendLocalList", send_local_list::{SendLocalListRequest, SendLocalListResponse};
        V16, "StartTransaction", start_transaction::{StartTransactionRequest, StartTransactionResponse};
        V16, "StatusNotification", status_notification::{StatusNotificationRequest, StatusNotificationResponse};
        V16, "StopTransaction", stop_transaction::{StopTransactionRequest, StopTransactionResponse};
        V16, "TriggerMessage", trigger_message::{TriggerMessageRequest, TriggerMessageResponse};
        V201, "Authorize", authorize::{AuthorizeRequest, AuthorizeResponse};
        V201, "BootNotification", boot_notification::{BootNotificationRequest, BootNotificationResponse};
        V201, "GetLog", get_log::{GetLogRequest, GetLogResponse};
        V201, "Heartbeat", heartbeat::{HeartbeatRequest, HeartbeatResponse};
        V201, "RequestStartTransaction", request_start_transaction::{RequestStartTransactionRequest, RequestStartTransactionResponse};
        V201, "RequestStopTransaction", request_stop_transaction::{RequestStopTransactionRequest, RequestStopTransactionResponse};
        V201, "ReserveNow", reserve_now::{ReserveNowRequest, ReserveNowResponse};
        V201, "SecurityEventNotification", security_event_notification::{SecurityEventNotificationRequest, SecurityEventNotificationResponse};
        V201, "SendLocalList", send_local_list::{SendLocalListRequest, SendLocalListResponse};
        V201, "StatusNotification", status_notification::{StatusNotificationRequest, StatusNotificationResponse};
        V201, "TransactionEvent", transaction_event::{TransactionEventRequest, TransactionEventResponse};
        V201, "TriggerMessage", trigger_message::{TriggerMessageRequest, TriggerMessageResponse};
    };
    let wrong = |why: String| Trouble::Wording(format!("{action} ({})", version.number()), why);
    let worded = through(&payload).map_err(|e| wrong(e.to_string()))?;
    match lost(&payload, &worded) {
        Some(name) => Err(wrong(format!("{name} is not in the standard"))),
        None => Ok(worded),
    }
}

fn through<T: Serialize + DeserializeOwned>(payload: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(T::deserialize(payload)?)
}

/// A member that the type dropped: it does so in silence.
fn lost(was: &Value, is: &Value) -> Option<String> {
    match (was, is) {
        (Value::Object(was), is) => was.iter().find_map(|(name, value)| match is.get(name) {
            Some(kept) => lost(value, kept),
            None => Some(name.clone()),
        }),
        (Value::Array(was), is) => {
            was.iter().enumerate().find_map(|(at, value)| is.get(at).map_or(Some(at.to_string()), |kept| lost(value, kept)))
        }
        _ => None,
    }
}
