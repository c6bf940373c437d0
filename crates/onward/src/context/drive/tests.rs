//! The cases in which a resting driver has missed something.

use onward_core::{Timestamp, step::StepKind};

use super::{Closed, Halt, Rest, State, Written};

const RESTS: Rest = Rest { timer: None, reads: false, stalls: false };

const fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// A run that sleeps until a time.
fn sleeps(until: i64) -> State {
    let mut state = State::default();
    let asked = state.machine.request("nap", StepKind::Sleep, 10).unwrap();
    drop(state.machine.wait(asked.key, Some(at(until)), String::new(), at(0)));
    state
}

#[test]
fn a_deadline_needs_a_timer_that_is_not_later() {
    let state = sleeps(50);
    let with = |timer| state.missed(Rest { timer, ..RESTS }, None);
    assert_eq!([with(Some(at(50))), with(Some(at(20)))], [None, None]);
    assert!(with(None).is_some() && with(Some(at(51))).is_some());
    assert!(state.missed(Rest { timer: Some(at(50)), ..RESTS }, Some(at(40))).is_some(), "the run's own timeout");
    assert_eq!(State::default().missed(RESTS, None), None, "the handler runs code of its own, or waits for a fact");
}

#[test]
fn what_moves_the_run_on_by_itself_is_waited_for() {
    let set: [fn(&mut State); 3] = [
        |state| state.running = 1,
        |state| state.closed = Some(Closed::Returned),
        |state| state.gate = Some(Vec::new()),
    ];
    for set in set {
        let mut state = sleeps(50);
        set(&mut state);
        assert_eq!(state.missed(RESTS, None), None);
    }
    for rest in [Rest { reads: true, ..RESTS }, Rest { stalls: true, ..RESTS }] {
        assert_eq!(sleeps(50).missed(rest, None), None);
    }
}

#[test]
fn an_acknowledgement_wakes_the_driver_only_where_it_was_polled() {
    let mut state = sleeps(50);
    state.acks.push_back(Written::new(Box::pin(std::future::pending()), None, Vec::new()));
    assert!(state.missed(RESTS, None).is_some());
    state.acks[0].is_polled = true;
    assert_eq!(state.missed(RESTS, None), None);
}

#[test]
fn deliveries_and_an_end_are_never_left_lying() {
    let mut state = State { nudged: true, ..State::default() };
    assert!(state.missed(RESTS, None).is_some());
    assert_eq!(state.missed(Rest { reads: true, ..RESTS }, None), None, "they are read again after this");
    state.halted = Some(Halt::LeaseLost);
    assert!(state.missed(Rest { reads: true, ..RESTS }, None).is_some());
}
