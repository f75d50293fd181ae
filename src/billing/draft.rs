//! What the row of a CDR keeps of how it came about, so that it can be written later, credited and corrected.

use crate::cdr::{Cdr, CdrToken};
use crate::charging::ChargingSession;
use crate::recipient::{Ocpi, Party};
use crate::store::CdrRow;
use crate::vault::Vault;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The neutral record behind a CDR. Holds codes, never a clear identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// What is billed.
    pub session: ChargingSession,
    /// The bill and the place; `None` while it cannot be priced.
    pub cdr: Option<Cdr>,
    /// What its owner is told of the driver; `None` while nobody knows whose it is.
    pub token: Option<CdrToken>,
    /// The number of the OCPI version it was written in; `None` while it is not written.
    pub version: Option<String>,
}

impl Draft {
    /// Reads [`CdrRow::draft`](crate::store::CdrRow); `None` if it is none of ours.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Who charged, by the code that the central system knows: beside it an e-MSP's own code is resolved.
    pub fn code(&self) -> Option<&str> {
        self.session.token.as_ref().map(|token| token.code.as_str())
    }

    /// The id of the CDR that this one takes back, if it is a credit.
    pub fn credit_of(&self) -> Option<&str> {
        self.cdr.as_ref()?.credit_of.as_deref()
    }

    pub(super) fn party(&self) -> Option<Party> {
        self.token.as_ref().and_then(|token| Party::new(&token.country_code, &token.party_id))
    }

    pub(super) fn written_in(&self) -> Option<Ocpi> {
        self.version.as_deref().and_then(Ocpi::from_number)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("only texts, numbers and lists, with texts for keys")
    }
}

/// A CDR as its owner gets it in a version of OCPI: as it was written, or in the words of the version that the owner speaks by now, with the
/// same id, codes and `last_updated`, and always the same bytes. `None` if it is not written, or is a credit, which 2.1.1 has no words for.
pub fn wording<'a>(row: &'a CdrRow, version: Ocpi, vault: &Vault) -> Option<Cow<'a, str>> {
    /// As much of a record as says what it was written in: most are asked for in that.
    #[derive(Deserialize)]
    struct Kept {
        version: Option<String>,
    }
    let body = row.body.as_deref()?;
    let kept = serde_json::from_str::<Kept>(&row.draft).ok().and_then(|kept| Ocpi::from_number(&kept.version?));
    // Of a record that is not whole there is nothing but what was written.
    let Some(draft) = kept.filter(|kept| *kept != version).and_then(|_| Draft::read(&row.draft)) else { return Some(body.into()) };
    let (Some(cdr), Some(token), Some(party)) = (&draft.cdr, &draft.token, draft.party()) else { return Some(body.into()) };
    if cdr.credit_of.is_some() && version == Ocpi::V211 {
        return None;
    }
    Some(cdr.write(token, version, &|text| vault.alias(&party, text)).into())
}
