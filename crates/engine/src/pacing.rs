//! Pacing: when a busy loop reads the clock, and when it looks at I/O although callbacks are ready.
//!
//! A callback takes some 100 ns, reading the clock 36 ns, a poll that does not block 0.5 to 1 us (CPython
//! 3.13, 2-core virtual machine). So neither the poll nor the clock is paid per callback: polls have a
//! bound in time and one in callbacks, and the clock is read once per *stretch* of callbacks, whose length
//! adapts to how long they take.
//!
//! The bound that follows, for callbacks that take at most `c` nanoseconds each: the next poll starts
//! - at most [`MAX_CALLBACKS_BETWEEN_POLLS`] callbacks after the last, and
//! - before [`MAX_NANOS_BETWEEN_POLLS`] and one stretch more have passed, where a stretch of callbacks that
//!   have been fast so far is at most [`MAX_STRETCH`] of them (`MAX_STRETCH * c`), and every stretch after
//!   a slow one is a single callback (`c`).

/// Callbacks after which a poll is due, however fast they were.
///
/// At 100 ns each these are 0.1 ms, beyond the time bound: the count decides only for callbacks below 50 ns,
/// or when the clock stands still. One poll in 1024 costs such a callback 1 ns.
pub const MAX_CALLBACKS_BETWEEN_POLLS: u32 = 1024;

/// Nanoseconds after which a poll is due.
///
/// 50 us keep the price of polling a busy loop at 1 to 2 %, and are what a sleeping thread needs to wake up
/// anyway (the default timer slack of Linux): a socket hardly notices that the loop is busy.
pub const MAX_NANOS_BETWEEN_POLLS: u64 = 50_000;

/// Longest stretch of callbacks without a reading of the clock.
///
/// 36 ns over 64 callbacks are 0.6 ns each; doubling again would save 0.3 ns, and double the surprise when
/// fast callbacks turn slow.
pub const MAX_STRETCH: u32 = 64;

/// A stretch that took no longer than this is followed by one of twice the length.
///
/// A quarter of the time bound: the doubled stretch still takes half of it if the pace stays.
pub const FAST_STRETCH_NANOS: u64 = MAX_NANOS_BETWEEN_POLLS / 4;

/// A stretch that took at least this long is followed by stretches of one callback.
pub const SLOW_STRETCH_NANOS: u64 = MAX_NANOS_BETWEEN_POLLS / 2;

/// Counts callbacks, is told the time, and says when the clock and when I/O are worth a look.
///
/// Usage: after each callback `pacer.ran(1) && pacer.checked(clock())` says whether a poll is due; after
/// each poll, whatever the reason for it, [`polled`](Self::polled).
#[derive(Debug)]
pub struct Pacer {
    /// Callbacks until the clock is to be read; zero or less when that is due.
    left: i64,
    /// What `left` was at the start of this stretch. The difference is what ran since.
    stretch: i64,
    /// Length of the next stretch, 1 to `MAX_STRETCH`, before the callback bound cuts it.
    pace: u32,
    /// Callbacks between the last poll and the start of this stretch.
    before: i64,
    /// Clock, in nanoseconds, at the start of this stretch.
    stretch_began: u64,
    /// Clock, in nanoseconds, at the last poll.
    last_poll: u64,
}

impl Pacer {
    /// Creates a pacer for a run that has just polled at `now_ns`; the first stretch is one callback.
    #[must_use]
    pub fn new(now_ns: u64) -> Self {
        Self {
            left: 1,
            stretch: 1,
            pace: 1,
            before: 0,
            stretch_began: now_ns,
            last_poll: now_ns,
        }
    }

    /// Counts `callbacks` that have run. True when it is time to read the clock and call
    /// [`checked`](Self::checked); stays true until that or [`polled`](Self::polled) happens.
    #[inline]
    #[must_use = "true asks for a reading of the clock"]
    pub fn ran(&mut self, callbacks: u32) -> bool {
        self.left -= i64::from(callbacks);
        self.left <= 0
    }

    /// Ends a stretch at `now_ns` and says whether a poll is due.
    ///
    /// May be called early, when the clock was read for another reason: a short stretch that took long slows
    /// the pace just the same, and does not quicken it. A clock that seems to go backwards counts as
    /// standing still.
    #[must_use = "true asks for a poll"]
    pub fn checked(&mut self, now_ns: u64) -> bool {
        self.adapt(now_ns.saturating_sub(self.stretch_began));
        self.before += self.stretch - self.left;
        self.begin_stretch(now_ns);
        self.before >= i64::from(MAX_CALLBACKS_BETWEEN_POLLS)
            || now_ns.saturating_sub(self.last_poll) >= MAX_NANOS_BETWEEN_POLLS
    }

    /// Notes that I/O was polled, and that the poll returned at `now_ns`.
    ///
    /// Keeps the pace: the time since the stretch began may have been spent blocked, which tells nothing
    /// about the callbacks.
    #[inline]
    pub fn polled(&mut self, now_ns: u64) {
        self.before = 0;
        self.last_poll = now_ns;
        self.begin_stretch(now_ns);
    }

    fn adapt(&mut self, took: u64) {
        if took >= SLOW_STRETCH_NANOS {
            self.pace = 1;
        } else if took <= FAST_STRETCH_NANOS && self.left <= 0 {
            self.pace = (self.pace * 2).min(MAX_STRETCH);
        }
    }

    #[inline]
    fn begin_stretch(&mut self, now_ns: u64) {
        // Never beyond the callback bound; at least one, for a caller that does not follow up on a due poll.
        let allowed = i64::from(MAX_CALLBACKS_BETWEEN_POLLS) - self.before;
        self.stretch = i64::from(self.pace).min(allowed).max(1);
        self.left = self.stretch;
        self.stretch_began = now_ns;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What happened between two polls.
    struct Gap {
        callbacks: u32,
        nanos: u64,
        clock_readings: u32,
    }

    /// Runs callbacks of the given durations on a clock moved by hand; polls take no time.
    fn gaps(durations: impl IntoIterator<Item = u64>) -> Vec<Gap> {
        let mut now = 1_000;
        let mut pacer = Pacer::new(now);
        let mut gaps = Vec::new();
        let (mut callbacks, mut clock_readings, mut last_poll) = (0, 0, now);
        for duration in durations {
            now += duration;
            callbacks += 1;
            if !pacer.ran(1) {
                continue;
            }
            clock_readings += 1;
            if pacer.checked(now) {
                gaps.push(Gap {
                    callbacks,
                    nanos: now - last_poll,
                    clock_readings,
                });
                (callbacks, clock_readings, last_poll) = (0, 0, now);
                pacer.polled(now);
            }
        }
        gaps
    }

    fn constant(duration: u64, callbacks: usize) -> impl Iterator<Item = u64> {
        std::iter::repeat_n(duration, callbacks)
    }

    #[test]
    fn fast_callbacks_are_bounded_by_time_and_rarely_read_the_clock() {
        let gaps = gaps(constant(100, 100_000));
        for gap in &gaps[1..] {
            assert!(gap.nanos >= MAX_NANOS_BETWEEN_POLLS);
            assert!(gap.nanos <= MAX_NANOS_BETWEEN_POLLS + u64::from(MAX_STRETCH) * 100);
            assert!(gap.clock_readings <= gap.callbacks.div_ceil(MAX_STRETCH));
        }
        assert!(gaps.len() > 100);
    }

    #[test]
    fn callbacks_too_fast_for_the_clock_are_bounded_by_count() {
        let gaps = gaps(constant(1, 100_000));
        assert!(gaps.len() > 90);
        for gap in gaps {
            assert_eq!(gap.callbacks, MAX_CALLBACKS_BETWEEN_POLLS);
        }
    }

    #[test]
    fn slow_callbacks_get_a_poll_after_each() {
        let gaps = gaps(constant(1_000_000, 100));
        assert_eq!(gaps.len(), 100);
    }

    #[test]
    fn callbacks_of_some_microseconds_overshoot_the_time_bound_by_less_than_half() {
        for duration in [1_000, 3_000, 7_000, 12_000, 20_000, 24_000] {
            for gap in &gaps(constant(duration, 10_000))[1..] {
                assert!(
                    gap.nanos < MAX_NANOS_BETWEEN_POLLS + SLOW_STRETCH_NANOS,
                    "{duration} ns each: a gap of {} ns",
                    gap.nanos
                );
            }
        }
    }

    #[test]
    fn fast_callbacks_that_turn_slow_delay_one_stretch_only() {
        let script = constant(100, 10_000).chain(constant(1_000_000, 200));
        let gaps = gaps(script);
        let slow: Vec<&Gap> = gaps.iter().filter(|gap| gap.nanos >= 1_000_000).collect();
        assert!(slow[0].nanos <= u64::from(MAX_STRETCH + 1) * 1_000_000);
        for gap in &slow[1..] {
            assert_eq!(gap.callbacks, 1);
        }
        assert!(slow.len() >= 200 - MAX_STRETCH as usize);
    }

    #[test]
    fn slow_callbacks_that_turn_fast_regain_long_stretches() {
        let gaps = gaps(constant(1_000_000, 10).chain(constant(100, 5_000)));
        let last = gaps.last().expect("polls happened");
        assert!(last.callbacks / last.clock_readings >= MAX_STRETCH / 2);
    }

    #[test]
    fn mixed_callbacks_keep_the_documented_bound() {
        // Every 97th callback takes 1 ms, every 13th 20 us, the others 150 ns.
        let script: Vec<u64> = (1..50_000_u64)
            .map(|n| match (n % 97, n % 13) {
                (0, _) => 1_000_000,
                (_, 0) => 20_000,
                _ => 150,
            })
            .collect();
        let mut position = 0;
        for gap in gaps(script.iter().copied()) {
            let ran = gap.callbacks as usize;
            // The last stretch may hold MAX_STRETCH callbacks; all before it fit into the time bound.
            let stretch = ran.min(MAX_STRETCH as usize);
            let end = position + ran;
            let last_stretch: u64 = script[end - stretch..end].iter().sum();
            assert!(gap.callbacks <= MAX_CALLBACKS_BETWEEN_POLLS);
            assert!(gap.nanos <= MAX_NANOS_BETWEEN_POLLS + last_stretch);
            position = end;
        }
        assert!(position > 49_000);
    }

    #[test]
    fn batches_counted_at_once_are_counted_whole() {
        let mut pacer = Pacer::new(0);
        assert!(pacer.ran(MAX_CALLBACKS_BETWEEN_POLLS - 1));
        assert!(!pacer.checked(0));
        assert!(pacer.ran(1));
        assert!(pacer.checked(0));
    }

    #[test]
    fn due_poll_stays_due_until_it_happens() {
        let mut pacer = Pacer::new(0);
        let mut now = MAX_NANOS_BETWEEN_POLLS;
        for _ in 0..3 {
            while !pacer.ran(1) {}
            assert!(pacer.checked(now));
            now += 1;
        }
        pacer.polled(now);
        while !pacer.ran(1) {}
        assert!(!pacer.checked(now + 1));
    }

    #[test]
    fn time_spent_blocked_does_not_slow_the_pace() {
        let mut pacer = Pacer::new(0);
        for now in 0..10 {
            while !pacer.ran(1) {}
            let _ = pacer.checked(now); // only the pace matters here
        }
        pacer.polled(10_000_000_000);
        assert!(!pacer.ran(MAX_STRETCH - 1));
        assert!(pacer.ran(1));
    }

    #[test]
    fn clock_that_goes_backwards_delays_nothing() {
        let mut pacer = Pacer::new(1_000_000);
        let mut callbacks = 0;
        loop {
            callbacks += 1;
            if pacer.ran(1) && pacer.checked(5) {
                break;
            }
        }
        assert_eq!(callbacks, MAX_CALLBACKS_BETWEEN_POLLS);
    }
}
