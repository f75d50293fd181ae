//! What the admin pages tell of the gateway.

use crate::admin::Condition;
use crate::billing::Pulse;
use crate::clock;
use crate::delivery::Delivery;
use crate::gateway::Gateway;
use crate::policy::Mode;
use std::sync::Arc;

/// The gateway as the admin pages see it.
pub(super) struct Now {
    pub(super) gateway: Arc<Gateway>,
    pub(super) pulse: Option<Arc<Pulse>>,
    pub(super) plaintext: bool,
    pub(super) delivery: Option<Delivery>,
}

impl Condition for Now {
    fn ready(&self) -> bool {
        !self.gateway.is_draining() && self.gateway.custody.store().trouble().is_none()
    }

    fn troubles(&self) -> Vec<&'static str> {
        let store = self.gateway.custody.store().trouble().map(|_| "the store cannot keep what must be kept: nothing is acknowledged");
        let stuck = self.pulse.as_ref().is_some_and(|pulse| pulse.is_stuck(clock::now()));
        let billing = stuck.then_some("billing is stuck: sessions are kept, but no CDRs are made");
        let draining = self.gateway.is_draining().then_some("stopping");
        store.into_iter().chain(billing).chain(draining).collect()
    }

    fn reservations(&self) -> Vec<&'static str> {
        let observes = (self.gateway.course().rules.mode == Mode::Observe).then_some("the policy only observes: nobody is protected");
        let plaintext = self.plaintext.then_some("allow_plaintext is set: not compliant");
        let away = self.gateway.csms_is_away().then_some("the central system does not answer: stations are told to come later");
        let delivery = self.delivery.iter().flat_map(Delivery::reservations);
        observes.into_iter().chain(plaintext).chain(away).chain(delivery).chain(self.gateway.entrance.reservations()).collect()
    }

    fn metrics(&self) -> String {
        self.gateway.metrics.upstream(self.gateway.csms_is_away());
        self.gateway.metrics.render()
    }

    fn releases(&self) -> Vec<(String, String)> {
        self.gateway.custody.store().released_names().unwrap_or_default()
    }

    fn release(&self, period: &str, file: &str) -> Option<Vec<u8>> {
        self.gateway.custody.store().released(period, file).ok().flatten()
    }
}
