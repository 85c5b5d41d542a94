//! How late a time-out ends, and what it costs, for the ways of keeping it.
//!
//! `cargo bench -p pyloop-reactor --bench lateness`. The ways alternate, so that a disturbance of the
//! machine meets all of them. Meaningful on an idle machine only.
#![expect(clippy::print_stdout, reason = "a benchmark reports to the terminal")]

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("this comparison is about Linux");
}

#[cfg(target_os = "linux")]
mod linux {
    #![expect(unsafe_code, reason = "the alternatives that the crate did not choose")]

    use std::{
        io,
        time::{Duration, Instant},
    };

    use reactor::{Events, Reactor, TimeoutMethod};
    use rustix::time::{ClockId, clock_gettime};

    /// Time-out in microseconds, and how many waits of each way.
    const CASES: [(u64, usize); 6] = [
        (30, 500),
        (300, 500),
        (1_000, 500),
        (5_500, 200),
        (20_000, 100),
        (300_000, 8),
    ];

    const NAMES: [&str; 4] = ["shortened", "timerfd", "pwait2 plain", "epoll_wait ms"];

    struct Ways {
        shortened: Reactor,
        timerfd: Reactor,
        events: Events,
    }

    impl Ways {
        fn wait(&mut self, way: usize, timeout: Duration) -> io::Result<()> {
            match way {
                0 => self.shortened.poll(&mut self.events, Some(timeout)),
                1 => self.timerfd.poll(&mut self.events, Some(timeout)),
                2 => plain(self.shortened.as_raw_fd(), timeout),
                _ => millis(self.shortened.as_raw_fd(), timeout),
            }
        }
    }

    fn plain(epoll: i32, timeout: Duration) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let timeout: [i64; 2] = [
            timeout.as_secs().cast_signed(),
            timeout.subsec_nanos().into(),
        ];
        // SAFETY: room for one event, and a time-out of two 64-bit fields, both alive through the call.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                epoll,
                &raw mut event,
                1,
                timeout.as_ptr(),
                0_usize,
                0_usize,
            )
        };
        if returned < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn millis(epoll: i32, timeout: Duration) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let timeout = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: room for one event, alive through the call.
        let returned = unsafe { libc::epoll_wait(epoll, &raw mut event, 1, timeout) };
        if returned < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn processor_micros() -> f64 {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
    }

    fn report(timeout: u64, way: usize, late: &mut [f64], processor: f64) {
        late.sort_by(f64::total_cmp);
        let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
        println!(
            "{:>8} us  {:<14} late p50 {:>6.0}  p90 {:>6.0}  p99 {:>6.0}  max {:>6.0} us   processor {:>5.1} us",
            timeout,
            NAMES[way],
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
            processor / late.len() as f64,
        );
    }

    pub(super) fn main() -> io::Result<()> {
        let mut ways = Ways {
            shortened: Reactor::with_timeout_method(TimeoutMethod::Pwait2)?,
            timerfd: Reactor::with_timeout_method(TimeoutMethod::Timerfd)?,
            events: Events::with_capacity(64),
        };
        for (timeout, waits) in CASES {
            let mut late = [const { Vec::new() }; NAMES.len()];
            let mut processor = [0.0; NAMES.len()];
            for way in (0..waits).flat_map(|_| 0..NAMES.len()) {
                let before = processor_micros();
                let deadline = Instant::now() + Duration::from_micros(timeout);
                ways.wait(way, Duration::from_micros(timeout))?;
                late[way].push(deadline.elapsed().as_nanos() as f64 / 1e3);
                processor[way] += processor_micros() - before;
            }
            for (way, late) in late.iter_mut().enumerate() {
                report(timeout, way, late, processor[way]);
            }
        }
        Ok(())
    }
}
