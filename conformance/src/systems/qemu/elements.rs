//! The bytes of a study's elements: numbered, so that loss, repetition and disorder are seen.

use crate::replay::Fault;

/// Bytes that say which element it is and how long.
pub(super) const HEADER: usize = 12;

/// One direction of one port.
#[derive(Debug, Default)]
pub(super) struct Elements {
    sent: u64,
    received: u64,
}

impl Elements {
    /// The beginning of the next element; the rest is zeros.
    pub(super) fn header(&mut self, len: u32) -> [u8; HEADER] {
        self.sent += 1;
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&self.sent.to_le_bytes());
        header[8..].copy_from_slice(&len.to_le_bytes());
        header
    }

    /// How many elements these bytes are.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> Result<u8, Fault> {
        let mut count = 0;
        while let Some((header, _)) = bytes.split_first_chunk::<HEADER>() {
            let [n0, n1, n2, n3, n4, n5, n6, n7, len @ ..] = *header;
            let number = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
            if number <= self.received || number > self.sent {
                return Err(Fault::Garbage(format!(
                    "element {number} came after element {} of {}",
                    self.received, self.sent
                )));
            }
            let len = u32::from_le_bytes(len) as usize;
            bytes = match bytes.split_at_checked(len.max(HEADER)) {
                Some((_, rest)) => rest,
                None => {
                    return Err(Fault::Garbage(format!(
                        "of element {number} {} bytes came and not {len}",
                        bytes.len()
                    )));
                }
            };
            self.received = number;
            count += 1;
        }
        match bytes.len() {
            0 => Ok(count),
            rest => Err(Fault::Garbage(format!("{rest} bytes are no element"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(elements: &mut Elements, len: u32) -> Vec<u8> {
        let mut bytes = elements.header(len).to_vec();
        bytes.resize(len as usize, 0);
        bytes
    }

    #[test]
    fn what_was_sent_is_counted_once() {
        let mut elements = Elements::default();
        let (first, lost, last) =
            (element(&mut elements, 64), element(&mut elements, 12), element(&mut elements, 100));
        assert_eq!(elements.count(&[&first[..], &last[..]].concat()), Ok(2));
        assert!(elements.count(&lost).is_err(), "too late");
        assert!(elements.count(&last).is_err(), "twice");
    }

    #[test]
    fn half_an_element_is_none() {
        let mut elements = Elements::default();
        let whole = element(&mut elements, 64);
        assert!(elements.count(&whole[..63]).is_err());
        assert!(elements.count(&whole[..5]).is_err());
        assert!(elements.count(&[0; 64]).is_err());
        assert_eq!(elements.count(&whole), Ok(1));
    }
}
