//! Registered functions: what `step.invoke` reaches, and what events start.

mod known;

use std::sync::Arc;

use onward_core::{
    EndpointId, Payload, RunId, StepKey, Store, StoreError, Timestamp,
    event::Event,
    event::{Matcher, matching::When},
    run::{IdempotencyKey, NewRun},
    store::{Checkpoint, Then},
};
use onward_protocol::sdk::{
    registration::{Function as Registered, Registration},
    request::InvokePayload,
};
use parking_lot::RwLock;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::known::Known;
pub(crate) use self::known::RegistrationUnreadable;
use crate::{
    record::{Origin, Target, endpoint_id},
    shared::Shared,
};

/// What begins the name under which an app's functions are kept.
const KEPT: &str = "app:";

/// The functions of all apps.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    known: RwLock<Known>,
    /// Held while functions are registered, so that memory and store have the same.
    registering: tokio::sync::Mutex<()>,
}

/// A function that can be called.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    app: Arc<str>,
    registered: Arc<Registered>,
}

impl Functions {
    /// The functions that a store has.
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let functions = Self::default();
        functions.refresh(store).await?;
        Ok(functions)
    }

    /// Registers an app's functions in place of those that it had. Whether that changed something.
    pub(crate) async fn register(&self, store: &dyn Store, registration: &Registration) -> Result<bool, StoreError> {
        let _registering = self.registering.lock().await;
        let value = serde_json::to_vec(registration).expect("strings and numbers always serialise");
        let modified = store.register(format!("{KEPT}{}", registration.app), value.into()).await?;
        self.known.write().put(registration);
        Ok(modified)
    }

    /// Makes what is known what a store has by now; gives all that is registered there.
    pub(crate) async fn refresh(&self, store: &dyn Store) -> Result<Vec<(String, Payload)>, StoreError> {
        let _registering = self.registering.lock().await;
        let registrations = store.registrations().await?;
        let read = Known::read(&registrations);
        let before = std::mem::replace(&mut *self.known.write(), read);
        self.known.read().log_changes(&before);
        Ok(registrations)
    }

    /// The function of an id; an error where the registration of its app cannot be read.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Function>, RegistrationUnreadable> {
        self.known.read().get(id)
    }

    /// Refuses an event that may start a function of an app whose registration cannot be read.
    pub(crate) fn check_event(&self, name: &str) -> Result<(), RegistrationUnreadable> {
        self.known.read().check_event(name)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.read().by_id.len()
    }

    /// The functions that an event starts.
    fn started_by(&self, event: &Value) -> Vec<Function> {
        let name = event.get("name").and_then(Value::as_str).unwrap_or_default();
        let starts = |function: &&Function| {
            function.registered.triggers.iter().any(|trigger| {
                trigger.event.as_deref().is_some_and(|event| is_named(event, name))
                    && fits(name, trigger.expression.as_deref(), event)
            })
        };
        self.known.read().by_id.values().filter(starts).cloned().collect()
    }
}

/// Whether a trigger is for events of a name: `shop/*` is for all that begin with `shop/`.
fn is_named(trigger: &str, name: &str) -> bool {
    trigger.strip_suffix('*').map_or(trigger == name, |start| name.starts_with(start))
}

/// Whether the expression of a trigger holds of an event: in it, the event is `event`.
fn fits(name: &str, expression: Option<&str>, event: &Value) -> bool {
    let Some(expression) = expression.filter(|expression| !expression.is_empty()) else { return true };
    When::try_new(expression, event.clone())
        .is_ok_and(|when| Matcher { name: name.to_owned(), value: None, when: Some(when) }.matches(event))
}

impl Function {
    /// Where it is now.
    pub(crate) fn url(&self) -> &str {
        &self.registered.url
    }

    /// Its id, as runs name it.
    pub(crate) fn endpoint(&self) -> EndpointId {
        endpoint_id(&self.registered.id)
    }

    fn origin(&self, event_id: String, event_ts: i64, event: Value) -> Origin {
        let target = Target::Function { id: self.registered.id.clone(), url: self.registered.url.clone(), event };
        Origin::new(event_id, event_ts, self.registered.retries, target)
    }

    /// What makes the run that a step invokes.
    pub(crate) fn invoked(
        &self,
        by: RunId,
        step: StepKey,
        payload: &InvokePayload,
        now: Timestamp,
        traceparent: Option<String>,
    ) -> Origin {
        let id = RunId::new(now, rand::random()).to_string();
        let (at, caller) = (now.as_millis(), format!("{by}.{step}"));
        let mut event = payload.to_event_json(&id, at, &self.registered.id, &caller);
        event["user"] = json!({});
        self.origin(id, at, event).traced(traceparent)
    }
}

/// Starts the runs of functions that an event starts. An event that comes twice starts them once.
pub(crate) async fn start(shared: &Shared, event: &Event) -> Result<(), StoreError> {
    let mut json = event.to_json();
    if json.get("user").is_none() {
        json["user"] = json!({});
    }
    for function in shared.functions.started_by(&json) {
        let now = shared.clock.now();
        let digest = Sha256::new().chain_update(event.id.as_bytes()).chain_update([0]);
        let digest: [u8; 32] = digest.chain_update(function.registered.id.as_bytes()).finalize().into();
        let run_id = RunId::new(now, rand::random());
        let Some(lease) = shared.first_lease(run_id) else {
            return Err(StoreError::Unavailable("the node is joining the store".into()));
        };
        let origin = function.origin(event.id.clone(), event.ts.as_millis(), json.clone());
        let new = NewRun {
            run_id,
            endpoint: function.endpoint(),
            version: None,
            pinned: false,
            created_at: now,
            request: origin.encode(),
            timeout_at: None,
            retention: shared.options.retention,
            key: Some(IdempotencyKey { digest, fingerprint: [0; 32] }),
            parent: None,
        };
        let checkpoint =
            Checkpoint { start: Some(new), then: Then::Suspend { due_at: now }, ..Checkpoint::new(lease, now) };
        match shared.store.checkpoint(checkpoint).await {
            Ok(done) => {
                shared.metrics.run_started();
                shared.scheduler.woken(&done.woken);
            }
            Err(StoreError::KeyTaken { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
