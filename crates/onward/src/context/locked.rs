//! The lock on an execution's state.

use std::ops::{Deref, DerefMut};

use parking_lot::MutexGuard;

use super::{Context, State};

/// The state of an execution, locked.
///
/// Wakers are called when the lock has been let go of, because a waker is others' code, which may run there and then and come
/// back for the lock.
pub(super) struct Locked<'a>(Option<MutexGuard<'a, State>>);

impl Context {
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked(Some(self.state.lock()))
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    #[inline]
    fn deref(&self) -> &State {
        self.0.as_ref().expect("it is taken as it is dropped alone")
    }
}

impl DerefMut for Locked<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().expect("it is taken as it is dropped alone")
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        // Nearly never.
        if !state.woken.is_empty() || state.stream.has_woken() || state.driver.has_woken() {
            wake(state);
        }
    }
}

/// Lets go of the lock, and then calls the wakers.
#[cold]
fn wake(mut state: MutexGuard<'_, State>) {
    let (steps, streams) = (std::mem::take(&mut state.woken), state.stream.take_woken());
    let driver = state.driver.take_woken();
    drop(state);
    for waker in steps.into_iter().chain(streams).chain(driver) {
        waker.wake();
    }
}
