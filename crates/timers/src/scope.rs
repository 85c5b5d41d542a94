//! Timers that belong to one owner (an actor, a connection, a session) and end with it.
//!
//! A scope holds no more than one firing per timer that is due: the tick of a periodic timer is made out when its owner
//! receives it, and only then does the next one follow. So a slow owner gets what the timer's
//! [`MissedTickBehavior`](crate::MissedTickBehavior) says, and no queue grows.
//!
//! Registering, unregistering, pausing and detaching are final: a firing is valid if its timer is still in the same turn of its
//! life when it is received.

mod member;
mod membership;
mod registration;
mod turns;

pub use membership::TimerScope;
pub use registration::{TimerFired, TimerInfo, TimerRegistration};
