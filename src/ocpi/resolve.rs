//! An own module: an e-MSP that keeps no key asks for one of its codes what it stands for. `POST {base}/{version}/resolve` with `{"code": "Z0…"}`
//! gives `{"uid": …, "contract_id": …}` to the owner of a CDR that carries the code as `cdr_token.uid`.
//!
//! Foreign, unknown, erased and withdrawn codes get one and the same answer (R25), and every answer leaves on the beat of a clock that starts with
//! the request, so that its time says nothing either. Each answer is a row in the disclosure log, at most one for a CDR and day; misses are
//! counted. The module is there for every e-MSP of the register, and not listed in the version details: OCPI lists own modules only where
//! they are agreed on.

use super::cdrs::csms_code;
use super::envelope::Outcome;
use super::peer::Who;
use super::server::{Failure, Surface, object};
use crate::ocpp::catalogue::Purpose;
use crate::recipient::Recipient;
use crate::store::CdrState;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Answers leave at whole multiples of this after their request came: longer than finding out takes.
const BEAT: Duration = Duration::from_millis(50);

impl Surface {
    pub(super) async fn resolve(&self, recipient: &Recipient, body: &Bytes) -> Result<Outcome, Failure> {
        let came = Instant::now();
        let found = self.find(recipient, body).await;
        let beats = came.elapsed().as_nanos() / BEAT.as_nanos() + 1;
        tokio::time::sleep_until(came + BEAT * u32::try_from(beats).unwrap_or(u32::MAX)).await;
        found
    }

    async fn find(&self, recipient: &Recipient, body: &Bytes) -> Result<Outcome, Failure> {
        let Some(said) = object(body) else { return Ok(Outcome::no_json()) };
        let Some(code) = said.get("code").and_then(Value::as_str) else { return Ok(Outcome::invalid("code")) };
        let (store, vault, owner) = (self.custody.store(), &self.custody.vault, recipient.party.to_string());
        let code = code.trim().to_ascii_uppercase();
        let row = store.cdr_by_code(&owner, &code)?;
        let row = row.filter(|row| matches!(row.state, CdrState::Queued | CdrState::Delivered | CdrState::Refused));
        let beside = row.as_ref().and_then(csms_code);
        // Asked in vain too, so that the same is done for all.
        let resolved = vault.resolve(&recipient.party, &code, beside.as_deref().unwrap_or_default())?;
        let (Some(row), Some(beside), Some(resolved)) = (row, beside, resolved) else {
            self.metrics.ocpi_resolved(false);
            return Ok(Outcome::unknown_token());
        };
        self.metrics.ocpi_resolved(true);
        let reference = format!("resolve {} {}", row.id, self.now().date());
        let fields = if resolved.contract.is_some() { "uid contract_id" } else { "uid" };
        self.disclose(Who::Emsp(recipient.party), Purpose::Bill, vault.subject(&beside), reference, fields.to_owned()).await?;
        // To the e-MSP whose customer it is, and to nobody else.
        let contract = resolved.contract.as_ref().map(|contract| contract.expose().as_str());
        Ok(Outcome::data(&json!({ "uid": resolved.uid.expose(), "contract_id": contract })))
    }
}
