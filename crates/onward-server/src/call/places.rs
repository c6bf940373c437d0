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
        {
            let mut state = self.places.state.lock();
            state.taken -= self.weight;
            if let Some(own) = state.hosts.get_mut(&self.host) {
                *own -= self.weight;
                if *own == 0 {
                    state.hosts.remove(&self.host);
                }
            }
        }
        self.places.grant();
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
        self.state.lock().waiting.entry(host.to_owned()).or_default().push_back(Waiting { weight, give });
        self.grant();
        given.await.expect("a sender is kept until it has given a place")
    }

    /// Gives places to those who wait, a host after the other.
    fn grant(self: &Arc<Self>) {
        loop {
            let Some((host, Waiting { weight, give })) = self.state.lock().next(self.total, self.per_host) else {
                return;
            };
            // The place of a call that no longer waits is given back as it is dropped here, without the lock.
            drop(give.send(Place { places: Arc::clone(self), host, weight }));
        }
    }
}

impl State {
    /// Takes a place for the next host in turn that may have one, for whoever waits longest for it.
    fn next(&mut self, total: usize, per_host: usize) -> Option<(String, Waiting)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let may = |host: &String| {
            let weight = self.waiting.get(host).and_then(|queue| queue.front()).map_or(0, |waits| waits.weight);
            may_take(total, per_host, self.hosts.get(host).copied().unwrap_or(0), self.taken, weight)
        };
        let after = self.waiting.range::<String, _>((Excluded(&self.last), Unbounded)).map(|(host, _)| host);
        let host = after.chain(self.waiting.keys()).find(|host| may(host))?.clone();
        let queue = self.waiting.get_mut(&host)?;
        let waits = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&host);
        }
        self.taken += waits.weight;
        *self.hosts.entry(host.clone()).or_default() += waits.weight;
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
