//! Places for calls: bounded for all, and shared among the hosts that are called.
//!
//! A host that never answers holds its places for as long as a call may take. So none gets more than half of what the
//! others leave free, on whatever ports it is: with 1,024 places, eight silent hosts leave some for a ninth.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Places for calls.
#[derive(Debug)]
pub(crate) struct Places {
    total: usize,
    per_host: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// How many places each host has; hosts without any are left out.
    hosts: BTreeMap<String, usize>,
    /// The waiting calls, by host, the longest waiting first.
    waiting: BTreeMap<String, VecDeque<oneshot::Sender<Place>>>,
    /// The host that got a place last: others have their turn before it.
    last: String,
}

/// A place, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    host: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.places.state.lock();
            state.taken -= 1;
            if let Some(own) = state.hosts.get_mut(&self.host) {
                *own -= 1;
                if *own == 0 {
                    state.hosts.remove(&self.host);
                }
            }
        }
        self.places.grant();
    }
}

/// Whether a host that has `own` of `taken` places may have another: below its bound, and below half of what the others
/// leave free, rounded up.
const fn may_take(total: usize, per_host: usize, own: usize, taken: usize) -> bool {
    let left = total.saturating_sub(taken - own);
    own < per_host && own < left.div_ceil(2)
}

impl Places {
    pub(crate) fn new(total: usize, per_host: usize) -> Arc<Self> {
        Arc::new(Self { total: total.max(1), per_host: per_host.max(1), state: Mutex::default() })
    }

    /// A place for a call of a host, in turn with those that wait for the same host. **Cancel-safe**: a dropped
    /// future takes none.
    pub(crate) async fn take(self: &Arc<Self>, host: &str) -> Place {
        let (give, given) = oneshot::channel();
        self.state.lock().waiting.entry(host.to_owned()).or_default().push_back(give);
        self.grant();
        given.await.expect("a sender is kept until it has given a place")
    }

    /// Gives places to those who wait, a host after the other.
    fn grant(self: &Arc<Self>) {
        loop {
            let Some((host, waits)) = self.state.lock().next(self.total, self.per_host) else { return };
            // The place of a call that no longer waits is given back as it is dropped here, without the lock.
            drop(waits.send(Place { places: Arc::clone(self), host }));
        }
    }
}

impl State {
    /// Takes a place for the next host in turn that may have one, for whoever waits longest for it.
    fn next(&mut self, total: usize, per_host: usize) -> Option<(String, oneshot::Sender<Place>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let may = |host: &String| may_take(total, per_host, self.hosts.get(host).copied().unwrap_or(0), self.taken);
        let after = self.waiting.range::<String, _>((Excluded(&self.last), Unbounded)).map(|(host, _)| host);
        let host = after.chain(self.waiting.keys()).find(|host| may(host))?.clone();
        let queue = self.waiting.get_mut(&host)?;
        let waits = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&host);
        }
        self.taken += 1;
        *self.hosts.entry(host.clone()).or_default() += 1;
        self.last.clone_from(&host);
        Some((host, waits))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::{Place, Places};

    fn take(places: &Arc<Places>, host: &str) -> Option<Place> {
        places.take(host).now_or_never()
    }

    #[test]
    fn hosts_that_never_answer_leave_places_for_the_next_one() {
        let places = Places::new(1_024, 256);
        let mut held = Vec::new();
        for silent in 0..8 {
            let before = held.len();
            while let Some(place) = take(&places, &format!("silent-{silent}")) {
                held.push(place);
            }
            assert!(held.len() > before, "{silent} hosts hold {before} places");
        }
        let well: Vec<_> = std::iter::from_fn(|| take(&places, "well")).collect();
        assert!(well.len() >= 2, "{} are held by the silent, {} are left", held.len(), well.len());
    }

    #[test]
    fn the_ports_of_a_host_share_its_places() {
        let places = Places::new(1_024, 256);
        let held: Vec<_> = std::iter::from_fn(|| take(&places, "one.example")).collect();
        assert_eq!(held.len(), 256);
        let alone = Places::new(10, 256);
        assert_eq!(std::iter::from_fn(|| take(&alone, "one.example")).collect::<Vec<_>>().len(), 5);
        assert!(take(&Places::new(1, 1), "one.example").is_some(), "one place is of use");
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_whoever_waits_longest_and_who_left_takes_none() {
        let places = Places::new(2, 1);
        let held = take(&places, "a").unwrap();
        let (mut first, mut left, mut third) =
            (Box::pin(places.take("a")), Box::pin(places.take("a")), Box::pin(places.take("a")));
        for waits in [&mut first, &mut left, &mut third] {
            assert!(waits.now_or_never().is_none());
        }
        drop(left);
        drop(held);
        let held = first.now_or_never().expect("the first in the queue");
        assert!((&mut third).now_or_never().is_none());
        drop(held);
        drop(third.now_or_never().expect("the one between has left"));
        assert_eq!(places.state.lock().taken, 0);
        assert!(places.state.lock().hosts.is_empty() && places.state.lock().waiting.is_empty());
    }

    proptest! {
        /// Bounds hold and no call waits for a place that is free for it, whatever hosts take and give back.
        #[test]
        fn bounds_hold_and_no_place_is_lost(
            total in 1_usize..20,
            per_host in 1_usize..8,
            acts in prop::collection::vec((0_usize..4, any::<bool>(), 0_usize..20), 1..200),
        ) {
            let places = Places::new(total, per_host);
            let mut held: Vec<Place> = Vec::new();
            let mut waiting = Vec::new();
            for (host, takes, which) in acts {
                if takes {
                    waiting.push(Box::pin(places.take(["a", "b", "c", "d"][host])));
                } else if !held.is_empty() {
                    drop(held.swap_remove(which % held.len()));
                }
                waiting.retain_mut(|waits| match waits.now_or_never() {
                    Some(place) => {
                        held.push(place);
                        false
                    }
                    None => true,
                });
                let mut state = places.state.lock();
                prop_assert_eq!(state.taken, held.len());
                prop_assert!(state.taken <= total && state.hosts.values().all(|own| *own <= per_host));
                prop_assert!(state.next(total, per_host).is_none(), "whoever may have a place has it");
            }
            drop((held, waiting));
            prop_assert_eq!(places.state.lock().taken, 0);
        }
    }
}
