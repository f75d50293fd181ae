//! A station that others wrote: complete sessions of the crate `ocpp-client` through a running gateway, in all three versions, and a
//! remote start that comes back down as the real card.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use ocpp_client::{Client, TokioExecutor, TokioTimer, TransportError, TransportEvent, TransportSink, TransportStream};
use serde_json::{Value, json};
use sluis::config::{Config, Flags};
use sluis::serve::Serving;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const CARD: &str = "04A2B3C4D5E6F7";
const PATIENCE: Duration = Duration::from_secs(20);

type Socket = WebSocketStream<TcpStream>;
type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), TransportError>> + Send + 'a>>;

/// Our socket, as the station's library wants it.
struct Out(SplitSink<Socket, Message>);
struct In(SplitStream<Socket>);

impl Out {
    fn push(&mut self, message: Message) -> Sent<'_> {
        Box::pin(async move { self.0.send(message).await.map_err(Into::into) })
    }
}

impl TransportSink for Out {
    fn send<'a>(&'a mut self, frame: String) -> Sent<'a> {
        self.push(Message::text(frame))
    }
    fn ping<'a>(&'a mut self, payload: Vec<u8>) -> Sent<'a> {
        self.push(Message::Ping(payload.into()))
    }
    fn pong<'a>(&'a mut self, payload: Vec<u8>) -> Sent<'a> {
        self.push(Message::Pong(payload.into()))
    }
    fn close<'a>(&'a mut self) -> Sent<'a> {
        Box::pin(async move { self.0.close().await.map_err(Into::into) })
    }
}

impl TransportStream for In {
    fn recv<'a>(&'a mut self) -> Pin<Box<dyn Future<Output = Result<Option<TransportEvent>, TransportError>> + Send + 'a>> {
        Box::pin(async move {
            while let Some(message) = self.0.next().await {
                match message? {
                    Message::Text(text) => return Ok(Some(TransportEvent::Frame(text.to_string()))),
                    Message::Ping(payload) => return Ok(Some(TransportEvent::Ping(payload.into()))),
                    Message::Pong(payload) => return Ok(Some(TransportEvent::Pong(payload.into()))),
                    Message::Close(_) => return Ok(None),
                    _ => {}
                }
            }
            Ok(None)
        })
    }
}

/// A central system that records what it gets and answers as the standard asks.
#[derive(Clone, Default)]
struct Csms {
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Csms {
    /// Serves one station; frames to send come through the channel.
    async fn serve(self, listener: TcpListener, mut orders: mpsc::Receiver<String>) {
        let (socket, _) = listener.accept().await.unwrap();
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let offered = request.headers().get("Sec-WebSocket-Protocol").unwrap().clone();
            response.headers_mut().insert("Sec-WebSocket-Protocol", offered);
            Ok(response)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(socket, choose).await.unwrap();
        loop {
            let message = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => { socket.send(Message::text(order)).await.unwrap(); continue }
                    None => return,
                },
                message = socket.next() => message,
            };
            let Some(Ok(Message::Text(text))) = message else { if matches!(message, Some(Ok(_))) { continue } else { return } };
            let frame: Value = serde_json::from_str(&text).unwrap();
            self.seen.lock().unwrap().push(frame.clone());
            if frame[0] == 2 {
                let now = "2026-11-24T10:00:00Z";
                let answer = match frame[2].as_str().unwrap() {
                    "BootNotification" => json!({"currentTime": now, "interval": 300, "status": "Accepted"}),
                    "Heartbeat" => json!({"currentTime": now}),
                    "Authorize" if frame[3].get("idTag").is_some() => json!({"idTagInfo": {"status": "Accepted"}}),
                    "Authorize" => json!({"idTokenInfo": {"status": "Accepted"}}),
                    "StartTransaction" => json!({"transactionId": 42, "idTagInfo": {"status": "Accepted"}}),
                    _ => json!({}),
                };
                socket.send(Message::text(json!([3, frame[1], answer]).to_string())).await.unwrap();
            }
        }
    }

    /// The payloads of the CALLs of an action.
    fn calls(&self, action: &str) -> Vec<Value> {
        self.seen.lock().unwrap().iter().filter(|f| f[0] == 2 && f[2] == action).map(|f| f[3].clone()).collect()
    }

    fn all(&self) -> String {
        self.seen.lock().unwrap().iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// A gateway, a central system behind it, and a socket of a station in front.
struct Scene {
    csms: Csms,
    orders: mpsc::Sender<String>,
    serving: Serving,
    _data: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let csms = Csms::default();
        let upstream = format!("ws://{}/csms", listener.local_addr().unwrap());
        let (orders, received) = mpsc::channel(8);
        tokio::spawn(csms.clone().serve(listener, received));
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("data").display().to_string();
        let values = vec![("listen", "127.0.0.1:0".into()), ("admin", "127.0.0.1:0".into()), ("upstream.url", upstream), ("data_dir", dir)];
        let config = Config::read(&Flags { config: None, values }, &|_| None).unwrap();
        Self { csms, orders, serving: Serving::start(&config).await.unwrap(), _data: data }
    }

    async fn station<E: ocpp_client::ProtocolError + 'static>(&self, protocol: &str) -> Client<E> {
        let mut request = format!("ws://{}/ocpp/CP-1", self.serving.listen).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        let tcp = TcpStream::connect(self.serving.listen).await.unwrap();
        let (socket, response) = tokio_tungstenite::client_async(request, tcp).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], protocol);
        let (sink, stream) = socket.split();
        Client::from_transport(Box::new(Out(sink)), Box::new(In(stream)), PATIENCE, Box::new(TokioExecutor), Box::new(TokioTimer))
    }

    /// Sends a CALL down; the station's answer is awaited by its id.
    async fn orders(&self, action: &str, payload: &Value) -> Value {
        let id = format!("o-{action}");
        self.orders.send(json!([2, &id[..id.len().min(36)], action, payload]).to_string()).await.unwrap();
        let answered = async {
            loop {
                let answer = self.csms.seen.lock().unwrap().iter().find(|f| f[0] != 2 && f[1] == id).cloned();
                if let Some(answer) = answer {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("the station answers")
    }
}

/// A request or answer of the library's own type, from JSON.
fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_1_6() {
    let scene = Scene::new().await;
    let station = scene.station::<ocpp_client::ocpp_1_6::OCPP1_6Error>("ocpp1.6").await;
    let (told, mut started) = mpsc::channel(1);
    station
        .on_remote_start_transaction(move |request, _| {
            let told = told.clone();
            async move {
                told.send(serde_json::to_value(&request).unwrap()).await.unwrap();
                Ok(typed(json!({"status": "Accepted"})))
            }
        })
        .await;
    station.on_reset(|_, _| async { Ok(typed(json!({"status": "Accepted"}))) }).await;
    station.send_boot_notification(typed(json!({"chargePointVendor": "Vendor", "chargePointModel": "Model"}))).await.unwrap();
    station.send_heartbeat(typed(json!({}))).await.unwrap();
    station.send_authorize(typed(json!({"idTag": CARD}))).await.unwrap();
    let start = json!({"connectorId": 1, "idTag": CARD, "meterStart": 1000, "timestamp": "2026-11-24T10:00:00Z"});
    let answer = station.send_start_transaction(typed(start.clone())).await.unwrap();
    assert_eq!(serde_json::to_value(&answer).unwrap()["transactionId"], 42);
    let meter = json!({"connectorId": 1, "transactionId": 42, "meterValue": [{"timestamp": "2026-11-24T10:15:00Z", "sampledValue": [{"value": "2500"}]}]});
    station.send_meter_values(typed(meter)).await.unwrap();
    let stop = json!({"transactionId": 42, "idTag": CARD, "meterStop": 9000, "timestamp": "2026-11-24T11:00:00Z"});
    station.send_stop_transaction(typed(stop)).await.unwrap();

    let code = scene.csms.calls("Authorize")[0]["idTag"].as_str().unwrap().to_owned();
    let seen = &scene.csms.calls("StartTransaction")[0];
    assert_eq!((&seen["idTag"], &seen["meterStart"]), (&json!(code), &json!(1000)));
    let seen = &scene.csms.calls("StopTransaction")[0];
    assert_eq!((&seen["idTag"], &seen["meterStop"]), (&json!(code), &json!(9000)));
    assert_eq!(scene.csms.calls("MeterValues")[0]["meterValue"][0]["sampledValue"][0]["value"], "2500");

    let answer = scene.orders("RemoteStartTransaction", &json!({"connectorId": 1, "idTag": code.to_lowercase()})).await;
    assert_eq!(answer[2]["status"], "Accepted");
    assert_eq!(started.recv().await.unwrap()["idTag"], CARD);
    assert_eq!(scene.orders("Reset", &json!({"type": "Soft"})).await[2]["status"], "Accepted");
    assert!(!scene.csms.all().to_uppercase().contains(CARD), "{}", scene.csms.all());
    scene.serving.stop().await;
}

/// 2.0.1 and 2.1 differ only in the types that the library has for them.
macro_rules! session_in_2 {
    ($name:ident, $error:ty, $protocol:literal) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let scene = Scene::new().await;
            let station = scene.station::<$error>($protocol).await;
            let (told, mut started) = mpsc::channel(1);
            station
                .on_request_start_transaction(move |request, _| {
                    let told = told.clone();
                    async move {
                        told.send(serde_json::to_value(&request).unwrap()).await.unwrap();
                        Ok(typed(json!({"status": "Accepted"})))
                    }
                })
                .await;
            station.on_reset(|_, _| async { Ok(typed(json!({"status": "Accepted"}))) }).await;
            let token = json!({"idToken": CARD, "type": "ISO14443"});
            station
                .send_boot_notification(typed(json!({"reason": "PowerUp", "chargingStation": {"model": "Model", "vendorName": "Vendor", "serialNumber": "SN04A2B3C4D5E6F7"}})))
                .await
                .unwrap();
            station.send_heartbeat(typed(json!({}))).await.unwrap();
            station.send_authorize(typed(json!({"idToken": token}))).await.unwrap();
            let event = |kind: &str, seq: u32, time: &str, wh: f64, context: &str| {
                json!({"eventType": kind, "timestamp": time, "triggerReason": "Authorized", "seqNo": seq, "idToken": token,
                       "transactionInfo": {"transactionId": "tx-04A2B3C4D5E6F7"}, "evse": {"id": 1, "connectorId": 1},
                       "meterValue": [{"timestamp": time, "sampledValue": [{"value": wh, "context": context}, {"value": 55.0, "measurand": "SoC"}]}]})
            };
            for (kind, seq, time, wh, context) in [
                ("Started", 0, "2026-11-24T10:00:00Z", 1000.0, "Transaction.Begin"),
                ("Updated", 1, "2026-11-24T10:15:00Z", 2500.5, "Sample.Periodic"),
                ("Ended", 2, "2026-11-24T11:00:00Z", 9000.25, "Transaction.End"),
            ] {
                station.send_transaction_event(typed(event(kind, seq, time, wh, context))).await.unwrap();
            }
            let code = scene.csms.calls("Authorize")[0]["idToken"]["idToken"].clone();
            let events = scene.csms.calls("TransactionEvent");
            assert_eq!(events.len(), 3);
            for (event, wh) in events.iter().zip([1000.0, 2500.5, 9000.25]) {
                assert_eq!(event["idToken"]["idToken"], code);
                assert_eq!(event["transactionInfo"]["transactionId"], events[0]["transactionInfo"]["transactionId"]);
                let samples = event["meterValue"][0]["sampledValue"].as_array().unwrap();
                assert_eq!((samples.len(), samples[0]["value"].as_f64()), (1, Some(wh)));
            }
            let remote = json!({"remoteStartId": 7, "evseId": 1, "idToken": {"idToken": code, "type": "ISO14443"}});
            assert_eq!(scene.orders("RequestStartTransaction", &remote).await[2]["status"], "Accepted");
            assert_eq!(started.recv().await.unwrap()["idToken"]["idToken"], CARD);
            assert_eq!(scene.orders("Reset", &json!({"type": "Immediate"})).await[2]["status"], "Accepted");
            assert!(!scene.csms.all().to_uppercase().contains(CARD), "{}", scene.csms.all());
            scene.serving.stop().await;
        }
    };
}

session_in_2!(a_session_in_2_0_1, ocpp_client::ocpp_2_0_1::OCPP2_0_1Error, "ocpp2.0.1");
session_in_2!(a_session_in_2_1, ocpp_client::ocpp_2_1::OCPP2_1Error, "ocpp2.1");
