//! The store from outside, on a real PostgreSQL.

mod contract;
mod doubt;
mod groups;
mod keeper;
mod names;
mod nodes;
mod opening;
mod outage;
mod races;
mod support;
mod sweep;
mod transact;
