//! What an agent and a client say to each other: messages of the vdagent protocol (`spice/vd_agent.h`). On the
//! agent's side of the server each is in a chunk, of which the server strips or adds the header.
//!
//! The server looks at what passes (`agent_msg_filter_process_data`): it cuts off an agent that says something
//! else. So an element of the study goes as the contents of a clipboard, which the server lets through.

use crate::{replay::Fault, systems::qemu::elements::HEADER};

/// A chunk's header: to or from whom, and how long.
const CHUNK: usize = 8;
/// `VDP_CLIENT_PORT`.
const CLIENT: u32 = 1;
/// A message's header.
const MESSAGE: usize = 20;
/// `VD_AGENT_PROTOCOL`.
const PROTOCOL: u32 = 1;
/// `VD_AGENT_CLIPBOARD`.
const CLIPBOARD: u32 = 4;

/// Bytes of an element on the agent's side.
pub(in crate::systems::qemu) const FRAMED: usize = CHUNK + MESSAGE + HEADER;

/// An element as a message.
pub(super) fn message(element: [u8; HEADER]) -> [u8; MESSAGE + HEADER] {
    let mut bytes = [0; MESSAGE + HEADER];
    bytes[..4].copy_from_slice(&PROTOCOL.to_le_bytes());
    bytes[4..8].copy_from_slice(&CLIPBOARD.to_le_bytes());
    bytes[16..MESSAGE].copy_from_slice(&(HEADER as u32).to_le_bytes());
    bytes[MESSAGE..].copy_from_slice(&element);
    bytes
}

/// An element as the agent sends it, and receives it.
pub(in crate::systems::qemu) fn framed(element: [u8; HEADER]) -> [u8; FRAMED] {
    let mut bytes = [0; FRAMED];
    bytes[..4].copy_from_slice(&CLIENT.to_le_bytes());
    bytes[4..CHUNK].copy_from_slice(&((MESSAGE + HEADER) as u32).to_le_bytes());
    bytes[CHUNK..].copy_from_slice(&message(element));
    bytes
}

/// The element of a message.
pub(super) fn element(message: &[u8]) -> Result<[u8; HEADER], Fault> {
    let element = message.last_chunk::<HEADER>().filter(|it| self::message(**it)[..] == *message);
    element.copied().ok_or_else(|| {
        Fault::Garbage(format!("the server sends no message of the agent's: {message:02x?}"))
    })
}

/// The elements in what an agent has received.
pub(in crate::systems::qemu) fn elements(mut bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        let whole = bytes.split_first_chunk::<FRAMED>().and_then(|(frame, rest)| {
            let element = *frame.last_chunk::<HEADER>()?;
            (framed(element) == *frame).then_some((element, rest))
        });
        let Some((element, rest)) = whole else {
            return Err(Fault::Garbage(format!("the agent receives no message: {bytes:02x?}")));
        };
        elements.extend(element);
        bytes = rest;
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_found_again_and_nothing_else() {
        let (one, other) = ([7; HEADER], [9; HEADER]);
        assert_eq!(element(&message(one)), Ok(one));
        let mut wrong = message(one);
        wrong[4] = 11;
        assert!(element(&wrong).is_err(), "a message of the server's own");
        assert!(element(&[]).is_err());
        let both = [framed(one), framed(other)].concat();
        assert_eq!(elements(&both), Ok([one, other].concat()));
        assert!(elements(&both[..both.len() - 1]).is_err());
        assert!(elements(&both[1..]).is_err());
    }
}
