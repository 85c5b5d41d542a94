//! Many named timers as a service: one task, bounded channels, one shard of the wheel.
//!
//! ```text
//! TimerHandle --commands--> TimerManager::run --insert, remove--> shard <--expire-- driver
//!      ^                                                            |
//!      +------------------------- event buffer ---------------------+
//! ```
//!
//! [`TimerManager::run`] moves commands into the shard and nothing else: what is due goes from the driver's thread straight
//! into the event buffer, so that a busy task makes no timer late. A full buffer leaves what is due in the shard.
//!
//! Which timer of a name is the living one is decided where a command is accepted, under one lock, not where it is carried out.
//! That is why cancelling and replacing are final: an event whose timer is no longer the living one of its name is dropped when
//! it would be received.

mod command;
mod events;
mod handle;
mod living;
mod shared;
mod timer;
mod work;

pub use command::{CommandError, TimerCommand};
pub use events::{TimerEvent, TryRecvError};
pub use handle::TimerHandle;
pub use work::TimerManager;
