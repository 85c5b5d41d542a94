//! What a poll, a wake-up and a change of registration cost.
//!
//! `cargo bench -p pyloop-reactor --bench poll`. Every figure is the least of several rounds: the least
//! disturbed one.
#![expect(clippy::print_stdout, reason = "a benchmark reports to the terminal")]

use std::{
    hint::black_box,
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use reactor::{Events, Interest, Reactor, TimeoutMethod, Token};

const ROUNDS: u32 = 7;
const CALLS: u32 = 20_000;

fn measure(name: &str, mut call: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            call()?;
        }
        least = least.min(start.elapsed());
    }
    println!(
        "{name:<48} {:>7.0} ns",
        least.as_nanos() as f64 / f64::from(CALLS)
    );
    Ok(())
}

/// Opens `count` pairs whose registered ends are readable for good.
fn make_ready(reactor: &Reactor, count: u64) -> io::Result<Vec<(UnixStream, UnixStream)>> {
    let pairs: Vec<_> = (0..count)
        .map(|_| UnixStream::pair())
        .collect::<io::Result<_>>()?;
    for (token, (here, there)) in (0..).zip(&pairs) {
        let mut there = there;
        there.write_all(b"x")?;
        reactor.register(here.as_raw_fd(), Token(token), Interest::READABLE)?;
    }
    Ok(pairs)
}

fn measure_method(method: TimeoutMethod) -> io::Result<()> {
    let far = Some(Duration::from_secs(60));
    let mut events = Events::with_capacity(1024);
    for count in [0, 1, 100] {
        let reactor = Reactor::with_timeout_method(method)?;
        let _pairs = make_ready(&reactor, count)?;
        let mut poll = |timeout| {
            reactor.poll(&mut events, timeout)?;
            events.iter().for_each(|event| {
                black_box(event.readable());
            });
            Ok(())
        };
        measure(&format!("{method:?}: {count} ready, zero time-out"), || {
            poll(Some(Duration::ZERO))
        })?;
        if count > 0 {
            measure(
                &format!("{method:?}: {count} ready, same far deadline"),
                || poll(far),
            )?;
            let mut millis = 0;
            measure(
                &format!("{method:?}: {count} ready, deadline moves"),
                || {
                    millis += 1;
                    poll(Some(Duration::from_millis(60_000 + millis % 7)))
                },
            )?;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    measure_method(TimeoutMethod::Pwait2)?;
    measure_method(TimeoutMethod::Timerfd)?;

    let reactor = Reactor::new()?;
    let waker = reactor.waker();
    let mut events = Events::with_capacity(1024);
    measure("wake", || waker.wake())?;
    measure("wake, then the poll that it ends", || {
        waker.wake()?;
        reactor.poll(&mut events, None)
    })?;
    let (here, _there) = UnixStream::pair()?;
    let fd = here.as_raw_fd();
    measure("register and deregister", || {
        reactor.register(fd, Token(0), Interest::READABLE)?;
        reactor.deregister(fd)
    })?;
    reactor.register(fd, Token(0), Interest::READABLE)?;
    measure("reregister", || {
        reactor.reregister(fd, Token(0), Interest::READABLE)
    })
}
