//! Help for testing durable endpoints, and for testing stores.
//!
//! | you want to | use |
//! |---|---|
//! | test a wait of 24 hours in milliseconds | [`ManualClock`] and [`ManualClock::drive`] |
//! | see whether a decision reads the clock twice | [`LeapingClock`] |
//! | run an app without a file or a server | [`MemoryStore`] |
//! | see what happens when a write fails or its answer never comes | [`FaultyStore`] |
//! | kill an app at each of its writes in turn and check that nothing was lost or done twice | [`crash_everywhere`] |
//! | see what becomes of a run whose step takes the process down, and of the runs beside it | [`World::die`] |
//! | check that your own [`Store`](onward_core::Store) keeps its promises | [`store_contract!`] and [`contract`] |
//! | test on a real PostgreSQL that the test starts by itself | `postgres`, with the feature of that name |
//!
//! Nothing here needs a certain async runtime. What waits for other tasks does so by yielding, so use a runtime with
//! one thread, such as that of a plain `#[tokio::test]`: there, yielding lets every other task move.

pub mod clock;
pub mod contract;
pub mod crash;
pub mod faults;
pub mod memory;
#[cfg(all(unix, feature = "postgres"))]
pub mod postgres;

pub use crate::{
    clock::{LeapingClock, ManualClock},
    crash::{Report, World, crash_everywhere},
    faults::{Call, Fault, FaultyStore},
    memory::MemoryStore,
};
