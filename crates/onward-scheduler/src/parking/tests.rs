//! Places for parked runs.

use std::{sync::Arc, time::Duration};

use onward_core::Timestamp;

use super::{Parking, ParkingLimits};

fn parking(runs_max: usize) -> Parking {
    Parking::new(ParkingLimits { runs_max, bytes_max: 1_000, time_max: Duration::from_secs(60) })
}

#[test]
fn places_are_bounded_and_given_back() {
    let parking = parking(1);
    let permit = parking.try_park(10);
    assert!(permit.is_some() && parking.try_park(10).is_none());
    assert_eq!(parking.parked_len(), 1);
    drop(permit);
    assert_eq!(parking.parked_len(), 0);
    assert!(parking.try_park(10).is_some());
}

#[test]
fn the_bytes_of_parked_runs_are_bounded_and_given_back() {
    let parking = parking(10);
    let large = parking.try_park(900);
    assert!(large.is_some() && parking.try_park(101).is_none());
    assert!(parking.try_park(100).is_some(), "a smaller one has room");
    drop(large);
    assert!(parking.try_park(1_000).is_some());
    assert!(parking.try_park(1_001).is_none());
}

#[test]
fn nobody_parks_where_there_is_no_place() {
    assert!(parking(0).try_park(10).is_none());
}

#[test]
fn the_bound_holds_between_threads() {
    let parking = Arc::new(parking(3));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let parking = Arc::clone(&parking);
            std::thread::spawn(move || {
                for _ in 0..10_000 {
                    let permit = parking.try_park(10);
                    assert!(parking.parked_len() <= 3);
                    drop(permit);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(parking.parked_len(), 0);
}

#[test]
fn a_wait_that_is_known_to_be_long_is_not_worth_a_place() {
    let parking = parking(1);
    let now = Timestamp::EPOCH;
    assert!(parking.worth_parking(now, None));
    assert!(parking.worth_parking(now, Some(now)));
    assert!(parking.worth_parking(now, Some(now.after(Duration::from_secs(60)))));
    assert!(!parking.worth_parking(now, Some(now.after(Duration::from_micros(60_000_001)))));
    assert!(!parking.worth_parking(now, Some(Timestamp::NEVER)));
}
