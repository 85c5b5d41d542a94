//! A signal during a poll, and a wake-up from inside a signal handler.
#![expect(
    unsafe_code,
    reason = "installing a signal handler and aiming a signal at a thread"
)]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
#![cfg(target_os = "linux")]

mod common;

use std::{
    io, mem, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use common::{METHODS, poll_for, within_bound};
use reactor::{Events, Reactor, Waker};

static WAKER: OnceLock<Waker> = OnceLock::new();

extern "C" fn do_nothing(_: libc::c_int) {}

extern "C" fn wake(_: libc::c_int) {
    if let Some(waker) = WAKER.get() {
        let _ = waker.wake(); // a handler has nobody to tell
    }
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as libc::sighandler_t;
    // Even restarting handlers must end a poll, so that Python's own handlers get their turn.
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the action is complete, and both handlers are async-signal-safe.
    let installed = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
    assert_eq!(installed, 0);
}

#[test]
fn signal_interrupts_a_poll_and_is_reported() {
    handle(libc::SIGUSR1, do_nothing);
    for method in METHODS {
        for timeout in [None, Some(Duration::from_secs(3600))] {
            let reactor = Reactor::with_timeout_method(method).unwrap();
            let (send_thread, receive_thread) = mpsc::channel();
            let polling = thread::spawn(move || {
                // SAFETY: always succeeds.
                send_thread.send(unsafe { libc::pthread_self() }).unwrap();
                let mut events = Events::with_capacity(4);
                reactor
                    .poll(&mut events, timeout)
                    .map_err(|error| (error.kind(), events.len()))
            });
            let result = within_bound(move || {
                let target = receive_thread.recv().unwrap();
                while !polling.is_finished() {
                    // Again and again: the first may come before the thread is in its poll.
                    // SAFETY: the thread has not been joined, so its handle is valid.
                    unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
                    thread::yield_now();
                }
                polling.join().unwrap()
            });
            assert_eq!(result, Err((io::ErrorKind::Interrupted, 0)));
        }
    }
}

#[test]
fn handler_wakes_a_reactor_without_losing_the_wake_up() {
    let reactor = Reactor::new().unwrap();
    WAKER.set(reactor.waker()).unwrap();
    handle(libc::SIGUSR2, wake);
    within_bound(move || {
        // SAFETY: a signal to this thread, handled before the call returns.
        unsafe { libc::raise(libc::SIGUSR2) };
        poll_for(&reactor, None).unwrap();

        let stop = AtomicBool::new(false);
        // SAFETY: always succeeds.
        let target = unsafe { libc::pthread_self() };
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // SAFETY: the target waits for this scope, and is therefore alive.
                    unsafe { libc::pthread_kill(target, libc::SIGUSR2) };
                    thread::yield_now();
                }
            });
            // Interrupted or not, a handler has run; the poll that `poll_for` ends with was woken.
            (0..100).for_each(|_| drop(poll_for(&reactor, None).unwrap()));
            stop.store(true, Ordering::Relaxed);
        });
    });
}
