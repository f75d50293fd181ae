//! The configuration is read again while the gateway runs. Either all of it is without a mistake, files and policy included, and what can
//! change does so at once for the connections that come from then on; or nothing changes. Connections that stand go on as they began.

use super::{Ready, Serving, refresh, rules};
use crate::config::Config;
use crate::policy::{Mode, Rules};
use std::sync::Arc;

/// A configuration that was looked at as a whole.
struct Looked {
    config: Config,
    rules: Rules,
    ready: Ready,
}

impl Serving {
    /// Reads the configuration again with `read`, where blocking is allowed, and has new connections go by it. Certificates, revocation
    /// lists and passwords are read again as by [`Serving::reload`]. Policy, operator-issued identifiers, the way to the central system,
    /// and the times and bounds of `[stations]` and `[frames]` change at once; a change of anything else is told as one that needs a
    /// restart. Mistakes are logged, each with its key, and without values. Returns whether the new configuration is in force.
    pub async fn adopt(&self, read: impl FnOnce() -> Result<Config, Vec<String>> + Send + 'static) -> bool {
        // One at a time.
        let mut running = self.running.lock().await;
        let keeps_passwords = running.identity.keeps_passwords();
        let look = move || {
            let config = read()?;
            // Both, so that all mistakes are told at once.
            match (rules(&config, keeps_passwords), Ready::read(&config)) {
                (Ok(rules), Ok(ready)) => Ok(Looked { config, rules, ready }),
                (rules, ready) => Err([rules.err(), ready.err()].into_iter().flatten().flatten().collect()),
            }
        };
        let looked = tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Err(vec!["reading it broke off".to_owned()]));
        let Looked { config, rules, ready } = match looked {
            Ok(looked) => looked,
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(what = "config", reason = mistake, "cannot be used: what was read before stays in force");
                }
                self.gateway.metrics.reloaded("config", "kept");
                return false;
            }
        };
        for key in asks_for_a_restart(&running, &config) {
            tracing::warn!(key, "has changed, which only a restart puts in force");
        }
        // Whether a plain way is allowed is part of what the gateway said of itself when it began.
        let elsewhere = config.upstream != running.upstream && config.allow_plaintext == running.allow_plaintext;
        let upstream = elsewhere.then_some(ready.upstream);
        if let Some(upstream) = &upstream {
            let kept = self.reloads.load().iter().filter(|one| one.what() != "upstream_tls").cloned().collect::<Vec<_>>();
            let tls = upstream.tls.iter().map(|tls| Arc::clone(tls) as _);
            self.reloads.store(Arc::new(kept.into_iter().chain(tls).collect()));
            running.upstream = config.upstream;
        }
        let (before, name, observes) = (self.gateway.course(), rules.name.clone(), rules.mode == Mode::Observe);
        self.gateway.steer(Arc::new(rules), config.stations.clone(), upstream);
        self.gateway.metrics.redescribe(&before.rules.name, &name, observes, running.allow_plaintext);
        running.policy = config.policy;
        running.namespaces = config.namespaces;
        if observes {
            tracing::warn!("this policy only observes: everything passes as it came and NOBODY IS PROTECTED");
        }
        tracing::info!(what = "config", policy = name, "read again: new connections go by it");
        self.gateway.metrics.reloaded("config", "new");
        refresh(&self.reloads, &self.gateway.metrics, true).await;
        true
    }
}

/// The keys, or sections, in which two configurations differ and that are not changed while the gateway runs.
fn asks_for_a_restart(running: &Config, fresh: &Config) -> Vec<&'static str> {
    let (ours, new) = (&running.stations, &fresh.stations);
    let differ = [
        ("listen", running.listen != fresh.listen),
        ("admin", running.admin != fresh.admin),
        ("data_dir", running.data_dir != fresh.data_dir),
        ("allow_plaintext", running.allow_plaintext != fresh.allow_plaintext),
        ("upstream", running.upstream != fresh.upstream && running.allow_plaintext != fresh.allow_plaintext),
        ("keys", running.kek_file != fresh.kek_file),
        ("tls", running.tls != fresh.tls),
        ("stations (identity)", running.identity != fresh.identity),
        ("identity.alphabet", running.alphabet != fresh.alphabet),
        ("stations.max_connections", ours.max_connections != new.max_connections),
        ("limits", ours.limits != new.limits),
        ("journal", running.journal_days != fresh.journal_days),
        ("billing", running.billing != fresh.billing),
        ("statistics", running.statistics != fresh.statistics),
        ("ocpi", running.ocpi != fresh.ocpi),
        ("emsp", running.emsps != fresh.emsps),
        ("log", (running.log_json, running.log_level) != (fresh.log_json, fresh.log_level)),
    ];
    differ.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}
