//! An e-MSP's list of tokens, as codes: which customer a code in a CDR stands for.

use super::Bill;
use crate::identity::{Declared, Identifier};
use crate::keys::DomainShare;
use crate::pseudonym::Pseudonym;
use crate::secret::Sensitive;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;

/// Most rows of a list.
pub const MOST_TOKENS: usize = 50_000_000;
/// Longest field of a row, in bytes: OCPP 2.1 allows an identifier of 255 characters, and names are shorter.
pub const LONGEST_FIELD: usize = 1024;

/// The customers of an e-MSP by the codes of their cards and contracts.
///
/// Memory grows with the list and not with the CDRs: for each token its texts, and for each epoch one entry of 40 bytes for its card and one
/// for its contract (measured: 412 MiB at the peak for a million tokens with contracts in one epoch, while the table last grows).
#[derive(Default)]
pub struct Customers {
    rows: Vec<Row>,
    codes: HashMap<Pseudonym, Place>,
}

struct Row {
    uid: Option<Sensitive<String>>,
    contract: Option<Sensitive<String>>,
    name: Option<Sensitive<String>>,
}

/// Where a code leads.
#[derive(Clone, Copy)]
struct Place {
    row: u32,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// The row's card.
    Card,
    /// A card in several rows that do not agree on whose it is.
    DisputedCard,
    /// The row's contract.
    Contract,
    /// A contract of several customers (a fleet): it says which contract, and not which of them.
    SharedContract,
}

/// A customer as the list has it. What is not known is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Customer<'a> {
    /// The card, as the list spells it; not known if only the contract was found.
    pub uid: Option<&'a Sensitive<String>>,
    /// The contract, as the list spells it.
    pub contract: Option<&'a Sensitive<String>>,
    /// The customer's name or number.
    pub name: Option<&'a Sensitive<String>>,
}

/// Why a list cannot be read. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// The first line names no column `uid`.
    #[error("line 1: there is no column uid; the header is uid[,contract_id][,customer]")]
    Header,
    /// A column is named twice.
    #[error("line 1: a column is there twice")]
    Twice,
    /// A line has another number of fields than the header, is not UTF-8, or has a field longer than [`LONGEST_FIELD`].
    #[error("line {0}: has not as many fields as the header, is not UTF-8, or has a field longer than {LONGEST_FIELD} bytes")]
    Line(u64),
    /// More rows than [`MOST_TOKENS`].
    #[error("there are more than {MOST_TOKENS} rows")]
    TooMany,
    /// It cannot be read.
    #[error("cannot read: {0}")]
    Read(std::io::ErrorKind),
}

impl Customers {
    /// Reads a list as CSV (RFC 4180) with the header `uid[,contract_id][,customer]`, in any order; other columns are passed over. A uid and
    /// a contract may be spelled in any way. Their codes are made with every share: an e-MSP keeps the shares of epochs that are gone
    /// for as long as it has CDRs of them to read.
    ///
    /// # Errors
    /// [`TokensError`]
    pub fn read(list: impl Read, shares: &[DomainShare]) -> Result<Self, TokensError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(list);
        let header = reader.headers().map_err(|e| failed(e, 1))?;
        let named = |name: &str| -> Result<Option<usize>, TokensError> {
            let mut places = header.iter().enumerate().filter(|(_, column)| column.eq_ignore_ascii_case(name)).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (place, None) => Ok(place),
                _ => Err(TokensError::Twice),
            }
        };
        let [uid, contract, name] = [named("uid")?, named("contract_id")?, named("customer")?];
        let uid = uid.ok_or(TokensError::Header)?;
        let mut customers = Self::default();
        let mut record = csv::StringRecord::new();
        let mut line = 1;
        while reader.read_record(&mut record).map_err(|e| failed(e, line + 1))? {
            line = record.position().map_or(line + 1, csv::Position::line);
            if record.iter().any(|field| field.len() > LONGEST_FIELD) {
                return Err(TokensError::Line(line));
            }
            let field = |place: Option<usize>| {
                place.and_then(|place| record.get(place)).filter(|text| !text.is_empty()).map(|text| Sensitive::new(text.to_owned()))
            };
            customers.add(field(Some(uid)), field(contract), field(name), shares)?;
        }
        Ok(customers)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`TokensError::TooMany`]
    pub fn add(
        &mut self,
        uid: Option<Sensitive<String>>,
        contract: Option<Sensitive<String>>,
        name: Option<Sensitive<String>>,
        shares: &[DomainShare],
    ) -> Result<(), TokensError> {
        if self.rows.len() >= MOST_TOKENS {
            return Err(TokensError::TooMany);
        }
        let row = self.rows.len() as u32; // fewer than MOST_TOKENS
        self.rows.push(Row { uid, contract, name });
        let of = |text: &Option<Sensitive<String>>| text.as_ref().map(|text| Identifier::from_wire(text.expose(), Declared::Undeclared)); // into its codes
        let (card, contract) = (of(&self.rows[row as usize].uid), of(&self.rows[row as usize].contract));
        for share in shares {
            for (identifier, what) in [(&card, What::Card), (&contract, What::Contract)] {
                for code in identifier.iter().flat_map(|identifier| share.codes(identifier)) {
                    self.enter(code, Place { row, what });
                }
            }
        }
        Ok(())
    }

    /// A card stands before a contract; a card or contract in several rows is of the customer they agree on, or of none.
    fn enter(&mut self, code: Pseudonym, place: Place) {
        let name = |row: u32| self.rows[row as usize].name.as_ref().map(Sensitive::expose); // compared, and that is all
        match self.codes.entry(code) {
            Entry::Vacant(free) => {
                free.insert(place);
            }
            Entry::Occupied(mut taken) => {
                let there = *taken.get();
                let agree = name(there.row) == name(place.row);
                match (there.what, place.what) {
                    (What::Contract | What::SharedContract, What::Card) => taken.insert(place),
                    (What::Card, What::Card) if !agree => taken.insert(Place { what: What::DisputedCard, ..there }),
                    (What::Contract, What::Contract) if !agree => taken.insert(Place { what: What::SharedContract, ..there }),
                    _ => there,
                };
            }
        }
    }

    /// Whose a CDR is: by the code of its card, else by that of its contract. `None` alike for another e-MSP's, an unknown and an erased code.
    pub fn whose(&self, bill: &Bill) -> Option<Customer<'_>> {
        let find = |code: &Option<Pseudonym>| code.and_then(|code| self.codes.get(&code)).filter(|place| place.what != What::DisputedCard);
        let place = find(&bill.card).or_else(|| find(&bill.contract))?;
        let Row { uid, contract, name } = &self.rows[place.row as usize];
        let (uid, contract, name) = (uid.as_ref(), contract.as_ref(), name.as_ref());
        Some(match place.what {
            What::Card | What::DisputedCard => Customer { uid, contract, name },
            What::Contract => Customer { uid: None, contract, name },
            What::SharedContract => Customer { uid: None, contract, name: None },
        })
    }

    /// Tokens in the list.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Prints how many, and nobody.
impl std::fmt::Debug for Customers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Customers({}, [sensitive])", self.rows.len())
    }
}

/// The library's own words may quote a field.
fn failed(error: csv::Error, line: u64) -> TokensError {
    let line = error.position().map_or(line, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(error) => TokensError::Read(error.kind()),
        _ => TokensError::Line(line),
    }
}
