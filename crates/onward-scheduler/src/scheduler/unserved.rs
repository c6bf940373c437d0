//! Runs whose timeout has passed while no node could execute them: of an endpoint that was removed, or pinned to a version
//! that nobody serves any more.

use std::sync::Arc;

use onward_core::{
    RunId, StoreError,
    store::{Control, Endpoints, UnservedPlace, UnservedQuery},
};
use tokio::time::Instant;

use super::{Resume, Scheduler, upkeep};

/// How many runs are looked at in one read.
const PAGE: usize = 1_000;

impl Scheduler {
    /// Ends such runs, each time that retention is applied, until it is told to stop.
    pub(super) async fn end_unserved(self: Arc<Self>, resume: Arc<dyn Resume>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.end_unserved_forever(&*resume) => {}
        }
    }

    async fn end_unserved_forever(&self, resume: &dyn Resume) {
        let (mut pause, mut after) = (self.config.sweep_every, None);
        loop {
            self.sleep(pause).await;
            let began = Instant::now();
            after = self.end_page(resume, after).await.unwrap_or_else(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "timeouts of runs that no node serves were not seen"
                );
                None
            });
            pause = if after.is_some() { upkeep::rest(began.elapsed()) } else { self.config.sweep_every };
        }
    }

    /// Ends those of one page. Where the next one begins.
    async fn end_page(
        &self,
        resume: &dyn Resume,
        after: Option<UnservedPlace>,
    ) -> Result<Option<UnservedPlace>, StoreError> {
        let (endpoints, now) = (resume.endpoints(), self.clock.now());
        match &endpoints {
            Endpoints::All => return Ok(None),
            // Who executes nothing, such as an app that is paused, leaves all to others.
            Endpoints::Only(served) if served.is_empty() => return Ok(None),
            Endpoints::Only(_) => {}
        }
        let page = self.store.unserved(UnservedQuery { endpoints, now, after, limit: PAGE }).await?;
        for run_id in page.timed_out {
            self.time_out(run_id, resume).await?;
        }
        Ok(page.next)
    }

    async fn time_out(&self, run_id: RunId, resume: &dyn Resume) -> Result<(), StoreError> {
        let outcome = resume.timed_out(run_id);
        match self.store.control(run_id, Control::TimeOut(outcome.clone()), self.clock.now()).await {
            Ok(woken) => {
                tracing::warn!(%run_id, "run timed out, as no node served its endpoint in its version");
                self.hub.finish(run_id, Arc::new(outcome));
                self.woken(&woken);
                Ok(())
            }
            // Somebody has begun with it, or ended it.
            Err(StoreError::WrongStatus(_) | StoreError::RunNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
