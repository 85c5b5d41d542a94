//! A child after a fork gets a driver of its own, and a process that hands nothing over has no thread.
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

    pub(super) fn driver_is_rebuilt_in_a_forked_child() {
        assert!(
            !driver::is_running(),
            "no thread before the first hand-over"
        );
        assert!(fires());
        assert!(driver::is_running());
        // SAFETY: the child calls code of this test only and leaves with `_exit`; the one other thread, the
        // driver, is idle in its poll, since nothing is scheduled.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let fine = !driver::is_running() && fires() && driver::is_running();
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(if fine { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: `child` is a child of this process and `status` a valid place for its status.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, status), (child, 0));
        assert!(fires(), "the parent's driver goes on");
    }
}
