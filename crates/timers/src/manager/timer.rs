//! One timer of a manager.

use std::sync::Arc;

use crate::node::{Deadline, Entry, Node};

/// One incarnation of a name: replaced, it is another one.
#[derive(Debug)]
pub(super) struct Timer {
    pub(super) node: Node,
    pub(super) deadline: Deadline,
    pub(super) name: String,
}

/// What the shard keeps of a timer.
#[derive(Debug)]
pub(super) struct Held(pub(super) Arc<Timer>);

impl Entry for Held {
    fn node(&self) -> &Node {
        &self.0.node
    }

    fn deadline(&self) -> Deadline {
        self.0.deadline
    }
}
