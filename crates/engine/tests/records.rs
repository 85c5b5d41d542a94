//! Streams of records, whole and damaged, cut anywhere: what is said after each part, against a reader of the whole.

#![cfg(not(loom))]

use engine::Records;
use proptest::collection::vec;
use proptest::prelude::*;

const HEADER: usize = 5;
const MOST: usize = 16 * 1024 + 2048;

/// Where the records of a stream end, and where it stops being one of records.
fn survey(stream: &[u8]) -> (Vec<usize>, Option<usize>) {
    let mut ends = Vec::new();
    let mut start = 0;
    while let Some(header) = stream.get(start..start + HEADER) {
        let length = usize::from(header[3]) * 256 + usize::from(header[4]);
        if !(20..=24).contains(&header[0]) || header[1] != 3 || length > MOST {
            return (ends, Some(start + HEADER));
        }
        start += HEADER + length;
        if start > stream.len() {
            break;
        }
        ends.push(start);
    }
    (ends, None)
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![4 => 0..50_usize, 1 => 0..3_000_usize, 1 => Just(MOST)];
    (20..=24_u8, 0..=4_u8, length).prop_map(|(kind, minor, length)| {
        let size = u16::try_from(length)
            .expect("a record is smaller")
            .to_be_bytes();
        let mut bytes = vec![kind, 3, minor, size[0], size[1]];
        bytes.resize(HEADER + length, 0xaa);
        bytes
    })
}

#[derive(Clone, Debug)]
enum Damage {
    None,
    Change(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        2 => Just(Damage::None),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(place, byte)| Damage::Change(place, byte)),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => (any::<usize>(), vec(any::<u8>(), 1..20)).prop_map(|(place, bytes)| Damage::Insert(place, bytes)),
    ]
}

fn damaged(mut stream: Vec<u8>, damage: Damage) -> Vec<u8> {
    let size = stream.len();
    match damage {
        Damage::None => {}
        Damage::Change(place, byte) => stream[place % size] = byte,
        Damage::Cut(place) => {
            stream.remove(place % size);
        }
        Damage::Insert(place, bytes) => {
            let place = place % size;
            stream.splice(place..place, bytes);
        }
    }
    stream
}

fn check(stream: &[u8], cuts: &[usize]) {
    let (ends, lost) = survey(stream);
    let mut records = Records::default();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.push(stream.len());
    cuts.sort_unstable();
    let mut from = 0;
    for to in cuts {
        let completed = records.feed(&stream[from..to]);
        let is_lost = lost.is_some_and(|place| place <= to);
        let ended = ends.iter().any(|end| (from + 1..=to).contains(end));
        assert_eq!(completed, ended || is_lost, "from {from} to {to}");
        let last = ends.iter().rev().find(|end| **end <= to).unwrap_or(&0);
        let partial = to - last;
        assert_eq!(records.only_partial(partial), !is_lost, "at {to}");
        assert!(!records.only_partial(partial + 1), "at {to}");
        from = to;
    }
}

proptest! {
    #[test]
    fn what_is_known_of_records_does_not_depend_on_how_they_arrive(
        stream in vec(record(), 1..8),
        damage in damage(),
        cuts in vec(any::<usize>(), 0..30),
    ) {
        check(&damaged(stream.concat(), damage), &cuts);
    }

    #[test]
    fn anything_at_all_is_taken(stream in vec(any::<u8>(), 0..100), cuts in vec(any::<usize>(), 0..30)) {
        check(&stream, &cuts);
    }
}
