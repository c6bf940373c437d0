//! What an endpoint asks for, and the names of its steps.

use std::time::Duration;

use onward_core::{
    InvalidId, Payload, StepKey, Timestamp,
    run::NewRun,
    step::{StepId, StepKind},
    waiter::Subject,
};

/// What begins the name of a step whose id does not hash to its key: the key, in hex, follows.
const BY_KEY: char = '#';

/// What an endpoint asks for, or reports, of one step.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// It has run the step.
    Ran(Payload),
    /// An attempt of the step failed.
    Failed {
        /// The error, as the SDK wrote it.
        error: Payload,
        /// Whether another attempt may help.
        retryable: bool,
        /// How long to wait before it, where the error says so.
        retry_after: Option<Duration>,
    },
    /// It wants to be called for the step.
    Planned,
    /// It sleeps.
    Sleep(Timestamp),
    /// It waits for an event or a signal.
    Wait {
        /// Which.
        kind: StepKind,
        /// The name of it.
        name: String,
        /// What counts.
        subject: Subject,
        /// How long.
        until: Option<Timestamp>,
    },
    /// It invokes a function.
    Invoke {
        /// The run of the function.
        child: Box<NewRun>,
        /// How long it waits.
        until: Timestamp,
    },
    /// It wants a URL to be called.
    Request {
        /// For what.
        kind: StepKind,
        /// The request, as it is journaled.
        request: String,
    },
    /// It asked for something that cannot be: the step fails at once.
    Refused {
        /// What it asked for.
        kind: StepKind,
        /// Why not, as the SDK reads errors.
        error: Payload,
    },
    /// It asked for something that cannot be now: the step is tried again.
    NotYet {
        /// What it asked for.
        kind: StepKind,
        /// Why not, as the SDK reads errors.
        error: Payload,
    },
}

/// The name under which a step is journaled, and from which its key can be made again.
///
/// The SDK's keys are hashes of ids. Where a middleware has changed an id, the key is kept instead.
pub(crate) fn step_id(name: &str, index: u32, wire: [u8; 20]) -> Result<StepId, InvalidId> {
    let wire = StepKey::from_bytes(wire);
    match StepId::try_new(name, index) {
        Ok(id) if id.key() == wire && !name.starts_with(BY_KEY) => Ok(id),
        _ => StepId::try_new(format!("{BY_KEY}{wire}"), 0),
    }
}

/// The key by which the SDK knows a step, as frames name it.
pub(crate) fn wire(id: &StepId) -> StepKey {
    id.name().strip_prefix(BY_KEY).and_then(read_key).unwrap_or_else(|| id.key())
}

/// A key, from its 40 hex digits.
pub(crate) fn read_key(hex: &str) -> Option<StepKey> {
    let mut key = [0; 20];
    if hex.len() != 40 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(StepKey::from_bytes(key))
}

/// The id of an event, as it is given to a wait.
pub(super) fn event_id(event: &Payload) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Identified {
        id: String,
    }
    serde_json::from_slice::<Identified>(event.as_ref()).ok().map(|event| event.id)
}

/// An error of ours, as the SDK reads errors.
pub(crate) fn error(name: &str, message: &str) -> Payload {
    Payload::from(serde_json::json!({ "name": name, "message": message }).to_string())
}

#[cfg(test)]
mod tests {
    use onward_core::StepKey;

    use super::{step_id, wire};

    #[test]
    fn a_step_keeps_its_name_where_that_gives_its_key_and_its_key_otherwise() {
        let key = StepKey::of("a", 2);
        let named = step_id("a", 2, key.to_bytes()).unwrap();
        assert_eq!((named.to_string().as_str(), wire(&named)), ("a:2", key));

        let changed = step_id("b", 0, key.to_bytes()).unwrap();
        assert_eq!(wire(&changed), key);

        let tricky = format!("#{}", StepKey::of("x", 0));
        let own = StepKey::of(&tricky, 0);
        assert_eq!(wire(&step_id(&tricky, 0, own.to_bytes()).unwrap()), own);
    }
}
