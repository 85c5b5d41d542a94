//! Named timers and sleeps against `tokio::time` and `tokio_util::time::DelayQueue`, in one run.
//!
//! `cargo bench -p pyloop-timers --bench services [-- FILTER]`. Rounds of all cases alternate, because neighbours on a shared
//! machine come and go. Names are strings in all cases: a queue without names gets a map from them to its keys. A manager is a
//! service with handles for any thread; its equal is a queue behind a channel. The structures without handles, which a single
//! task must own, are there as the floor.
#![expect(
    clippy::print_stdout,
    reason = "the report is the purpose of a benchmark"
)]
#![cfg_attr(loom, allow(unused))]

#[cfg(not(loom))]
mod inserts;
#[cfg(not(loom))]
mod lateness;
#[cfg(not(loom))]
mod names;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    names::report(&filter);
    inserts::report(&filter);
    lateness::report(&filter);
}
