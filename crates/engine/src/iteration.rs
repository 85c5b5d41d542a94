//! One iteration of the loop: its steps, and the rule that plans its poll.
//!
//! The steps, in this order:
//!
//! 1. **plan**: [`plan_poll`] decides between no poll, a look and a park.
//! 2. **poll**: look at I/O, or park; readiness queues callbacks. A park is framed by
//!    [`ParkState::begin_park`](crate::ParkState::begin_park) and `end_park`; where `begin_park` refuses, a look
//!    takes the park's place.
//! 3. **drain**: the inbox goes behind the ready queue.
//! 4. **expire**: due timers go behind that, earliest deadline first.
//! 5. **run**: the [`Batch`](crate::Batch) of what is queued now, to its end, even if a callback stops the loop.
//!    Each callback is counted by the [`Pacer`](crate::Pacer). What the poll found comes behind the callbacks that were
//!    ready before it.
//! 6. **stop?** Only here does the loop look whether it was stopped.
//!
//! Polling before draining and expiring puts what happened during a park into the batch of the same
//! iteration. In a run of iterations without a poll the steps 3 to 5 are all there is to pay.

/// What step 2 of an iteration does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// No poll: callbacks are ready and I/O was looked at recently.
    Skip,
    /// A poll with a zero time-out.
    Look,
    /// Blocks until there is readiness, a notification, or the deadline (nanoseconds on the clock of
    /// [`PollInputs::now`]); for ever if there is none.
    Park(Option<u64>),
}

/// What the plan of a poll depends on.
#[derive(Clone, Copy, Debug)]
pub struct PollInputs {
    /// Entries in the ready queue.
    pub ready_len: usize,
    /// Whether the inbox seems empty: [`Inbox::is_empty`](crate::Inbox::is_empty). A push that it misses is caught
    /// by the parking state.
    pub inbox_empty: bool,
    /// Whether the loop was told to stop.
    pub stopping: bool,
    /// Whether this is the first iteration of a run.
    pub first_of_run: bool,
    /// Whether [`Pacer::checked`](crate::Pacer::checked) has asked for a poll that has not happened yet.
    pub poll_due: bool,
    /// The earliest deadline of the loop's timers, in nanoseconds.
    pub next_deadline: Option<u64>,
    /// The clock in nanoseconds. Read only if nothing is ready and there is a deadline, so a caller whose loop
    /// is busy may pass its last reading.
    pub now: u64,
}

/// Plans the poll of an iteration. This is the rule of the loop:
///
/// * Work is ready (queue or inbox): look if this is the first iteration of a run or the pacer asks for it,
///   else do not poll.
/// * Nothing is ready: poll always. Without blocking if the loop is stopping or a timer is due, else until
///   the next deadline.
///
/// So I/O is looked at when the loop runs out of work, at the start of every run, and within the bounds of
/// [`pacing`](crate::pacing), and an iteration between busy callbacks pays nothing for it.
#[inline]
#[must_use]
pub fn plan_poll(inputs: &PollInputs) -> Poll {
    if inputs.ready_len > 0 || !inputs.inbox_empty {
        return if inputs.first_of_run || inputs.poll_due {
            Poll::Look
        } else {
            Poll::Skip
        };
    }
    // A timer is due at its deadline, not after it: waiting for `deadline == now` would be a wasted park.
    let timer_due = inputs
        .next_deadline
        .is_some_and(|deadline| deadline <= inputs.now);
    if inputs.stopping || timer_due {
        Poll::Look
    } else {
        Poll::Park(inputs.next_deadline)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const IDLE: PollInputs = PollInputs {
        ready_len: 0,
        inbox_empty: true,
        stopping: false,
        first_of_run: false,
        poll_due: false,
        next_deadline: None,
        now: 100,
    };

    #[test]
    fn idle_loop_parks_until_its_deadline() {
        assert_eq!(plan_poll(&IDLE), Poll::Park(None));
        let sleeping = PollInputs {
            next_deadline: Some(101),
            ..IDLE
        };
        assert_eq!(plan_poll(&sleeping), Poll::Park(Some(101)));
        assert_eq!(
            plan_poll(&PollInputs {
                first_of_run: true,
                ..sleeping
            }),
            Poll::Park(Some(101))
        );
    }

    #[test]
    fn due_timer_prevents_the_park_but_not_the_poll() {
        for deadline in [0, 99, 100] {
            assert_eq!(
                plan_poll(&PollInputs {
                    next_deadline: Some(deadline),
                    ..IDLE
                }),
                Poll::Look
            );
        }
    }

    #[test]
    fn stopping_loop_never_parks() {
        let stopping = PollInputs {
            stopping: true,
            ..IDLE
        };
        assert_eq!(plan_poll(&stopping), Poll::Look);
        assert_eq!(
            plan_poll(&PollInputs {
                next_deadline: Some(500),
                ..stopping
            }),
            Poll::Look
        );
        assert_eq!(
            plan_poll(&PollInputs {
                ready_len: 1,
                ..stopping
            }),
            Poll::Skip
        );
        assert_eq!(
            plan_poll(&PollInputs {
                ready_len: 1,
                first_of_run: true,
                ..stopping
            }),
            Poll::Look
        );
    }

    #[test]
    fn ready_work_is_not_delayed_by_a_poll_unless_one_is_due() {
        for busy in [
            PollInputs {
                ready_len: 3,
                ..IDLE
            },
            PollInputs {
                inbox_empty: false,
                ..IDLE
            },
        ] {
            assert_eq!(plan_poll(&busy), Poll::Skip);
            assert_eq!(
                plan_poll(&PollInputs {
                    next_deadline: Some(0),
                    ..busy
                }),
                Poll::Skip
            );
            assert_eq!(
                plan_poll(&PollInputs {
                    poll_due: true,
                    ..busy
                }),
                Poll::Look
            );
            assert_eq!(
                plan_poll(&PollInputs {
                    first_of_run: true,
                    ..busy
                }),
                Poll::Look
            );
        }
    }
}
