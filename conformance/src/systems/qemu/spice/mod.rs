//! A client of QEMU's SPICE server: it links to the main channel, is told of the agent, and speaks with it
//! (`spice/protocol.h`, and spice-server 0.15 where that says nothing).
//!
//! A [`Kind::Agent`](statusquo_model::studies::chardev::state::Kind) has no host that comes and goes: the server
//! is always there, and whether it takes the agent for there is up to the guest. A client makes that visible, and
//! is whom the agent's bytes are for. It stays for as long as its QEMU lives.
//!
//! The server counts by tokens how much it sends on. The client gives one, and the next when it has read: so there
//! is never more than one message that it has not read, as the study has it.

mod ticket;
mod vdagent;

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

pub(super) use self::vdagent::{FRAMED, elements, framed};
use super::{elements::HEADER, patience::PATIENCE};
use crate::{
    replay::{Fault, environment},
    systems::hosts::read_all,
};

const MAGIC: [u8; 4] = *b"REDQ";
const MAJOR: u32 = 2;
const MINOR: u32 = 2;
const HEADER_BYTES: usize = 16;
/// `SpiceLinkMess` without its capabilities.
const LINK_MESSAGE: u32 = 18;
const MAIN_CHANNEL: u8 = 1;
/// Common capabilities: it says how it authenticates, namely by ticket; headers are short.
const COMMON: u32 = 1 << 0 | 1 << 1 | 1 << 3;
/// The main channel's: tokens come with the notice that the agent is there.
const OF_MAIN: u32 = 1 << 2;
const BY_TICKET: u32 = 1;
/// No reply is longer: a server has a handful of capabilities.
const REPLY_MAX: usize = 4096;

/// A short header: type and length.
const SHORT: usize = 6;

// What the server says.
const SET_ACK: u16 = 3;
const PING: u16 = 4;
const INIT: u16 = 103;
const AGENT_CONNECTED: u16 = 107;
const AGENT_DISCONNECTED: u16 = 108;
const FROM_AGENT: u16 = 109;
const AGENT_CONNECTED_TOKENS: u16 = 115;

// What the client says.
const ACK_SYNC: u16 = 1;
const ACK: u16 = 2;
const PONG: u16 = 3;
const AGENT_START: u16 = 106;
const TO_AGENT: u16 = 107;
const TOKENS: u16 = 108;

/// What the client is told of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The server takes it for there.
    Connected,
    /// And for gone; these bytes of elements the client had not read before.
    Disconnected { unread: Vec<u8> },
}

/// A client that is linked.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    unparsed: Vec<u8>,
    /// Elements that have come from the agent.
    unread: Vec<[u8; HEADER]>,
    connected: bool,
    /// After how many messages the server wants to hear so, and how many there were.
    window: u32,
    since: u32,
}

impl Client {
    /// Links to the server that listens at `path`. Its ticketing is disabled.
    pub(super) fn link(path: &Path) -> Result<Self, Fault> {
        let mut stream = UnixStream::connect(path).map_err(environment)?;
        stream.set_read_timeout(Some(PATIENCE.asleep)).map_err(environment)?;
        stream.set_write_timeout(Some(PATIENCE.asleep)).map_err(environment)?;
        stream.write_all(&link_message()).map_err(broken)?;
        let reply = reply(&mut stream)?;
        let (error, key) = (le32(&reply), reply[4..].first_chunk());
        let ticket = match (error, key.and_then(ticket::for_key)) {
            (0, Some(ticket)) => ticket,
            (0, None) => return Err(garbage("its key is not one of RSA with 1024 bits")),
            _ => return Err(garbage(&format!("it refuses the link: error {error}"))),
        };
        stream.write_all(&[&BY_TICKET.to_le_bytes()[..], &ticket].concat()).map_err(broken)?;
        let mut result = [0; 4];
        stream.read_exact(&mut result).map_err(broken)?;
        if result != [0; 4] {
            let error = u32::from_le_bytes(result);
            return Err(garbage(&format!("it refuses the ticket: error {error}")));
        }
        stream.set_nonblocking(true).map_err(environment)?;
        Ok(Client {
            stream,
            unparsed: Vec::new(),
            unread: Vec::new(),
            connected: false,
            window: 0,
            since: 0,
        })
    }

    /// What has come since last asked. It answers where the server waits for an answer.
    pub(super) fn news(&mut self) -> Result<Vec<News>, Fault> {
        read_all(&mut self.stream, &mut self.unparsed).map_err(environment)?;
        let mut news = Vec::new();
        while let Some((kind, body)) = self.next_message() {
            if kind == SET_ACK && body.len() == 8 {
                (self.window, self.since) = (le32(&body[4..]), 0);
                self.say(ACK_SYNC, &body[..4])?;
                continue;
            }
            match kind {
                PING => self.say(PONG, body.get(..12).unwrap_or(&body))?,
                INIT if body.len() >= 20 && le32(&body[16..]) == 0 => {}
                INIT | AGENT_CONNECTED | AGENT_CONNECTED_TOKENS => {
                    self.connected = true;
                    self.say(AGENT_START, &1_u32.to_le_bytes())?;
                    news.push(News::Connected);
                }
                AGENT_DISCONNECTED => news.extend(self.disconnected()),
                FROM_AGENT => self.unread.push(vdagent::element(&body)?),
                _ => {}
            }
            self.since += 1;
            if self.since == self.window {
                self.since = 0;
                self.say(ACK, &[])?;
            }
        }
        Ok(news)
    }

    /// The server goes, and what it had sent is read.
    pub(super) fn end(mut self) -> Result<Option<News>, Fault> {
        // Whom it would answer is gone.
        read_all(&mut self.stream, &mut self.unparsed).map_err(environment)?;
        while let Some((kind, body)) = self.next_message() {
            if kind == FROM_AGENT {
                self.unread.push(vdagent::element(&body)?);
            }
        }
        Ok(self.disconnected())
    }

    /// The client reads the elements that are there, and takes as many more.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, Fault> {
        let tokens = self.unread.len() as u32;
        if tokens > 0 {
            self.say(TOKENS, &tokens.to_le_bytes())?;
        }
        Ok(std::mem::take(&mut self.unread).concat())
    }

    /// Sends an element to the agent.
    pub(super) fn write(&mut self, element: [u8; HEADER]) -> Result<(), Fault> {
        self.say(TO_AGENT, &vdagent::message(element))
    }

    fn disconnected(&mut self) -> Option<News> {
        let unread = std::mem::take(&mut self.unread).concat();
        std::mem::take(&mut self.connected).then_some(News::Disconnected { unread })
    }

    fn next_message(&mut self) -> Option<(u16, Vec<u8>)> {
        let ([t0, t1, len @ ..], rest) = self.unparsed.split_first_chunk::<SHORT>()?;
        let (kind, len) = (u16::from_le_bytes([*t0, *t1]), u32::from_le_bytes(*len) as usize);
        let body = rest.get(..len)?.to_vec();
        self.unparsed.drain(..SHORT + len);
        Some((kind, body))
    }

    fn say(&mut self, kind: u16, body: &[u8]) -> Result<(), Fault> {
        let len = (body.len() as u32).to_le_bytes();
        let message = [&kind.to_le_bytes()[..], &len, body].concat();
        self.stream.write_all(&message).map_err(broken)
    }
}

fn link_message() -> Vec<u8> {
    let capabilities = [COMMON, OF_MAIN].map(u32::to_le_bytes).concat();
    let size = LINK_MESSAGE + capabilities.len() as u32;
    let mut message = MAGIC.to_vec();
    message.extend([MAJOR, MINOR, size, 0].map(u32::to_le_bytes).concat());
    message.extend([MAIN_CHANNEL, 0]);
    message.extend([1, 1, LINK_MESSAGE].map(u32::to_le_bytes).concat());
    message.extend(capabilities);
    message
}

/// `SpiceLinkReply`: an error, the server's key, and capabilities that nobody asks for.
fn reply(stream: &mut UnixStream) -> Result<Vec<u8>, Fault> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).map_err(broken)?;
    let len = le32(&header[12..]) as usize;
    if !header.starts_with(&MAGIC) || !(4..=REPLY_MAX).contains(&len) {
        return Err(garbage(&format!("it answers {header:02x?}")));
    }
    let mut reply = vec![0; len];
    stream.read_exact(&mut reply).map_err(broken)?;
    Ok(reply)
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn garbage(what: &str) -> Fault {
    Fault::Garbage(format!("the SPICE server: {what}"))
}

/// Whoever owns the process says how it ended.
fn broken(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Fault::Hang(PATIENCE.asleep),
        _ => Fault::Died(format!("it hung up on its SPICE client: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    /// What the client makes of a server that answers so, and then hangs up.
    fn of_a_server(answer: Vec<u8>) -> Fault {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = dir.path().join("server");
        let listener = UnixListener::bind(&path).unwrap_or_else(|error| panic!("{error}"));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut vec![0; link_message().len()])?;
            stream.write_all(&answer)
        });
        let fault = Client::link(&path).err();
        assert!(server.join().is_ok());
        fault.unwrap_or_else(|| panic!("it links"))
    }

    fn answered(reply: &[u8]) -> Vec<u8> {
        let header = [MAJOR, MINOR, reply.len() as u32].map(u32::to_le_bytes).concat();
        [&MAGIC[..], &header, reply].concat()
    }

    #[test]
    fn a_server_that_does_not_link_is_named() {
        let said = |answer| match of_a_server(answer) {
            Fault::Garbage(said) => said,
            fault => panic!("{fault:?}"),
        };
        let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
        assert!(said(http).starts_with("the SPICE server: it answers [48, 54, 54, 50, "));
        assert!(said(answered(&[0; REPLY_MAX + 1])).contains("it answers [52, 45, 44, 51, "));
        let refused = said(answered(&[7, 0, 0, 0]));
        assert_eq!(refused, "the SPICE server: it refuses the link: error 7");
        let other = said(answered(&[0; 178]));
        assert_eq!(other, "the SPICE server: its key is not one of RSA with 1024 bits");
        let hung_up = of_a_server(Vec::new());
        assert!(matches!(hung_up, Fault::Died(_)), "{hung_up:?}");
    }
}
