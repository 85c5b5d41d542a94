//! The clock that every deadline is on: `CLOCK_MONOTONIC`, the clock of Python's `time.monotonic()`.

use crate::node::Deadline;

/// Reads the clock, in nanoseconds.
pub fn now() -> Deadline {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The monotonic clock starts at or after zero, and its nanoseconds are below 10^9 by definition.
    (time.tv_sec as u64)
        .saturating_mul(NANOS_PER_SECOND)
        .saturating_add(time.tv_nsec as u64)
}

/// Nanoseconds in a second, in the type of a deadline.
pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;
