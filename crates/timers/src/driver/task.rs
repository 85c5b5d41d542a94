//! The thread of the driver and the task on it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;

use super::process::Process;
use super::sleeper::Sleeper;
use crate::clock;

/// Starts the thread; returns its runtime once it has all that it needs from the system.
///
/// # Errors
/// If the system refuses the thread, the runtime's descriptors or the timer's.
pub(super) fn spawn(process: &'static Process, notify: Arc<Notify>) -> io::Result<Handle> {
    let (report, outcome) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("pyloop-driver".into())
        .spawn(move || match prepare() {
            Ok((runtime, sleeper)) => {
                let _ = report.send(Ok(runtime.handle().clone())); // The receiver waits below.
                runtime.block_on(attend(process, &notify, sleeper));
            }
            Err(error) => {
                let _ = report.send(Err(error)); // As above.
            }
        })?;
    outcome.recv().map_err(io::Error::other)?
}

fn prepare() -> io::Result<(Runtime, Sleeper)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let sleeper = {
        let _entered = runtime.enter();
        Sleeper::new()?
    };
    Ok((runtime, sleeper))
}

/// Sleeps, fires, and looks again, for ever.
async fn attend(process: &Process, notify: &Notify, mut sleeper: Sleeper) {
    loop {
        let next = process.wheel().fire_due(clock::now());
        // A ring since `fire_due` has left a permit: `rung` is ready at once then.
        let mut rung = pin!(notify.notified());
        match next {
            None => rung.await,
            Some(deadline) => {
                let mut slept = pin!(sleeper.until(deadline));
                poll_fn(|context| {
                    if rung.as_mut().poll(context).is_ready()
                        || slept.as_mut().poll(context).is_ready()
                    {
                        Poll::Ready(())
                    } else {
                        Poll::Pending
                    }
                })
                .await;
            }
        }
    }
}
