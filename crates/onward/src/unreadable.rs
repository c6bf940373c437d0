//! Runs whose record cannot be read: they are given back and rest, or end by their timeout.

use std::sync::Arc;

use onward_core::{
    StoreError,
    run::{Outcome, Status},
    store::{Checkpoint, Lease, Then},
};
use onward_scheduler::{Found, head};

use crate::{
    StepError,
    error::{ErrorKind, chain},
    onward::Shared,
    record,
};

/// Gives a run back that could not be read: at once where the store is unavailable, and after a rest where its record is
/// unreadable.
pub(crate) async fn give_back(shared: &Arc<Shared>, lease: Lease, error: &StoreError) {
    let run_id = lease.run_id;
    if !matches!(error, StoreError::Corrupt(_)) {
        tracing::error!(%run_id, error = error as &dyn std::error::Error, "loading a run failed");
        return shared.release(lease);
    }
    let now = shared.clock.now();
    let cause = chain(error);
    let Found { rest, is_new } = shared.unreadable.found(run_id, &cause, now);
    if is_new {
        let advice = "deploy the release or give the encryption key that wrote it; or cancel the run, and delete it";
        tracing::error!(%run_id, cause, advice, "run unreadable");
    }
    // The timeout makes the run due however long it should rest.
    let timed_out = match head(&*shared.store, run_id).await {
        Ok(record) => record.is_some_and(|record| record.timeout_at.is_some_and(|at| at <= now)),
        Err(error) => {
            tracing::warn!(%run_id, error = &error as &dyn std::error::Error, "timeout of an unreadable run not known");
            false
        }
    };
    if timed_out {
        match time_out(shared, lease, &cause).await {
            Ok(()) | Err(StoreError::LeaseLost | StoreError::RunNotFound) => return,
            Err(error) => {
                tracing::warn!(%run_id, error = &error as &dyn std::error::Error, "ending an unreadable run failed");
                // The store makes the run due at its timeout at the latest, which has passed: so it rests here.
                shared.clock.sleep_until(shared.clock.now().after(rest)).await;
            }
        }
    }
    shared.scheduler.release(lease, rest);
}

/// Ends an unreadable run whose time is over.
async fn time_out(shared: &Shared, lease: Lease, cause: &str) -> Result<(), StoreError> {
    let text = format!("the run took longer than its timeout; its record cannot be read: {cause}");
    let outcome = Outcome {
        status: Status::Failed,
        response: record::encode_response(&record::timed_out(lease.run_id)),
        error: StepError::new(ErrorKind::Timeout, text, false).to_outcome(),
    };
    let then = Then::Finish(outcome.clone());
    let done = shared.store.checkpoint(Checkpoint { then, ..Checkpoint::new(lease, shared.clock.now()) }).await?;
    shared.unreadable.forget(lease.run_id);
    shared.hub.finish(lease.run_id, Arc::new(outcome));
    shared.scheduler.woken(&done.woken);
    Ok(())
}
