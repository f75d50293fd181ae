//! What connections go by and what may change while the gateway runs. It changes as a whole; a connection holds what it began with until it
//! ends, so that no conversation changes its rules half-way.

use super::Settings;
use super::upstream::{Dialler, Upstream};
use crate::policy::Rules;
use std::sync::Arc;

/// Policy, times and bounds, and the way to the central system, as they belong together.
pub struct Course {
    /// The compiled policy.
    pub rules: Arc<Rules>,
    /// Times and bounds.
    pub settings: Settings,
    /// Where stations go on to.
    pub(super) dialler: Arc<Dialler>,
}

impl Course {
    pub(super) fn new(rules: Arc<Rules>, settings: Settings, upstream: Upstream) -> Self {
        let dialler = Arc::new(Dialler::new(upstream, settings.limits.dials));
        Self { rules, settings, dialler }
    }

    /// The next one. What counts newcomers and connections was made with its bounds, which therefore stay; and so does what is known of a
    /// central system, unless it is another one.
    pub(super) fn turned(&self, rules: Arc<Rules>, settings: Settings, upstream: Option<Upstream>) -> Self {
        let Settings { limits, max_connections, .. } = self.settings.clone();
        let dialler = upstream.map_or_else(|| Arc::clone(&self.dialler), |upstream| Arc::new(Dialler::new(upstream, limits.dials)));
        Self { rules, settings: Settings { limits, max_connections, ..settings }, dialler }
    }
}
