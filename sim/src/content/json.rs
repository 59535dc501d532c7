//! One big JSON text of an exact length, made on the fly. Must hold no more than one record.

use std::fmt::Write as _;

use crate::prng::Prng;

const HEAD: &str = "{\"format\":\"assets\",\"records\":[\n";
const TAIL: &str = "\n],\"filler\":\"";
const END: &str = "\"}\n";

/// The text under way. Records come until the next one would not fit; then a filler string makes
/// the length exact.
#[derive(Debug)]
pub(super) struct JsonText {
    prng: Prng,
    /// Bytes of the text that have not been written into `pending` yet.
    unwritten: usize,
    pending: String,
    given: usize,
    stage: Stage,
    record: u64,
}

#[derive(Debug)]
enum Stage {
    Head,
    Records,
    Filler,
    End,
    /// A text too short to be anything but a number and blanks.
    Short,
}

impl JsonText {
    pub(super) fn new(bytes: u64, seed: u64) -> JsonText {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let short = bytes < HEAD.len() + TAIL.len() + END.len();
        JsonText {
            prng: Prng::new(seed),
            unwritten: bytes,
            pending: String::from(if short { "0" } else { "" }),
            given: 0,
            stage: if short { Stage::Short } else { Stage::Head },
            record: 0,
        }
    }

    /// Fills the whole buffer; past the end of the text it writes blanks.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        let mut at = 0;
        while at < buffer.len() {
            if self.given == self.pending.len() {
                self.pending.clear();
                self.given = 0;
                self.write_on();
                self.unwritten = self.unwritten.saturating_sub(self.pending.len());
            }
            let rest = &self.pending.as_bytes()[self.given..];
            let count = rest.len().min(buffer.len() - at);
            buffer[at..at + count].copy_from_slice(&rest[..count]);
            at += count;
            self.given += count;
        }
    }

    fn write_on(&mut self) {
        match self.stage {
            Stage::Head => {
                self.pending.push_str(HEAD);
                self.stage = Stage::Records;
            }
            Stage::Records => {
                self.write_record();
                if self.pending.len() + TAIL.len() + END.len() > self.unwritten {
                    self.pending.clear();
                    self.pending.push_str(TAIL);
                    self.stage = Stage::Filler;
                }
            }
            Stage::Filler if self.unwritten > END.len() => {
                let blanks = (self.unwritten - END.len()).min(64);
                self.pending.extend(std::iter::repeat_n(' ', blanks));
            }
            Stage::Filler => {
                self.pending.push_str(END);
                self.stage = Stage::End;
            }
            Stage::End | Stage::Short => self.pending.push(' '),
        }
    }

    fn write_record(&mut self) {
        const METHODS: [&str; 4] = ["GET", "PUT", "POST", "DELETE"];
        let (first, second) = (self.prng.next(), self.prng.next());
        let method = METHODS[crate::prng::below(first, METHODS.len())];
        let comma = if self.record == 0 { "" } else { ",\n" };
        let number = self.record;
        // Writing to a String cannot fail.
        let _ = write!(
            self.pending,
            "{comma}{{\"id\":\"{first:016x}{second:016x}\",\"name\":\"asset-{number:08}\",\
             \"type\":\"API\",\"method\":\"{method}\",\"path\":\"/v1/orders/{{id}}/lines\",\
             \"protocol\":\"HTTPS\",\"auth\":\"APP\",\"timeout_ms\":5000,\"backend\":\
             {{\"host\":\"backend-{:02}.internal\",\"port\":8443,\"retries\":0}},\
             \"remark\":\"moved from the old bus, see the operations handbook\"}}",
            first % 40
        );
        self.record += 1;
    }
}
