//! A child after a fork gets a driver of its own if it can, and a process that hands nothing over has no thread.
//!
//! Without the test harness: a fork wants a process whose threads are known.
#![cfg_attr(
    not(loom),
    expect(
        unsafe_code,
        reason = "there is no safe fork; this file calls fork, waitpid and _exit"
    )
)]

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    test::driver_is_rebuilt_in_a_forked_child();
    #[cfg(feature = "services")]
    scope::tells_of_what_is_due_in_a_child_without_a_driver();
}

#[cfg(not(loom))]
mod test {
    use std::sync::{Arc, Mutex, mpsc};
    use std::time::Duration;

    use timers::{Attendance, Attended, Deadline, clock, driver};

    const BOUND: Duration = Duration::from_secs(60);

    struct Once {
        next: Mutex<Option<Deadline>>,
        fired: mpsc::SyncSender<()>,
    }

    impl Attended for Once {
        fn next_deadline(&self) -> Option<Deadline> {
            *self.next.lock().expect("no thread panics with the lock")
        }

        fn due(&self, _deadline: Deadline) {
            *self.next.lock().expect("no thread panics with the lock") = None;
            let _ = self.fired.send(()); // The receiver may have given up.
        }
    }

    /// Whether a deadline of one millisecond fires, for an attendance of this process.
    fn fires() -> bool {
        let (fired, received) = mpsc::sync_channel(1);
        let owner: Arc<dyn Attended> = Arc::new(Once {
            next: Mutex::new(Some(clock::now() + 1_000_000)),
            fired,
        });
        let attendance = Attendance::new(Arc::downgrade(&owner));
        driver::hand_over(&attendance).is_ok() && received.recv_timeout(BOUND).is_ok()
    }

    /// Whether something holds in a child.
    pub(super) fn holds_in_a_child(check: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child calls code of this test only and leaves with `_exit`; the one other thread, the
        // driver, is idle in its poll, since nothing is scheduled.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let holds = check();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if holds { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `child` is a child of this process and `status` a valid place for its status.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        status == 0
    }

    pub(super) fn driver_is_rebuilt_in_a_forked_child() {
        assert!(
            !driver::is_running(),
            "no thread before the first hand-over"
        );
        assert!(fires());
        assert!(driver::is_running());
        assert!(holds_in_a_child(|| {
            !driver::is_running() && fires() && driver::is_running()
        }));
        assert!(fires(), "the parent's driver goes on");
    }
}

#[cfg(all(not(loom), feature = "services"))]
mod scope {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use timers::{TimerError, TimerScope};

    use super::test::holds_in_a_child;

    const HOUR: Duration = Duration::from_secs(3600);

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn tells_of_what_is_due_in_a_child_without_a_driver() {
        let scope = TimerScope::new(());
        scope.attach();
        let registered = [("later", HOUR), ("due", Duration::ZERO)]
            .map(|(name, due_time)| scope.register_one_shot(name, due_time, ()).is_ok());
        assert_eq!(registered, [true; 2]);
        assert!(scope.pause_all().is_ok());
        assert!(holds_in_a_child(|| {
            let limits = getrlimit(Resource::Nofile);
            let none = Rlimit {
                current: Some(0),
                ..limits
            };
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            let mut receiver = pin!(scope.recv());
            setrlimit(Resource::Nofile, none).is_ok()
                && receiver.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending
                && matches!(scope.resume_all(), Err(TimerError::Driver(_)))
                && woken.0.load(Ordering::Relaxed) == 1
        }));
    }
}
