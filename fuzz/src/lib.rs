//! What the fuzz targets share: reading their inputs, and writing what was read as the SDK would write it.

mod input;
mod ops;
mod patience;

pub use self::{
    input::{as_text, parts},
    ops::{assert_sound, same, written},
    patience::{SmallStack, in_time},
};

/// The most ops and events that the targets allow.
pub const MAX: usize = 50;
