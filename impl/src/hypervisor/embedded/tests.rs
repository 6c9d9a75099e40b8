//! The rules of the embedded hypervisor, with the texts of QEMU 7.2.22.
