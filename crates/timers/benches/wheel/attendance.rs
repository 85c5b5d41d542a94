//! What it costs that the driver attends a shard: a parked thread woken by the driver, against the same
//! thread that waits with its own time-out.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use timers::{Attendance, Attended, Deadline, clock, driver};

const SAMPLES: usize = 300;
const DELAY: u64 = 1_000_000;

/// A parked loop with one timer.
struct Hosted {
    next: Mutex<Option<Deadline>>,
    attendance: Arc<Attendance>,
    wake: mpsc::SyncSender<Deadline>,
}

impl Attended for Hosted {
    fn next_deadline(&self) -> Option<Deadline> {
        *self.next.lock().expect("no thread panics with the lock")
    }

    fn due(&self, _deadline: Deadline) {
        *self.next.lock().expect("no thread panics with the lock") = None;
        let _ = self.wake.try_send(clock::now()); // A full channel wakes the loop as well.
    }
}

pub(crate) fn report(filter: &str) {
    if !"attendance".contains(filter) {
        return;
    }
    let (wake, woken) = mpsc::sync_channel(1);
    let hosted = Arc::new_cyclic(|hosted: &Weak<Hosted>| Hosted {
        next: Mutex::new(None),
        attendance: Attendance::new(hosted.clone()),
        wake,
    });
    let (mut own, mut fired, mut hop) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let deadline = clock::now() + DELAY;
        let waited = woken.recv_timeout(Duration::from_nanos(DELAY));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
        own.push(clock::now() - deadline);

        let deadline = clock::now() + DELAY;
        *hosted.next.lock().expect("no thread panics with the lock") = Some(deadline);
        driver::hand_over(&hosted.attendance).expect("the driver starts");
        let at = woken.recv().expect("the sender lives");
        hop.push(clock::now() - at);
        fired.push(at - deadline);
    }
    println!(
        "{:<58} {:>9} {:>9}",
        "attendance: lateness of 1 ms", "p50 ns", "p99 ns"
    );
    for (name, mut figures) in [
        (
            "attendance: the thread's own time-out (futex, slack 50 us)",
            own,
        ),
        ("attendance: the driver's sleep", fired),
        ("attendance: the hop from the driver to the thread", hop),
    ] {
        figures.sort_unstable();
        println!(
            "{name:<58} {:>9} {:>9}",
            figures[SAMPLES / 2],
            figures[SAMPLES * 99 / 100]
        );
    }
}
