//! A real libvirt as a system: its QEMU driver, embedded in one `virsh` per life of the daemon.
//!
//! With `qemu:///embed` the driver lives in the client. Killing that `virsh` is the daemon's SIGKILL, the
//! next one is its restart, and QEMU survives both. Everything is below one directory of ours; the
//! system's libvirt is never touched. As root, `virsh` runs in a user namespace of its own, where it takes
//! itself for an ordinary user.
//!
//! Between libvirt and QEMU stands a proxy, which holds chosen monitor commands and their replies back:
//! a kill falls exactly between two of them, every time. The alias study does without: it kills at rest.
//!
//! A process has one embedded driver, so a migration needs daemons: the usb study has two hosts, each a private
//! `libvirtd`.
//!
//! Why `virsh` and not the bindings: it is what is installed wherever libvirt is, a program that is killed cannot
//! take us with it, and there are bindings for C and Python, of which our own would be one more thing that
//! may be wrong.

pub(crate) mod alias;
mod daemon;
mod domain;
pub(crate) mod hostdev;
mod life;
pub(crate) mod pci_root;
mod proxy;
pub(crate) mod restart;
pub(crate) mod usb;
mod virsh;

pub use self::virsh::Programs;
