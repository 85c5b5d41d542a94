//! What happens while the system refuses to start the driver.
//!
//! One test alone: it takes the descriptors from the whole process, whose driver must not run yet.
#![cfg(all(not(loom), target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use timers::{TimerError, TimerScope};

const BOUND: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

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

#[test]
fn process_without_descriptors_gets_errors_and_no_silence() {
    let limits = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limits).unwrap();
    refused_registration_is_dropped_with_the_scope_unlocked();
}
