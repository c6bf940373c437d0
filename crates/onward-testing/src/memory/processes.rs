//! Several processes on one store: what one does is news to the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    mem::take,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
};

use onward_core::{
    BoxFuture, NodeId, RunId, Timestamp,
    run::Status,
    store::{Lease, News, Watched},
    stream::Place,
};

use super::state::State;

/// A process that listens.
pub(super) type Listener = Arc<Mutex<Unheard>>;

/// What a process has not heard yet.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    news: BTreeSet<News>,
    waker: Option<Waker>,
}

/// The processes of a store.
#[derive(Debug, Default)]
pub(super) struct Processes {
    listeners: Mutex<Vec<Listener>>,
}

impl Processes {
    pub(super) fn join(&self) -> Listener {
        let listener = Listener::default();
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&listener));
        listener
    }

    /// Tells all processes but the one that did it.
    pub(super) fn tell(&self, by: &Listener, news: &BTreeSet<News>) {
        if news.is_empty() {
            return;
        }
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter().filter(|listener| !Arc::ptr_eq(listener, by)) {
            let mut unheard = listener.lock().unwrap_or_else(PoisonError::into_inner);
            unheard.news.extend(news);
            if let Some(waker) = unheard.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Waits for news.
pub(super) fn listen(listener: Listener) -> BoxFuture<'static, Vec<News>> {
    Box::pin(poll_fn(move |cx| {
        let mut unheard = listener.lock().unwrap_or_else(PoisonError::into_inner);
        if unheard.news.is_empty() {
            unheard.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(take(&mut unheard.news).into_iter().collect())
    }))
}

/// How each run stands, as far as it is news when it changes.
pub(super) type Standings = BTreeMap<RunId, (Status, Option<NodeId>, Timestamp, usize, Place)>;

impl State {
    pub(super) fn standings(&self) -> Standings {
        let standing = |run: &super::state::Run| {
            let record = &run.record;
            (record.status, record.node, record.due_at, run.deliveries.len(), run.streamed())
        };
        self.runs.iter().map(|(run_id, run)| (*run_id, standing(run))).collect()
    }

    /// What has changed since.
    pub(super) fn news_since(&self, before: &Standings) -> BTreeSet<News> {
        let mut news = BTreeSet::new();
        for (run_id, now) in self.standings() {
            let before = before.get(&run_id).copied();
            let (status, _, _, _, streamed) = now;
            if before == Some(now) {
                continue;
            }
            if status.is_final() {
                news.insert(News::Ended(run_id));
            } else {
                news.insert(News::Due);
            }
            if before.map_or(Place(0), |before| before.4) < streamed {
                news.insert(News::Streamed(run_id));
            }
        }
        news
    }

    pub(super) fn held(&self, node: NodeId) -> Vec<Lease> {
        let held = self.runs.iter().filter(|(_, run)| run.record.node == Some(node));
        held.map(|(run_id, run)| Lease { run_id: *run_id, fence: run.record.fence, node }).collect()
    }

    pub(super) fn look(&self, watched: &[Watched]) -> Vec<News> {
        let mut news = Vec::new();
        for Watched { run_id, streamed } in watched {
            let Some(run) = self.runs.get(run_id) else { continue };
            if run.record.status.is_final() {
                news.push(News::Ended(*run_id));
            }
            if streamed.is_some_and(|known| known < run.streamed()) {
                news.push(News::Streamed(*run_id));
            }
        }
        news
    }
}
