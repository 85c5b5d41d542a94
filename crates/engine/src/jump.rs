//! The rule of a clock that is moved by hand: what an idle loop does about the time.
//!
//! A loop that is idle on the real clock blocks until its next deadline. On a clock that is moved by hand there is
//! nothing to wait for: the deadline is reached by moving the clock there. [`plan_jump`] says when it may be moved, and
//! how far. Two things move it: *autojump*, which goes from deadline to deadline as long as there are any, and an
//! *advance*, which does so up to its target and ends there.

/// What an idle loop does about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time stands still: only I/O or another thread can give the loop something to do.
    Wait,
    /// The clock moves to this deadline, the earliest of the loop's.
    Jump(u64),
    /// The clock moves to this target, by which no timer is left: the advances up to there are over.
    Arrive(u64),
}

/// What the step depends on. Times are in nanoseconds of the same clock.
#[derive(Clone, Copy, Debug)]
pub struct JumpInputs {
    /// Whether work is in flight that the loop cannot see, a thread's say.
    pub held: bool,
    /// Whether the clock jumps to the next deadline by itself.
    pub autojump: bool,
    /// The earliest deadline of the loop's timers.
    pub next_deadline: Option<u64>,
    /// The earliest target of the advances that have been asked for.
    pub target: Option<u64>,
}

/// Plans the step of a loop that has nothing to run.
///
/// * While the clock is held, it stands still.
/// * A timer that is due by the target of an advance comes before the target, also one that is due exactly there.
/// * Without an advance, the clock goes on to the next deadline if it jumps by itself.
#[must_use]
pub fn plan_jump(inputs: &JumpInputs) -> Step {
    if inputs.held {
        return Step::Wait;
    }
    match (inputs.next_deadline, inputs.target) {
        (Some(deadline), Some(target)) if deadline <= target => Step::Jump(deadline),
        (_, Some(target)) => Step::Arrive(target),
        (Some(deadline), None) if inputs.autojump => Step::Jump(deadline),
        _ => Step::Wait,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const IDLE: JumpInputs = JumpInputs {
        held: false,
        autojump: true,
        next_deadline: None,
        target: None,
    };

    #[test]
    fn clock_jumps_to_the_next_deadline_by_itself_only_if_it_may() {
        let sleeping = JumpInputs {
            next_deadline: Some(7),
            ..IDLE
        };
        assert_eq!(plan_jump(&sleeping), Step::Jump(7));
        let manual = JumpInputs {
            autojump: false,
            ..sleeping
        };
        assert_eq!(plan_jump(&manual), Step::Wait);
    }

    #[test]
    fn advance_visits_every_deadline_up_to_its_target_and_then_the_target() {
        for autojump in [false, true] {
            let plan = |next_deadline| {
                plan_jump(&JumpInputs {
                    autojump,
                    next_deadline,
                    target: Some(10),
                    ..IDLE
                })
            };
            assert_eq!(plan(Some(3)), Step::Jump(3));
            assert_eq!(plan(Some(10)), Step::Jump(10));
            assert_eq!(plan(Some(11)), Step::Arrive(10));
            assert_eq!(plan(None), Step::Arrive(10));
        }
    }

    #[test]
    fn held_clock_stands_still_whatever_is_asked_of_it() {
        for (next_deadline, target) in [
            (None, None),
            (Some(3), None),
            (None, Some(4)),
            (Some(3), Some(4)),
        ] {
            let held = JumpInputs {
                held: true,
                next_deadline,
                target,
                ..IDLE
            };
            assert_eq!(plan_jump(&held), Step::Wait);
        }
    }

    #[test]
    fn clock_without_a_deadline_waits_for_the_outside() {
        assert_eq!(plan_jump(&IDLE), Step::Wait);
    }
}
