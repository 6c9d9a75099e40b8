//! The real daemon process.
//!
//! Most monitors are played, so no QEMU is needed; where one is, `STATUSQUO_REQUIRE=qemu` makes it an error that there
//! is none.

mod devices;
mod disk_full;
mod dumps;
mod faults;
mod names;
mod support;
