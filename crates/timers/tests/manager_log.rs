//! What a manager logs: its life, its back-pressure, its expiries, each in the span that has its name.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "a failed call fails the test")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use timers::TimerManager;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps each record as a line of text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Lines {
    fn add(&self, line: Line) {
        self.0.lock().unwrap().push(line.0);
    }

    fn count(&self, part: &str) -> usize {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.contains(part)).count()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("timers")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", attributes.metadata().name()));
        attributes.record(&mut line);
        self.add(line);
        Id::from_u64(7)
    }

    fn event(&self, event: &Event<'_>) {
        let parent = event.parent().map_or(0, Id::into_u64);
        let mut line = Line(format!("{} in {parent}", event.metadata().level()));
        event.record(&mut line);
        self.add(line);
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn life_expiries_and_back_pressure_are_logged() {
    let lines = Lines::default();
    // For all threads: the driver's logs too.
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let token = CancellationToken::new();
        let (manager, handle) = TimerManager::new("logged", Duration::ZERO, 8, 1, token);
        for index in 0..3 {
            handle
                .try_set_timer(format!("{index}"), Duration::ZERO)
                .unwrap();
        }
        let task = tokio::spawn(manager.run());
        while lines.count("event buffer is full") == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            handle.recv_event().await.unwrap();
        }
        handle.shutdown().await.unwrap();
        task.await.unwrap().unwrap();
    });
    let lines = lines.0.lock().unwrap().join("\n");
    for part in [
        "span timer_manager name=\"logged\"",
        "DEBUG in 0 message=started",
        "TRACE in 7 message=timers expired expired=1 lateness_us=",
        "WARN in 7 message=event buffer is full, expiries wait capacity=1",
        "DEBUG in 7 message=event buffer has room for all that was due",
        "DEBUG in 7 message=stopped end=Shutdown",
    ] {
        assert!(lines.contains(part), "{part:?} is missing in\n{lines}");
    }
}
