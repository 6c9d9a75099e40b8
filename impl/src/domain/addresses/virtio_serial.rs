//! Ports of virtio-serial controllers: `qemuDomainAssignVirtioSerialAddresses`.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Address, Class, Domain, Error, Problem, VirtioSerial, tree::NodeId};

/// Ports of a controller that does not say how many it has.
const PORTS: u32 = 31;

/// Which ports of which controller are taken.
struct Ports {
    controllers: BTreeMap<u32, (u32, BTreeSet<u32>)>,
}

impl Ports {
    /// The first free port from `first` on: `virDomainVirtioSerialAddrNext`.
    fn next(&self, first: u32, controller: Option<u32>) -> Option<VirtioSerial> {
        let wanted = |index: &u32| controller.is_none_or(|controller| controller == *index);
        let mut controllers = self.controllers.iter().filter(|(index, _)| wanted(index));
        controllers.find_map(|(&controller, (count, taken))| {
            let port = (first..*count).find(|port| !taken.contains(port))?;
            Some(VirtioSerial { controller, bus: 0, port })
        })
    }

    fn take(&mut self, address: VirtioSerial) {
        let ports = self.controllers.entry(address.controller);
        ports.or_insert((PORTS, BTreeSet::new())).1.insert(address.port);
    }
}

impl Domain {
    pub(super) fn assign_virtio_serial(&mut self) -> Result<(), Error> {
        let mut ports = Ports { controllers: BTreeMap::new() };
        for controller in self.of(Class::Controller) {
            if controller.kind() == "virtio-serial" {
                let count = self.document().number(controller.node, "@ports")?.unwrap_or(PORTS);
                let index = controller.index()?.unwrap_or(0);
                ports.controllers.insert(index, (count, BTreeSet::new()));
            }
        }
        let mut wanting = Vec::new();
        for class in [Class::Console, Class::Channel] {
            for device in self.of(class).filter(|device| device.kind() == "virtio") {
                match device.address()? {
                    Some(Address::VirtioSerial(address)) if address.port != 0 => {
                        self.take_port(&mut ports, device.node, address)?;
                    }
                    Some(Address::VirtioSerial(address)) => {
                        wanting.push((device.node, class, Some(address.controller)));
                    }
                    Some(_) => {}
                    None => wanting.push((device.node, class, None)),
                }
            }
        }
        for (node, class, controller) in wanting {
            // Port 0 is kept for consoles.
            let first = if class == Class::Console { 0 } else { 1 };
            let address = match ports.next(first, controller) {
                Some(address) => address,
                None if controller.is_some() => {
                    let problem = Problem::NoAddress("virtio-serial");
                    return Err(self.document().error(node, problem));
                }
                None => {
                    let index = (0..).find(|index| !ports.controllers.contains_key(index));
                    let controller = index.unwrap_or(0);
                    self.add_controller("virtio-serial", controller, None)?;
                    VirtioSerial { controller, bus: 0, port: first }
                }
            };
            ports.take(address);
            // A console's port is taken, but not written down: QEMU chooses the same one
            // (`virDomainVirtioSerialAddrAssign` with allowZero).
            if class == Class::Channel {
                Address::VirtioSerial(address).put(self.document_mut(), node)?;
            }
        }
        Ok(())
    }

    fn take_port(
        &self,
        ports: &mut Ports,
        node: NodeId,
        address: VirtioSerial,
    ) -> Result<(), Error> {
        let text = format!("virtio-serial {}/{}", address.controller, address.port);
        let problem = match ports.controllers.get_mut(&address.controller) {
            Some((count, taken)) if address.port < *count => match taken.insert(address.port) {
                true => return Ok(()),
                false => Problem::AddressInUse(text),
            },
            _ => Problem::NoAddress("virtio-serial"),
        };
        Err(self.document().error(node, problem))
    }
}
