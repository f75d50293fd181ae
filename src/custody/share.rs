//! Handing an e-MSP the key of its own domain: the one way by which a key leaves, so that none leaves unlogged.

use super::{Custody, SecretError};
use crate::clock::Timestamp;
use crate::keys::DomainShare;
use crate::recipient::Party;
use crate::store::{DisclosureRow, Op};

impl Custody {
    /// The key of an e-MSP's codes in all live epochs, logged as a disclosure before this returns: a log may name a key that was never
    /// handed over, it never misses one that was (R52). Whether the e-MSP may have it is the caller's to know. Blocks; not for the
    /// threads of the runtime.
    ///
    /// # Errors
    /// It could not be logged.
    pub fn hand_out(&self, party: &Party, now: Timestamp) -> Result<DomainShare, SecretError> {
        let reference = self.random::<16>()?;
        let row = DisclosureRow {
            seq: 0,
            at: now,
            recipient: party.to_string(),
            purpose: "bill".to_owned(),
            subject: None,
            reference: uuid::Builder::from_random_bytes(reference).into_uuid().to_string(),
            fields: "domain_key".to_owned(),
        };
        self.store.commit_blocking(vec![Op::Disclose(row)])?;
        Ok(self.keys.share(party, now))
    }
}
