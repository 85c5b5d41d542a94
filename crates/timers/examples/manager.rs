//! Session time-outs with a `TimerManager`: each sign of life sets the session's timer again.
//!
//! `cargo run -p pyloop-timers --example manager`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use timers::{CommandError, TimerEvent, TimerManager};
use tokio_util::sync::CancellationToken;

const IDLE: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (manager, sessions) =
        TimerManager::new("sessions", Duration::ZERO, 64, 64, CancellationToken::new());
    let task = tokio::spawn(manager.run());

    for name in ["anna", "ben", "clara"] {
        sessions.set_timer(name, IDLE).await?;
    }
    timers::sleep(IDLE / 2).await;
    sessions.set_timer("ben", IDLE).await?; // Ben said something.
    sessions.cancel_timer("clara").await?; // Clara has left.

    while !sessions.is_empty() {
        if let Some(TimerEvent::TimerExpired { name }) = sessions.recv_event().await {
            println!("{name} has been idle for {IDLE:?}");
        }
    }

    // A form that never waits gives the command back if there is no place for it.
    if let Err(CommandError::Full(command)) = sessions.try_set_timer("dora", IDLE) {
        sessions.send(command).await?;
    }
    sessions.shutdown().await?;
    assert_eq!(sessions.recv_event().await, None);
    task.await??;
    Ok(())
}
