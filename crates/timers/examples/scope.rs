//! The timers of one connection: a ping, and a deadline for its answer. They end with the connection.
//!
//! `cargo run -p pyloop-timers --example scope`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use timers::{MissedTickBehavior, TimerError, TimerRegistration, TimerScope};

#[derive(Clone, Debug)]
enum Purpose {
    Ping,
    Deadline,
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(run())?)
}

async fn run() -> Result<(), TimerError> {
    let connection = TimerScope::new("connection 7");
    connection.attach();
    connection.register_timer(
        TimerRegistration::periodic("ping", Duration::from_millis(10), Purpose::Ping)
            .first(Duration::ZERO)
            .missed(MissedTickBehavior::Skip),
    )?;
    connection.register_one_shot("answer", Duration::from_millis(45), Purpose::Deadline)?;

    while let Some(fired) = connection.recv().await {
        println!("{}: {} {}", fired.owner, fired.timer_name, fired.sequence);
        match fired.callback_data {
            Purpose::Ping => {}
            Purpose::Deadline => connection.detach(),
        }
    }
    assert!(connection.list_timers().is_empty());
    Ok(())
}
