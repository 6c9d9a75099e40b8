//! Our implementation as a system: real descriptors in a directory of its own.

mod alias;
mod chardev;
mod restart;
