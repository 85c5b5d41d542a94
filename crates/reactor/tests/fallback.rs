//! A kernel without `epoll_pwait2`: a seccomp filter on the polling thread plays it.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "installing a seccomp filter")]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    io,
    time::{Duration, Instant},
};

use common::{poll_for, within_bound};
use reactor::Reactor;

const LOAD_CALL_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const SKIP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Makes `epoll_pwait2` fail with `errno` in the calling thread, for good.
fn forbid_pwait2(errno: i32) {
    let step = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let mut steps = [
        step(LOAD_CALL_NUMBER, 0, 0),
        step(
            SKIP_IF_EQUAL,
            1,
            u32::try_from(libc::SYS_epoll_pwait2).unwrap(),
        ),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        step(
            RETURN,
            0,
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
        ),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: takes plain integers.
    let given_up = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(given_up, 0, "{}", io::Error::last_os_error());
    // SAFETY: `program` points to its four steps, which the kernel copies.
    let installed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(installed, 0, "{}", io::Error::last_os_error());

    // SAFETY: with an invalid epoll descriptor nothing is looked at.
    let probe = unsafe { libc::syscall(libc::SYS_epoll_pwait2, -1, 0, 0, 0, 0, 0) };
    assert_eq!(
        (probe, io::Error::last_os_error().raw_os_error()),
        (-1, Some(errno))
    );
}

#[test]
fn time_outs_are_kept_where_the_call_is_missing_or_forbidden() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        within_bound(move || {
            let reactor = Reactor::new().unwrap();
            forbid_pwait2(errno);
            for micros in [20, 300, 5_500] {
                let timeout = Duration::from_micros(micros);
                let start = Instant::now();
                assert!(poll_for(&reactor, Some(timeout)).unwrap().is_empty());
                assert!(start.elapsed() >= timeout);
            }
        });
    }
}

#[test]
fn reactor_changes_over_when_the_call_is_forbidden_later() {
    within_bound(|| {
        let reactor = Reactor::new().unwrap();
        let timeout = Duration::from_millis(1);
        poll_for(&reactor, Some(timeout)).unwrap();
        forbid_pwait2(libc::ENOSYS);
        let start = Instant::now();
        poll_for(&reactor, Some(timeout)).unwrap();
        assert!(start.elapsed() >= timeout);
    });
}
