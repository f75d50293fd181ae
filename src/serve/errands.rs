//! What others ask of delivery over OCPI.

use crate::delivery::{Delivery, Doorbell};
use crate::ocpi::client::{Authorization, Trouble};
use crate::ocpi::server;
use crate::vault::tokens::EmspToken;
use serde_json::Value;
use std::collections::HashSet;

/// What the OCPI surface has delivery do.
pub(super) struct Errands {
    pub(super) delivery: Option<Delivery>,
    pub(super) doorbell: Doorbell,
    /// Ids of homes and of their EVSEs, in upper case.
    pub(super) homes: HashSet<String>,
}

impl Errands {
    /// Whether a place is somebody's home: an e-MSP knows it by another name, if at all (R04, R13).
    fn is_home(&self, place: &Value) -> bool {
        let evses = place["evse_uids"].as_array().into_iter().flatten();
        let mut ids = evses.chain([&place["location_id"]]).filter_map(Value::as_str);
        ids.any(|id| self.homes.contains(&id.to_ascii_uppercase()))
    }
}

impl server::Errands for Errands {
    fn ask<'a>(&'a self, token: &'a EmspToken, location: Option<&'a Value>) -> server::Asking<'a> {
        Box::pin(async move {
            let Some(delivery) = &self.delivery else { return Err(Trouble::NoWay) };
            match location.filter(|place| self.is_home(place)) {
                // Asked without a place: what it says holds for this one.
                Some(home) => {
                    let said = delivery.authorize(token, None).await?;
                    Ok(Authorization { location: (said.allowed == "ALLOWED").then(|| home.clone()), ..said })
                }
                None => delivery.authorize(token, location).await,
            }
        })
    }

    fn tokens_changed(&self) {
        self.doorbell.tokens();
    }

    fn parties_changed(&self) {
        self.doorbell.parties();
    }
}
