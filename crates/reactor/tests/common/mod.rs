//! What the reactor's tests share: bounds, and readiness as plain data.
#![allow(dead_code, reason = "every test file takes what it needs")]

use std::{io, sync::mpsc, thread, time::Duration};

use reactor::{Event, Events, Reactor, TimeoutMethod};

/// Longer than any wait that should end by itself takes, even on a crowded machine.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Both ways of keeping time-outs: what holds must hold for either.
pub(crate) const METHODS: [TimeoutMethod; 2] = [TimeoutMethod::Pwait2, TimeoutMethod::Timerfd];

/// Runs `body` in a thread of its own and fails if it does not finish in time.
pub(crate) fn within_bound<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    let worker = thread::spawn(move || {
        let result = body();
        let _ = done.send(()); // the receiver is gone once the bound has passed
        result
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = finished.recv_timeout(BOUND) {
        panic!("still blocked after {BOUND:?}");
    }
    match worker.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Polls once with a generous time-out and returns the events by value.
pub(crate) fn poll(reactor: &Reactor) -> Vec<Event> {
    poll_for(reactor, Some(BOUND)).expect("the poll succeeds")
}

/// Looks without waiting.
pub(crate) fn look(reactor: &Reactor) -> Vec<Event> {
    poll_for(reactor, Some(Duration::ZERO)).expect("the poll succeeds")
}

/// Polls, beginning again after a signal (profilers send them).
pub(crate) fn poll_for(reactor: &Reactor, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
    let mut events = Events::with_capacity(64);
    loop {
        match reactor.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(|()| events.iter().collect()),
        }
    }
}

/// The tokens of some events, in ascending order, without repetition.
pub(crate) fn tokens(events: &[Event]) -> Vec<u64> {
    let mut tokens: Vec<u64> = events.iter().map(|event| event.token().0).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}
