//! The decisions of an event loop: what runs next, when to look at I/O, what to send, when to pause.
//!
//! Nothing here knows Python, makes a system call or reads a clock. Every type is generic over its
//! payload and is told the time, so that the tests drive it with integers and a clock moved by hand.
//!
//! | module | owns | called by |
//! |---|---|---|
//! | [`iteration`] | the rule that plans the poll of one iteration | the loop's thread |
//! | [`jump`] | what an idle loop does on a clock that is moved by hand | the loop's thread |
//! | [`ready`] | callbacks of the loop's own thread, and the batch | the loop's thread |
//! | [`inbox`] | callbacks that other threads hand in | any thread |
//! | [`parking`] | running / parked / notified | any thread |
//! | [`pacing`] | when a busy loop looks at clock and I/O | the loop's thread |
//! | [`write_buffer`] | what a transport has still to send | the loop's thread |
//! | [`datagram_queue`] | what a datagram transport has still to send | the loop's thread |
//! | [`flow`] | high and low water marks | the loop's thread |
//! | [`backlog`] | plaintext that waits to be encrypted, joined into records | the loop's thread |
//! | [`records`] | where the records of a TLS stream end | the loop's thread |

#![forbid(unsafe_code)]

pub mod backlog;
pub mod datagram_queue;
pub mod flow;
pub mod inbox;
pub mod iteration;
pub mod jump;
pub mod pacing;
pub mod parking;
pub mod ready;
pub mod records;
mod sync;
pub mod write_buffer;

pub use backlog::{Backlog, Piece};
pub use datagram_queue::DatagramQueue;
pub use flow::{FlowControl, LimitsError};
pub use inbox::Inbox;
pub use iteration::{Poll, PollInputs, plan_poll};
pub use jump::{JumpInputs, Step, plan_jump};
pub use pacing::Pacer;
pub use parking::ParkState;
pub use ready::{Batch, ReadyQueue};
pub use records::Records;
pub use write_buffer::{MAX_SLICES, WriteBuffer};
