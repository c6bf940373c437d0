//! Places: bounded for all, and shared among the hosts that are called.
//!
//! A host that never answers holds its places for as long as a call may take. So none gets more than half of what the
//! others leave free, on whatever ports it is: with 1,024 places, eight silent hosts leave some for a ninth.
//!
//! A place is one call that waits for its answer, or so many KiB of those that are being transferred.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Places for calls, or for their bytes.
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
    waiting: BTreeMap<String, VecDeque<Waiting>>,
    /// The host that got a place last: others have their turn before it.
    last: String,
}

/// A call that waits for places, and how many.
#[derive(Debug)]
struct Waiting {
    weight: usize,
    /// Whether the waiting call has places already.
    grows: bool,
    give: oneshot::Sender<Place>,
}

/// Places that are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    host: String,
    weight: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.weight > 0 {
            self.places.state.lock().give_back(&self.host, self.weight);
            self.places.grant();
        }
    }
}

/// Whether a host that has `own` of `taken` places may have `weight` more: up to its bound, and to half of what the others
/// leave free, rounded up. A host that has none may have all that is left.
const fn may_take(total: usize, per_host: usize, own: usize, taken: usize, weight: usize) -> bool {
    let left = total.saturating_sub(taken - own);
    let fits = own + weight <= per_host && own + weight <= left.div_ceil(2);
    fits || (own == 0 && weight <= per_host && weight <= left)
}

impl Places {
    pub(crate) fn new(total: usize, per_host: usize) -> Arc<Self> {
        Arc::new(Self { total: total.max(1), per_host: per_host.max(1), state: Mutex::default() })
    }

    /// Places for a host, in turn with those that wait for the same host; all there are, where more are asked for.
    /// **Cancel-safe**: a dropped future takes none.
    pub(crate) async fn take(self: &Arc<Self>, host: &str, weight: usize) -> Place {
        let (give, given) = oneshot::channel();
        let weight = weight.min(self.total).min(self.per_host);
        let waits = Waiting { weight, grows: false, give };
        self.state.lock().waiting.entry(host.to_owned()).or_default().push_back(waits);
        self.grant();
        given.await.expect("a sender is kept until it has given a place")
    }

    /// More places for who has some, before those that have none, and of all that is free: others may be waiting for those
    /// that it has. **Cancel-safe**.
    pub(crate) async fn grow(self: &Arc<Self>, host: &str, weight: usize) -> Place {
        let (give, given) = oneshot::channel();
        let waits = Waiting { weight: weight.min(self.total), grows: true, give };
        self.state.lock().waiting.entry(host.to_owned()).or_default().push_front(waits);
        self.grant();
        given.await.expect("a sender is kept until it has given a place")
    }

    /// One place, if it is free for a host and nobody waits for it.
    pub(crate) fn try_take(self: &Arc<Self>, host: &str) -> Option<Place> {
        let mut state = self.state.lock();
        state.forget_gone(host);
        let own = state.hosts.get(host).copied().unwrap_or(0);
        let free = !state.waiting.contains_key(host) && may_take(self.total, self.per_host, own, state.taken, 1);
        free.then(|| {
            state.take(host, 1);
            Place { places: Arc::clone(self), host: host.to_owned(), weight: 1 }
        })
    }

    /// Gives places to those who wait, a host after the other.
    fn grant(self: &Arc<Self>) {
        loop {
            let Some((host, Waiting { weight, give, .. })) = self.state.lock().next(self.total, self.per_host) else {
                return;
            };
            if let Err(mut place) = give.send(Place { places: Arc::clone(self), host, weight }) {
                // The call no longer waits. Its place goes to the next one, here and not as it is dropped: many may be gone.
                self.state.lock().give_back(&place.host, weight);
                place.weight = 0;
            }
        }
    }
}

impl State {
    fn take(&mut self, host: &str, weight: usize) {
        self.taken += weight;
        *self.hosts.entry(host.to_owned()).or_default() += weight;
    }

    fn give_back(&mut self, host: &str, weight: usize) {
        self.taken -= weight;
        if let Some(own) = self.hosts.get_mut(host) {
            *own -= weight;
            if *own == 0 {
                self.hosts.remove(host);
            }
        }
    }

    /// Forgets calls of a host that no longer wait: they must not keep those behind them.
    fn forget_gone(&mut self, host: &str) {
        let Some(queue) = self.waiting.get_mut(host) else { return };
        while queue.front().is_some_and(|waits| waits.give.is_closed()) {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.waiting.remove(host);
        }
    }

    /// Takes a place for the next host in turn that may have one, for whoever waits longest for it.
    fn next(&mut self, total: usize, per_host: usize) -> Option<(String, Waiting)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let hosts: Vec<String> = self.waiting.keys().cloned().collect();
        for host in &hosts {
            self.forget_gone(host);
        }
        let may = |host: &String| {
            let Some(waits) = self.waiting.get(host).and_then(VecDeque::front) else { return false };
            if waits.grows {
                return waits.weight <= total.saturating_sub(self.taken);
            }
            may_take(total, per_host, self.hosts.get(host).copied().unwrap_or(0), self.taken, waits.weight)
        };
        let after = self.waiting.range::<String, _>((Excluded(&self.last), Unbounded)).map(|(host, _)| host);
        let host = after.chain(self.waiting.keys()).find(|host| may(host))?.clone();
        let queue = self.waiting.get_mut(&host)?;
        let waits = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&host);
        }
        self.take(&host, waits.weight);
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
        places.take(host, 1).now_or_never()
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
            (Box::pin(places.take("a", 1)), Box::pin(places.take("a", 1)), Box::pin(places.take("a", 1)));
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

    #[test]
    fn calls_that_are_gone_keep_nobody_and_those_that_grow_come_first() {
        let places = Places::new(10, 10);
        let held = places.take("a", 5).now_or_never().expect("half");
        let mut gone: Vec<_> = (0..10_000).map(|_| Box::pin(places.take("a", 5))).collect();
        assert!(gone.iter_mut().all(|waits| waits.now_or_never().is_none()));
        let mut light = Box::pin(places.take("a", 1));
        assert!((&mut light).now_or_never().is_none(), "in turn");
        let more = places.grow("a", 5).now_or_never().expect("of all that is free, before those that have none");
        drop(gone);
        drop((held, more));
        assert!(light.now_or_never().is_some());
        assert!(places.try_take("a").is_some() && places.state.lock().waiting.is_empty());
    }

    #[test]
    fn a_host_that_has_nothing_gets_all_that_is_left_and_others_half() {
        let places = Places::new(100, 100);
        let whole = places.take("a", 100).now_or_never().expect("one transfer may have all");
        assert!(places.take("a", 1).now_or_never().is_none() && take(&places, "b").is_none());
        drop(whole);
        let half = places.take("a", 50).now_or_never().expect("half");
        assert!(take(&places, "a").is_none(), "no more than half");
        assert!(places.take("b", 50).now_or_never().is_some(), "b has none yet");
        drop(half);
    }

    proptest! {
        /// Bounds hold and no call waits for a place that is free for it, whatever hosts take and give back.
        #[test]
        fn bounds_hold_and_no_place_is_lost(
            total in 1_usize..20,
            per_host in 1_usize..8,
            acts in prop::collection::vec((0_usize..4, any::<bool>(), 0_usize..20, 1_usize..6), 1..200),
        ) {
            let places = Places::new(total, per_host);
            let mut held: Vec<Place> = Vec::new();
            let mut waiting = Vec::new();
            for (host, takes, which, weight) in acts {
                if takes {
                    waiting.push(Box::pin(places.take(["a", "b", "c", "d"][host], weight)));
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
                prop_assert_eq!(state.taken, held.iter().map(|place| place.weight).sum::<usize>());
                prop_assert!(state.taken <= total && state.hosts.values().all(|own| *own <= per_host));
                prop_assert!(state.next(total, per_host).is_none(), "whoever may have a place has it");
            }
            drop((held, waiting));
            prop_assert_eq!(places.state.lock().taken, 0);
        }
    }
}
