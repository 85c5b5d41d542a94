//! Random operations on the queues and the write buffer, against dull twins, compared after every step.

#![cfg(not(loom))]

use std::collections::VecDeque;
use std::io::IoSlice;

use engine::{Batch, Inbox, MAX_SLICES, ReadyQueue, WriteBuffer};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum QueueStep {
    Push(usize),
    Pop(usize),
    Append(usize),
    RunBatch,
    TakeAll,
}

fn queue_step() -> impl Strategy<Value = QueueStep> {
    prop_oneof![
        4 => (1..3_000_usize).prop_map(QueueStep::Push),
        4 => (1..4_000_usize).prop_map(QueueStep::Pop),
        2 => (0..6_000_usize).prop_map(QueueStep::Append),
        1 => Just(QueueStep::RunBatch),
        1 => Just(QueueStep::TakeAll),
        // Backlogs beyond the room that a queue keeps, so that it grows and gives back.
        1 => Just(QueueStep::Append(engine::ready::KEPT_ENTRIES + 1)),
        1 => Just(QueueStep::Pop(engine::ready::KEPT_ENTRIES)),
    ]
}

/// Hands out consecutive numbers, so that any loss, doubling or disorder shows.
struct Numbers(u32);

impl Numbers {
    fn take(&mut self, count: usize) -> Vec<u32> {
        let first = self.0;
        self.0 += u32::try_from(count).expect("the tests count to thousands");
        (first..self.0).collect()
    }
}

fn apply_to_queue(
    step: &QueueStep,
    numbers: &mut Numbers,
    queue: &mut ReadyQueue<u32>,
    twin: &mut VecDeque<u32>,
) {
    match *step {
        QueueStep::Push(count) => {
            for number in numbers.take(count) {
                queue.push(number);
                twin.push_back(number);
            }
        }
        QueueStep::Pop(count) => {
            for _ in 0..count {
                assert_eq!(queue.pop(), twin.pop_front());
            }
        }
        QueueStep::Append(count) => {
            let mut carrier = numbers.take(count);
            twin.extend(&carrier);
            queue.append_from(&mut carrier);
            assert!(carrier.is_empty());
        }
        QueueStep::RunBatch => {
            let mut batch = Batch::of(queue);
            let expected: Vec<u32> = twin.drain(..).collect();
            let mut ran = Vec::new();
            while let Some(entry) = batch.next(queue) {
                ran.push(entry);
                if entry % 3 == 0 {
                    queue.push(entry);
                    twin.push_back(entry);
                }
            }
            assert_eq!(ran, expected);
        }
        QueueStep::TakeAll => assert_eq!(queue.take_all(), std::mem::take(twin)),
    }
}

#[derive(Clone, Debug)]
enum InboxStep {
    Push(usize),
    DrainIntoEmpty,
    DrainIntoFilled,
    Close,
}

fn inbox_step() -> impl Strategy<Value = InboxStep> {
    prop_oneof![
        20 => (0..2_000_usize).prop_map(InboxStep::Push),
        10 => Just(InboxStep::DrainIntoEmpty),
        10 => Just(InboxStep::DrainIntoFilled),
        1 => Just(InboxStep::Close),
    ]
}

/// The inbox as one would write it without other threads in mind.
#[derive(Default)]
struct InboxTwin {
    entries: VecDeque<u32>,
    closed: bool,
}

fn apply_to_inbox(
    step: &InboxStep,
    numbers: &mut Numbers,
    inbox: &Inbox<u32>,
    carrier: &mut Vec<u32>,
    twin: &mut InboxTwin,
) {
    match *step {
        InboxStep::Push(count) => {
            for number in numbers.take(count) {
                assert_eq!(
                    inbox.push(number),
                    if twin.closed { Err(number) } else { Ok(()) }
                );
                if !twin.closed {
                    twin.entries.push_back(number);
                }
            }
        }
        InboxStep::DrainIntoEmpty => {
            carrier.clear();
            inbox.drain_into(carrier);
            assert_eq!(*carrier, twin.entries.drain(..).collect::<Vec<u32>>());
        }
        InboxStep::DrainIntoFilled => {
            let mut expected = carrier.clone();
            expected.extend(twin.entries.drain(..));
            inbox.drain_into(carrier);
            assert_eq!(*carrier, expected);
        }
        InboxStep::Close => {
            twin.closed = true;
            assert_eq!(inbox.close(), twin.entries.drain(..).collect::<Vec<u32>>());
        }
    }
}

#[derive(Clone, Debug)]
enum BufferStep {
    Write(usize),
    /// Sends this many of the unsent bytes, of 1000.
    Send(usize),
    /// Sends what one system call with all slices would take at most.
    SendSlices,
    Clear,
}

fn buffer_step() -> impl Strategy<Value = BufferStep> {
    prop_oneof![
        // Empty and one-byte chunks are where the borders are.
        10 => prop_oneof![Just(0), Just(1), 2..50_usize].prop_map(BufferStep::Write),
        4 => prop_oneof![Just(0), Just(1_000), 0..=1_000_usize].prop_map(BufferStep::Send),
        1 => Just(BufferStep::SendSlices),
        1 => Just(BufferStep::Clear),
    ]
}

/// All unsent bytes in one vector, and every chunk that is held, in order.
#[derive(Default)]
struct BufferTwin {
    unsent: Vec<u8>,
    held: VecDeque<Vec<u8>>,
    next_byte: u8,
}

impl BufferTwin {
    fn chunk(&mut self, len: usize) -> Vec<u8> {
        let chunk: Vec<u8> = (0..len)
            .map(|_| {
                self.next_byte = self.next_byte.wrapping_add(1);
                self.next_byte
            })
            .collect();
        self.unsent.extend(&chunk);
        self.held.push_back(chunk.clone());
        chunk
    }

    /// Chunks that lie wholly before the unsent bytes.
    fn finished(&mut self) -> Vec<Vec<u8>> {
        let mut held: usize = self.held.iter().map(Vec::len).sum();
        let mut finished = Vec::new();
        while let Some(first) = self.held.front() {
            if held - first.len() < self.unsent.len() {
                break;
            }
            held -= first.len();
            finished.extend(self.held.pop_front());
        }
        finished
    }
}

/// Copies what a system call with up to `MAX_SLICES` slices would be given.
fn gathered(buffer: &WriteBuffer<Vec<u8>>) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let filled = buffer.fill_slices(&mut slices);
    assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
    slices[..filled]
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect()
}

fn apply_to_buffer(step: &BufferStep, buffer: &mut WriteBuffer<Vec<u8>>, twin: &mut BufferTwin) {
    let sent = match *step {
        BufferStep::Write(len) => return buffer.push(twin.chunk(len)),
        BufferStep::Clear => {
            let mut cleared = Vec::new();
            buffer.clear_into(&mut cleared);
            twin.unsent.clear();
            return assert_eq!(cleared, Vec::from(std::mem::take(&mut twin.held)));
        }
        BufferStep::Send(share) => twin.unsent.len() * share / 1_000,
        BufferStep::SendSlices => gathered(buffer).len(),
    };
    let mut finished = Vec::new();
    buffer.advance(sent, &mut finished);
    twin.unsent.drain(..sent);
    assert_eq!(finished, twin.finished());
}

proptest! {
    // A case moves some hundred thousand entries.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn ready_queue_equals_a_deque(steps in vec(queue_step(), 1..60)) {
        let (mut queue, mut twin, mut numbers) = (ReadyQueue::new(), VecDeque::new(), Numbers(0));
        for step in &steps {
            apply_to_queue(step, &mut numbers, &mut queue, &mut twin);
            prop_assert_eq!(queue.len(), twin.len());
            prop_assert_eq!(queue.is_empty(), twin.is_empty());
        }
        prop_assert_eq!(queue.take_all(), twin);
    }
}

proptest! {
    #[test]
    fn inbox_equals_a_deque(steps in vec(inbox_step(), 1..60)) {
        let (inbox, mut twin, mut numbers) = (Inbox::new(), InboxTwin::default(), Numbers(0));
        let mut carrier = Vec::new();
        for step in &steps {
            apply_to_inbox(step, &mut numbers, &inbox, &mut carrier, &mut twin);
            prop_assert_eq!(inbox.is_empty(), twin.entries.is_empty());
        }
    }

    #[test]
    fn write_buffer_equals_a_byte_vector(steps in vec(buffer_step(), 1..200)) {
        let (mut buffer, mut twin) = (WriteBuffer::new(), BufferTwin::default());
        for step in &steps {
            apply_to_buffer(step, &mut buffer, &mut twin);
            prop_assert_eq!(buffer.len(), twin.unsent.len());
            prop_assert_eq!(buffer.chunks(), twin.held.len());
            prop_assert_eq!(buffer.is_empty(), twin.held.is_empty());
            let gathered = gathered(&buffer);
            prop_assert_eq!(&gathered[..], &twin.unsent[..gathered.len()]);
            let all_fit = buffer.chunks() <= MAX_SLICES;
            prop_assert!(!all_fit || gathered.len() == twin.unsent.len());
        }
    }
}
