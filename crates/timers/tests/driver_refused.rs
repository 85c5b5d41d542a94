//! What happens while the system refuses to start the driver, and afterwards.
//!
//! One test alone: it takes the descriptors from the whole process, whose driver must not run yet.
#![cfg(all(not(loom), target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use timers::driver::{self, Timer};
use timers::{Deadline, Node, TimerError, TimerScope, clock};

const BOUND: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: u64 = 1_000_000;

fn set_descriptors(limit: Option<u64>) {
    let current = limit.or(getrlimit(Resource::Nofile).maximum);
    let limits = Rlimit {
        current,
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limits).unwrap();
}

/// Looks at its scope when it is dropped.
#[derive(Clone)]
struct Looks(Weak<TimerScope<(), Self>>);

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(scope) = self.0.upgrade() {
            assert!(scope.is_empty());
        }
    }
}

fn refused_registration_is_dropped_with_the_scope_unlocked() {
    let (done, dropped) = mpsc::channel();
    std::thread::spawn(move || {
        let scope = Arc::new(TimerScope::new(()));
        scope.attach();
        let data = Looks(Arc::downgrade(&scope));
        let outcome = scope.register_one_shot("a", HOUR, data);
        done.send(matches!(outcome, Err(TimerError::Driver(_))))
    });
    assert_eq!(dropped.recv_timeout(BOUND), Ok(true));
}

struct Sends {
    node: Node,
    deadline: Deadline,
    fired: mpsc::Sender<Deadline>,
}

impl Timer for Sends {
    fn node(&self) -> &Node {
        &self.node
    }

    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn fire(self: Arc<Self>) {
        let _ = self.fired.send(self.deadline); // The test may have given up.
    }
}

fn timers_armed_in_vain_fire_once_the_driver_starts() {
    let (fired, received) = mpsc::channel();
    let early = clock::now() + MILLISECOND;
    let arm = |deadline| {
        driver::arm(Arc::new(Sends {
            node: Node::new(),
            deadline,
            fired: fired.clone(),
        }))
    };
    assert!(arm(early).is_err());
    assert!(arm(early + 1).is_err());
    set_descriptors(None);
    // Not the earliest: that one is armed already.
    arm(early + 2).unwrap();
    for deadline in early..early + 3 {
        assert_eq!(received.recv_timeout(BOUND), Ok(deadline));
    }
}

#[test]
fn process_without_descriptors_gets_errors_and_no_silence() {
    set_descriptors(Some(0));
    refused_registration_is_dropped_with_the_scope_unlocked();
    timers_armed_in_vain_fire_once_the_driver_starts();
}
