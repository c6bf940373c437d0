//! What the parts of an engine share.

use std::sync::Arc;

use onward_core::{
    Clock, Draw, Fence, RetryPolicy, RunId, Store, StoreError,
    journal::Entry,
    run::Outcome,
    store::{Checkpoint, Lease, Then},
};
use onward_host::bodies::Bodies;
use onward_protocol::{
    sdk::signing::Keys,
    token::{self, KeyRing},
};
use onward_scheduler::{Hub, Parking, Scheduler, TaskSet, Unreadable};
use tokio_util::sync::CancellationToken;

use crate::{
    call::Caller,
    functions::Functions,
    live::{Memory, Registry},
    observe::Metrics,
    options::{Options, Retry},
    peers::Peers,
    plan::Plan,
    record::Names,
};

/// What the parts of an engine share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) tasks: TaskSet,
    /// Cancelled when no call is under way any more at a shutdown: who still waits is let go.
    pub(crate) closing: CancellationToken,
    pub(crate) parking: Parking,
    /// The keys of run tokens.
    pub(crate) tokens: KeyRing,
    /// The signing keys that endpoints and the engine share.
    pub(crate) keys: Keys,
    pub(crate) caller: Caller,
    /// Reads the bodies of requests.
    pub(crate) bodies: Arc<Bodies>,
    /// The memory of runs under way.
    pub(crate) memory: Arc<Memory>,
    pub(crate) live: Registry,
    /// The runs whose record could not be read.
    pub(crate) unreadable: Unreadable,
    pub(crate) functions: Functions,
    pub(crate) peers: Peers,
    pub(crate) names: Names,
    pub(crate) metrics: Metrics,
    /// How many streams are being read.
    pub(crate) streams_open: Arc<()>,
}

impl Shared {
    /// The lease of a run that this node starts; `None` while it is no node.
    pub(crate) fn first_lease(&self, run_id: RunId) -> Option<Lease> {
        Some(Lease { run_id, fence: Fence::FIRST, node: self.scheduler.node()? })
    }

    /// How failed attempts of a run are spaced.
    pub(crate) fn policy(&self, retries: u32) -> RetryPolicy {
        let retries = retries.min(onward_core::retry::RETRIES_MAX);
        let policy = match self.options.retry {
            Retry::Every(delay) => RetryPolicy::fixed(delay, retries),
            Retry::Between(min, max) => RetryPolicy::try_new(min, max, retries),
        };
        policy.or_else(|_| RetryPolicy::default().with_retries(retries)).unwrap_or_default()
    }

    /// What a stored run's journal tells: enough to say what is known of its steps, not to go on with it.
    pub(crate) fn stored_plan(&self, journal: &[Entry]) -> Plan {
        Plan::new(self.policy(0), self.options.limits.steps).replay(journal)
    }

    /// Ends a run that cannot go on, and tells who waits for it.
    pub(crate) async fn end(&self, lease: Lease, outcome: Outcome) -> Result<(), StoreError> {
        let then = Then::Finish(outcome.clone());
        let checkpoint = Checkpoint { then, ..Checkpoint::new(lease, self.clock.now()) };
        let done = self.store.checkpoint(checkpoint).await?;
        self.scheduler.woken(&done.woken);
        self.metrics.run_finished(outcome.status.as_str());
        self.hub.finish(lease.run_id, Arc::new(outcome));
        Ok(())
    }

    /// A token that opens a run from now on.
    pub(crate) fn token(&self, run_id: RunId) -> String {
        let expires = self.clock.now().after(self.options.token_lifetime);
        token::mint(&self.tokens, run_id.to_bytes(), expires.as_millis())
    }

    /// Whether a token opens a run.
    pub(crate) fn opens(&self, run_id: RunId, token: &str) -> bool {
        token::verify(&self.tokens, run_id.to_bytes(), token, self.clock.now().as_millis()).is_ok()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.tasks.shutdown_token().is_cancelled()
    }
}

/// A random number for a rule.
pub(crate) fn draw() -> Draw {
    Draw(rand::random())
}
