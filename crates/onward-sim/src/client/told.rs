//! What a client was told about what it ordered.

use std::collections::BTreeSet;

use super::{Answer, Shown};
use crate::order::{Kind, Order, Receipt};

/// How a run ended, as a client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Ended {
    pub(crate) fn of(answer: &Answer) -> Self {
        Self { status: answer.status().as_u16(), body: String::from_utf8_lossy(answer.body()).into_owned() }
    }

    /// What a run that succeeded says.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        if self.status == 200 { serde_json::from_str(&self.body).ok() } else { None }
    }
}

/// An order, and all that was said about it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) kind: Kind,
    pub(crate) order: Order,
    /// Whether it was asked for with an idempotency key.
    pub(crate) keyed: bool,
    /// The runs that it was said to be.
    pub(crate) runs: BTreeSet<String>,
    /// Where its outcome is.
    pub(crate) location: Option<String>,
    /// Its outcome, each time that it was told.
    pub(crate) ended: Vec<Ended>,
    /// What its readers saw.
    pub(crate) shown: Vec<Shown>,
    /// What was sent to it and accepted, in this order.
    pub(crate) sent: Vec<String>,
    /// How many signals were tried.
    pub(crate) tried: u32,
    /// Whether a node has said that it cancelled it.
    pub(crate) cancelled: bool,
}

impl Told {
    pub(crate) fn new(kind: Kind, order: Order, keyed: bool) -> Self {
        Self {
            kind,
            order,
            keyed,
            runs: BTreeSet::new(),
            location: None,
            ended: Vec::new(),
            shown: Vec::new(),
            sent: Vec::new(),
            tried: 0,
            cancelled: false,
        }
    }
}
