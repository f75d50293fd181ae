//! `sluis ocpi`: who the other parties are, and the exchanges of credentials that we begin.

use super::{FAILED, Options, custody, error, print, runtime, told};
use crate::clock;
use crate::config::{Config, EmspConfig, TokenForm};
use crate::custody::Custody;
use crate::ocpi::directory;
use crate::ocpi::exchange::{self, Begin, Theirs, Us};
use crate::ocpi::peer::{Peer, Peers, Who};
use crate::recipient::Party;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Subcommand)]
pub(super) enum Action {
    /// List the parties: version, agreement, and whether credentials were exchanged. Prints no token.
    List,
    /// Begin an exchange of credentials with a party; a gateway must be serving, since the party calls back.
    Register {
        /// NL-ABC, or csms
        party: String,
        /// The file of the token that the party gave for this (CREDENTIALS_TOKEN_A) [default: their_token_file, or ocpi.csms_token_file]
        #[arg(long)]
        token_file: Option<PathBuf>,
    },
    /// Exchange credentials anew with a party: new tokens for both sides, and its endpoints of today.
    Renew {
        /// NL-ABC, or csms
        party: String,
    },
    /// Give a party that exchanges no credentials a token to call us with, and print it, this once. The one it had opens nothing any more.
    Grant {
        /// NL-ABC, or csms
        party: String,
    },
    /// Forget a party's credentials: nothing opens for it any more, and it is called no more.
    Revoke {
        /// NL-ABC, or csms
        party: String,
    },
}

/// Runs it.
pub(super) fn run(options: Options, action: Action) -> Result<(), ExitCode> {
    let desk = Desk::open(options)?;
    match action {
        Action::List => list(&desk),
        Action::Register { party, token_file } => desk.exchange(&party, token_file, false),
        Action::Renew { party } => desk.exchange(&party, None, true),
        Action::Grant { party } => desk.grant(&party),
        Action::Revoke { party } => desk.revoke(&party),
    }
}

fn failed(what: &str) -> ExitCode {
    error(what);
    ExitCode::from(FAILED)
}

struct Desk {
    config: Config,
    custody: Arc<Custody>,
    peers: Peers,
}

impl Desk {
    fn open(options: Options) -> Result<Self, ExitCode> {
        let config = options.config()?;
        if config.ocpi.is_none() {
            return Err(told(&["ocpi.listen: is missing".to_owned()]));
        }
        let custody = Arc::new(custody(&config)?);
        let peers = Peers::new(Arc::clone(&custody));
        Ok(Self { config, custody, peers })
    }

    fn emsp(&self, party: Party) -> Option<&EmspConfig> {
        self.config.emsps.iter().find(|emsp| emsp.recipient.party == party)
    }

    /// A party that the configuration knows.
    fn who(&self, text: &str) -> Result<Who, ExitCode> {
        if text.eq_ignore_ascii_case("csms") {
            return Ok(Who::Csms);
        }
        match Party::parse(text) {
            Some(party) if self.emsp(party).is_some() => Ok(Who::Emsp(party)),
            Some(_) => Err(failed("the configuration has no such e-MSP")),
            None => Err(failed("a party is written NL-ABC, or csms")),
        }
    }

    fn found(&self, who: Who) -> Result<Option<Peer>, ExitCode> {
        self.peers.find(who).map_err(|why| failed(&why.to_string()))
    }

    fn exchange(&self, party: &str, token_file: Option<PathBuf>, renew: bool) -> Result<(), ExitCode> {
        let who = self.who(party)?;
        let Some(ocpi) = &self.config.ocpi else { return Err(ExitCode::from(FAILED)) };
        let emsp = match who {
            Who::Emsp(party) => self.emsp(party),
            Who::Csms => None,
        };
        let (url, file) = match (emsp, &ocpi.csms) {
            (Some(emsp), _) => (emsp.versions_url.clone(), emsp.their_token_file.clone()),
            (None, Some((url, file))) => (Some(url.clone()), Some(file.clone())),
            (None, None) => (None, None),
        };
        let url = url.ok_or_else(|| failed("the configuration does not say where its versions are (versions_url, or ocpi.csms_url)"))?;
        let known = self.found(who)?;
        let (token, raw) = if renew {
            let known = known.and_then(|peer| peer.ours.map(|token| (token, peer.raw)));
            known.ok_or_else(|| failed("no credentials were exchanged with it: register first"))?
        } else {
            if known.is_some_and(|peer| peer.ours.is_some()) {
                return Err(failed("it is registered already: renew, or revoke first"));
            }
            let file = token_file.or(file).ok_or_else(|| failed("there is no token to begin with: --token-file"))?;
            let token = directory::token(&file).map_err(|why| failed(&format!("the token file {why}")))?;
            (token, emsp.is_some_and(|emsp| emsp.token_form == TokenForm::Raw))
        };
        let client = crate::serve::ocpi_client(&self.config).map_err(|mistakes| told(&mistakes))?;
        let us = Us { party: ocpi.cpo, name: ocpi.name.clone(), url: ocpi.url.clone() };
        let register = self.config.recipients();
        let recipient = emsp.map(|emsp| &emsp.recipient);
        if recipient.is_some_and(|recipient| !recipient.may_receive(&clock::now().date())) {
            return Err(failed("its agreement is not valid today"));
        }
        let version = recipient.map(|recipient| recipient.version);
        let begin = Begin { who, recipient, theirs: Theirs { token, url }, version, raw, renew };
        let done = runtime()?.block_on(exchange::begin(begin, &us, &self.peers, &client, &register, clock::now()));
        let peer = done.map_err(|why| failed(&format!("no credentials were exchanged: {why}")))?;
        print(&format!("credentials were exchanged with {who}\n{}", line(&self.config, who, Some(&peer))));
        Ok(())
    }

    fn grant(&self, party: &str) -> Result<(), ExitCode> {
        let who = self.who(party)?;
        let wrong = |why: crate::custody::SecretError| failed(&why.to_string());
        let token = self.peers.new_token().map_err(wrong)?;
        let version = match who {
            Who::Emsp(party) => self.emsp(party).map(|emsp| emsp.recipient.version),
            Who::Csms => None,
        };
        let new = Peer {
            who,
            version: version.unwrap_or(crate::recipient::Ocpi::V221),
            endpoints: Vec::new(),
            ours: None,
            theirs: None,
            raw: false,
        };
        let peer = Peer { theirs: Some(token.clone()), ..self.found(who)?.unwrap_or(new) };
        runtime()?.block_on(self.peers.keep(&peer)).map_err(wrong)?;
        print(&format!("{}\n", token.expose())); // to the operator, who hands it on, and to nobody else
        Ok(())
    }

    fn revoke(&self, party: &str) -> Result<(), ExitCode> {
        let who = self.who(party)?;
        runtime()?.block_on(self.peers.forget(who)).map_err(|why| failed(&why.to_string()))?;
        self.custody.store().scrub().map_err(|why| failed(&why.to_string()))?;
        print(&format!("the credentials of {who} are forgotten\n"));
        Ok(())
    }
}

fn list(desk: &Desk) -> Result<(), ExitCode> {
    for who in desk.config.emsps.iter().map(|emsp| Who::Emsp(emsp.recipient.party)).chain([Who::Csms]) {
        print(&line(&desk.config, who, desk.found(who)?.as_ref()));
    }
    Ok(())
}

/// A party on a line; modules, and neither URLs nor tokens.
fn line(config: &Config, who: Who, peer: Option<&Peer>) -> String {
    let emsp = config.emsps.iter().find(|emsp| Who::Emsp(emsp.recipient.party) == who);
    let valid = emsp.map_or("", |emsp| if emsp.recipient.may_receive(&clock::now().date()) { "valid today" } else { "NOT VALID today" });
    let version = emsp.map(|emsp| emsp.recipient.version).or(peer.map(|peer| peer.version)).map_or("-", |version| version.number());
    let state = match peer {
        Some(peer) if peer.ours.is_some() => "registered",
        Some(_) => "has a token",
        None => "not registered",
    };
    let delivery = emsp.map_or("", |emsp| if emsp.recipient.push { "push" } else { "pull" });
    let modules: Vec<String> =
        peer.iter().flat_map(|peer| &peer.endpoints).map(|e| format!("{} {}", e.module, e.role).trim_end().to_lowercase()).collect();
    format!("{:<8} {version:<6} {delivery:<5} {valid:<16} {state:<15} {}\n", who.to_string(), modules.join(", ")).replace(" \n", "\n")
}
