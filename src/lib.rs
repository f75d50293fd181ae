//! Sluis (Dutch: a canal lock) is an inline privacy gateway for EV charging: an OCPP 1.6J, 2.0.1 and 2.1 WebSocket proxy between charging
//! stations and their central system. What goes up carries codes instead of card and contract numbers, and nothing that no declared
//! purpose needs; what comes down carries the originals again, so charging just works.
//!
//! # What always holds
//!
//! 1. **One door out.** A socket accepts only [`treat::Outgoing`], which only the treatment can make.
//! 2. **Default deny.** A field crosses only if the [catalogue](ocpp::catalogue) knows it and an enabled [purpose](policy::Purpose) needs
//!    it; its sender still gets exactly one schema-valid answer.
//! 3. **No clear identifier** outside the station's own socket and the sealed [vault]. A tripwire looks again at every frame.
//! 4. **Record, then write.** A code leaves only after its mapping is durable; an acknowledgement only after the billing facts are.
//! 5. **No oracle.** An identifier from the central system that is neither a code of ours nor declared as its own is never relayed.
//! 6. **A code is a valid idTag:** 20 characters, recognisable without a look-up, never coded twice.
//! 7. **Reporting rooms cannot name a secret;** `tests/architecture.rs` reads the sources and holds the import map.
//! 8. **Everything that grows is bounded,** and the bound has a name.
//! 9. **Same input, same step.** The conversation is pure: time, randomness and storage are arguments.
//!
//! # The life of a frame
//!
//! ```text
//!  station ──▶ handshake ──▶ relay ⇄ session ──▶ treat ──▶ vault (record) ──▶ CSMS
//!                              │                   └─ facts (already pseudonymous)
//!                              └────▶ journal ──▶ billing (charging, cdr) ──▶ e-MSPs
//! ```
//! **read → parse → treat → record → write.** [`gateway`] accepts the station and dials the central system; its relay reads a message
//! and hands the bytes to [`session::Session::on_frame`], which finds the action (of a CALL from the frame, of an answer from the table
//! of pending calls) and has [`treat`] walk the payload once with the compiled plan in hand. The relay records what the step says must
//! be durable and then writes what it says must be sent.
//!
//! # The rooms
//!
//! Pure, lowest first: [`websocket`] (the framing, which knows of nothing else here), [`secret`], [`ocpp`], [`pseudonym`], [`identity`],
//! [`seal`], [`keys`], [`policy`], [`treat`], [`session`], [`charging`], [`cdr`], [`stats`], [`report`] (a release as people read it).
//! The shell: [`clock`], [`config`], [`recipient`], [`store`], [`vault`], [`journal`], [`custody`] (these four opened as one),
//! [`reload`] (files that are read again), [`network`] (where connections come from), [`tls`], [`gateway`], [`billing`] (facts to CDRs), [`publication`] (sessions to signed releases
//! of statistics), [`ocpi`] (parties, their tokens, a surface and a client), [`delivery`] (CDRs to e-MSPs, tokens to the CSMS),
//! [`metrics`], [`admin`], [`serve`] (all of it started and stopped), [`cli`]; [`emsp`], which runs at an e-MSP and not here; and, behind the
//! cargo features of their names, `demo`: a small world to run it in, `attack`: a black-box harness that knows nothing of the rest, and
//! `fuzz`: what must hold for any bytes.
#![warn(clippy::unwrap_used)]

pub mod admin;
#[cfg(feature = "attack")]
pub mod attack;
pub mod billing;
pub mod cdr;
pub mod charging;
pub mod cli;
pub mod clock;
pub mod config;
pub mod custody;
pub mod delivery;
#[cfg(feature = "demo")]
pub mod demo;
pub mod emsp;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod gateway;
pub mod identity;
pub mod journal;
pub mod keys;
pub mod metrics;
pub mod network;
pub mod ocpi;
pub mod ocpp;
pub mod policy;
pub mod pseudonym;
pub mod publication;
pub mod recipient;
pub mod reload;
pub mod report;
pub mod seal;
pub mod secret;
pub mod serve;
pub mod session;
pub mod stats;
pub mod store;
pub mod tls;
pub mod treat;
pub mod vault;
pub mod websocket;
