//! virtio-serial's control messages: eight bytes, little-endian (virtio 1.2, section 5.3.6.2).

/// What a control message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum What {
    /// Driver: it is ready.
    DeviceReady = 0,
    /// Device: there is a port.
    PortAdd = 1,
    /// Device: the port is gone.
    PortRemove = 2,
    /// Driver: it knows the port.
    PortReady = 3,
    /// Device: the port is a console.
    ConsolePort = 4,
    /// Device: the console's size.
    Resize = 5,
    /// Both: this end is open (1) or closed (0).
    PortOpen = 6,
    /// Device: the port's name follows.
    PortName = 7,
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The port's number.
    pub port: u32,
    /// What it says.
    pub what: What,
    /// With what value.
    pub value: u16,
    /// For [`What::PortName`]: the name.
    pub name: String,
}

/// Bytes that are no control message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Fewer than eight.
    #[error("a control message of {0} bytes, expected 8")]
    Short(usize),
    /// An event that virtio does not define.
    #[error("control event {0} is not defined")]
    Unknown(u16),
}

impl Message {
    /// A message without a name.
    pub fn new(port: u32, what: What, value: u16) -> Self {
        Message { port, what, value, name: String::new() }
    }

    /// As it stands in a buffer.
    ///
    /// ```
    /// use statusquo_vmm::chardev::frontend::control::{Message, What};
    /// let open = Message::new(1, What::PortOpen, 1);
    /// assert_eq!(open.encode(), [1, 0, 0, 0, 6, 0, 1, 0]);
    /// assert_eq!(Message::decode(&open.encode()), Ok(open));
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.name.len());
        bytes.extend(self.port.to_le_bytes());
        bytes.extend((self.what as u16).to_le_bytes());
        bytes.extend(self.value.to_le_bytes());
        if self.what == What::PortName {
            bytes.extend(self.name.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// Reads a buffer.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let &[a, b, c, d, e, f, g, h, ref rest @ ..] = bytes else {
            return Err(ControlError::Short(bytes.len()));
        };
        let what = match u16::from_le_bytes([e, f]) {
            0 => What::DeviceReady,
            1 => What::PortAdd,
            2 => What::PortRemove,
            3 => What::PortReady,
            4 => What::ConsolePort,
            5 => What::Resize,
            6 => What::PortOpen,
            7 => What::PortName,
            unknown => return Err(ControlError::Unknown(unknown)),
        };
        let name = if what == What::PortName {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            String::from_utf8_lossy(&rest[..end]).into_owned()
        } else {
            String::new()
        };
        let value = u16::from_le_bytes([g, h]);
        Ok(Message { port: u32::from_le_bytes([a, b, c, d]), what, value, name })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_guest_writes_is_read_or_refused(bytes: Vec<u8>) {
            if let Ok(message) = Message::decode(&bytes) {
                let again = Message::decode(&message.encode());
                prop_assert_eq!(again, Ok(message));
            }
        }
    }

    #[test]
    fn what_is_no_message_is_named() {
        assert_eq!(Message::decode(&[1, 2]), Err(ControlError::Short(2)));
        assert_eq!(Message::decode(&[1, 0, 0, 0, 9, 0, 1, 0]), Err(ControlError::Unknown(9)));
    }
}
