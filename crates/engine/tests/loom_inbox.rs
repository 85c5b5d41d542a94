//! Every interleaving of the loop with threads that hand in work, small enough to be enumerated.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release -p pyloop-engine --test loom_inbox`. A lost wake-up
//! shows as a deadlock, which loom reports; a missing ordering as an entry that a drain did not see.

#![cfg(loom)]

use engine::{Inbox, ParkState};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// What a loop shares with other threads, with a counter in place of an eventfd.
struct Shared {
    inbox: Inbox<u32>,
    parking: ParkState,
    /// Writes that no wait has consumed yet; reading it resets it, as with an eventfd.
    waker: Mutex<usize>,
    written: Condvar,
    /// All writes there ever were.
    writes: AtomicUsize,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inbox: Inbox::new(),
            parking: ParkState::new(),
            waker: Mutex::new(0),
            written: Condvar::new(),
            writes: AtomicUsize::new(0),
        })
    }

    /// What `call_soon_threadsafe` does.
    fn hand_in(&self, entry: u32) {
        self.inbox
            .push(entry)
            .expect("the inbox stays open in these models");
        if self.parking.notify() {
            self.writes.fetch_add(1, Ordering::Relaxed);
            *self.waker.lock().expect("no model panics with the lock") += 1;
            self.written.notify_one();
        }
    }

    /// What the reactor does in a park without a deadline: returns only once the waker was written.
    fn block(&self) {
        let mut pending = self.waker.lock().expect("no model panics with the lock");
        while *pending == 0 {
            pending = self
                .written
                .wait(pending)
                .expect("no model panics with the lock");
        }
        *pending = 0;
    }

    /// What step 3 of an iteration does: believes the hint.
    fn drain(&self, seen: &mut Vec<u32>) {
        if !self.inbox.is_empty() {
            self.inbox.drain_into(seen);
        }
    }
}

fn producer(shared: &Arc<Shared>, entry: u32) -> thread::JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || shared.hand_in(entry))
}

/// The race: the loop finds its inbox empty and begins to park while a thread pushes and notifies. Either the
/// park must be refused, or the thread must be told to write the waker. Otherwise the loop sleeps on its work.
#[test]
fn push_that_races_with_a_park_is_never_lost() {
    loom::model(|| {
        let shared = Shared::new();
        let thread = producer(&shared, 7);
        let mut seen = Vec::new();
        loop {
            shared.drain(&mut seen);
            if !seen.is_empty() {
                break;
            }
            if shared.parking.begin_park() {
                shared.block();
                shared.parking.end_park();
            }
        }
        assert_eq!(seen, [7]);
        thread.join().expect("the producer does not panic");
    });
}

/// The race: a second thread pushes and notifies while the loop consumes the notification of the first, in a
/// refused park or at the end of one. The second is told that somebody notified already, so the loop has to see
/// its push in the drain that follows, or must not block for good.
#[test]
fn second_notification_is_not_forgotten_with_the_first() {
    let mut model = loom::model::Builder::new();
    // Three threads: all interleavings take minutes, those with up to three forced switches seconds.
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Shared::new();
        let threads = [producer(&shared, 1), producer(&shared, 2)];
        let (mut seen, mut parks) = (Vec::new(), 0);
        loop {
            shared.drain(&mut seen);
            if seen.len() == 2 {
                break;
            }
            if shared.parking.begin_park() {
                parks += 1;
                shared.block();
                shared.parking.end_park();
            }
        }
        for thread in threads {
            thread.join().expect("the producers do not panic");
        }
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        // Each park ended by consuming a write (`block` returns for no other reason), and no write is left over.
        assert_eq!(
            shared.writes.load(Ordering::Relaxed),
            parks,
            "one write per park"
        );
    });
}

/// The race: two threads notify one parked loop at once. Exactly one of them may write the waker: none would
/// leave the loop asleep, two would be a system call and a wake-up too many.
#[test]
fn parked_loop_is_woken_by_exactly_one_of_two_notifiers() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.parking.begin_park());
        let threads = [producer(&shared, 1), producer(&shared, 2)];
        shared.block();
        for thread in threads {
            thread.join().expect("the producers do not panic");
        }
        assert_eq!(shared.writes.load(Ordering::Relaxed), 1);
        shared.parking.end_park();
        let mut seen = Vec::new();
        shared.drain(&mut seen);
        assert_eq!(seen.len(), 2);
    });
}

/// The race: the park ends for another reason (a deadline) while a thread notifies. The notification may be
/// forgotten by `end_park`, but then the drain after it must see the push; else the next park must be refused
/// or woken.
#[test]
fn notification_that_races_with_a_time_out_is_never_lost() {
    loom::model(|| {
        let shared = Shared::new();
        let thread = producer(&shared, 7);
        let mut seen = Vec::new();
        if shared.parking.begin_park() {
            shared.parking.end_park();
        }
        loop {
            shared.drain(&mut seen);
            if !seen.is_empty() {
                break;
            }
            if shared.parking.begin_park() {
                shared.block();
                shared.parking.end_park();
            }
        }
        assert_eq!(seen, [7]);
        thread.join().expect("the producer does not panic");
    });
}

/// The race: a push while the loop drains and closes. The entry must end in exactly one place: drained, returned
/// by the close, or given back to the thread. In none it would leak its callback, in two it would run twice.
#[test]
fn push_that_races_with_close_ends_in_exactly_one_place() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let pushing = Arc::clone(&inbox);
        let thread = thread::spawn(move || match pushing.push(7) {
            Ok(()) => Vec::new(),
            Err(entry) => vec![entry],
        });
        let mut places = Vec::new();
        inbox.drain_into(&mut places);
        places.extend(inbox.close());
        places.extend(thread.join().expect("the producer does not panic"));
        assert_eq!(places, [7]);
        assert!(inbox.is_empty());
    });
}

/// The race: a drain resets the hint while another thread pushes. A hint that says empty over an entry would
/// leave the entry until the next push.
#[test]
fn hint_never_says_empty_over_an_entry() {
    loom::model(|| {
        let inbox = Arc::new(Inbox::new());
        let pushing = Arc::clone(&inbox);
        let thread = thread::spawn(move || pushing.push(7).expect("nobody closes the inbox"));
        let mut seen = Vec::new();
        inbox.drain_into(&mut seen);
        thread.join().expect("the producer does not panic");
        assert_eq!(inbox.is_empty(), seen == [7]);
        inbox.drain_into(&mut seen);
        assert_eq!(seen, [7]);
    });
}
