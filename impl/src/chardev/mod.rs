//! Character devices: a host at one end, a guest at the other, and both come and go.
//!
//! Two rules decide everything. *A byte moves when its receiver is there*: output when the transport
//! is connected and takes it, input when the guest has the port open and has posted a buffer. *A belief
//! is told when it differs from the fact and its observer can be told*: so notices alternate, and none
//! is lost.
//!
//! - [`connection`]: who is there and who has been told, without I/O.
//! - [`backend`]: the host's end: sockets, terminals, files.
//! - [`frontend`]: the guest's end: virtio-serial and a 16550, without I/O.
//! - [`machine`]: the shell that joins them over poll(2). [`save`]: what migrates.

pub mod backend;
pub mod connection;
pub mod frontend;
pub mod machine;
pub mod save;

pub use self::{
    backend::{Backend, Config},
    connection::{Connection, Label},
    machine::{Event, Machine, MachineError},
};
