//! Who waits for an outcome gets it once it is there, and nothing is left behind.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use onward_core::run::{Outcome, Status};
use onward_scheduler::{Attached, Hub, Hung};

use crate::support::{Told, run};

#[expect(clippy::disallowed_methods, reason = "the test waits for it")]
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn(future)
}

fn outcome(text: &'static str) -> Arc<Outcome> {
    Arc::new(Outcome { status: Status::Completed, response: text.into(), error: "".into() })
}

#[tokio::test]
async fn every_watch_gets_the_outcome_whether_it_waits_already_or_not() {
    let hub = Arc::new(Hub::default());
    let mut early = hub.watch(run(1));
    let waiting = spawn(async move { early.outcome().await });
    tokio::task::yield_now().await;
    let mut late = hub.watch(run(1));
    hub.finish(run(1), outcome("a"));
    assert_eq!(waiting.await.unwrap(), outcome("a"));
    assert_eq!(late.outcome().await, outcome("a"));
    assert_eq!(late.outcome().await, outcome("a"), "it may be asked again");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_for_those_who_watched_before_it_and_for_no_other_run() {
    let hub = Arc::new(Hub::default());
    hub.finish(run(1), outcome("before"));
    let mut watch = hub.watch(run(1));
    hub.finish(run(2), outcome("other"));
    hub.finish(run(17), outcome("of the same shard"));
    assert!(tokio::time::timeout(Duration::from_secs(1), watch.outcome()).await.is_err());
    hub.finish(run(1), outcome("after"));
    assert_eq!(watch.outcome().await, outcome("after"), "giving up the wait took nothing away");
}

/// A failed run that is retried ends again, with another outcome.
#[tokio::test(start_paused = true)]
async fn who_watches_a_run_again_does_not_get_its_first_outcome_though_another_still_holds_it() {
    let hub = Arc::new(Hub::default());
    let mut first = hub.watch(run(1));
    hub.finish(run(1), outcome("failed"));
    let mut second = hub.watch(run(1));
    assert!(tokio::time::timeout(Duration::from_secs(1), second.outcome()).await.is_err());
    hub.finish(run(1), outcome("retried"));
    assert_eq!(second.outcome().await, outcome("retried"));
    assert_eq!(first.outcome().await, outcome("failed"));
}

#[tokio::test]
async fn watches_leave_nothing_behind_in_whatever_order_they_go() {
    let hub = Arc::new(Hub::default());
    let (told, gone) = (hub.watch(run(1)), hub.watch(run(1)));
    drop(gone);
    assert_eq!(hub.watched_len(), 1);
    hub.finish(run(1), outcome("a"));
    let again = hub.watch(run(1));
    drop(told);
    assert_eq!(hub.watched_len(), 1, "who was told does not take the entry of who was not");
    drop(again);
    assert_eq!(hub.watched_len(), 0);
    assert_eq!(Arc::strong_count(&hub), 1);
}

#[tokio::test]
async fn a_newer_execution_takes_the_place_of_an_older_and_keeps_it() {
    let hub = Arc::new(Hub::default());
    let (older, newer) = (Arc::new(Told::default()), Arc::new(Told::default()));
    let first = hub.attach(run(1), Arc::clone(&older) as Arc<dyn Attached>);
    let second = hub.attach(run(1), Arc::clone(&newer) as Arc<dyn Attached>);
    drop(first);
    assert!(hub.attached(run(1)) && hub.nudge(run(1)) && hub.cancel(run(1)));
    assert_eq!((older.nudges(), older.cancels(), newer.nudges(), newer.cancels()), (0, 0, 1, 1));
    drop(second);
    assert!(!hub.attached(run(1)) && !hub.nudge(run(1)) && !hub.cancel(run(1)));
    assert_eq!(hub.attached_len(), 0);
    assert_eq!((Arc::strong_count(&older), Arc::strong_count(&newer)), (1, 1));
}

#[tokio::test]
async fn all_executions_can_be_stopped_at_once() {
    let hub = Arc::new(Hub::default());
    let all: Vec<_> = (0..40).map(|draw| (draw, Arc::new(Told::default()))).collect();
    let guards: Vec<_> =
        all.iter().map(|(draw, told)| hub.attach(run(*draw), Arc::clone(told) as Arc<dyn Attached>)).collect();
    assert_eq!(hub.attached_len(), 40);
    hub.cancel_all();
    assert!(all.iter().all(|(_, told)| told.cancels() == 1 && told.nudges() == 0));
    drop(guards);
    assert_eq!(hub.attached_len(), 0);
}

/// An execution that, as it is told something or dropped, asks the hub about itself.
struct Curious(Weak<Hub>);

impl Curious {
    fn ask(&self) {
        if let Some(hub) = self.0.upgrade() {
            hub.attached(run(1));
        }
    }
}

impl Attached for Curious {
    fn nudge(&self) {
        self.ask();
    }

    fn cancel(&self) {
        self.ask();
    }

    fn hung(&self) -> Option<Hung> {
        None
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        self.ask();
    }
}

#[tokio::test]
async fn executions_may_use_the_hub_from_whatever_it_calls() {
    let hub = Arc::new(Hub::default());
    let curious = || Arc::new(Curious(Arc::downgrade(&hub))) as Arc<dyn Attached>;
    let first = hub.attach(run(1), curious());
    let second = hub.attach(run(1), curious());
    assert!(hub.nudge(run(1)) && hub.cancel(run(1)));
    hub.cancel_all();
    drop((first, second));
    assert_eq!(hub.attached_len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_watch_misses_its_outcome_in_a_race_and_none_leaks() {
    let hub = Arc::new(Hub::default());
    for round in 0..2_000 {
        let run_id = run(round % 4);
        let mut watch = hub.watch(run_id);
        let (finishing, dropping) = (Arc::clone(&hub), hub.watch(run_id));
        let finish = spawn(async move { finishing.finish(run_id, outcome("a")) });
        let gone = spawn(async move { drop(dropping) });
        let told = tokio::time::timeout(Duration::from_secs(30), watch.outcome()).await;
        assert_eq!(told.expect("the outcome was told after the watch began"), outcome("a"));
        finish.await.unwrap();
        gone.await.unwrap();
    }
    assert_eq!((hub.watched_len(), Arc::strong_count(&hub)), (0, 1));
}
