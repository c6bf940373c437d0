//! The store from outside.

mod commit;
mod contract;
mod opening;
mod power_loss;
mod restart;
mod support;
mod sweep;
mod transact;
