//! Timers of pyloop: one shard of the wheel per loop, and the driver that attends the shards whose loop does not.
//!
//! For Rust programs there is, on the same wheel and its one background task: [`sleep`](sleep()), [`Interval`],
//! [`TimerScope`] and [`TimerManager`]. They need a tokio application no more than any other.
//!
//! | module | owns |
//! |---|---|
//! | [`clock`] | the one clock that all deadlines are on |
//! | [`node`] | the atomic state of one timer, and the payload trait |
//! | `slot`, `ring`, `slots` | the single-threaded data structure: slots in a ring, and in a tree beyond it |
//! | [`shard`] | that structure behind a lock, with its earliest deadline readable without it |
//! | [`attend`] | who answers for a shard: its loop or the driver |
//! | [`wheel`] | the shards that the driver answers for, by deadline |
//! | [`schedule`] | the deadlines of periodic timers |
//! | [`driver`] | the background thread (feature `driver`) |
//! | [`mod@sleep`], [`interval`] | a deadline and a periodic timer as futures (feature `services`) |
//! | [`scope`] | the timers of one owner (feature `services`) |
//! | [`manager`] | many named timers as a service (feature `services`) |
//! | [`error`] | what is wrong with a timer |
//! | `sys` | what has no safe interface |
//!
//! Deadlines are nanoseconds on `CLOCK_MONOTONIC`; nothing here knows what a payload does when it is due.

pub mod attend;
pub mod clock;
#[cfg(all(feature = "driver", not(loom)))]
pub mod driver;
#[cfg(all(feature = "services", not(loom)))]
pub mod error;
#[cfg(all(feature = "services", not(loom)))]
pub mod interval;
#[cfg(all(feature = "services", not(loom)))]
pub mod manager;
pub mod node;
mod ring;
pub mod schedule;
#[cfg(all(feature = "services", not(loom)))]
pub mod scope;
pub mod shard;
#[cfg(all(feature = "services", not(loom)))]
pub mod sleep;
mod slot;
mod slots;
mod sync;
mod sys;
pub mod wheel;

pub use attend::{Attendance, Attendant, Attended};
#[cfg(all(feature = "services", not(loom)))]
pub use error::TimerError;
#[cfg(all(feature = "services", not(loom)))]
pub use interval::Interval;
#[cfg(all(feature = "services", not(loom)))]
pub use manager::{
    CommandError, TimerCommand, TimerEvent, TimerHandle, TimerManager, TryRecvError,
};
pub use node::{Deadline, Entry, NEVER, Node};
pub use schedule::{MissedTickBehavior, Schedule, Tick};
#[cfg(all(feature = "services", not(loom)))]
pub use scope::{TimerFired, TimerInfo, TimerRegistration, TimerScope};
pub use shard::Shard;
#[cfg(all(feature = "services", not(loom)))]
pub use sleep::{Sleep, sleep, sleep_until};
pub use wheel::{Alarm, Wheel};

/// The programs of the guide are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/timers-in-rust.md")]
struct Guide;
