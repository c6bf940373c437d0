//! What the endpoint has done, held against what is stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use onward_core::{RunId, journal::Change, run::Status, step::StepKind, store::Loaded};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::{COMPLETE, Endpoint};

/// What was done, and what of it is wrong.
#[derive(Default)]
pub(super) struct Notes {
    begun: Mutex<BTreeMap<(String, String), usize>>,
    wrong: Mutex<Vec<String>>,
    open: Mutex<Vec<UnboundedSender<Bytes>>>,
}

impl Notes {
    pub(super) fn keep_open(&self, tee: Option<UnboundedSender<Bytes>>) {
        self.open.lock().extend(tee);
    }
}

impl Endpoint {
    /// How often a step of a run was begun.
    pub(crate) fn begun(&self, run_id: &str, id: &str) -> usize {
        self.notes.begun.lock().get(&(run_id.to_owned(), id.to_owned())).copied().unwrap_or(0)
    }

    /// What is wrong with what was seen so far.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.notes.wrong.lock().clone()
    }

    async fn stored(&self, run_id: &str) -> Option<Loaded> {
        let run_id: RunId = run_id.parse().unwrap();
        self.ledger.load(run_id).await.unwrap()
    }

    /// A step begins: it must not have succeeded, durably, before.
    pub(super) async fn begins(&self, run_id: &str, id: &str, key: &str) -> usize {
        let stored = self.stored(run_id).await;
        let succeeded = stored.is_some_and(|stored| {
            let of_step = |entry: &&onward_core::journal::Entry| entry.key().to_string() == key;
            let last = stored.journal.iter().rev().find(of_step);
            last.is_some_and(|entry| matches!(entry.change, Change::Succeeded { .. }))
        });
        if succeeded {
            self.notes.wrong.lock().push(format!("step {id} runs again, though its success is stored"));
        }
        let mut begun = self.notes.begun.lock();
        let nth = begun.entry((run_id.to_owned(), id.to_owned())).or_default();
        *nth += 1;
        *nth
    }

    /// A report was acknowledged: it must be stored.
    pub(super) async fn acknowledged(&self, run_id: &str, ops: &[Value]) {
        let stored = self.stored(run_id).await;
        for op in ops {
            let key = op["id"].as_str().unwrap();
            let is_stored = stored.as_ref().is_some_and(|stored| match op["op"].as_str().unwrap() {
                "RunComplete" => stored.record.status == Status::Completed,
                _ if key == COMPLETE => stored.journal.iter().any(|entry| entry.kind == StepKind::Handler),
                "StepRun" => stored.journal.iter().any(|entry| {
                    let data: Value = match &entry.change {
                        Change::Succeeded { output, .. } => serde_json::from_slice(output.as_ref()).unwrap(),
                        _ => return false,
                    };
                    entry.key().to_string() == key && data == op["data"]
                }),
                _ => stored.journal.iter().any(|entry| entry.key().to_string() == key),
            });
            if !is_stored {
                self.notes.wrong.lock().push(format!("was acknowledged and is not stored: {op}"));
            }
        }
    }
}
