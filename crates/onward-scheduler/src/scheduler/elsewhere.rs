//! Hearing of what other processes do with the runs of a shared store: told by its news, and looked for.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use onward_core::{
    RunId, StoreError,
    store::{News, Watched},
};

use super::{Scheduler, backoff::Backoff};

/// How many ended runs are read at once.
const READS: usize = 16;

impl Scheduler {
    /// Listens to the store until the node has left.
    pub(super) async fn news(self: Arc<Self>) {
        let listen = async {
            loop {
                let news = self.store.news().await;
                let told = news.iter().any(|news| self.concerns(news));
                self.hear(news).await;
                if told {
                    self.news_are_first.store(true, Ordering::Relaxed);
                }
                // Why: a store whose news are always ready must not keep this task from giving way.
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = listen => {}
        }
    }

    /// Whether news are of a run that somebody here waits for.
    fn concerns(&self, news: &News) -> bool {
        match news {
            News::Due => false,
            News::Ended(run_id) => self.hub.is_watched(*run_id) && !self.hub.attached(*run_id),
            News::Streamed(run_id) => self.hub.is_read(*run_id) && !self.hub.attached(*run_id),
        }
    }

    async fn hear(&self, news: Vec<News>) {
        let (mut ended, mut streamed) = (BTreeSet::new(), BTreeSet::new());
        for each in news {
            match each {
                News::Due => self.due.notify_one(),
                News::Ended(run_id) => drop(ended.insert(run_id)),
                News::Streamed(run_id) => drop(streamed.insert(run_id)),
            }
        }
        for run_id in streamed {
            self.hub.hint(run_id);
        }
        let of_interest = ended.into_iter().filter(|run_id| self.hub.is_watched(*run_id) || self.hub.attached(*run_id));
        stream::iter(of_interest).for_each_concurrent(READS, |run_id| self.ended(run_id)).await;
    }

    /// A run has ended elsewhere, it is said: who waits for it gets its outcome, and its execution here stops.
    async fn ended(&self, run_id: RunId) {
        // Why before the store is asked: a run that is retried after the answer may be claimed here again.
        let until = self.hub.until_now();
        match self.store.run(run_id).await {
            Ok(Some(record)) => {
                let Some(outcome) = record.outcome.filter(|_| record.status.is_final()) else { return };
                self.hub.cancel_until(run_id, until);
                self.hub.finish(run_id, Arc::new(outcome));
            }
            Ok(None) => self.hub.cancel_until(run_id, until), // it was deleted since
            Err(error) => {
                // It is looked for again.
                tracing::debug!(%run_id, error = &error as &dyn std::error::Error, "an ended run could not be read");
            }
        }
    }

    /// Looks for what the news did not tell, until the node has left.
    pub(super) async fn looks(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = self.look_for_ends() => {}
            () = self.look_for_cancelled() => {}
            () = self.say_what_is_watched() => {}
        }
    }

    /// Looks whether runs have ended or streamed elsewhere that somebody here waits for.
    async fn look_for_ends(&self) {
        let mut backoff = Backoff::default();
        let mut pause = self.look_first();
        loop {
            let watched = self.hub.watched_from_afar();
            if watched.is_empty() {
                self.hub.watched_anew().await;
                pause = self.look_first();
            }
            let first = self.look_first();
            tokio::select! {
                () = self.sleep(pause) => {}
                () = self.hub.watched_anew(), if pause > first => {
                    pause = first;
                    self.sleep(pause).await;
                }
            }
            let watched = self.hub.watched_from_afar();
            if watched.is_empty() {
                continue;
            }
            self.store.watch(watched.iter().map(|watched| watched.run_id).collect());
            let began = self.upkeep_now();
            pause = match self.look(watched).await {
                Ok(true) => {
                    backoff.reset();
                    // Why: had the news been first, there would have been nothing to find.
                    self.news_are_first.store(false, Ordering::Relaxed);
                    self.config.look_min
                }
                Ok(false) => {
                    backoff.reset();
                    (pause * 2).min(self.config.look_max)
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "it was not seen which runs have ended");
                    backoff.pause()
                }
            };
            // Why: where there is so much to look at that it takes long, it is done less often.
            pause = pause.max(self.upkeep_now().saturating_sub(began));
        }
    }

    /// Says for which runs somebody here begins to wait, so that news tell of them.
    async fn say_what_is_watched(&self) {
        loop {
            self.store.watch(self.hub.named_anew().await);
        }
    }

    /// Looks whether runs that are executed here have been ended elsewhere, without a word.
    async fn look_for_cancelled(&self) {
        loop {
            self.sleep(self.config.poll_max).await;
            let executed = self.hub.executed();
            if !executed.is_empty()
                && let Err(error) = self.look(executed).await
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "it was not seen which runs were cancelled");
            }
        }
    }

    /// Looks at runs once. Whether anything had happened.
    async fn look(&self, watched: Vec<Watched>) -> Result<bool, StoreError> {
        let news = self.store.look(watched).await?;
        let found = !news.is_empty();
        self.hear(news).await;
        Ok(found)
    }

    /// How soon it is looked when somebody begins to wait.
    fn look_first(&self) -> Duration {
        if self.news_are_first.load(Ordering::Relaxed) { self.config.look_max } else { self.config.look_min }
    }
}
