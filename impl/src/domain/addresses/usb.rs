//! Ports of USB controllers and hubs: `qemuDomainAssignUSBAddresses`.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Address, Class, Device, Domain, Error, Problem, Usb, tree::NodeId};

/// Ports of a hub: `VIR_DOMAIN_USB_HUB_PORTS`.
const HUB_PORTS: u32 = 8;
/// Hubs behind hubs: `VIR_DOMAIN_DEVICE_USB_MAX_PORT_DEPTH`.
const DEPTH_MAX: usize = 4;

/// Controllers and hubs by the path to them, and the paths that are taken.
#[derive(Default)]
struct Ports {
    /// How many ports there are behind a path; the path of a controller is empty.
    counts: BTreeMap<(u32, Vec<u32>), u32>,
    taken: BTreeSet<(u32, Vec<u32>)>,
}

impl Ports {
    /// `virDomainUSBAddressFindFreePort`
    fn free(&self, bus: u32, at: &[u32]) -> Option<Vec<u32>> {
        let count = *self.counts.get(&(bus, at.to_vec()))?;
        let port = |number| [at, &[number]].concat();
        let own = (1..=count).map(port).find(|port| !self.taken.contains(&(bus, port.clone())));
        if own.is_some() || at.len() + 1 >= DEPTH_MAX {
            return own;
        }
        (1..=count).find_map(|number| self.free(bus, &port(number)))
    }

    /// `virDomainUSBAddressAssign`
    fn next(&self, bus: Option<u32>) -> Option<Usb> {
        let buses: BTreeSet<u32> = self.counts.keys().map(|(bus, _)| *bus).collect();
        let mut wanted = buses.into_iter().filter(|&b| bus.is_none_or(|bus| bus == b));
        wanted.find_map(|bus| Some(Usb { bus, port: self.free(bus, &[])? }))
    }

    /// `virDomainUSBAddressReserve`
    fn take(&mut self, usb: &Usb) -> Result<(), Problem> {
        let text = || format!("usb {}/{}", usb.bus, usb.port_path());
        let Some((&last, parent)) = usb.port.split_last() else { return Ok(()) };
        match self.counts.get(&(usb.bus, parent.to_vec())) {
            Some(&count) if (1..=count).contains(&last) => {}
            _ => {
                return Err(Problem::Value {
                    value: text(),
                    expected: "a port of a USB controller or hub of this domain",
                });
            }
        }
        match self.taken.insert((usb.bus, usb.port.clone())) {
            true => Ok(()),
            false => Err(Problem::AddressInUse(text())),
        }
    }

    fn add_hub(&mut self, usb: &Usb) {
        self.counts.insert((usb.bus, usb.port.clone()), HUB_PORTS);
    }
}

impl Domain {
    pub(super) fn assign_usb(&mut self) -> Result<(), Error> {
        let (devices, hubs) = (self.usb_devices()?, self.usb_hubs());
        if devices.is_empty() && hubs.is_empty() {
            return Ok(());
        }
        let mut ports = self.usb_controllers()?;
        let Some(&first) = devices.first().or(hubs.first()) else { return Ok(()) };
        if ports.counts.is_empty() {
            let problem = Problem::Unsupported("a USB device without a USB controller".to_owned());
            return Err(self.document().error(first, problem));
        }
        // `qemuDomainUSBAddressAddHubs`
        let available = ports.counts.values().sum::<u32>() + HUB_PORTS * to_u32(hubs.len());
        let needed = to_u32(devices.len() + hubs.len());
        if needed > available {
            for _ in 0..(needed - available + 1).div_ceil(HUB_PORTS - 1) {
                self.add_device("<hub type='usb'/>")?;
            }
        }
        let hubs = self.usb_hubs();
        // Hubs that have a place, nearest to the controller first, then devices, then the rest.
        let mut placed = Vec::new();
        for &hub in &hubs {
            if let Some(usb) = self.usb_address(hub)?.filter(|usb| !usb.port.is_empty()) {
                placed.push((usb.port.len(), usb, hub));
            }
        }
        placed.sort();
        for (_, usb, hub) in placed {
            ports.take(&usb).map_err(|problem| self.document().error(hub, problem))?;
            ports.add_hub(&usb);
        }
        for &device in &devices {
            if let Some(usb) = self.usb_address(device)? {
                ports.take(&usb).map_err(|problem| self.document().error(device, problem))?;
            }
        }
        for (nodes, are_hubs) in [(hubs, true), (devices, false)] {
            for node in nodes {
                let wanted = self.usb_address(node)?;
                if wanted.as_ref().is_some_and(|usb| !usb.port.is_empty()) {
                    continue;
                }
                let next = ports.next(wanted.map(|usb| usb.bus));
                let usb =
                    next.ok_or_else(|| self.document().error(node, Problem::NoAddress("USB")))?;
                ports.take(&usb).map_err(|problem| self.document().error(node, problem))?;
                if are_hubs {
                    ports.add_hub(&usb);
                }
                Address::Usb(usb).put(self.document_mut(), node)?;
            }
        }
        Ok(())
    }

    fn usb_address(&self, node: NodeId) -> Result<Option<Usb>, Error> {
        Ok(match Address::of(self.document(), node)? {
            Some(Address::Usb(usb)) => Some(usb),
            _ => None,
        })
    }

    fn usb_hubs(&self) -> Vec<NodeId> {
        let usb = self.of(Class::Hub).filter(|hub| hub.kind() == "usb");
        usb.map(|hub| hub.node).collect()
    }

    /// Devices that take a port, but hubs: `virDomainUSBDeviceDefForeach`.
    fn usb_devices(&self) -> Result<Vec<NodeId>, Error> {
        let on_usb = |device: &Device<'_>| device.get("@bus").as_deref() == Some("usb");
        let all = self.of(Class::Hostdev).filter(|hostdev| hostdev.kind() == "usb");
        let all = all.chain(self.disks().into_iter().filter(|disk| disk.kind() == "usb"));
        let ccids =
            self.controllers()?.into_iter().filter(|controller| controller.kind() == "ccid");
        let all = all.chain(ccids);
        let all = all.chain(self.of(Class::Input).filter(on_usb));
        let all = all.chain(self.of(Class::Serial).filter(|serial| serial.kind() == "usb-serial"));
        let all = all.chain(self.of(Class::Sound).filter(|sound| sound.kind() == "usb"));
        let all = all.chain(self.of(Class::Redirdev).filter(on_usb));
        Ok(all.map(|device| device.node).collect())
    }

    /// `virDomainUSBAddressSetAddController`, `virDomainUSBAddressControllerModelToPorts`
    fn usb_controllers(&self) -> Result<Ports, Error> {
        let mut ports = Ports::default();
        for controller in self.of(Class::Controller).filter(|c| c.kind() == "usb") {
            let count = match controller.get("@model").as_deref() {
                None | Some("piix3-uhci" | "piix4-uhci" | "vt82c686b-uhci") => 2,
                Some("ehci" | "ich9-ehci1") => 6,
                Some("pci-ohci") => 3,
                Some("nec-xhci" | "qemu-xhci") => {
                    // 15 is all that QEMU has: `QEMU_USB_XHCI_MAXPORTS`.
                    self.document().number(controller.node, "@ports")?.unwrap_or(4).min(15)
                }
                _ => 0,
            };
            if count > 0 {
                let index = controller.index()?.unwrap_or(0);
                ports.counts.insert((index, Vec::new()), count);
            }
        }
        Ok(ports)
    }
}

fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX / 16)
}
