//! A house with real keys, a real store and real stations' conversations; e-MSPs with agreements; and a clerk who bills.

use sluis::billing::office::Office;
use sluis::billing::{BATCH, Clerk, Desk, Draft};
use sluis::charging::Patience;
use sluis::clock::Timestamp;
use sluis::config::BillingConfig;
use sluis::custody::{Custody, Opening, Role};
use sluis::identity::{Codes, Declared, Identifier, Sighting};
use sluis::ocpp::{Side, Version};
use sluis::policy::{Namespace, Rules};
use sluis::recipient::{Ocpi, Party, Recipient, Recipients};
use sluis::secret::Sensitive;
use sluis::session::Session;
use sluis::store::{CdrRow, CdrState};
use sluis::vault::tokens::EmspToken;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// 2026-11-24T10:00:00Z, a Tuesday.
pub const TEN: i64 = 1_795_514_400_000;
pub const CARD: &str = "04A1B2C3D4E5F6";
pub const MINUTE: i64 = 60_000;
/// Long after everything that waits has waited enough, and still the same agreements hold.
pub const LATER: Timestamp = Timestamp(TEN + 7 * 86_400_000);

pub const SITES: &str = "station,evse,connector,location_id,evse_uid,evse_id,connector_id,address,city,country,latitude,longitude,standard,format,power_type,tariff
CS-1,*,*,LOC1,EVSE1,NL*CPO*E1,1,Dam 1,Amsterdam,NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,T1
CS-2,*,*,LOC2,EVSE2,NL*CPO*E2,1,Dam 2,Amsterdam,NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,T1
CS-3,*,*,LOC3,EVSE3,NL*CPO*E3,1,Dam 3,Amsterdam,NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,T1
CS-H,*,*,LOCH,EVSEH,NL*CPO*EH,1,Kerkstraat 7,Gouda,NLD,52.01150,4.71100,IEC_62196_T2,SOCKET,AC_3_PHASE,T1
CS-F,*,*,LOCF,EVSEF,NL*CPO*EF,1,Dam 4,Amsterdam,NLD,52.37020,4.89520,IEC_62196_T2,SOCKET,AC_3_PHASE,
";
pub const TARIFFS: &str = r#"[{"country_code":"NL","party_id":"CPO","id":"T1","currency":"EUR","elements":[{"price_components":[
{"type":"ENERGY","price":0.40,"vat":21,"step_size":1},{"type":"FLAT","price":0.50,"vat":21,"step_size":1}]}],"last_updated":"2026-01-01T00:00:00Z"}]"#;

/// Three e-MSPs, one for each version of OCPI.
pub const OLD: &str = "NL-OLD";
pub const ABC: &str = "NL-ABC";
pub const NEW: &str = "DE-NEW";

pub fn party(text: &str) -> Party {
    Party::parse(text).unwrap()
}

pub fn recipient(name: &str, version: Ocpi, ranges: &[&str]) -> Recipient {
    Recipient {
        party: party(name),
        name: name.to_owned(),
        agreement: "DPA 1".to_owned(),
        valid: [Some("2026-01-01".to_owned()), Some("2026-12-31".to_owned())],
        version,
        push: true,
        ranges: ranges.iter().map(|&range| range.to_owned()).collect(),
    }
}

pub fn recipients() -> Vec<Recipient> {
    vec![recipient(OLD, Ocpi::V211, &[]), recipient(ABC, Ocpi::V221, &["04AB*", "WEB-A*"]), recipient(NEW, Ocpi::V230, &["04ABCD*"])]
}

static RULES: LazyLock<Arc<Rules>> =
    LazyLock::new(|| Arc::new(Rules::compile("strict", vec![Namespace::parse("WEB-*").unwrap()]).unwrap()));

pub struct World {
    pub dir: tempfile::TempDir,
    pub custody: Arc<Custody>,
    pub desk: Arc<Desk>,
    pub config: BillingConfig,
    pub patience: Patience,
}

pub fn custody(dir: &Path, role: Role) -> Arc<Custody> {
    Arc::new(Custody::open(dir, None, &Opening::new(role, Timestamp(TEN))).unwrap())
}

impl World {
    pub fn new() -> Self {
        Self::with(recipients(), SITES, TARIFFS)
    }

    pub fn with(recipients: Vec<Recipient>, sites: &str, tariffs: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sites.csv"), sites).unwrap();
        fs::write(dir.path().join("tariffs.json"), tariffs).unwrap();
        let config = BillingConfig {
            cpo: party("NL-CPO"),
            name: "Operator".to_owned(),
            zone: chrono_tz::Tz::Europe__Amsterdam,
            sites: dir.path().join("sites.csv"),
            tariffs: Some(dir.path().join("tariffs.json")),
            settle: Patience::default().settle,
            max_age: Patience::default().max_age,
            keep_days: 400,
            least_wh: 100,
        };
        let desk = Arc::new(Desk::open(&config, Recipients::new(recipients)).unwrap());
        let custody = custody(&dir.path().join("data"), Role::Serve);
        Self { dir, custody, desk, config, patience: Patience::default() }
    }

    /// Another day: other agreements, or another register of sites.
    pub fn renew(&mut self, recipients: Vec<Recipient>, sites: &str) {
        fs::write(&self.config.sites, sites).unwrap();
        self.desk = Arc::new(Desk::open(&self.config, Recipients::new(recipients)).unwrap());
    }

    pub fn office(&self) -> Office<'_> {
        Office { custody: &self.custody, desk: &self.desk }
    }

    pub fn clerk(&self) -> Clerk {
        Clerk::open(Arc::clone(&self.desk), Arc::clone(&self.custody), self.patience, Timestamp(TEN)).unwrap()
    }

    /// Bills all that can be billed at `now`.
    pub async fn bill_at(&self, now: Timestamp) {
        let mut clerk = self.clerk();
        loop {
            let mut turn = clerk.turn(now, BATCH, &BTreeSet::new()).unwrap();
            let ops = std::mem::take(&mut turn.ops);
            let idle = ops.is_empty() && !turn.more;
            if !ops.is_empty() {
                self.custody.store().commit(ops).await.unwrap();
            }
            clerk.done(&turn);
            if idle {
                return;
            }
        }
    }

    pub async fn bill(&self) {
        self.bill_at(LATER).await;
    }

    /// An e-MSP pushes a token.
    pub async fn owns(&self, owner: &str, kind: &str, uid: &str, contract: &str) {
        let token = EmspToken {
            owner: party(owner),
            kind: kind.to_owned(),
            uid: Sensitive::new(uid.to_owned()),
            contract: Sensitive::new(contract.to_owned()),
            group: None,
            issuer: owner.to_owned(),
            valid: true,
            whitelist: "ALWAYS".to_owned(),
            language: None,
            updated: Timestamp(TEN),
            updated_text: "2026-11-24T10:00:00Z".to_owned(),
        };
        self.custody.vault.keep_token(&token).await.unwrap();
    }

    pub fn cdrs(&self) -> Vec<CdrRow> {
        cdrs(&self.custody)
    }

    pub fn in_state(&self, state: CdrState) -> Vec<CdrRow> {
        self.cdrs().into_iter().filter(|row| row.state == state).collect()
    }

    /// The only CDR there is.
    pub fn the_cdr(&self) -> CdrRow {
        let mut all = self.cdrs();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The code of an identifier in the central system's domain.
    pub async fn code(&self, original: &str) -> String {
        let identifier = Identifier::from_wire(original, Declared::Undeclared);
        let code = self.custody.keys.code(&identifier, None);
        self.custody.vault.record(&[Sighting { code, identifier }]).await.unwrap();
        code.to_string()
    }
}

/// All CDRs, in their order.
pub fn cdrs(custody: &Custody) -> Vec<CdrRow> {
    let mut all = Vec::new();
    for state in CdrState::ALL {
        let mut after = 0;
        loop {
            let page = custody.store().cdrs_in(state, None, after, 1000).unwrap();
            let Some(last) = page.last() else { break };
            after = last.seq;
            all.extend(page);
        }
    }
    all.sort_by_key(|row| row.seq);
    all
}

pub fn draft(row: &CdrRow) -> Draft {
    Draft::read(&row.draft).unwrap()
}

pub fn body(row: &CdrRow) -> serde_json::Value {
    serde_json::from_str(row.body.as_deref().unwrap()).unwrap()
}

/// A moment as stations write it, in minutes after ten.
pub fn time(minutes: i64) -> String {
    Timestamp(TEN + minutes * MINUTE).rfc3339()
}

/// A station below the gateway, and the central system above it.
pub struct Pole<'a> {
    world: &'a World,
    name: String,
    version: Version,
    session: Session,
    messages: u32,
    numbers: u32,
}

impl<'a> Pole<'a> {
    pub fn new(world: &'a World, name: &str, version: Version) -> Self {
        let session = Session::new(version, name, Arc::clone(&RULES), world.custody.keys.clone());
        Self { world, name: name.to_owned(), version, session, messages: 0, numbers: 0 }
    }

    /// A CALL of the station and its answer, through the gateway; facts are durable as they would be. Returns what the central system saw.
    pub async fn calls(&mut self, minutes: i64, action: &str, payload: &str, answer: &str) -> String {
        self.messages += 1;
        let id = format!("m{}", self.messages);
        let seen = self.passes(minutes, Side::Station, &format!("[2,\"{id}\",\"{action}\",{payload}]")).await;
        let id = seen.split('"').nth(1).unwrap().to_owned();
        self.passes(minutes, Side::Csms, &format!("[3,\"{id}\",{answer}]")).await;
        seen
    }

    async fn passes(&mut self, minutes: i64, from: Side, frame: &str) -> String {
        let custody = &self.world.custody;
        let now = Timestamp(TEN + minutes * MINUTE);
        let mut step = self.session.on_frame(from, frame.as_bytes(), now, &custody.vault);
        custody.vault.record(&step.sightings).await.unwrap();
        custody.journal.submit(&self.name, self.version, now, std::mem::take(&mut step.facts)).durable().await.unwrap();
        for (transaction, epoch) in &step.pins {
            match epoch {
                Some(epoch) => custody.vault.pin(&self.name, transaction, *epoch, now).await.unwrap(),
                None => custody.vault.unpin(&self.name, transaction).await.unwrap(),
            }
        }
        assert_eq!(step.send.len(), 1, "{frame} became {} frames", step.send.len());
        let (to, out) = step.send.remove(0);
        assert_eq!(to, from.other(), "{frame} was answered here: {}", out.as_str());
        out.into_text()
    }

    /// A whole session of so much energy, in half an hour from a minute on.
    pub async fn charges(&mut self, card: &str, from: i64, wh: u32) {
        self.numbers += 1;
        if self.version == Version::V16 {
            let number = self.numbers;
            let start = format!(r#"{{"connectorId":1,"idTag":"{card}","meterStart":1000,"timestamp":"{}"}}"#, time(from));
            let answer = format!(r#"{{"transactionId":{number},"idTagInfo":{{"status":"Accepted"}}}}"#);
            self.calls(from, "StartTransaction", &start, &answer).await;
            let stop =
                format!(r#"{{"transactionId":{number},"idTag":"{card}","meterStop":{},"timestamp":"{}"}}"#, 1000 + wh, time(from + 30));
            self.calls(from + 30, "StopTransaction", &stop, "{}").await;
        } else {
            let transaction = format!("tx-{}", self.numbers);
            self.event(from, &transaction, 0, "Started", Some(card), 1000).await;
            self.event(from + 30, &transaction, 1, "Ended", None, 1000 + wh).await;
        }
    }

    /// A TransactionEvent.
    pub async fn event(&mut self, at: i64, transaction: &str, seq: u32, kind: &str, card: Option<&str>, register: u32) {
        let reason = match kind {
            "Started" => "CablePluggedIn",
            "Ended" => "EVDeparted",
            _ => "MeterValuePeriodic",
        };
        let context = match kind {
            "Started" => "Transaction.Begin",
            "Ended" => "Transaction.End",
            _ => "Sample.Periodic",
        };
        let token = card.map(|card| format!(r#","idToken":{{"idToken":"{card}","type":"{}"}}"#, kind_of(card))).unwrap_or_default();
        let payload = format!(
            r#"{{"eventType":"{kind}","timestamp":"{0}","triggerReason":"{reason}","seqNo":{seq},"transactionInfo":{{"transactionId":"{transaction}"}},"evse":{{"id":1,"connectorId":1}}{token},"meterValue":[{{"timestamp":"{0}","sampledValue":[{{"value":{register},"context":"{context}"}}]}}]}}"#,
            time(at)
        );
        self.calls(at, "TransactionEvent", &payload, "{}").await;
    }
}

fn kind_of(card: &str) -> &'static str {
    if card.len() > 14 {
        "eMAID"
    } else if card.starts_with("WEB") {
        "Central"
    } else {
        "ISO14443"
    }
}
