//! A real libvirt as a system: its QEMU driver, embedded in one `virsh` per life of the daemon.
//!
//! With `qemu:///embed` the driver lives in the client. Killing that `virsh` is the daemon's SIGKILL, the
//! next one is its restart, and QEMU survives both. Everything is below one directory of ours; the
//! system's libvirt is never touched. As root, `virsh` runs in a user namespace of its own, where it takes
//! itself for an ordinary user.
//!
//! Between libvirt and QEMU stands a proxy, which holds chosen monitor commands and their replies back:
//! a kill falls exactly between two of them, every time. The alias study does without: it kills at rest.

pub(crate) mod alias;
mod domain;
pub(crate) mod hostdev;
mod life;
pub(crate) mod pci_root;
mod proxy;
pub(crate) mod restart;
mod virsh;

pub use self::virsh::Programs;
