//! Runs whose timeout has passed while no node could execute them: of an endpoint that was removed, or pinned to a version
//! that nobody serves any more.

use std::{sync::Arc, time::Duration};

use onward_core::{
    RunId, StoreError,
    store::{Control, Endpoints, UnservedPlace, UnservedQuery},
};
use tokio::time::Instant;

use super::{Resume, Scheduler, upkeep};

/// How many runs are looked at in one read, and in how many reads until the next time.
const PAGE: usize = 1_000;
const PAGES: u32 = 100;
/// How long after its timeout a run is ended by who cannot go on with it: whoever can is given the time to.
const GRACE: Duration = Duration::from_secs(60);

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
        let (mut pause, mut after, mut pages) = (self.config.sweep_every, None, 0);
        loop {
            self.sleep(pause).await;
            let began = Instant::now();
            match self.end_page(resume, after).await {
                Ok(next) => (after, pages) = (next, pages + 1),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "runs that time out elsewhere were not looked for"
                    );
                    pages = PAGES;
                }
            }
            let more = after.is_some() && pages < PAGES;
            pause = if more { upkeep::rest(began.elapsed()) } else { self.config.sweep_every };
            pages = if more { pages } else { 0 };
        }
    }

    /// Ends those of one page. Where the next one begins.
    async fn end_page(
        &self,
        resume: &dyn Resume,
        after: Option<UnservedPlace>,
    ) -> Result<Option<UnservedPlace>, StoreError> {
        let (endpoints, now) = (resume.endpoints(), self.clock.now().before(GRACE));
        match &endpoints {
            Endpoints::All => return Ok(None),
            // Who executes nothing, such as an app that is paused, leaves all to others.
            Endpoints::Only(served) if served.is_empty() => return Ok(None),
            Endpoints::Only(_) => {}
        }
        let page = self.store.unserved(UnservedQuery { endpoints, now, after, limit: PAGE }).await?;
        for run_id in page.timed_out {
            match self.time_out(run_id, resume).await {
                Ok(()) => {}
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => tracing::error!(%run_id, error = &error as &dyn std::error::Error,
                    "run not ended, though its timeout has passed"),
            }
        }
        Ok(page.next)
    }

    async fn time_out(&self, run_id: RunId, resume: &dyn Resume) -> Result<(), StoreError> {
        let outcome = resume.timed_out(run_id);
        match self.store.control(run_id, Control::TimeOut(outcome.clone()), self.clock.now()).await {
            Ok(woken) => {
                tracing::warn!(%run_id, "run timed out, as no node went on with it");
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
