//! What can be asked of the store: one kind of change each.

use super::{
    CdrRow, CdrState, ChargingRow, DisclosureRow, EpochRow, JournalRow, OptOutRow, ReleaseRow, ReleasedFile, TokenRow, VaultRow, VisitRow,
};
use crate::clock::Timestamp;
use crate::identity::Epoch;
use crate::pseudonym::Pseudonym;
use crate::seal::Sealed;

/// One change. All are idempotent: doing one twice leaves what doing it once leaves.
#[derive(Debug, Clone)]
pub enum Op {
    /// Keep a vault record unless its code is there. With another blind index there: [`StoreError::Conflict`](super::StoreError::Conflict) (two cards, one code). Its
    /// epoch destroyed: [`StoreError::Gone`](super::StoreError::Gone).
    VaultInsert(VaultRow),
    /// Erase the record of a code: its key is overwritten, then the row deleted.
    VaultErase(Pseudonym),
    /// Remember the epoch that a transaction began in. An earlier pin stays.
    Pin {
        /// Keyed digest of station and transaction.
        key: [u8; 16],
        /// Where it began.
        epoch: Epoch,
        /// When, for the purge of pins whose transaction never ended.
        at: Timestamp,
    },
    /// Forget a pin.
    Unpin([u8; 16]),
    /// Append a fact to the journal, unless one with its fingerprint is there.
    Append(JournalRow),
    /// Keep the wrapped standing key, unless there is one.
    StandingInsert(Vec<u8>),
    /// Keep a new epoch. There already: [`StoreError::Conflict`](super::StoreError::Conflict).
    EpochInsert(EpochRow),
    /// Make `to` the current epoch if `from` is it now (or it is `to` already); else [`StoreError::Conflict`](super::StoreError::Conflict).
    EpochCurrent {
        /// Current until now; `None` at the first start.
        from: Option<Epoch>,
        /// Current from now on; must be live.
        to: Epoch,
        /// When the old one retired.
        at: Timestamp,
    },
    /// Destroy an epoch: overwrite its root, then drop its vault records and pins. The current one: [`StoreError::Conflict`](super::StoreError::Conflict).
    EpochDestroy(Epoch, Timestamp),
    /// Move a reader's place in a log: from `from` (0 if it never began) to `to`. Elsewhere by now: [`StoreError::Conflict`](super::StoreError::Conflict). In one batch with
    /// what the reader made of the rows between, each row is worked on once.
    MarkMove {
        /// The reader.
        name: String,
        /// Where it was.
        from: u64,
        /// Where it is now.
        to: u64,
    },
    /// Keep a charging session, whether there or not.
    ChargingPut(ChargingRow),
    /// Forget a charging session.
    ChargingDrop(String),
    /// Keep a CDR, unless there is one with its id. Updated before another of its owner: [`StoreError::Conflict`](super::StoreError::Conflict),
    /// since an owner that asks for what has changed since the newest that it has would never see it.
    CdrInsert(CdrRow),
    /// A CDR goes from one state to another. In neither: [`StoreError::Conflict`](super::StoreError::Conflict).
    CdrMove {
        /// The CDR.
        id: String,
        /// Where it was.
        from: CdrState,
        /// Where it is now.
        to: CdrState,
        /// How often it has been pushed by now.
        tries: u32,
    },
    /// A quarantined CDR is written for its owner and queued. Not quarantined, or updated before another of its
    /// owner: [`StoreError::Conflict`](super::StoreError::Conflict).
    CdrAssign {
        /// The CDR.
        id: String,
        /// Whose it is.
        owner: String,
        /// The code of the driver's identifier in the owner's domain.
        code: String,
        /// The neutral record, with what it was written for its owner by.
        draft: String,
        /// As the owner gets it.
        body: String,
        /// OCPI's `last_updated`, as in the body.
        updated: Timestamp,
    },
    /// Append to the disclosure log; if the same recipient, purpose and reference is there, add to it the fields that it lacks.
    Disclose(DisclosureRow),
    /// Keep a token of an e-MSP in place of what is there; the central system is due to be told of it.
    TokenPut(TokenRow),
    /// Erase a token of an e-MSP: its key is overwritten, then the row deleted.
    TokenErase(TokenRow),
    /// The central system was told of a token in a round. Not if the token has changed since it was read.
    TokenTold {
        /// The token as it was read.
        token: TokenRow,
        /// The round.
        round: u64,
    },
    /// Keep a sealed secret (credentials of an OCPI party) in place of what is there.
    SecretPut {
        /// What it is.
        name: String,
        /// The secret.
        sealed: Sealed,
    },
    /// Forget a secret.
    SecretDrop(String),
    /// Keep a sealed secret unless there is one of its name.
    SecretKeep {
        /// What it is.
        name: String,
        /// The secret.
        sealed: Sealed,
    },
    /// Open a period of statistics, unless it is there.
    PeriodOpen {
        /// Its name.
        name: String,
        /// Its secret, wrapped.
        wrapped: Vec<u8>,
        /// When.
        at: Timestamp,
    },
    /// Keep what a session adds to a period, in place of what it added before. Nothing is kept if one of `unless` is not to be counted. The
    /// period not open: [`StoreError::Gone`](super::StoreError::Gone).
    VisitPut {
        /// The visit.
        row: VisitRow,
        /// Digests of its card and contracts among those who are not to be counted.
        unless: Vec<[u8; 16]>,
    },
    /// Forget what a session added to a period.
    VisitDrop {
        /// The period.
        period: String,
        /// Keyed digest of the session.
        session: [u8; 16],
    },
    /// Forget what a person added to an open period: all visits with this digest as card or contract.
    VisitsForget {
        /// The period.
        period: String,
        /// Keyed digest of the card or contract.
        person: [u8; 16],
    },
    /// Release a period: ledger entries, the released bytes, and the end of its secret. The ledger or the period has moved on, or a table was
    /// released for the period before: [`StoreError::Conflict`](super::StoreError::Conflict).
    Release(ReleaseRow),
    /// Close a period without a release, and overwrite its secret. Not open: nothing happens.
    PeriodDiscard {
        /// Its name.
        name: String,
        /// When.
        at: Timestamp,
    },
    /// Keep one more file of a release, unless there is one of its name.
    ReleasedAdd(ReleasedFile),
    /// Drop visits of a period that is closed, at most so many: nothing opens them any more.
    VisitsPurge {
        /// The period.
        period: String,
        /// At most so many.
        most: usize,
    },
    /// Somebody is not to be counted from now on.
    OptOutPut(OptOutRow),
    /// Somebody may be counted again.
    OptOutDrop([u8; 16]),
    /// Drop charging sessions closed, CDRs done with and disclosures made before a moment, oldest first, at most so many of each.
    PurgeBilling {
        /// Rows from before this go.
        before: Timestamp,
        /// At most so many.
        most: usize,
    },
    /// Drop journal rows and pins from before a moment, oldest first, at most so many of each.
    Purge {
        /// Rows from before this go.
        before: Timestamp,
        /// At most so many.
        most: usize,
        /// Journal rows that this reader has not passed stay, however old.
        reader: Option<&'static str>,
    },
}
