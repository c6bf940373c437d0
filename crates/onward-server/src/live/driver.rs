//! The task that drives a run: how others wake it, and until when it rests.

use onward_core::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The task that drives a run.
#[derive(Default)]
pub(super) struct Driver {
    notify: Notify,
    phase: Mutex<Phase>,
}

#[derive(Default)]
struct Phase {
    /// The driver was woken since its last turn began.
    is_woken: bool,
    /// Until when it sleeps, if it does.
    rests_until: Option<Timestamp>,
    /// How often it has looked at the run.
    turns: u64,
}

impl Driver {
    /// Has the driver look at the run.
    pub(super) fn wake(&self) {
        self.phase.lock().is_woken = true;
        self.notify.notify_one();
    }

    /// The driver looks at the run.
    pub(super) fn begin_turn(&self) {
        let mut phase = self.phase.lock();
        *phase = Phase { turns: phase.turns + 1, ..Phase::default() };
    }

    /// The driver sleeps until then, or until it is woken.
    pub(super) fn rest(&self, until: Timestamp) {
        self.phase.lock().rests_until = Some(until);
    }

    /// Ends when the driver is woken. **Cancel-safe**.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Until when the driver sleeps, and how often it has looked; `None` while it looks, or is about to.
    pub(super) fn resting(&self) -> Option<(Timestamp, u64)> {
        let phase = self.phase.lock();
        let until = phase.rests_until.filter(|_| !phase.is_woken)?;
        Some((until, phase.turns))
    }
}
