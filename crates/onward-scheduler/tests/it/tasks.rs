//! Tasks are waited for, and one's panic is its own.

use std::{fmt::Write, sync::Arc, time::Duration};

use onward_scheduler::TaskSet;
use tokio::sync::Notify;

#[tokio::test(start_paused = true)]
async fn a_drain_tells_tasks_to_stop_and_waits_for_them() {
    let tasks = TaskSet::new();
    for _ in 0..3 {
        let stop = tasks.shutdown_token().clone();
        tasks.spawn("obeys", async move {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
    }
    assert_eq!(tasks.len(), 3);
    let began = tokio::time::Instant::now();
    assert_eq!(tasks.drain(Duration::from_secs(60)).await, 0);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert!(tasks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_how_many_would_not_end_and_can_be_asked_again() {
    let tasks = TaskSet::new();
    let end = Arc::new(Notify::new());
    let ended = Arc::clone(&end);
    tasks.spawn("stubborn", async move { ended.notified().await });
    assert_eq!(tasks.drain(Duration::from_secs(1)).await, 1);
    end.notify_one();
    assert_eq!(tasks.drain(Duration::from_secs(1)).await, 0);
}

#[tokio::test]
async fn a_panic_ends_its_task_alone_and_is_logged_by_name_without_what_it_said() {
    let tasks = TaskSet::new();
    let log = Log::default();
    let heard = log.clone();
    let guard = tracing::subscriber::set_default(log);
    tasks.spawn("fragile", async { panic!("what a user wrote") });
    tasks.spawn("other", async {});
    assert_eq!(tasks.drain(Duration::from_secs(10)).await, 0);
    drop(guard);
    let heard = heard.0.lock().join("\n");
    assert!(heard.contains("a task panicked") && heard.contains("fragile"), "{heard}");
    assert!(!heard.contains("what a user wrote"), "{heard}");
}

#[test]
fn a_task_can_be_spawned_from_any_thread() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tasks = runtime.block_on(async { TaskSet::new() });
    let done = Arc::new(Notify::new());
    let notified = Arc::clone(&done);
    let spawned = tasks.clone();
    std::thread::spawn(move || spawned.spawn("from a thread", async move { notified.notify_one() })).join().unwrap();
    runtime.block_on(done.notified());
    assert_eq!(runtime.block_on(tasks.drain(Duration::from_secs(10))), 0);
}

/// Keeps what is logged as text.
#[derive(Clone, Default)]
struct Log(Arc<parking_lot::Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, "{field}={value:?} ");
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().push(fields.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
