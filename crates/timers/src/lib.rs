//! Timers of pyloop: one shard of the wheel per loop, and the driver that attends the shards whose loop does not.
//!
//! | module | owns |
//! |---|---|
//! | [`clock`] | the one clock that all deadlines are on |
//! | [`node`] | the atomic state of one timer, and the payload trait |
//! | `slot`, `slots` | the single-threaded data structure: slots in a tree |
//! | [`shard`] | that structure behind a lock, with its earliest deadline readable without it |
//! | [`attend`] | who answers for a shard: its loop or the driver |
//! | [`wheel`] | the shards that the driver answers for, by deadline |
//! | [`driver`] | the background thread (feature `driver`) |
//!
//! Deadlines are nanoseconds on `CLOCK_MONOTONIC`; nothing here knows what a payload does when it is due.
#![forbid(unsafe_code)]

pub mod attend;
pub mod clock;
#[cfg(all(feature = "driver", not(loom)))]
pub mod driver;
pub mod node;
pub mod shard;
mod slot;
mod slots;
mod sync;
pub mod wheel;

pub use attend::{Attendance, Attendant, Attended};
pub use node::{Deadline, Entry, NEVER, Node};
pub use shard::Shard;
pub use wheel::{Alarm, Wheel};
