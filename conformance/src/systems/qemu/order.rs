//! The byte order of a guest's memory.

/// Which byte of a number is at the lowest address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// From little-endian, or to it.
    fn of_little<const N: usize>(self, mut bytes: [u8; N]) -> [u8; N] {
        if self == Order::Big {
            bytes.reverse();
        }
        bytes
    }

    pub(super) fn get16(self, bytes: [u8; 2]) -> u16 {
        u16::from_le_bytes(self.of_little(bytes))
    }

    pub(super) fn get32(self, bytes: [u8; 4]) -> u32 {
        u32::from_le_bytes(self.of_little(bytes))
    }

    pub(super) fn put16(self, value: u16) -> [u8; 2] {
        self.of_little(value.to_le_bytes())
    }

    pub(super) fn put32(self, value: u32) -> [u8; 4] {
        self.of_little(value.to_le_bytes())
    }

    pub(super) fn put64(self, value: u64) -> [u8; 8] {
        self.of_little(value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_written() {
        for (order, two, four) in
            [(Order::Little, [2, 1], [4, 3, 2, 1]), (Order::Big, [1, 2], [1, 2, 3, 4])]
        {
            assert_eq!((order.put16(0x0102), order.put32(0x0102_0304)), (two, four));
            assert_eq!((order.get16(two), order.get32(four)), (0x0102, 0x0102_0304));
        }
        assert_eq!(Order::Big.put64(1), [0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
