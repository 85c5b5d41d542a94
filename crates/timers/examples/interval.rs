//! A sampler that runs every 10 ms, and falls behind once.
//!
//! `cargo run -p pyloop-timers --example interval`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use timers::{Interval, MissedTickBehavior, TimerError};

const PERIOD: Duration = Duration::from_millis(10);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(run())?)
}

async fn run() -> Result<(), TimerError> {
    for behavior in [
        MissedTickBehavior::Burst,
        MissedTickBehavior::Delay,
        MissedTickBehavior::Skip,
    ] {
        println!("{behavior:?}");
        let mut interval = Interval::new(PERIOD)?.with_missed_tick_behavior(behavior);
        let start = interval.next_deadline();
        for count in 0..6 {
            let tick = interval.tick().await;
            println!(
                "  tick {}, due at {:4.1} ms, late by {:?}",
                tick.sequence,
                (tick.scheduled - start) as f64 / 1e6,
                tick.lateness()
            );
            if count == 1 {
                timers::sleep(PERIOD * 3 + PERIOD / 2).await; // Busy with something else.
            }
        }
    }
    Ok(())
}
