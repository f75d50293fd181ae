//! What a configuration names is read before anything is bound: certificates, passwords, the site register, tokens. `sluis check` does
//! this and no more.

use super::ocpi_client;
use crate::billing::Desk;
use crate::cdr::site::Sites;
use crate::clock;
use crate::config::{Config, EmspConfig, UpstreamConfig};
use crate::custody;
use crate::gateway::credentials::{Outbound, Passwords};
use crate::gateway::upstream::Upstream;
use crate::gateway::{Entrance, Guard, Profile};
use crate::ocpi::directory::Directory;
use crate::publication::{Terms, register};
use crate::reload::{Reload, Watched};
use crate::tls::{self, ClientFiles, Server, Tickets};
use indexmap::IndexSet;
use std::sync::Arc;

/// What the files that a configuration names say.
pub struct Ready {
    /// The way to the central system.
    pub upstream: Upstream,
    /// By what sessions are billed; `None` where there is no billing.
    pub desk: Option<Desk>,
    /// TLS, and how stations prove who they are.
    pub entrance: Entrance,
    /// How statistics are made; `None` where none are.
    pub terms: Option<Terms>,
}

impl Ready {
    /// Reads certificates, passwords, key file, site register, tariffs and token files, and looks whether directories can be written in.
    ///
    /// # Errors
    /// All mistakes at once, each with its key and, where there is one, its file.
    pub fn read(config: &Config) -> Result<Self, Vec<String>> {
        let upstream =
            config.upstream.as_ref().ok_or_else(|| vec!["upstream.url: is missing (or --upstream)".to_owned()]).and_then(dialler);
        let desk = desk(config);
        let entrance = entrance(config);
        let mut others = Directory::mistakes(config);
        // Its CA file may be of use to OCPI only.
        others.extend(ocpi_client(config).err().into_iter().flatten());
        let releases = config.statistics.dir.as_ref().filter(|_| config.statistics.enabled).map(|dir| ("statistics.dir", dir));
        for (key, dir) in [("data_dir", &config.data_dir)].into_iter().chain(releases) {
            others.extend(custody::no_room(dir).map(|why| format!("{key}: {why}")));
        }
        // One that is made at the first start is looked at then.
        others.extend(custody::key_mistake(&config.data_dir, config.kek_file.as_deref(), config.credentials.as_deref()));
        let sites = desk.as_ref().ok().and_then(Option::as_ref).filter(|_| config.statistics.enabled);
        let terms = sites.map(|desk| terms(config, desk.sites()).map_err(|why| vec![why])).transpose();
        match (upstream, desk, entrance, terms) {
            (Ok(upstream), Ok(desk), Ok(entrance), Ok(terms)) if others.is_empty() => Ok(Self { upstream, desk, entrance, terms }),
            (upstream, desk, entrance, terms) => {
                let mistakes = [upstream.err(), desk.err(), entrance.err(), terms.err()];
                // Two rooms may read one file, and find the same.
                Err(mistakes.into_iter().flatten().flatten().chain(others).collect::<IndexSet<_>>().into_iter().collect())
            }
        }
    }

    /// What `sluis check` says about TLS and identity beyond mistakes, as lines.
    pub fn report(&self, config: &Config) -> Vec<String> {
        let least = self.entrance.least;
        let mut lines = vec![format!("stations: security profile {} or higher: {}", least.number(), least.meaning())];
        let checked = match &self.entrance.passwords {
            Some(passwords) => format!("passwords are checked here, for {} stations", passwords.get().len()),
            None => "passwords are passed on and checked by the central system only, which so decides who is a station".to_owned(),
        };
        lines.push(format!("stations: {checked}"));
        if self.entrance.outbound.is_some() {
            lines.push("upstream: the central system is told passwords of its own".to_owned());
        }
        match &self.entrance.tls {
            Some(tls) => {
                let asked = if tls.get().asks_for_certificates() {
                    "are asked for a client certificate"
                } else {
                    "are not asked for a client certificate"
                };
                lines.push(format!("stations: {asked}"));
                lines.extend(tls::report(&tls.get(), clock::now()));
            }
            None => {
                lines
                    .push("note: there is no TLS towards stations ([tls]); stations beyond loopback need a terminator in front".to_owned());
            }
        }
        if least == Profile::None {
            lines.push("note: security profile 0 is none of OCPP's: for loopback and laboratories only".to_owned());
        }
        if least == Profile::Password && config.tls.as_ref().is_none_or(|tls| tls.listen.is_some()) {
            lines.push(
                "note: security profile 1 sends passwords in plain text: only on a network that nobody else is on (R78 asks for TLS)"
                    .to_owned(),
            );
        }
        // It may still call us and exchange credentials, if it has a token for that.
        let unreachable =
            |emsp: &&EmspConfig| emsp.recipient.push && emsp.versions_url.is_none() && emsp.cdrs_url.is_none() && emsp.token_file.is_none();
        for emsp in config.emsps.iter().filter(unreachable) {
            let party = emsp.recipient.party;
            lines.push(format!(
                "note: nothing can be pushed to {party}: its entry has no token_file, versions_url or cdrs_url; its CDRs wait"
            ));
        }
        lines
    }

    /// What is read again when its files change.
    pub fn reloads(&self) -> Vec<Arc<dyn Reload>> {
        let Entrance { tls, passwords, outbound, .. } = &self.entrance;
        let tls = tls.iter().map(|watched| Arc::clone(watched) as Arc<dyn Reload>);
        let passwords = passwords.iter().map(|watched| Arc::clone(watched) as Arc<dyn Reload>);
        let outbound = outbound.iter().map(|watched| Arc::clone(watched) as Arc<dyn Reload>);
        let upstream = self.upstream.tls.iter().map(|watched| Arc::clone(watched) as Arc<dyn Reload>);
        tls.chain(passwords).chain(outbound).chain(upstream).collect()
    }
}

/// How statistics are made of a site register.
///
/// # Errors
/// What is wrong with the register, by its key.
pub fn terms(config: &Config, sites: &Sites) -> Result<Terms, String> {
    let statistics = &config.statistics;
    let geography = register::geography(sites, &statistics.country, statistics.zone, statistics.grouping);
    let geography = geography.map_err(|why| format!("billing.sites: {why}, which statistics need"))?;
    Ok(Terms { geography, parameters: statistics.parameters.clone(), method: statistics.method })
}

/// Reads certificates and passwords.
fn entrance(config: &Config) -> Result<Entrance, Vec<String>> {
    let (mut entrance, mut mistakes) = (Entrance { least: config.identity.profile, ..Entrance::default() }, Vec::new());
    let tls = config.tls.as_ref().map(|tls| {
        let (files, tickets) = (tls.files.clone(), Tickets::new().map_err(|why| vec![format!("tls.certificates: {why}")])?);
        Watched::open("tls", files.all(), move || Server::read(&files, &tickets))
    });
    match tls.transpose() {
        Ok(tls) => entrance.tls = tls.map(Arc::new),
        Err(more) => mistakes.extend(more),
    }
    if let Some(path) = config.identity.passwords.clone() {
        let passwords = Watched::open("passwords", vec![path.clone()], move || Passwords::read(&path)).map(Arc::new);
        let guarded = passwords.and_then(|passwords| {
            let guard = Guard::new(Arc::clone(&passwords)).map_err(|why| vec![format!("stations.passwords_file: {why}")])?;
            Ok((passwords, guard))
        });
        match guarded {
            Ok((passwords, guard)) => (entrance.passwords, entrance.guard) = (Some(passwords), Some(guard)),
            Err(more) => mistakes.extend(more),
        }
    }
    let (all, each) = (config.identity.upstream_password.clone(), config.identity.upstream_passwords.clone());
    if all.is_some() || each.is_some() {
        let files = all.iter().chain(&each).cloned().collect();
        match Watched::open("upstream_passwords", files, move || Outbound::read(all.as_deref(), each.as_deref())) {
            Ok(outbound) => entrance.outbound = Some(Arc::new(outbound)),
            Err(more) => mistakes.extend(more),
        }
    }
    if mistakes.is_empty() { Ok(entrance) } else { Err(mistakes) }
}

/// Reads the site register and the tariffs; `None` where there is no billing.
///
/// # Errors
/// All mistakes, each with its key and file.
pub fn desk(config: &Config) -> Result<Option<Desk>, Vec<String>> {
    config.billing.as_ref().map(|billing| Desk::open(billing, config.recipients())).transpose()
}

/// Makes the dialler; reads the CA file and our own certificate.
///
/// # Errors
/// All mistakes, each with its key.
pub fn dialler(config: &UpstreamConfig) -> Result<Upstream, Vec<String>> {
    let read = |files: ClientFiles| move || tls::client(&files, "upstream.url", true).map(Arc::new);
    let files = &config.files;
    let tls = config.tls.then(|| Watched::open("upstream_tls", files.all(), read(files.clone()))).transpose()?.map(Arc::new);
    let (host, base, server_name) = (config.host.clone(), config.base.clone(), config.server_name.clone());
    let (append_id, offers_versions) = (config.append_id, config.offers_versions);
    Ok(Upstream { host, port: config.port, base, append_id, offers_versions, tls, server_name, patience: config.patience })
}
