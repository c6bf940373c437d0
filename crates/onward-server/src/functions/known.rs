//! The functions that are known, and the apps whose registration this release cannot read.

use std::{collections::BTreeMap, sync::Arc};

use onward_core::Payload;
use onward_protocol::sdk::registration::Registration;
use serde_json::Value;

use super::{Function, KEPT, is_named};

/// The functions that are known, and the apps whose registration cannot be read.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) by_id: BTreeMap<String, Function>,
    unreadable: BTreeMap<String, Unreadable>,
}

/// A registration that cannot be read: a newer release wrote it, or it is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unreadable {
    cause: String,
    /// The events that start functions of the app, as far as the registration tells.
    events: Vec<String>,
}

/// The registration of an app cannot be read, so that its functions are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the registration of app {0:?} cannot be read: deploy the engine's release that wrote it, or register the app again"
)]
pub(crate) struct RegistrationUnreadable(String);

impl Known {
    /// Reads what a store has.
    pub(super) fn read(registrations: &[(String, Payload)]) -> Self {
        let mut known = Self::default();
        for (name, value) in registrations {
            let Some(app) = name.strip_prefix(KEPT) else { continue };
            match serde_json::from_slice::<Registration>(value.as_ref()) {
                Ok(registration) => known.put(&registration),
                Err(error) => {
                    let unreadable = Unreadable { cause: error.to_string(), events: events_of(value.as_ref()) };
                    known.unreadable.insert(app.to_owned(), unreadable);
                }
            }
        }
        known
    }

    /// Puts an app's functions in place of those that it had.
    pub(super) fn put(&mut self, registration: &Registration) {
        let app: Arc<str> = registration.app.as_str().into();
        self.unreadable.remove(&*app);
        self.by_id.retain(|_, function| function.app != app);
        for registered in &registration.functions {
            let function = Function { app: Arc::clone(&app), registered: Arc::new(registered.clone()) };
            self.by_id.insert(registered.id.clone(), function);
        }
    }

    /// The function of an id, which begins with that of its app and a dash.
    pub(super) fn get(&self, id: &str) -> Result<Option<Function>, RegistrationUnreadable> {
        if let Some(function) = self.by_id.get(id) {
            return Ok(Some(function.clone()));
        }
        let is_of = |app: &&String| id.strip_prefix(app.as_str()).is_some_and(|rest| rest.starts_with('-'));
        self.unreadable.keys().find(is_of).map_or(Ok(None), |app| Err(RegistrationUnreadable(app.clone())))
    }

    /// Refuses an event that may start a function that is not known.
    pub(super) fn check_event(&self, name: &str) -> Result<(), RegistrationUnreadable> {
        let starts = |unreadable: &Unreadable| unreadable.events.iter().any(|event| is_named(event, name));
        let of = self.unreadable.iter().find(|(_, unreadable)| starts(unreadable));
        of.map_or(Ok(()), |(app, _)| Err(RegistrationUnreadable(app.clone())))
    }

    /// Tells once of each registration that cannot be read, and of each that can be again.
    pub(super) fn log_changes(&self, before: &Self) {
        for (app, Unreadable { cause, .. }) in self.newly_unreadable(before) {
            let advice = "deploy the engine's release that wrote it, or register the app again";
            tracing::error!(app, cause, advice, "registration unreadable");
        }
        for app in before.unreadable.keys().filter(|app| !self.unreadable.contains_key(*app)) {
            tracing::info!(app, "registration readable again");
        }
    }

    fn newly_unreadable<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (&'a String, &'a Unreadable)> {
        self.unreadable.iter().filter(|(app, unreadable)| before.unreadable.get(*app) != Some(unreadable))
    }
}

/// The names of the events in a registration of a shape that is not known otherwise.
fn events_of(registration: &[u8]) -> Vec<String> {
    let registration: Value = serde_json::from_slice(registration).unwrap_or_default();
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let functions = list(&registration, "functions");
    let triggers = functions.iter().flat_map(|function| list(function, "triggers"));
    triggers.filter_map(|trigger| trigger.get("event")?.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use onward_core::Payload;

    use super::Known;

    fn known(registration: &str) -> Known {
        Known::read(&[("app:shop".to_owned(), Payload::from(registration.to_owned()))])
    }

    #[test]
    fn a_registration_that_cannot_be_read_is_told_of_once_for_each_cause() {
        let (damaged, newer) = (known("{"), known(r#"{"functions":[{"triggers":[{"event":"shop/*"}]}]}"#));
        let count = |now: &Known, before: &Known| now.newly_unreadable(before).count();
        assert_eq!(
            (count(&damaged, &Known::default()), count(&damaged, &known("{")), count(&newer, &damaged)),
            (1, 0, 1)
        );
    }

    #[test]
    fn only_what_is_of_the_app_is_refused() {
        let newer = known(r#"{"functions":[{"triggers":[{"event":"shop/*"},{"cron":"x"}]}]}"#);
        assert!(newer.check_event("shop/paid").is_err() && newer.check_event("other").is_ok());
        assert!(newer.get("shop-pay").is_err() && newer.get("shopping-pay").unwrap().is_none());
        let read = known(r#"{"app":"shop","functions":[]}"#);
        assert!(read.check_event("shop/paid").is_ok() && read.get("shop-pay").unwrap().is_none());
    }
}
