//! The clock that every deadline is on: `CLOCK_MONOTONIC`, the clock of Python's `time.monotonic()`.

use rustix::time::ClockId;

use crate::node::Deadline;

/// Reads the clock, in nanoseconds.
pub fn now() -> Deadline {
    read(ClockId::Monotonic)
}

/// Whether a deadline has passed: never yes before it has. No costs a quarter of [`now`] if the deadline is far away.
#[cfg(all(feature = "services", not(loom)))]
pub(crate) fn has_passed(deadline: Deadline) -> bool {
    // The clock of the system's ticks is behind by a tick, 10 ms at most, and cheap. Were it behind by more, a deadline that has
    // passed would be taken for one that passes now.
    #[cfg(target_os = "linux")]
    if deadline > read(ClockId::MonotonicCoarse).saturating_add(NANOS_PER_SECOND / 50) {
        return false;
    }
    now() >= deadline
}

fn read(clock: ClockId) -> Deadline {
    let time = rustix::time::clock_gettime(clock);
    // The monotonic clock starts at or after zero, and its nanoseconds are below 10^9 by definition.
    (time.tv_sec as u64)
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(time.tv_nsec as u64)
}

/// Nanoseconds in a second, in the type of a deadline.
pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;
