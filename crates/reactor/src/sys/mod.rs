//! What an operating system supplies. A backend provides three types:
//!
//! - `EventBuffer`: `with_capacity`, `capacity`, `len`, `get(index) -> Option<Event>`, `clear`. Holds
//!   events in the system's own form, so that a wait copies nothing.
//! - `Selector`: `new(TimeoutMethod)`, `register`, `reregister`, `deregister`, `as_raw_fd`, and
//!   `wait(&self, &mut EventBuffer, Option<Duration>) -> io::Result<bool>`, which leaves the user's
//!   events alone in the (empty) buffer and returns whether a wake-up was among what it took out.
//! - `WakeSource`: `new(&Selector)`, which registers it as [`Token::WAKER`](crate::token::Token::WAKER);
//!   `wake`, from any thread or signal handler; `consume`, by the polling thread after a wake-up.
//!
//! Nothing above this folder knows what a descriptor is beyond its integer, so that a backend whose
//! handles are sockets instead can be added here.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod epoll;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod eventfd;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod slack;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod timerfd;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use self::{
    epoll::{EventBuffer, Selector},
    eventfd::WakeSource,
};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kqueue;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod pipe;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) use self::{
    kqueue::{EventBuffer, Selector},
    pipe::WakeSource,
};
