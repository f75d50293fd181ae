//! References that e-MSPs give with a real-time authorisation, remembered until the session is billed: the CDR repeats the last one (OCPI 2.2.1 §Tokens,
//! AuthorizationInfo; §CDRs, authorization_reference).
//!
//! They lie in the store as secrets named `authref <day> <code>`: the UTC day of the authorisation, and the code that the central system asked by,
//! which is the code in the session's facts. Each holds what was given to that code on that day, in order, at most [`MOST`]. Billing asks
//! [`References::find`] with the code and the moment the gateway saw the session begin. Days are swept once no session can be that old.

use crate::clock::Timestamp;
use crate::custody::{Custody, SecretError};
use crate::secret::Sensitive;
use crate::store::Op;
use std::sync::Arc;
use tokio::sync::Mutex;

/// References kept for one code and day: those beyond push the oldest out. More than a card can charge in a day.
pub const MOST: usize = 32;
const PREFIX: &str = "authref ";
const DAY: i64 = 86_400_000;

/// The references. Cheap to clone; clones share the turn to write.
#[derive(Clone)]
pub struct References {
    custody: Arc<Custody>,
    turn: Arc<Mutex<()>>,
}

impl References {
    /// The references in a store.
    pub fn new(custody: Arc<Custody>) -> Self {
        Self { custody, turn: Arc::new(Mutex::new(())) }
    }

    /// Remembers a reference given for a code. Durable when it returns.
    ///
    /// # Errors
    /// It is not kept.
    pub async fn keep(&self, code: &str, reference: &str, now: Timestamp) -> Result<(), SecretError> {
        let _turn = self.turn.lock().await;
        let name = name(now, code);
        let mut all = self.all(&name)?;
        all.push((now.0, reference.to_owned()));
        let from = all.len().saturating_sub(MOST);
        let text = all[from..].iter().map(|(at, reference)| format!("{at} {reference}")).collect::<Vec<_>>().join("\n");
        self.custody.keep_secret(&name, &Sensitive::new(text)).await
    }

    /// The last reference given for a code before a session began, that day or the day before; `None` if the session began without one.
    ///
    /// # Errors
    /// A row does not open, or the store failed.
    pub fn find(&self, code: &str, began: Timestamp) -> Result<Option<String>, SecretError> {
        for day in [began, Timestamp(began.0 - DAY)] {
            let all = self.all(&name(day, code))?;
            if let Some((_, reference)) = all.into_iter().rev().find(|(at, _)| *at <= began.0) {
                return Ok(Some(reference));
            }
        }
        Ok(None)
    }

    /// Forgets the days before a moment's. Names begin with the day, so a page of them shows the oldest.
    ///
    /// # Errors
    /// The store failed.
    pub async fn sweep(&self, before: Timestamp) -> Result<(), SecretError> {
        let keep = format!("{PREFIX}{}", before.date());
        loop {
            let names = self.custody.store().secret_names()?;
            let old: Vec<Op> = names.into_iter().filter(|name| name.starts_with(PREFIX) && *name < keep).map(Op::SecretDrop).collect();
            if old.is_empty() {
                return Ok(());
            }
            self.custody.store().commit(old).await?;
        }
    }

    fn all(&self, name: &str) -> Result<Vec<(i64, String)>, SecretError> {
        let text = self.custody.secret(name)?;
        let lines = text.iter().flat_map(|text| text.expose().lines()); // references, which go into their owner's CDR
        let line = |line: &str| line.split_once(' ').and_then(|(at, reference)| Some((at.parse().ok()?, reference.to_owned())));
        Ok(lines.filter_map(line).collect())
    }
}

fn name(day: Timestamp, code: &str) -> String {
    format!("{PREFIX}{} {code}", day.date())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custody::{Opening, Role};

    #[tokio::test]
    async fn a_session_gets_the_last_reference_before_it_began_and_old_days_go() {
        let dir = tempfile::tempdir().unwrap();
        let start = Timestamp(1_795_514_400_000);
        let references = References::new(Arc::new(Custody::open(dir.path(), None, &Opening::new(Role::Beside, start)).unwrap()));
        let at = |seconds: i64| Timestamp(start.0 + seconds * 1000);
        references.keep("Z0A", "first", at(0)).await.unwrap();
        references.keep("Z0A", "second with a space", at(100)).await.unwrap();
        references.keep("Z0B", "another's", at(100)).await.unwrap();
        let find = |code: &str, seconds| references.find(code, at(seconds)).unwrap();
        assert_eq!(find("Z0A", -1), None);
        assert_eq!(find("Z0A", 50).as_deref(), Some("first"));
        assert_eq!(find("Z0A", 80_000).as_deref(), Some("second with a space"), "over midnight");
        assert_eq!((find("Z0A", 3 * 86_400), find("Z0C", 100)), (None, None));
        for n in 0..100 {
            references.keep("Z0D", &format!("r{n}"), at(n)).await.unwrap();
        }
        assert_eq!((find("Z0D", 100).as_deref(), find("Z0D", 67), find("Z0D", 68).as_deref()), (Some("r99"), None, Some("r68")));
        references.sweep(at(0)).await.unwrap();
        assert!(find("Z0A", 50).is_some(), "the day itself stays");
        references.sweep(at(86_400)).await.unwrap();
        assert!(find("Z0A", 50).is_none() && find("Z0D", 100).is_none());
    }
}
