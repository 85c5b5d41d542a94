//! `LoopCore`: the engine's half of `pyloop.PyLoop`.
//!
//! | module | owns |
//! |---|---|
//! | `state` | the struct: queues, timers, reactor, flags |
//! | `run` | one iteration: poll, expire, run a batch, flush |
//! | `wait` | looking at I/O, and letting time pass |
//! | `schedule` | `call_soon`, `call_later` and their kin |
//! | `tasks` | `create_task`, `create_future` |
//! | `sources` | which descriptor belongs to which watcher, transport or listener |
//! | `exit` | loops of other threads when the process ends |
//! | `virtual_time` | a clock that tests move |
//! | `watch` | `add_reader` and its kin, waiting for a descriptor once |
//! | `methods` | what Python calls rarely: lifecycle, debug flag, signals |

mod exit;
mod methods;
mod run;
mod schedule;
pub(crate) mod sources;
mod state;
mod tasks;
mod virtual_time;
mod wait;
pub(crate) mod watch;

pub(crate) use exit::hold_loops;
pub(crate) use schedule::{add_fast_methods, call_soon, register};
pub(crate) use state::{LoopCore, wrong_thread};
pub(crate) use virtual_time::VirtualTime;
