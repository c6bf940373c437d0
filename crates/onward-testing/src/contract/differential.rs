//! TODO

/// TODO
pub async fn differential() {}
