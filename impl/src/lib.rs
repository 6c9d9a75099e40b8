//! A small VM manager that follows the designs which the studies show to be right.
//!
//! - [`chardev`]: character devices: who is connected, who has been told, and where bytes go.
//! - [`daemon`]: `statusquo-vmmd`, which manages real QEMUs and can be killed anywhere.
//! - [`domain`]: libvirt's domain XML: read, edited and written without loss; aliases and addresses.
//! - [`hostdev`]: devices of the host: which driver takes them, and who has them.
//! - [`hotplug`]: plugging, unplugging and recovery as data, effect by effect.
//! - [`hypervisor`]: what a daemon asks of a running machine, on QEMU or in process.
//! - [`status`]: what is known of a running domain, kept where a killed daemon finds it again.
//!
//! ```
//! use std::{io::{Read, Write}, os::unix::net::UnixStream, time::Instant};
//! use statusquo_vmm::chardev::{Config, Machine, frontend::Guest};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("console.sock");
//! let mut machine = Machine::new();
//! machine.add_chardev("c0", Config::UnixServer { path: path.clone(), send_buffer: None })?;
//! machine.plug(1, "org.example.console", "c0")?;
//!
//! // The guest's driver starts, an application opens the port and writes before anybody listens.
//! let mut guest = Guest::default();
//! machine.cont();
//! guest.start_driver();
//! # let mut now = Instant::now();
//! machine.settle(&mut guest, now)?;
//! guest.open(1);
//! guest.write(1, b"hello".to_vec());
//! machine.settle(&mut guest, now)?;
//! assert_eq!(guest.completed(1), 0); // nothing is taken that could be lost
//!
//! // A host comes: the guest is told, and the bytes move.
//! let mut host = UnixStream::connect(&path)?;
//! machine.settle(&mut guest, now)?;
//! assert_eq!(guest.completed(1), 1);
//! let mut bytes = [0; 5];
//! host.read_exact(&mut bytes)?;
//! assert_eq!(&bytes, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod chardev;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod domain;
pub mod hostdev;
pub mod hotplug;
pub mod hypervisor;
pub mod status;
