//! What a frame of a conversation may weigh and how long an answer is waited for.

use super::budget::Allowance;
use crate::ocpp::Kind;
use std::time::Duration;

/// The bounds of one station's conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of a CALL of [`SHORT`].
    pub short: usize,
    /// The most bytes of a frame that is neither short nor long. A long one may have as many as the connection takes.
    pub middle: usize,
    /// How long a CALL may wait for its answer: longer than either end does, so that an answer they still want is never given up here.
    pub patience: Duration,
    /// How fast the station may send.
    pub station: Allowance,
}

impl Default for Bounds {
    /// 16 KiB, 128 KiB, five minutes (stations and central systems wait 30 seconds to two minutes), and the default allowance.
    fn default() -> Self {
        Self { short: 16 << 10, middle: 128 << 10, patience: Duration::from_secs(300), station: Allowance::default() }
    }
}

/// CALLs without any list: with every text at its longest, each is less than half of 8 KiB in all versions.
pub const SHORT: &[&str] = &[
    "AFRRSignal",
    "BootNotification",
    "CancelReservation",
    "ChangeAvailability",
    "ChangeConfiguration",
    "ClearCache",
    "ClearDisplayMessage",
    "ClearedChargingLimit",
    "ClosePeriodicEventStream",
    "CostUpdated",
    "DiagnosticsStatusNotification",
    "ExtendedTriggerMessage",
    "GetBaseReport",
    "GetCompositeSchedule",
    "GetDiagnostics",
    "GetLocalListVersion",
    "GetLog",
    "GetPeriodicEventStream",
    "GetTransactionStatus",
    "Heartbeat",
    "LogStatusNotification",
    "NotifyCustomerInformation",
    "NotifyPriorityCharging",
    "NotifyWebPaymentStarted",
    "PullDynamicScheduleUpdate",
    "RemoteStopTransaction",
    "RequestStopTransaction",
    "ReservationStatusUpdate",
    "Reset",
    "SecurityEventNotification",
    "SetMonitoringBase",
    "SetMonitoringLevel",
    "SignedFirmwareStatusNotification",
    "StartTransaction",
    "StatusNotification",
    "UnlockConnector",
    "UnpublishFirmware",
    "UsePriorityCharging",
    "VatNumberValidation",
];

/// CALLs with lists that the standard does not bound, or bounds beyond [`Bounds::middle`]: readings, card lists, reports, schedules, tariffs,
/// settings, and what vendors send.
pub const LONG: &[&str] = &[
    "ChangeTransactionTariff",
    "DataTransfer",
    "GetCertificateChainStatus",
    "MeterValues",
    "NotifyChargingLimit",
    "NotifyDisplayMessages",
    "NotifyEVChargingSchedule",
    "NotifyEvent",
    "NotifyMonitoringReport",
    "NotifyPeriodicEventStream",
    "NotifyReport",
    "ReportChargingProfiles",
    "ReportDERControl",
    "RequestStartTransaction",
    "SendLocalList",
    "SetChargingProfile",
    "SetDefaultTariff",
    "SetVariableMonitoring",
    "SetVariables",
    "StopTransaction",
    "TransactionEvent",
];

/// CALLs whose answers are such.
pub const LONG_ANSWERS: &[&str] = &[
    "Authorize",
    "DataTransfer",
    "GetConfiguration",
    "GetInstalledCertificateIds",
    "GetTariffs",
    "GetVariables",
    "SetVariableMonitoring",
    "SetVariables",
];

impl Bounds {
    /// Whether a frame of so many bytes is too big for what it is: a CALL of `action`, or the answer to one.
    #[inline]
    pub fn exceeded(&self, kind: Kind, action: &str, bytes: usize) -> bool {
        // Nearly all have fewer.
        bytes > self.short.min(self.middle) && self.exceeded_by(kind, action, bytes)
    }

    fn exceeded_by(&self, kind: Kind, action: &str, bytes: usize) -> bool {
        let (short, long): (&[&str], _) = if matches!(kind, Kind::Call | Kind::Send) { (SHORT, LONG) } else { (&[], LONG_ANSWERS) };
        if long.contains(&action) {
            return false;
        }
        bytes > if short.contains(&action) { self.short } else { self.middle }
    }
}

/// Identifiers that a message may bring up if its lists are bounded by the standard or by [`Bounds::middle`]: a token with a group and a dozen
/// additional ones is far below.
pub(super) const FEW_IDENTIFIERS: usize = 64;

/// Whether a frame may bring up no more than [`FEW_IDENTIFIERS`]. One with long lists may have as many as the treatment takes.
pub(super) fn has_few(kind: Kind, action: &str) -> bool {
    let long = if matches!(kind, Kind::Call | Kind::Send) { LONG } else { LONG_ANSWERS };
    !long.contains(&action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ocpp::Version;
    use crate::ocpp::catalogue::{Catalogue, Fields};

    /// The most characters that a payload has when its lists have `items` each, and whether there is any.
    fn weight(catalogue: &Catalogue, fields: &Fields, items: usize, depth: u32) -> (usize, bool) {
        let (mut sum, mut lists) = (2, false);
        for (name, spec) in fields {
            let (mut one, inner) = match catalogue.types.get(&spec.is) {
                Some(fields) if depth < 8 => weight(catalogue, fields, items, depth + 1),
                Some(_) => (100, false),
                None => match spec.is.as_str() {
                    "boolean" | "integer" | "number" | "decimal" => (24, false),
                    "time" | "enum" => (48, false),
                    _ => (spec.max.unwrap_or(255) as usize, false),
                },
            };
            lists |= inner || spec.list;
            if spec.list {
                one *= items;
            }
            sum += name.len() + 6 + one;
        }
        (sum, lists)
    }

    #[test]
    fn the_table_follows_from_the_catalogue() {
        let bounds = Bounds::default();
        let mut known = std::collections::BTreeSet::new();
        for version in Version::ALL {
            let catalogue = Catalogue::of(version);
            for (action, message) in &catalogue.messages {
                known.insert(action.clone());
                for (kind, fields) in [(Kind::Call, &message.request), (Kind::CallResult, &message.response)] {
                    let (sixteen, lists) = weight(&catalogue, fields, 16, 0);
                    let name = format!("{} {action} {}", version.number(), kind.name());
                    assert!(!bounds.exceeded(kind, action, 2 * sixteen), "{name}: {sixteen} with lists of 16");
                    if kind == Kind::Call && SHORT.contains(&action.as_str()) {
                        assert!(!lists && 2 * sixteen < 8 << 10, "{name}: {sixteen}");
                    }
                }
            }
        }
        for action in SHORT.iter().chain(LONG).chain(LONG_ANSWERS) {
            assert!(known.contains(*action), "{action} is no message");
        }
        assert!(!SHORT.iter().any(|action| LONG.contains(action)));
    }

    #[test]
    fn one_byte_decides() {
        let bounds = Bounds::default();
        for (kind, action, most) in [
            (Kind::Call, "Heartbeat", bounds.short),
            (Kind::Call, "Authorize", bounds.middle),
            (Kind::CallResult, "Heartbeat", bounds.middle),
            (Kind::CallError, "Reset", bounds.middle),
        ] {
            assert!(!bounds.exceeded(kind, action, most) && bounds.exceeded(kind, action, most + 1), "{action}");
        }
        for (kind, action) in [(Kind::Call, "SendLocalList"), (Kind::CallResult, "GetConfiguration"), (Kind::Call, "StopTransaction")] {
            assert!(!bounds.exceeded(kind, action, usize::MAX), "{action}");
        }
    }
}
