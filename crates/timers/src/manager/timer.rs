//! One timer of a manager, and the set of the living ones by name.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
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

/// A timer as an element of a set: equal by name. The name is stored once, in the timer.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Arc<Timer>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}
