//! Flow control: when a transport tells its protocol to pause and to resume writing.
//!
//! The rules are those of asyncio's transports. This module decides; the transport calls the protocol,
//! after it has put its own state in order, because `pause_writing` may write or close.

use std::fmt;

/// The high water mark of a new transport, in bytes: asyncio's 64 KiB.
pub const DEFAULT_HIGH: usize = 64 * 1024;

/// A mark that was not given is this many times the other (or one such part of it), as in asyncio.
const HIGH_PER_LOW: usize = 4;

/// Why water marks were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsError {
    /// The high mark, given or derived, is below the low mark.
    HighBelowLow {
        /// The high mark, in bytes.
        high: usize,
        /// The low mark, in bytes.
        low: usize,
    },
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // asyncio's own words, which programs may have matched on.
            Self::HighBelowLow { high, low } => {
                write!(f, "high ({high}) must be >= low ({low}) must be >= 0")
            }
        }
    }
}

impl std::error::Error for LimitsError {}

/// The water marks of one transport, and whether its protocol is paused.
#[derive(Debug)]
pub struct FlowControl {
    /// More bytes than this pause the protocol.
    high: usize,
    /// A paused protocol resumes at this many bytes or fewer.
    low: usize,
    /// Whether the last call that was asked for is `pause_writing`.
    paused: bool,
}

impl FlowControl {
    /// Creates the state of a protocol that writes freely, with the default marks.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            high: DEFAULT_HIGH,
            low: DEFAULT_HIGH / HIGH_PER_LOW,
            paused: false,
        }
    }

    /// Sets the marks; what is `None` is derived: `high` from `low` (four times), or both the default, then
    /// `low` from `high` (a quarter).
    ///
    /// Does not look at the buffer: a caller that follows asyncio calls [`grew`](Self::grew) afterwards. (A
    /// protocol that is paused already is not resumed by higher marks until the buffer shrinks; asyncio does the same.)
    ///
    /// # Errors
    /// [`LimitsError::HighBelowLow`] unless `high >= low`; the marks are then unchanged.
    pub fn set_limits(
        &mut self,
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(), LimitsError> {
        let high = match (high, low) {
            (Some(high), _) => high,
            // Saturating: Python's integers do not overflow, and no buffer reaches such a mark.
            (None, Some(low)) => low.saturating_mul(HIGH_PER_LOW),
            (None, None) => DEFAULT_HIGH,
        };
        let low = low.unwrap_or(high / HIGH_PER_LOW);
        if high < low {
            return Err(LimitsError::HighBelowLow { high, low });
        }
        (self.high, self.low) = (high, low);
        Ok(())
    }

    /// The marks as `(low, high)`, the order in which asyncio reports them.
    #[must_use]
    pub fn limits(&self) -> (usize, usize) {
        (self.low, self.high)
    }

    /// Notes that the buffer grew to `len` bytes. True: call `pause_writing` now.
    #[inline]
    #[must_use = "true asks for pause_writing"]
    pub fn grew(&mut self, len: usize) -> bool {
        let pause = !self.paused && len > self.high;
        self.paused |= pause;
        pause
    }

    /// Notes that the buffer shrank to `len` bytes. True: call `resume_writing` now.
    #[inline]
    #[must_use = "true asks for resume_writing"]
    pub fn shrank(&mut self, len: usize) -> bool {
        let resume = self.paused && len <= self.low;
        self.paused &= !resume;
        resume
    }

    /// Whether the protocol was told to pause and not yet to resume.
    #[inline]
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }
}

impl Default for FlowControl {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn limits_after(
        high: Option<usize>,
        low: Option<usize>,
    ) -> Result<(usize, usize), LimitsError> {
        let mut flow = FlowControl::new();
        flow.set_limits(high, low).map(|()| flow.limits())
    }

    #[test]
    fn marks_that_are_not_given_follow_asyncio() {
        assert_eq!(FlowControl::new().limits(), (16_384, 65_536));
        assert_eq!(limits_after(None, None), Ok((16_384, 65_536)));
        assert_eq!(limits_after(Some(1_000), None), Ok((250, 1_000)));
        assert_eq!(limits_after(None, Some(1_000)), Ok((1_000, 4_000)));
        assert_eq!(limits_after(Some(9), Some(9)), Ok((9, 9)));
        assert_eq!(limits_after(Some(0), None), Ok((0, 0)));
        assert_eq!(limits_after(None, Some(0)), Ok((0, 0)));
        assert_eq!(limits_after(Some(3), None), Ok((0, 3)));
        assert_eq!(
            limits_after(None, Some(usize::MAX)),
            Ok((usize::MAX, usize::MAX))
        );
    }

    #[test]
    fn high_below_low_is_refused_and_changes_nothing() {
        let mut flow = FlowControl::new();
        let error = flow.set_limits(Some(1), Some(2)).expect_err("1 is below 2");
        assert_eq!(error, LimitsError::HighBelowLow { high: 1, low: 2 });
        assert_eq!(
            error.to_string(),
            "high (1) must be >= low (2) must be >= 0"
        );
        assert_eq!(flow.limits(), (16_384, 65_536));
    }

    #[test]
    fn pause_is_above_high_and_resume_at_low() {
        let mut flow = FlowControl::new();
        flow.set_limits(Some(100), Some(20))
            .expect("100 is above 20");
        assert!(!flow.grew(100));
        assert!(flow.grew(101));
        assert!(flow.is_paused());
        assert!(!flow.grew(500), "paused once");
        assert!(!flow.shrank(21));
        assert!(flow.shrank(20));
        assert!(!flow.is_paused());
        assert!(!flow.shrank(0), "resumed once");
    }

    #[test]
    fn zero_high_mark_pauses_at_the_first_byte_and_resumes_when_empty() {
        let mut flow = FlowControl::new();
        flow.set_limits(Some(0), None).expect("0 is not below 0");
        assert!(!flow.grew(0));
        assert!(flow.grew(1));
        assert!(!flow.shrank(1));
        assert!(flow.shrank(0));
    }

    #[test]
    fn raised_marks_do_not_resume_by_themselves() {
        let mut flow = FlowControl::new();
        assert!(flow.grew(70_000));
        flow.set_limits(Some(1_000_000), None)
            .expect("low is derived");
        assert!(!flow.grew(70_000));
        assert!(flow.is_paused());
        assert!(flow.shrank(69_000));
    }
}
