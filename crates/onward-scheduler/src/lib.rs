//! Makes time pass: claims due runs, renews leases, wakes who waits, and bounds what is kept in memory.
//!
//! It knows no HTTP and no concrete store. What it resumes is behind the [`Resume`] port: a handler in this process, or
//! one behind a URL. It is right without notifications: a hint makes it sooner, and a lost one costs a poll.

mod clock;
mod hub;
mod live;
mod parking;
mod patience;
mod reader;
mod scheduler;
mod tasks;
mod unreadable;

pub use crate::{
    clock::SystemClock,
    hub::{AttachGuard, Attached, Hub, Hung, Reading, Watch},
    live::Seen,
    parking::{Parking, ParkingLimits, Permit},
    patience::Patience,
    reader::{Read, Reader},
    scheduler::{Config, InvalidConfig, Resume, Scheduler, Stats, Upkeep},
    tasks::TaskSet,
    unreadable::{Found, Unreadable, head},
};
