//! Many timers at once.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::attached;

const COUNT: u32 = 40_000;

/// The processor time that it takes: others may use the machine, too.
fn timed(work: impl FnOnce()) -> Duration {
    let now = || -> Timespec { clock_gettime(ClockId::ThreadCPUTime) };
    let start = now();
    work();
    Duration::try_from(now() - start).unwrap()
}

#[test]
fn due_timers_leave_the_queue_without_a_search() {
    let scope = attached();
    let names: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    let register = || {
        for name in &names {
            scope
                .register_one_shot(name.as_str(), Duration::ZERO, 0)
                .unwrap();
        }
    };
    let registered = timed(register);
    let paused = timed(|| scope.pause_all().unwrap());
    scope.resume_all().unwrap();
    let received = timed(|| while scope.try_recv().unwrap().is_some() {});
    register();
    let unregistered = timed(|| {
        for name in names.iter().rev() {
            scope.unregister_timer(name).unwrap();
        }
    });
    assert!(scope.is_empty());
    // Each takes less time than registering; with a search it took forty times as much and more.
    for took in [paused, received, unregistered] {
        assert!(took < 8 * registered, "{took:?}, {registered:?}");
    }
}
