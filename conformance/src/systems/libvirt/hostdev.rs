//! The hostdev study on libvirt, on a host without VFIO: what is defined, dumped, refused and logged.
//!
//! What cannot be driven here: a device that a guest gets (there is no VFIO), another hypervisor's driver
//! (libvirt would take the device from the host before it refuses), networks (an embedded driver has none),
//! hooks, and older daemons. The device that the definitions name is one of this host's; it is unmanaged,
//! and nothing touches it.

use std::{fs, io, path::Path, path::PathBuf, sync::Arc, time::Duration};

use statusquo_model::studies::hostdev::{
    Study,
    action::{Action, Asked, Outcome, Refusal, Result as Answer, Shown},
    rules::Driver,
};
use statusquo_model::words::words;
use tempfile::TempDir;

use super::{
    Programs, domain,
    life::{self, Qemu, keep_capabilities, reuse_capabilities},
    virsh::{Virsh, configure},
};
use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    workdir,
};

/// How long anything may take that a loaded machine slows down.
const PATIENCE: Duration = Duration::from_secs(60);

/// libvirt for the hostdev study, where it can be driven at all.
pub(crate) fn factory(
    study: &Study,
    programs: Programs,
) -> Result<Arc<dyn Factory<Study>>, String> {
    if !study.host_has_nothing() {
        return Err(
            "an assigned device needs a host with VFIO, of which one can do without".to_owned()
        );
    }
    if Path::new("/dev/vfio/vfio").exists() {
        return Err("this host has VFIO, and the scope is about one that has not".to_owned());
    }
    let device = some_device().ok_or("this host has no PCI device that a definition could name")?;
    life::factory_but_for(
        programs,
        move |programs| Run::new(programs, device),
        |_, action| cannot(action),
    )
}

const NOT_HERE: &str = "it needs a device that a guest can have, a hook, or another daemon";

fn cannot(action: Action) -> Option<&'static str> {
    let is_not_here = match action {
        Action::StartVetoed
        | Action::Detach
        | Action::Upgrade
        | Action::HostGainsVfio
        | Action::HostLosesVfio => true,
        Action::Define { device } | Action::Attach { device } => {
            matches!(device, Asked::Driver(Driver::Xen) | Asked::Network(_))
        }
        Action::Dump | Action::Start | Action::Stop | Action::Restart | Action::Redefine => false,
    };
    is_not_here.then_some(NOT_HERE)
}

/// The last PCI device of this host: domain, bus, slot and function.
fn some_device() -> Option<[u32; 4]> {
    let names = fs::read_dir("/sys/bus/pci/devices").ok()?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let parsed = names.filter_map(|name| {
        let (rest, function) = name.split_once('.')?;
        let mut parts = rest.split(':');
        let mut part = || u32::from_str_radix(parts.next()?, 16).ok();
        Some([part()?, part()?, part()?, u32::from_str_radix(function, 16).ok()?])
    });
    parsed.max()
}

/// One domain under one libvirt, restarted at will.
struct Run {
    // Dropped in this order: the daemon, the guest, the directory.
    virsh: Option<Virsh>,
    guest: Qemu,
    programs: Programs,
    device: [u32; 4],
    /// So much of the log has been read.
    logged: usize,
    _dir: TempDir,
    _common: Arc<TempDir>,
}

impl Run {
    fn new(programs: &Programs, device: [u32; 4]) -> io::Result<Self> {
        let common = workdir::root()?;
        let dir = TempDir::new_in(common.path())?;
        let root = dir.path().to_owned();
        configure(&root)?;
        reuse_capabilities(common.path(), &root)?;
        let virsh = Some(Virsh::start(programs, &root)?);
        Ok(Run {
            virsh,
            guest: Qemu::nobody(&root),
            programs: programs.clone(),
            device,
            logged: 0,
            _dir: dir,
            _common: common,
        })
    }

    /// A command, and its error if it has one.
    fn ask(&mut self, command: &str) -> Result<Result<String, String>, Fault> {
        let virsh = self.virsh.as_mut().ok_or_else(|| environment("the daemon is not running"))?;
        let given = virsh.give(command).map_err(environment)?;
        let answer = virsh.wait(&given, PATIENCE).map_err(environment)?;
        Ok(if answer.lines().any(|line| line.starts_with("error:")) {
            Err(answer)
        } else {
            Ok(answer)
        })
    }

    fn hostdev(&self, device: Asked) -> Result<String, Fault> {
        let driver = match device {
            Asked::Nothing => return Ok(String::new()),
            Asked::Unset => String::new(),
            Asked::Driver(driver @ (Driver::Kvm | Driver::Vfio)) => {
                format!("<driver name='{}'/>", words(&driver))
            }
            Asked::Driver(Driver::Xen) | Asked::Network(_) => {
                return Err(environment("the host would be touched, or networks be needed"));
            }
        };
        let [segment, bus, slot, function] = self.device;
        Ok(format!(
            "<hostdev mode='subsystem' type='pci' managed='no'>{driver}<source><address \
             domain='{segment:#06x}' bus='{bus:#04x}' slot='{slot:#04x}' function='{function:#x}'/>\
             </source></hostdev>"
        ))
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf, Fault> {
        let file = self.guest.root.join(name);
        fs::write(&file, text).map_err(environment)?;
        Ok(file)
    }

    /// What has been logged since the last look: an error about a device that was not prepared?
    fn spurious(&mut self) -> bool {
        let log = fs::read_to_string(self.guest.root.join("libvirt.log")).unwrap_or_default();
        let new = log.get(self.logged..).unwrap_or_default();
        let found = new.contains("Failed to allocate PCI device list");
        self.logged = log.len();
        found
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        let name = domain::NAME;
        let mut shown = None;
        let answer = match action {
            Action::Define { device } => {
                let xml = domain::xml(&self.programs.qemu, &self.guest.root.join("look"));
                let hostdev = self.hostdev(device)?;
                let xml = xml.replace("</devices>", &format!("{hostdev}</devices>"));
                // Defined anew, it is the same domain.
                let uuid = "<uuid>8b5e1f3a-3f0c-4f5e-9d7e-2d1c6a4b9e01</uuid>";
                let xml = xml.replace("</name>", &format!("</name>{uuid}"));
                let file = self.file("domain.xml", &xml)?;
                self.ask(&format!("define {}", file.display()))?
            }
            Action::Dump => {
                let dump = self.ask(&format!("dumpxml {name} --inactive"))?;
                shown = dump.as_deref().ok().map(shown_in).transpose()?;
                dump
            }
            Action::Start => {
                let answer = self.ask(&format!("start {name}"))?;
                keep_capabilities(self._common.path(), &self.guest.root).map_err(environment)?;
                answer
            }
            Action::Stop => self.ask(&format!("destroy {name}"))?,
            Action::Attach { device } => {
                let file = self.file("device.xml", &self.hostdev(device)?)?;
                self.ask(&format!("attach-device {name} {} --live", file.display()))?
            }
            Action::Restart => {
                if let Some(virsh) = self.virsh.take() {
                    virsh.kill();
                }
                let virsh = Virsh::start(&self.programs, &self.guest.root).map_err(environment)?;
                self.virsh = Some(virsh);
                // Answered when the domain has no other job, once it is found again; of one that is off, or not
                // there, it is refused.
                drop(self.ask(&format!("dommemstat {name}"))?);
                Ok(String::new())
            }
            Action::Redefine => match self.ask(&format!("dumpxml {name}"))? {
                Ok(dump) => {
                    let file = self.file("dump.xml", domain::definition(&dump))?;
                    self.ask(&format!("define {}", file.display()))?
                }
                refused => refused,
            },
            Action::StartVetoed
            | Action::Detach
            | Action::Upgrade
            | Action::HostGainsVfio
            | Action::HostLosesVfio => return Err(environment(NOT_HERE)),
        };
        let result = match answer {
            Ok(_) => Answer::Done,
            Err(error) => Answer::Refused(refusal(&error)?),
        };
        Ok(Outcome { result, shown, bound: None, spurious_error: self.spurious() })
    }
}

/// What libvirt 9.0 says in `qemuHostdevPreparePCIDevicesCheckSupport`.
fn refusal(error: &str) -> Result<Refusal, Fault> {
    let says = |text: &str| error.contains(text);
    if says("host doesn't support passthrough of host PCI devices")
        || says("host doesn't support VFIO PCI passthrough")
    {
        Ok(Refusal::HostCannot)
    } else if says("host doesn't support legacy PCI passthrough") {
        Ok(Refusal::Unsupported)
    } else if says("is not supported") {
        Ok(Refusal::DriverIsOpen)
    } else {
        Err(Fault::Garbage(error.to_owned()))
    }
}

fn shown_in(dump: &str) -> Result<Shown, Fault> {
    let Some(element) = dump.split("<hostdev ").nth(1) else { return Ok(Shown::NoDevice) };
    let element = element.split("</hostdev>").next().unwrap_or_default();
    match element.split("<driver name='").nth(1).and_then(|rest| rest.split('\'').next()) {
        None => Ok(Shown::Open),
        Some("vfio") => Ok(Shown::Driver(Driver::Vfio)),
        Some("kvm") => Ok(Shown::Driver(Driver::Kvm)),
        Some(other) => Err(Fault::Garbage(format!("a driver named {other}"))),
    }
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action).map(Observed::Outcome)
    }
}
