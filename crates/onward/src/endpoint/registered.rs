//! The endpoints of an app: each in the versions that it is served in.

use std::collections::BTreeMap;

use onward_core::{
    EndpointId,
    run::RunRecord,
    store::{Endpoints, Served},
};
use parking_lot::RwLock;

use super::{Arc, Endpoint};

/// By its id, an endpoint's versions in the order in which they were made.
#[derive(Default)]
pub(crate) struct Registered(RwLock<BTreeMap<EndpointId, Vec<Arc<Endpoint>>>>);

impl Registered {
    /// Makes an endpoint known. Whether there was none of its id and version.
    pub(crate) fn add(&self, endpoint: Arc<Endpoint>) -> bool {
        let mut endpoints = self.0.write();
        let versions = endpoints.entry(endpoint.id.clone()).or_default();
        let is_new = versions.iter().all(|known| known.options.version != endpoint.options.version);
        versions.push(endpoint);
        is_new
    }

    /// The newest version of an endpoint: the one that was made last.
    pub(crate) fn newest(&self, id: &str) -> Option<Arc<Endpoint>> {
        let id = EndpointId::try_new(id).ok()?;
        self.0.read().get(&id)?.last().cloned()
    }

    /// The newest version of each endpoint.
    pub(crate) fn newest_of_each(&self) -> Vec<Arc<Endpoint>> {
        self.0.read().values().filter_map(|versions| versions.last().cloned()).collect()
    }

    /// Who goes on with a run: the version that it was started with, or else the newest one, unless it is pinned.
    pub(crate) fn goes_on_with(&self, record: &RunRecord) -> Option<Arc<Endpoint>> {
        let endpoints = self.0.read();
        let mut callable = endpoints.get(&record.endpoint)?.iter().filter(|endpoint| endpoint.call().is_some());
        let own = callable.clone().find(|endpoint| endpoint.options.version == record.version);
        own.or_else(|| callable.next_back().filter(|_| !record.pinned)).cloned()
    }

    /// What can be executed: endpoints whose handlers have their state.
    pub(crate) fn served(&self) -> Endpoints {
        let endpoints = self.0.read();
        let callable = endpoints.values().flatten().filter(|endpoint| endpoint.call().is_some());
        let served = |endpoint: &Arc<Endpoint>| Served {
            endpoint: endpoint.id.clone(),
            version: endpoint.options.version.clone(),
        };
        Endpoints::Only(callable.map(served).collect())
    }
}
