//! The log on disk: which groups are there, and who waits until they are.
//!
//! A group can be read as soon as it is committed, a moment before it is on disk. What a reader found is given away
//! only when a power cut could no longer take it back.

use std::{
    fmt,
    fs::File,
    sync::{Mutex, MutexGuard, PoisonError},
};

use onward_core::StoreError;

use crate::error::unavailable;

/// Gives away what was read, or says why it may not be known.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The log's file and the groups that were written to it.
pub(crate) struct Disk {
    log: File,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Groups that readers may see.
    visible: u64,
    /// Groups that are on disk or came to nothing.
    settled: u64,
    /// Why the others never will be.
    failed: Option<String>,
    /// Each waits until so many groups are settled.
    answers: Vec<(u64, Answer)>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Disk {
    pub(crate) fn new(log: File) -> Self {
        Self { log, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group is about to be committed: from now on readers may see it.
    pub(crate) fn expect_group(&self) {
        self.lock().visible += 1;
    }

    /// Brings every group that is committed to disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.log.sync_data()
    }

    /// The oldest group that was not settled is on disk, or was rolled back.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        state.settled += 1;
        if state.answers.is_empty() {
            return;
        }
        let settled = state.settled;
        let ready: Vec<_> = state.answers.extract_if(.., |(group, _)| *group <= settled).collect();
        drop(state);
        for (_, answer) in ready {
            answer(Ok(()));
        }
    }

    /// Nobody can say any more what is on disk.
    pub(crate) fn fail(&self, why: &str) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| why.to_owned());
        let waiting = std::mem::take(&mut state.answers);
        drop(state);
        for (_, answer) in waiting {
            answer(Err(unavailable(why.to_owned())));
        }
    }

    /// Answers when all that could be read until now is on disk: at once, where it is.
    pub(crate) fn when_settled(&self, answer: Answer) {
        let mut state = self.lock();
        if let Some(why) = state.failed.clone() {
            drop(state);
            answer(Err(unavailable(why)));
        } else if state.settled >= state.visible {
            drop(state);
            answer(Ok(()));
        } else {
            let group = state.visible;
            state.answers.push((group, answer));
        }
    }
}

#[cfg(test)]
mod tests;
