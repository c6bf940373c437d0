//! Time moves only when it is told to, and wakes exactly who is due.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use onward_core::{Clock, Timestamp};

use super::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn sleeper(clock: &ManualClock, secs: u64, woken: &Arc<Mutex<Vec<u64>>>) -> tokio::task::JoinHandle<()> {
    let sleep = clock.sleep_until(clock.now().after(SECOND * u32::try_from(secs).unwrap()));
    let woken = Arc::clone(woken);
    #[expect(clippy::disallowed_methods, reason = "the test waits for its tasks")]
    tokio::spawn(async move {
        sleep.await;
        woken.lock().unwrap().push(secs);
    })
}

#[tokio::test]
async fn advancing_wakes_exactly_those_who_are_due_and_the_earliest_first() {
    let clock = ManualClock::new();
    let woken = Arc::default();
    let _sleepers = [sleeper(&clock, 3, &woken), sleeper(&clock, 1, &woken), sleeper(&clock, 2, &woken)];
    clock.settle().await;
    assert_eq!(clock.sleepers(), 3);

    clock.advance(SECOND * 2);
    clock.settle().await;
    assert_eq!(*woken.lock().unwrap(), [1, 2]);
    assert_eq!(clock.sleepers(), 1);

    assert_eq!(clock.advance_to_next(), Some(clock.now()));
    clock.settle().await;
    assert_eq!(*woken.lock().unwrap(), [1, 2, 3]);
    assert_eq!(clock.advance_to_next(), None);
}

#[tokio::test]
async fn nobody_wakes_a_microsecond_early() {
    let clock = ManualClock::new();
    let woken = Arc::default();
    let _sleeper = sleeper(&clock, 1, &woken);
    clock.advance(Duration::from_micros(999_999));
    clock.settle().await;
    assert!(woken.lock().unwrap().is_empty());
    clock.advance(Duration::from_micros(1));
    clock.settle().await;
    assert_eq!(*woken.lock().unwrap(), [1]);
}

#[tokio::test]
async fn a_sleeper_whose_time_has_come_already_does_not_sleep() {
    let clock = ManualClock::new();
    clock.sleep_until(clock.now()).await;
    clock.sleep_until(Timestamp::EPOCH).await;
    assert_eq!(clock.sleepers(), 0);
}

#[test]
fn a_dropped_sleeper_is_no_deadline() {
    let clock = ManualClock::new();
    let sleep = clock.sleep_until(clock.now().after(SECOND));
    assert_eq!(clock.next_deadline(), Some(clock.now().after(SECOND)));
    drop(sleep);
    assert_eq!(clock.next_deadline(), None);
}

#[test]
fn who_sleeps_for_ever_is_no_deadline() {
    let clock = ManualClock::new();
    let _sleep = clock.sleep_until(Timestamp::NEVER);
    assert_eq!((clock.next_deadline(), clock.sleepers()), (None, 1));
}

#[test]
fn time_goes_back_only_when_it_is_set() {
    let clock = ManualClock::starting_at(Timestamp::from_micros(100));
    clock.advance_to(Timestamp::from_micros(50));
    assert_eq!(clock.now(), Timestamp::from_micros(100));
    clock.set(Timestamp::from_micros(50));
    assert_eq!(clock.now(), Timestamp::from_micros(50));
}

#[tokio::test]
async fn driving_jumps_from_deadline_to_deadline() {
    let clock = ManualClock::new();
    let start = clock.now();
    let seen = clock
        .drive(async {
            let mut seen = Vec::new();
            for _ in 0..3 {
                clock.sleep_until(clock.now().after(SECOND * 3600)).await;
                seen.push(clock.now().since(start).as_secs());
            }
            seen
        })
        .await;
    assert_eq!(seen, [3600, 7200, 10_800]);
}

#[tokio::test]
async fn driving_does_not_move_time_while_tasks_talk_to_each_other() {
    let clock = ManualClock::new();
    let start = clock.now();
    let _far = clock.sleep_until(start.after(SECOND));
    let (tell, mut told) = tokio::sync::mpsc::channel::<u32>(1);
    #[expect(clippy::disallowed_methods, reason = "it ends with its channel")]
    tokio::spawn(async move {
        for number in 0..1000 {
            tell.send(number).await.unwrap();
        }
    });
    let count = clock
        .drive(async {
            let mut count = 0;
            while told.recv().await.is_some() {
                count += 1;
            }
            count
        })
        .await;
    assert_eq!((count, clock.now()), (1000, start));
}

#[tokio::test]
async fn driving_waits_for_what_another_thread_does() {
    let clock = ManualClock::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || tell.send(7));
    assert_eq!(clock.drive(told).await, Ok(7));
    thread.join().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn driving_lets_timers_of_the_runtime_fire_while_nobody_sleeps() {
    let clock = ManualClock::new();
    let start = clock.now();
    let began = tokio::time::Instant::now();
    clock.drive(tokio::time::sleep(SECOND * 3600)).await;
    assert_eq!((began.elapsed(), clock.now()), (SECOND * 3600, start));
}

#[tokio::test]
async fn advancing_through_gives_a_repeated_sleeper_each_of_its_turns() {
    let clock = ManualClock::new();
    let start = clock.now();
    let ticks = Arc::new(Mutex::new(Vec::new()));
    let (other, seen) = (clock.clone(), Arc::clone(&ticks));
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
    tokio::spawn(async move {
        loop {
            other.sleep_until(other.now().after(SECOND)).await;
            seen.lock().unwrap().push(other.now().since(start).as_millis());
        }
    });
    let end = clock.advance_through(Duration::from_millis(3500)).await;
    assert_eq!(*ticks.lock().unwrap(), [1000, 2000, 3000]);
    assert_eq!(end.since(start), Duration::from_millis(3500));
}
