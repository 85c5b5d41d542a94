//! The driver: one background thread with one tokio task, which sleeps until the earliest deadline of the
//! shards that it attends.
//!
//! The functions here act on the wheel of the current process, from any thread. The thread starts when
//! the first deadline is handed over and stays for the life of the process; it does not keep the
//! process alive. It has no tick: with no deadline it sleeps without a time-out.
//!
//! After a fork the child has a copy of the wheel but not the thread, and perhaps a lock that some other
//! thread held at that moment. So every call compares process identities first, and replaces the whole
//! driver in a child, without touching anything of the old one. The child learns about a shard that was handed
//! over before the fork when the shard is announced or handed over again. Timers that were armed before the fork, those
//! of sleeps, intervals and scopes too, do not fire in the child.

mod ownerless;
mod process;
mod sleeper;
mod task;

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;

pub use ownerless::Timer;

use crate::attend::{Attendance, Attendant};
use crate::node::Deadline;

/// Makes the driver answer for a shard: [`Wheel::hand_over`](crate::Wheel::hand_over) on the process-wide wheel.
///
/// # Errors
/// If the driver had to be started and the system refused the thread or a descriptor.
pub fn hand_over(attendance: &Arc<Attendance>) -> io::Result<()> {
    process::current().wheel().hand_over(attendance)
}

/// Makes the loop answer for its shard: [`Wheel::take_back`](crate::Wheel::take_back) on the process-wide wheel.
pub fn take_back(attendance: &Attendance) -> Option<Deadline> {
    process::current().wheel().take_back(attendance)
}

/// Tells the driver of an earlier deadline: [`Wheel::announce`](crate::Wheel::announce) on the process-wide wheel.
///
/// Costs a fence and a load if the loop answers for its shard.
///
/// # Errors
/// As [`hand_over`].
pub fn announce(attendance: &Arc<Attendance>) -> io::Result<Attendant> {
    match attendance.responsible() {
        Attendant::Loop => Ok(Attendant::Loop),
        Attendant::Driver => process::current().wheel().announce(attendance),
    }
}

/// The number of shards with a deadline that the driver sleeps for.
pub fn scheduled() -> usize {
    process::current().wheel().scheduled()
}

/// Whether the driver's thread has been started in this process.
pub fn is_running() -> bool {
    process::current().wheel().alarm().is_started()
}

/// Has the driver fire a timer at its deadline.
///
/// To be called once per timer: its node does not come back from expiry. A timer whose node is cancelled already is dropped.
///
/// # Errors
/// As [`hand_over`]; the timer stays armed, and fires when a later call has succeeded.
pub fn arm(timer: Arc<dyn Timer>) -> io::Result<()> {
    let process = process::current();
    process.ownerless().arm(process.wheel(), timer)
}

/// Cancels a timer and lets go of it; whether this call did it.
///
/// False if it had been cancelled, or has been taken to be fired: [`Timer::fire`] may then still be under way.
pub fn disarm(timer: &Arc<dyn Timer>) -> bool {
    process::current().ownerless().disarm(timer)
}

/// The number of timers that [`arm`] has filed and that are still pending.
pub fn armed() -> usize {
    process::current().ownerless().len()
}

/// The runtime of the driver's thread, which is started if it does not run yet.
///
/// For short tasks that serve timers: the thread has no other, and whatever blocks it makes every timer late.
///
/// # Errors
/// If the driver had to be started and the system refused the thread or a descriptor.
pub fn runtime() -> io::Result<Handle> {
    process::current().wheel().alarm().runtime().cloned()
}
