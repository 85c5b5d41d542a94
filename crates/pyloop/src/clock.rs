//! Seconds as Python writes them, and the wheel's integer nanoseconds.

use timers::Deadline;

/// Nanoseconds in a second.
const NANOS: f64 = 1e9;

/// The monotonic clock in nanoseconds, the clock of `time.monotonic()`.
#[inline]
pub(crate) fn now() -> Deadline {
    timers::clock::now()
}

/// The value of `loop.time()` at `nanos`; rounded exactly as `time.monotonic()` rounds it.
#[inline]
pub(crate) fn seconds(nanos: Deadline) -> f64 {
    nanos as f64 / NANOS
}

/// The first nanosecond at which `loop.time()` has reached `when`: a timer that waits for it is never early.
///
/// Infinity, and whatever lies beyond the clock's range (584 years), never comes.
#[inline]
pub(crate) fn deadline(when: f64) -> Deadline {
    // `as` saturates: negative becomes zero, infinity the largest value.
    let mut nanos = (when * NANOS).ceil() as Deadline;
    if nanos == timers::NEVER {
        return nanos;
    }
    // The product is rounded to 53 bits; a step or two puts right what that may have lost.
    while seconds(nanos) < when && nanos < timers::NEVER - 1 {
        nanos += 1;
    }
    nanos
}
