//! A payload for the tests: a counted pointer that counts its drops.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use timers::{Deadline, Entry, Node};

pub(crate) struct Timer {
    node: Node,
    deadline: Deadline,
    pub(crate) label: usize,
    dropped: Option<Arc<AtomicUsize>>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(count) = &self.dropped {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The pointer that a shard keeps.
#[derive(Clone)]
pub(crate) struct Held(pub(crate) Arc<Timer>);

impl Held {
    pub(crate) fn new(deadline: Deadline, label: usize) -> Self {
        Self(Arc::new(Timer {
            node: Node::new(),
            deadline,
            label,
            dropped: None,
        }))
    }

    pub(crate) fn counted(deadline: Deadline, label: usize, dropped: &Arc<AtomicUsize>) -> Self {
        Self(Arc::new(Timer {
            node: Node::new(),
            deadline,
            label,
            dropped: Some(Arc::clone(dropped)),
        }))
    }

    pub(crate) fn label(&self) -> usize {
        self.0.label
    }
}

impl Entry for Held {
    fn node(&self) -> &Node {
        &self.0.node
    }

    fn deadline(&self) -> Deadline {
        self.0.deadline
    }
}

/// A fixed sequence of numbers that look random.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}
