//! Time per operation of what the loop does for each callback: `cargo bench -p pyloop-engine`.
//!
//! Every figure is for `OPERATIONS` operations, which criterion reports as elements per second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::{Batch, Inbox, Pacer, ParkState, ReadyQueue, WriteBuffer};

/// Operations per sample: enough for the counting around them not to show.
const OPERATIONS: u64 = 10_000;

/// The payload: as large as a reference and a word.
type Entry = (usize, usize);

/// A queue that holds a few entries, each of which re-schedules itself; then backlogs that are built and run.
fn ready_queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("ready");
    group.throughput(Throughput::Elements(OPERATIONS));
    for depth in [1_usize, 100] {
        group.bench_with_input(
            BenchmarkId::new("reschedule", depth),
            &depth,
            |b, &depth| {
                let mut queue = ReadyQueue::new();
                (0..depth).for_each(|n| queue.push((n, n)));
                b.iter(|| {
                    for _ in 0..OPERATIONS {
                        let entry: Option<Entry> = black_box(queue.pop());
                        queue.push(entry.expect("every entry comes back"));
                    }
                });
            },
        );
    }
    for backlog in [10_000_u64, 50_000, 1_000_000] {
        group.throughput(Throughput::Elements(backlog));
        group.bench_with_input(
            BenchmarkId::new("backlog", backlog),
            &backlog,
            |b, &backlog| {
                let mut queue = ReadyQueue::<Entry>::new();
                b.iter(|| {
                    (0..backlog as usize).for_each(|n| queue.push(black_box((n, n))));
                    let mut batch = Batch::of(&queue);
                    while let Some(entry) = batch.next(&mut queue) {
                        black_box(entry);
                    }
                });
            },
        );
    }
    group.finish();
}

/// Pushes without contention, drained every hundred; with the notification that goes with each push.
fn inbox(c: &mut Criterion) {
    let mut group = c.benchmark_group("inbox");
    group.throughput(Throughput::Elements(OPERATIONS));
    group.bench_function("push, notify, drain by 100", |b| {
        let (inbox, parking) = (Inbox::<Entry>::new(), ParkState::new());
        let (mut carrier, mut queue) = (Vec::new(), ReadyQueue::new());
        b.iter(|| {
            for _ in 0..OPERATIONS / 100 {
                for n in 0..100 {
                    inbox.push((n, n)).expect("nobody closes this inbox");
                    black_box(parking.notify());
                }
                black_box(parking.begin_park());
                inbox.drain_into(&mut carrier);
                queue.append_from(&mut carrier);
                while let Some(entry) = queue.pop() {
                    black_box(entry);
                }
            }
        });
    });
    group.bench_function("is_empty", |b| {
        let inbox = Inbox::<Entry>::new();
        b.iter(|| {
            (0..OPERATIONS)
                .filter(|_| black_box(&inbox).is_empty())
                .count()
        });
    });
    group.finish();
}

/// Callbacks of 100 ns on a counted clock: what the pacer costs beside the clock and the polls it saves.
fn pacer(c: &mut Criterion) {
    let mut group = c.benchmark_group("pacer");
    group.throughput(Throughput::Elements(OPERATIONS));
    group.bench_function("ran, checked, polled", |b| {
        let mut now = 0;
        let mut pacer = Pacer::new(now);
        b.iter(|| {
            for _ in 0..OPERATIONS {
                now += 100;
                if pacer.ran(black_box(1)) && pacer.checked(now) {
                    pacer.polled(now);
                }
            }
        });
    });
    group.finish();
}

/// Messages of one and of two chunks, written and sent whole.
fn write_buffer(c: &mut Criterion) {
    let mut group = c.benchmark_group("write_buffer");
    for chunks in [1_usize, 2, 16] {
        group.throughput(Throughput::Elements(OPERATIONS));
        group.bench_with_input(
            BenchmarkId::new("message of chunks", chunks),
            &chunks,
            |b, &chunks| {
                let mut buffer = WriteBuffer::<&[u8]>::new();
                let mut finished = Vec::new();
                b.iter(|| {
                    for _ in 0..OPERATIONS {
                        for _ in 0..chunks {
                            buffer.push(black_box(b"0123456789"));
                        }
                        buffer.advance(buffer.len(), &mut finished);
                        finished.clear();
                    }
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, ready_queue, inbox, pacer, write_buffer);
criterion_main!(benches);
