//! What was aimed at, and what came.

use crate::say;

/// Aims with their measured values.
#[derive(Default)]
pub(crate) struct Aims(Vec<(String, String, bool)>);

impl Aims {
    /// At least this much.
    pub(crate) fn at_least(&mut self, what: &str, aim: f64, value: f64) {
        self.0.push((what.to_owned(), format!("{value:.2} (aim: at least {aim})"), value >= aim));
    }

    /// At most this much.
    pub(crate) fn at_most(&mut self, what: &str, aim: f64, value: f64) {
        self.0.push((what.to_owned(), format!("{value:.2} (aim: at most {aim:.2})"), value <= aim));
    }

    pub(crate) fn print(&self) {
        say("\naims");
        for (what, value, ok) in &self.0 {
            say(&format!("  {} {what}: {value}", if *ok { "ok    " } else { "MISSED" }));
        }
    }
}
