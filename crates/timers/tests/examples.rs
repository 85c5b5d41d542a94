//! The examples run as a reader runs them.

use std::process::Command;

/// Runs an example to its end, and returns what it printed.
fn run(name: &str) -> String {
    let done = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--locked", "--example", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs: it has built this test");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name} has failed: {said}");
    String::from_utf8(done.stdout).expect("examples print text")
}

#[test]
fn manager_reports_who_has_been_idle() {
    // Ben's timer was set again, Clara's cancelled.
    assert_eq!(
        run("manager"),
        "anna has been idle for 50ms\nben has been idle for 50ms\n"
    );
}

#[test]
fn interval_shows_every_behavior() {
    let printed = run("interval");
    for behavior in ["Burst", "Delay", "Skip"] {
        assert!(printed.contains(behavior), "{printed}");
    }
    assert_eq!(printed.matches("  tick ").count(), 18, "{printed}");
}

#[test]
fn scope_pings_until_its_deadline() {
    let printed = run("scope");
    assert!(printed.contains("connection 7: ping 0\n"), "{printed}");
    assert!(printed.ends_with("connection 7: answer 0\n"), "{printed}");
}
