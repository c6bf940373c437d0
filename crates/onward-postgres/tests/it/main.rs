//! The store from outside, on a real PostgreSQL.

mod contract;
mod support;
