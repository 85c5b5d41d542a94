//! Readiness of descriptors, precise time-outs and cross-thread wake-ups for pyloop.
//!
//! Pure Rust, without Python. [`Reactor`] waits; [`Waker`] ends a wait from elsewhere; [`Events`] is the
//! buffer that a wait fills. What each operating system supplies is listed in `sys`.

mod event;
mod interest;
mod reactor;
mod sys;
mod token;
mod waker;

pub use event::{Event, Events, Iter};
pub use interest::Interest;
pub use reactor::{Reactor, TimeoutMethod};
pub use token::Token;
pub use waker::Waker;
