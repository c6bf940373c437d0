//! What nodes of one store tell each other of their endpoints, so that a run can be made of one that is elsewhere.

use std::{sync::Arc, time::Duration};

use onward_core::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// What begins the name under which an endpoint is registered.
const KEPT: &str = "endpoint:";

/// What must be known of an endpoint to make a run of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Elsewhere {
    pub(crate) template: Option<String>,
    timeout_ms: Option<u64>,
    retention_ms: u64,
    pub(crate) body_bytes_max: usize,
    /// Its runs get values of types that are known there alone.
    pub(crate) carries: bool,
}

impl Elsewhere {
    fn of(endpoint: &Endpoint) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let options = &endpoint.options;
        Self {
            template: endpoint.template.clone(),
            timeout_ms: options.timeout.map(millis),
            retention_ms: millis(options.retention),
            body_bytes_max: options.body_bytes_max,
            carries: !endpoint.carried.is_empty(),
        }
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    pub(crate) const fn retention(&self) -> Duration {
        Duration::from_millis(self.retention_ms)
    }
}

/// Tells the other nodes of a store of this one's endpoints, if there can be others.
pub(crate) async fn tell(store: &dyn Store, endpoints: &[Arc<Endpoint>]) -> Result<(), StoreError> {
    if !store.is_shared() {
        return Ok(());
    }
    for endpoint in endpoints {
        let value = serde_json::to_vec(&Elsewhere::of(endpoint)).expect("strings and numbers always serialise");
        store.register(format!("{KEPT}{}", endpoint.id.as_str()), value.into()).await?;
    }
    Ok(())
}

/// What another node has told of an endpoint.
pub(crate) async fn find(store: &dyn Store, id: &str) -> Result<Option<Elsewhere>, StoreError> {
    if !store.is_shared() {
        return Ok(None);
    }
    let name = format!("{KEPT}{id}");
    let told = store.registrations().await?.into_iter().find(|(registered, _)| *registered == name);
    Ok(told.and_then(|(_, value)| serde_json::from_slice(value.as_ref()).ok()))
}
