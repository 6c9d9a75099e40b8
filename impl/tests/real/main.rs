//! On a real QEMU: what is built for it, and what is played of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "a test is a shell")]

mod command_line;
mod hypervisor;
mod machine;
