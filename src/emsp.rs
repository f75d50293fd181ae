//! The e-MSP's side: reads CDRs with the e-MSP's own key and its own list of tokens, and tells which customer each is for. Needs no gateway,
//! no store and no configuration; runs at the e-MSP. It handles clear identifiers, those of the e-MSP's own customers, which the
//! e-MSP has anyway. A CDR of somebody else's customer stays what it is: a bill for nobody it knows, like one for a card it never issued.

mod cdrs;
mod customers;
mod files;

use crate::secret::Sensitive;
pub use cdrs::{Bill, CdrsError, each};
pub use customers::{Customer, Customers, LONGEST_FIELD, MOST_TOKENS, TokensError};
pub use files::{KeyFileError, read_share, write_share};
use std::io::{Read, Write};

/// The columns of the answer, in this order; the names of its members as JSON.
pub const COLUMNS: [&str; 11] =
    ["cdr_id", "start", "end", "energy_kwh", "total_excl_vat", "total_incl_vat", "currency", "uid", "contract_id", "customer", "resolved"];

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// RFC 4180, with a header.
    Csv,
    /// A JSON object on each line.
    Json,
}

/// Why the work stopped. What was written before stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The CDRs cannot be read.
    #[error(transparent)]
    Cdrs(#[from] CdrsError),
    /// The answer cannot be written.
    #[error("cannot write: {0}")]
    Write(std::io::ErrorKind),
}

/// How many there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resolved {
    /// CDRs.
    pub cdrs: u64,
    /// CDRs whose customer was found.
    pub found: u64,
}

/// Writes an answer for each CDR it is shown: one row each, in their order, and nothing kept.
pub struct Resolver<'a, W: Write> {
    customers: &'a Customers,
    output: Output<W>,
    done: Resolved,
}

enum Output<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Json(W),
}

impl<'a, W: Write> Resolver<'a, W> {
    /// Begins an answer.
    ///
    /// # Errors
    /// The header cannot be written.
    pub fn new(customers: &'a Customers, layout: Layout, output: W) -> Result<Self, ResolveError> {
        let output = match layout {
            Layout::Json => Output::Json(output),
            Layout::Csv => {
                let mut table = csv::Writer::from_writer(output);
                table.write_record(COLUMNS).map_err(csv_failed)?;
                Output::Csv(Box::new(table))
            }
        };
        Ok(Self { customers, output, done: Resolved::default() })
    }

    /// Answers the CDRs of one file: a JSON array of CDRs, one CDR, one CDR on each line, or an OCPI answer with either in its `data`.
    ///
    /// # Errors
    /// [`ResolveError`]; the CDRs before are answered.
    pub fn read(&mut self, cdrs: impl Read) -> Result<(), ResolveError> {
        each(cdrs, |bill| self.answer(&bill))
    }

    fn answer(&mut self, bill: &Bill) -> Result<(), ResolveError> {
        let customer = self.customers.whose(bill);
        self.done.cdrs += 1;
        self.done.found += u64::from(customer.is_some());
        let clear = |text: Option<&'a Sensitive<String>>| text.map(|text| text.expose().as_str()); // to the e-MSP, of its own customer
        let (uid, contract, name) =
            customer.as_ref().map_or((None, None, None), |found| (clear(found.uid), clear(found.contract), clear(found.name)));
        let number = |number: &Option<rust_decimal::Decimal>| number.map(|n| n.to_string());
        let [energy, excl, incl] = [&bill.energy_kwh, &bill.total_excl_vat, &bill.total_incl_vat].map(number);
        match &mut self.output {
            Output::Csv(table) => {
                let [energy, excl, incl] = [&energy, &excl, &incl].map(|n| n.as_deref().unwrap_or_default());
                let [uid, contract, name] = [uid, contract, name].map(Option::unwrap_or_default);
                let resolved = if customer.is_some() { "yes" } else { "no" };
                let row = [&*bill.id, &*bill.start, &*bill.end, energy, excl, incl, &*bill.currency, uid, contract, name, resolved];
                table.write_record(row).map_err(csv_failed)
            }
            Output::Json(output) => {
                // Numbers as they are, without a detour over binary fractions.
                let number = |n: &Option<String>| n.clone().and_then(|n| serde_json::value::RawValue::from_string(n).ok());
                let row = Row {
                    cdr_id: &bill.id,
                    start: &bill.start,
                    end: &bill.end,
                    energy_kwh: number(&energy),
                    total_excl_vat: number(&excl),
                    total_incl_vat: number(&incl),
                    currency: &bill.currency,
                    uid,
                    contract_id: contract,
                    customer: name,
                    resolved: customer.is_some(),
                };
                let written = serde_json::to_writer(&mut *output, &row).map_err(|e| e.io_error_kind().unwrap_or(std::io::ErrorKind::Other));
                written.map_err(ResolveError::Write)?;
                output.write_all(b"\n").map_err(|e| ResolveError::Write(e.kind()))
            }
        }
    }

    /// Ends the answer and tells how many there were.
    ///
    /// # Errors
    /// The last of it cannot be written.
    pub fn finish(mut self) -> Result<Resolved, ResolveError> {
        let flushed = match &mut self.output {
            Output::Csv(table) => table.flush(),
            Output::Json(output) => output.flush(),
        };
        flushed.map_err(|e| ResolveError::Write(e.kind()))?;
        Ok(self.done)
    }
}

/// A row as JSON.
#[derive(serde::Serialize)]
struct Row<'a> {
    cdr_id: &'a str,
    start: &'a str,
    end: &'a str,
    energy_kwh: Option<Box<serde_json::value::RawValue>>,
    total_excl_vat: Option<Box<serde_json::value::RawValue>>,
    total_incl_vat: Option<Box<serde_json::value::RawValue>>,
    currency: &'a str,
    uid: Option<&'a str>,
    contract_id: Option<&'a str>,
    customer: Option<&'a str>,
    resolved: bool,
}

fn csv_failed(error: csv::Error) -> ResolveError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ResolveError::Write(error.kind()),
        _ => ResolveError::Write(std::io::ErrorKind::InvalidData),
    }
}
