//! On a real QEMU: what is built for it, and what is played of it.

mod command_line;
mod hypervisor;
mod machine;
