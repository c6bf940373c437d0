//! An app that keeps its promises passes, and each way of breaking one is found.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use onward_core::{
    Attempt, Clock, Fence, NodeId, Payload, RunId, Seq, Store, StoreError, Timestamp,
    journal::{Change, Entry},
    run::{NewRun, Outcome, Status},
    step::{StepId, StepKind},
    store::{Checkpoint, ClaimRequest, Endpoints, Lease, Then},
};

use super::{Report, World, crash_everywhere};
use crate::contract::fixture;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an app may do wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// It does steps again whose success it could have read.
    DoesNotReplay,
    /// It records a success a second time.
    RecordsTwice,
    /// It answers something else after a restart.
    AnswersDifferently,
    /// It makes a new run and forgets the one before.
    StartsAnew,
    /// Its last step takes the process down so often.
    Dies(usize),
}

/// An app with one run: a step, a day of sleep, a step.
struct App {
    world: World,
    store: Arc<dyn Store>,
    node: NodeId,
    flaw: Flaw,
}

impl App {
    async fn start(world: World, flaw: Flaw) -> Result<Self, StoreError> {
        let store = world.store();
        let node = store.join(world.clock().now(), Duration::from_secs(10)).await?;
        Ok(Self { world, store, node, flaw })
    }

    async fn request(&self) -> Result<String, StoreError> {
        let life = if self.flaw == Flaw::StartsAnew { self.world.life() as u64 } else { 0 };
        let run_id = fixture::run_id(life);
        let mut lease = Lease { run_id, fence: Fence::FIRST, node: self.node };
        match self.store.run(run_id).await? {
            None => {
                let start = NewRun { created_at: self.now(), ..fixture::new_run(life) };
                self.store.checkpoint(Checkpoint { start: Some(start), ..Checkpoint::new(lease, self.now()) }).await?;
            }
            Some(run) if run.status.is_final() => return self.answer(run_id).await,
            Some(run) => lease = self.claim(run_id, run.due_at).await?,
        }
        self.step(lease, "reserve").await?;
        lease = self.sleep(lease, "cool down").await?;
        self.step(lease, "charge").await?;
        let outcome = Outcome { status: Status::Completed, response: "receipt".into(), error: Payload::default() };
        self.write(lease, Vec::new(), Then::Finish(outcome)).await?;
        self.answer(run_id).await
    }

    async fn step(&self, lease: Lease, step: &str) -> Result<(), StoreError> {
        let is_done = self.last(lease.run_id, step).await?.is_some();
        if is_done && self.flaw != Flaw::DoesNotReplay {
            if self.flaw == Flaw::RecordsTwice {
                self.append(lease, step, succeeded()).await?;
            }
            return Ok(());
        }
        let ran = self.world.ran(step);
        if step == "charge" && matches!(self.flaw, Flaw::Dies(times) if ran <= times) {
            self.world.die().await;
        }
        if is_done { Ok(()) } else { self.append(lease, step, succeeded()).await }
    }

    async fn sleep(&self, lease: Lease, step: &str) -> Result<Lease, StoreError> {
        let until = match self.last(lease.run_id, step).await? {
            Some(Change::Waiting { until: Some(until), .. }) => until,
            Some(_) => return Ok(lease),
            None => {
                let until = self.now().after(DAY);
                let waiting = Change::Waiting { until: Some(until), subject: String::new() };
                let entry = self.entry(lease.run_id, step, waiting).await?;
                self.write(lease, vec![entry], Then::Suspend { due_at: until }).await?;
                let lease = self.claim(lease.run_id, until).await?;
                assert!(self.now() >= until, "a timer fired early");
                self.append(lease, step, succeeded()).await?;
                return Ok(lease);
            }
        };
        assert!(self.now() >= until, "a timer fired early");
        self.append(lease, step, succeeded()).await?;
        Ok(lease)
    }

    async fn claim(&self, run_id: RunId, due_at: Timestamp) -> Result<Lease, StoreError> {
        self.world.clock().sleep_until(due_at).await;
        let endpoints = Endpoints::Only(vec![fixture::endpoint().into()]);
        let request = ClaimRequest { node: self.node, now: self.now(), limit: 9, endpoints };
        let mut leases = self.store.claim(request).await?.leases.into_iter().map(|(lease, _)| lease);
        let lease = leases.find(|lease| lease.run_id == run_id).expect("a run whose time has come is claimed");
        Ok(lease)
    }

    async fn append(&self, lease: Lease, step: &str, change: Change) -> Result<(), StoreError> {
        let entry = self.entry(lease.run_id, step, change).await?;
        self.write(lease, vec![entry], Then::Keep).await
    }

    async fn write(&self, lease: Lease, entries: Vec<Entry>, then: Then) -> Result<(), StoreError> {
        let checkpoint = Checkpoint { entries, then, ..Checkpoint::new(lease, self.now()) };
        self.store.checkpoint(checkpoint).await.map(drop)
    }

    async fn entry(&self, run_id: RunId, step: &str, change: Change) -> Result<Entry, StoreError> {
        let journal = self.store.load(run_id).await?.unwrap().journal;
        let seq = journal.last().map_or(Seq(0), |last| last.seq.next());
        let step = StepId::try_new(step, 0).unwrap();
        Ok(Entry { seq, at: self.now(), step, kind: StepKind::Run, change })
    }

    async fn last(&self, run_id: RunId, step: &str) -> Result<Option<Change>, StoreError> {
        let journal = self.store.load(run_id).await?.unwrap().journal;
        Ok(journal.into_iter().rfind(|entry| entry.step.name() == step).map(|entry| entry.change))
    }

    async fn answer(&self, run_id: RunId) -> Result<String, StoreError> {
        let outcome = self.store.run(run_id).await?.and_then(|run| run.outcome).unwrap();
        let text = String::from_utf8(outcome.response.as_ref().to_vec()).unwrap();
        Ok(if self.flaw == Flaw::AnswersDifferently { format!("{text} {}", self.world.life()) } else { text })
    }

    fn now(&self) -> Timestamp {
        self.world.clock().now()
    }
}

fn succeeded() -> Change {
    Change::Succeeded { attempt: Attempt::FIRST, output: Payload::default() }
}

async fn order(world: World, flaw: Flaw) -> String {
    App::start(world, flaw).await.unwrap().request().await.unwrap()
}

/// What `crash_everywhere` says of an app that does something wrong.
async fn complaint(flaw: Flaw) -> String {
    #[expect(clippy::disallowed_methods, reason = "to see its panic")]
    let checked = tokio::spawn(crash_everywhere(move |world| order(world, flaw)));
    let panic = checked.await.expect_err("the flaw is found").into_panic();
    panic.downcast_ref::<String>().unwrap().clone()
}

#[tokio::test]
async fn an_app_that_replays_survives_every_crash() {
    let report = crash_everywhere(|world| order(world, Flaw::None)).await;
    // Start, step, sleep, its end, step, outcome: before and after each.
    assert_eq!(report, Report { writes: 6, deaths: 0, crashes: 12, missed: 0 });
}

#[tokio::test]
async fn a_step_that_runs_again_is_found() {
    let complaint = complaint(Flaw::DoesNotReplay).await;
    assert!(complaint.contains("step \"reserve\" ran again, though its success was durable"), "{complaint}");
    assert!(complaint.starts_with("with a crash after write 2 of 6"), "{complaint}");
}

#[tokio::test]
async fn a_success_that_is_recorded_twice_is_found() {
    let complaint = complaint(Flaw::RecordsTwice).await;
    assert!(complaint.contains("step \"reserve\" of run ") && complaint.contains(" is done twice"), "{complaint}");
}

#[tokio::test]
async fn another_answer_after_the_restart_is_found() {
    let complaint = complaint(Flaw::AnswersDifferently).await;
    assert!(
        complaint.contains("with a crash before write 1 of 6, the answer after the restart differs"),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_panic_of_the_app_tells_where_it_was_killed() {
    #[expect(clippy::disallowed_methods, reason = "to see its panic")]
    let checked = tokio::spawn(crash_everywhere(|world| async move {
        order(world.clone(), Flaw::None).await;
        assert!(world.life() == 0, "the second life is worse");
    }));
    let panic = checked.await.expect_err("it panics").into_panic();
    let expected = "with a crash before write 1 of 6, the app panicked after the restart: the second life is worse";
    assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some(expected));
}

#[tokio::test]
async fn a_step_of_another_run_counts_as_the_same_step() {
    let complaint = complaint(Flaw::StartsAnew).await;
    assert!(complaint.contains("step \"reserve\" ran again"), "{complaint}");
}

#[tokio::test]
async fn a_dead_process_does_nothing_more() {
    let woken = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&woken);
    let report = crash_everywhere(move |world| {
        let counts = Arc::clone(&counts);
        async move {
            let clock = world.clock();
            let life = world.life();
            let sleep = clock.sleep_until(clock.now().after(DAY / 2));
            #[expect(
                clippy::disallowed_methods,
                reason = "it outlives the process that it belongs to, as it should not"
            )]
            tokio::spawn(async move {
                sleep.await;
                if life == 0 {
                    counts.fetch_add(1, Ordering::Relaxed);
                }
            });
            order(world, Flaw::None).await
        }
    })
    .await;
    // In the first life it wakes where that was killed after half a day: at the last three writes, before and after.
    // And in the life without a crash.
    assert_eq!((report.crashes, woken.load(Ordering::Relaxed)), (12, 7));
}

#[tokio::test]
async fn an_app_in_the_background_may_be_settled_before_the_next_word() {
    let report = crash_everywhere(|world| async move {
        let (tell, told) = tokio::sync::oneshot::channel();
        let background = world.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with its run")]
        tokio::spawn(async move { tell.send(order(background, Flaw::None).await) });
        let start = world.clock().now();
        world.settle().await;
        assert_eq!(world.clock().now(), start, "settling does not move time");
        assert!(world.times_run("reserve") <= 2);
        told.await.unwrap()
    })
    .await;
    assert_eq!((report.writes, report.crashes), (6, 12));
}

#[tokio::test]
async fn an_app_that_writes_nothing_is_never_killed() {
    let report = crash_everywhere(async |world: World| world.life()).await;
    assert_eq!(report, Report { writes: 0, deaths: 0, crashes: 0, missed: 0 });
}

#[tokio::test]
async fn a_process_that_a_step_takes_down_is_begun_again_and_killed_at_every_write_besides() {
    let report = crash_everywhere(|world| order(world, Flaw::Dies(3))).await;
    assert_eq!(report, Report { writes: 6, deaths: 3, crashes: 12, missed: 0 });
}

#[tokio::test]
async fn a_write_after_a_death_is_a_place_for_a_kill() {
    let lives = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lives);
    let report = crash_everywhere(move |world| {
        counted.fetch_add(1, Ordering::Relaxed);
        order(world, Flaw::Dies(1))
    })
    .await;
    // Two lives without a kill; three in each of the 12 worlds with one, also where it follows the death.
    assert_eq!((report.deaths, lives.load(Ordering::Relaxed)), (1, 2 + 12 * 3));
}

#[tokio::test]
async fn a_step_that_takes_the_process_down_for_ever_is_found() {
    let complaint = complaint(Flaw::Dies(usize::MAX)).await;
    assert_eq!(complaint, "without a crash, the app has taken itself down 1000 times and begins again");
}

#[tokio::test]
async fn a_process_that_took_itself_down_does_nothing_more() {
    let report = crash_everywhere(async |world: World| {
        let store = world.store();
        if world.life() == 0 {
            let late = async {
                world.ran("late");
                store.setting("late", Some("1".into())).await
            };
            _ = tokio::join!(world.die(), late);
        }
        assert_eq!((world.times_run("late"), store.setting("late", None).await.unwrap()), (0, None));
    })
    .await;
    assert_eq!(report, Report { writes: 0, deaths: 1, crashes: 0, missed: 0 });
}

#[tokio::test]
async fn another_answer_after_a_death_is_found() {
    #[expect(clippy::disallowed_methods, reason = "to see its panic")]
    let checked = tokio::spawn(crash_everywhere(|world| async move {
        let (life, dying) = (world.life(), world.clone());
        if life == 0 {
            #[expect(clippy::disallowed_methods, reason = "it takes the process down after the answer")]
            tokio::spawn(async move { dying.die().await });
        }
        life
    }));
    let panic = checked.await.expect_err("the answers differ").into_panic();
    let complaint = panic.downcast_ref::<String>().unwrap();
    assert!(complaint.contains("without a crash, the answer in life 1 differs"), "{complaint}");
}
