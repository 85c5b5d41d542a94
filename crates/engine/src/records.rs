//! Where the records of a TLS stream end, so that a reader knows when asking for plaintext is in vain.
//!
//! The framing is the same in all versions from SSL 3 to TLS 1.3, and is not encrypted: type, version and length in
//! five bytes. What is inside is no concern of this module. A stream that is not framed so is left to the library that
//! decrypts it, which will say what is wrong.

/// Bytes before the content of a record.
const HEADER: usize = 5;
/// The most that a record may hold: plaintext, and what TLS 1.2 allows compression and encryption to add.
const MOST: usize = 16 * 1024 + 2048;
/// Content types: change of cipher, alert, handshake, application data, heartbeat.
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// Follows the records of one direction of a connection.
#[derive(Debug, Default)]
pub struct Records {
    /// The header as far as it has arrived.
    header: [u8; HEADER],
    /// Bytes of the header that have arrived.
    begun: usize,
    /// Bytes of the content that have not arrived.
    missing: usize,
    /// Bytes of the last, incomplete record that have arrived, header included.
    partial: usize,
    /// The stream has left the framing.
    lost: bool,
}

impl Records {
    /// Takes note of the next bytes; returns whether a record was completed, or nothing is known any more.
    pub fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while !bytes.is_empty() && !self.lost {
            if self.begun < HEADER {
                let taken = (HEADER - self.begun).min(bytes.len());
                self.header[self.begun..self.begun + taken].copy_from_slice(&bytes[..taken]);
                self.begun += taken;
                self.partial += taken;
                bytes = &bytes[taken..];
                if self.begun < HEADER {
                    break;
                }
                self.missing = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.lost =
                    !TYPES.contains(&self.header[0]) || self.header[1] != 3 || self.missing > MOST;
            }
            let taken = self.missing.min(bytes.len());
            self.missing -= taken;
            self.partial += taken;
            bytes = &bytes[taken..];
            if self.missing == 0 {
                completed = true;
                self.begun = 0;
                self.partial = 0;
            }
        }
        completed || self.lost
    }

    /// Whether `held` bytes at the end of what was fed contain no complete record.
    #[must_use]
    pub fn only_partial(&self, held: usize) -> bool {
        !self.lost && held <= self.partial
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn record(length: u16) -> Vec<u8> {
        let mut bytes = vec![23, 3, 3];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(HEADER + usize::from(length), 0xaa);
        bytes
    }

    #[test]
    fn a_record_is_complete_with_its_last_byte() {
        let mut records = Records::default();
        let bytes = record(3);
        for (index, byte) in bytes.iter().enumerate() {
            let last = index + 1 == bytes.len();
            assert_eq!(records.feed(&[*byte]), last, "byte {index}");
            assert!(records.only_partial(if last { 0 } else { index + 1 }));
        }
        assert!(!records.only_partial(1));
    }

    #[test]
    fn the_beginning_of_the_next_record_is_told_from_a_complete_one() {
        let mut records = Records::default();
        let mut bytes = record(10);
        bytes.extend_from_slice(&record(20)[..7]);
        assert!(records.feed(&bytes));
        assert!(records.only_partial(7));
        assert!(!records.only_partial(8));
        assert!(!records.feed(&[0; 17]));
        assert!(records.feed(&[0]));
        assert!(records.only_partial(0));
    }

    #[test]
    fn an_empty_record_is_complete_with_its_header() {
        let mut records = Records::default();
        assert!(!records.feed(&record(0)[..4]));
        assert!(records.feed(&record(0)[4..]));
    }

    #[test]
    fn any_split_finds_the_same_ends() {
        let stream: Vec<u8> = [5, 0, 300, 1, 16_000]
            .into_iter()
            .flat_map(record)
            .collect();
        for step in [1, 2, 3, 5, 7, 64, 305, 1000, 20_000] {
            let mut records = Records::default();
            for part in stream.chunks(step) {
                records.feed(part);
            }
            assert!(
                records.only_partial(0) && !records.only_partial(1),
                "step {step}"
            );
        }
    }

    #[test]
    fn what_is_no_record_is_always_worth_a_look() {
        for garbage in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            vec![23, 2, 0, 0, 1],
            vec![22, 3, 1, 0xff, 0xff],
        ] {
            let mut records = Records::default();
            assert!(records.feed(&garbage));
            assert!(!records.only_partial(0));
            assert!(records.feed(b"more"));
        }
    }
}
