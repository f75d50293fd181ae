//! References that e-MSPs give with a real-time authorisation, remembered until the session is billed: the CDR repeats the last one (OCPI 2.2.1 §Tokens,
//! AuthorizationInfo; §CDRs, authorization_reference).
//!
//! They lie sealed in the store under `authref <day> <code>`: the UTC day of the authorisation, and the code that the central system asked by, which is
//! the code in the session's facts. Each holds what was given to that code on that day, in order, at most [`MOST`]; each names the e-MSP that
//! gave it, and goes to no other. Days are swept once no session can be that old.

use super::{Vault, VaultError};
use crate::clock::Timestamp;
use crate::pseudonym::Pseudonym;
use crate::recipient::Party;
use crate::seal;
use crate::secret::Sensitive;
use crate::store::{Op, StoreError};

/// References kept for one code and day: those beyond push the oldest out. More than a card can charge in a day.
pub const MOST: usize = 32;
/// How much later than by our clock a session may seem to begin before its authorisation: stations' clocks are not right to the second.
const SKEW: i64 = 120_000;
const PREFIX: &str = "authref ";
const DAY: i64 = 86_400_000;

impl Vault {
    /// Remembers a reference that an e-MSP gave for a code. Durable when it returns.
    ///
    /// # Errors
    /// It is not kept.
    pub async fn keep_reference(&self, code: &str, party: &Party, reference: &str, now: Timestamp) -> Result<(), VaultError> {
        let _turn = self.inner.references.lock().await;
        let name = name(now, code);
        let mut all = self.references(&name)?;
        all.push(format!("{} {party} {reference}", now.0));
        let text = Sensitive::new(all[all.len().saturating_sub(MOST)..].join("\n"));
        let sealed = seal::seal(&text, &place(&name), self.inner.keys.standing_wrapping(), &*self.inner.entropy)?;
        Ok(self.inner.store.commit(vec![Op::SecretPut { name, sealed }]).await?)
    }

    /// The last reference that an e-MSP gave for a code before a session began (or its driver was named, if that was later), that day or the day
    /// before; `None` if there is none.
    ///
    /// # Errors
    /// A row does not open, or the store failed.
    pub fn reference(&self, code: &str, party: &Party, began: Timestamp) -> Result<Option<String>, VaultError> {
        let (until, party) = (began.0 + SKEW, party.to_string());
        for day in [until, until - DAY] {
            for line in self.references(&name(Timestamp(day), code))?.iter().rev() {
                let mut words = line.splitn(3, ' ');
                let at = words.next().and_then(|at| at.parse::<i64>().ok());
                if at.is_some_and(|at| at <= until) && words.next() == Some(&party) {
                    return Ok(words.next().map(str::to_owned));
                }
            }
        }
        Ok(None)
    }

    /// Forgets the days before a moment's. Names begin with the day, so a page of them shows the oldest.
    ///
    /// # Errors
    /// The store failed.
    pub async fn sweep_references(&self, before: Timestamp) -> Result<(), VaultError> {
        let keep = format!("{PREFIX}{}", before.date());
        loop {
            let names = self.inner.store.secret_names(PREFIX)?;
            let old: Vec<Op> = names.into_iter().filter(|name| name.starts_with(PREFIX) && *name < keep).map(Op::SecretDrop).collect();
            if old.is_empty() {
                return Ok(());
            }
            self.inner.store.commit(old).await?;
        }
    }

    /// The names under which references for these codes lie, whatever the day.
    pub(super) fn references_of(&self, codes: &[Pseudonym]) -> Result<Vec<String>, StoreError> {
        let (mut found, mut after) = (Vec::new(), PREFIX.to_owned());
        loop {
            let page = self.inner.store.secret_names(&after)?;
            let Some(last) = page.last().filter(|last| last.starts_with(PREFIX)) else {
                found.extend(page.into_iter().filter(|name| is_of(name, codes)));
                return Ok(found);
            };
            after.clone_from(last);
            found.extend(page.into_iter().filter(|name| is_of(name, codes)));
        }
    }

    fn references(&self, name: &str) -> Result<Vec<String>, VaultError> {
        let Some(sealed) = self.inner.store.secret(name)? else { return Ok(Vec::new()) };
        let text = seal::open(&sealed, &place(name), self.inner.keys.standing_wrapping())?;
        Ok(text.expose().lines().map(str::to_owned).collect()) // references, which go into their giver's CDR
    }
}

fn name(day: Timestamp, code: &str) -> String {
    format!("{PREFIX}{} {code}", day.date())
}

fn is_of(name: &str, codes: &[Pseudonym]) -> bool {
    let code = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(' '));
    code.is_some_and(|(_, code)| codes.iter().any(|one| one.as_str() == code))
}

pub(super) fn place(name: &str) -> Vec<u8> {
    format!("v1|{name}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::{Custody, Opening, Role};

    #[tokio::test]
    async fn a_session_gets_the_last_reference_of_its_owner_before_it_began_and_old_days_go() {
        let dir = tempfile::tempdir().unwrap();
        let start = Timestamp(1_795_514_400_000);
        let vault = Custody::open(dir.path(), None, &Opening::new(Role::Beside, start)).unwrap().vault;
        let at = |seconds: i64| Timestamp(start.0 + seconds * 1000);
        let (abc, xyz) = (Party::parse("NLABC").unwrap(), Party::parse("NLXYZ").unwrap());
        vault.keep_reference("Z0A", &abc, "first", at(0)).await.unwrap();
        vault.keep_reference("Z0A", &abc, "second with a space", at(1000)).await.unwrap();
        vault.keep_reference("Z0A", &xyz, "another's", at(1001)).await.unwrap();
        let find = |code: &str, party, seconds| vault.reference(code, party, at(seconds)).unwrap();
        assert_eq!(find("Z0A", &abc, -121), None);
        assert_eq!(find("Z0A", &abc, -120).as_deref(), Some("first"), "the station's clock is late");
        assert_eq!(find("Z0A", &abc, 500).as_deref(), Some("first"));
        assert_eq!(find("Z0A", &abc, 80_000).as_deref(), Some("second with a space"), "over midnight");
        assert_eq!(find("Z0A", &xyz, 80_000).as_deref(), Some("another's"));
        assert_eq!((find("Z0A", &abc, 3 * 86_400), find("Z0C", &abc, 100)), (None, None));
        for n in 0..100 {
            vault.keep_reference("Z0D", &abc, &format!("r{n}"), at(200 * n)).await.unwrap();
        }
        assert_eq!((find("Z0D", &abc, 20_000).as_deref(), find("Z0D", &abc, 200 * 67)), (Some("r99"), None));
        vault.sweep_references(at(0)).await.unwrap();
        assert!(find("Z0A", &abc, 50).is_some(), "the day itself stays");
        vault.sweep_references(at(86_400)).await.unwrap();
        assert!(find("Z0A", &abc, 50).is_none() && find("Z0D", &abc, 20_000).is_none());
    }
}
