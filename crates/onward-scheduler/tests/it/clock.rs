//! The machine's clock never lets anybody wake early.

use std::time::Duration;

use onward_core::{Clock, Timestamp};
use onward_scheduler::SystemClock;

/// Paused time runs ahead of the wall clock, so each piece of a sleep ends too early: the clock must look again.
#[tokio::test(start_paused = true)]
async fn a_sleep_ends_when_the_wall_clock_says_so_whatever_the_runtime_says() {
    let clock = SystemClock::default();
    for micros in [1, 999, 1_000, 20_003] {
        let at = clock.now().after(Duration::from_micros(micros));
        clock.sleep_until(at).await;
        assert!(clock.now() >= at);
    }
}

#[tokio::test]
async fn a_sleep_ends_soon_after_its_time_and_at_once_where_that_is_past() {
    let clock = SystemClock::default();
    let before = clock.now();
    clock.sleep_until(Timestamp::EPOCH).await;
    let at = before.after(Duration::from_millis(30));
    clock.sleep_until(at).await;
    let late = clock.now().since(at);
    assert!(late < Duration::from_millis(500), "{late:?}, on a machine however busy");
}

#[tokio::test(start_paused = true)]
async fn a_sleep_without_end_does_not_end() {
    let sleep = SystemClock::default().sleep_until(Timestamp::NEVER);
    assert!(tokio::time::timeout(Duration::from_secs(3600), sleep).await.is_err());
}

#[test]
fn time_does_not_go_back_between_threads() {
    let clock = SystemClock::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut last = Timestamp::EPOCH;
                for _ in 0..20_000 {
                    let now = clock.now();
                    assert!(now >= last);
                    last = now;
                }
            });
        }
    });
    assert!(clock.now() > Timestamp::from_micros(1_700_000_000_000_000), "it is a date, not a time since the start");
}
