//! Which devices there are, what they plug into, and what they need.

/// A kind of bus, by QEMU's type name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bus {
    Pci,
    Pcie,
    Usb,
    VirtioSerial,
    Scsi,
    Ide,
    Isa,
    Hda,
}

impl Bus {
    /// As it stands in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Bus::Pci => "PCI",
            Bus::Pcie => "PCIE",
            Bus::Usb => "usb-bus",
            Bus::VirtioSerial => "virtio-serial-bus",
            Bus::Scsi => "SCSI",
            Bus::Ide => "IDE",
            Bus::Isa => "ISA",
            Bus::Hda => "HDA",
        }
    }

    /// Whether a device made for `wanted` fits: a PCIE bus is a PCI bus too.
    pub(super) fn takes(self, wanted: Bus) -> bool {
        self == wanted || (self, wanted) == (Bus::Pcie, Bus::Pci)
    }

    /// Whether the bus of a device allows plugging while the guest may run. A machine's own root bus says so itself.
    pub(super) fn hotpluggable(self) -> bool {
        !matches!(self, Bus::Ide | Bus::Isa | Bus::Hda)
    }

    /// Whether a device goes at once, or when the guest has let it go.
    pub(super) fn asks_the_guest(self) -> bool {
        matches!(self, Bus::Pci | Bus::Pcie)
    }
}

/// What a device takes from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Chardev { required: bool },
    Netdev,
    Drive { required: bool },
    Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Driver {
    pub(super) name: &'static str,
    pub(super) plugs_into: Bus,
    pub(super) needs: Needs,
    pub(super) provides: Option<Bus>,
    /// Its ports, for a USB controller or hub.
    pub(super) ports: u8,
    /// Parts of it that go with an event of their own, below its path. They have no id.
    pub(super) parts: &'static [&'static str],
    /// `false`: on the command line only.
    pub(super) pluggable: bool,
}

impl Driver {
    const fn new(name: &'static str, plugs_into: Bus) -> Self {
        let needs = Needs::Nothing;
        Driver { name, plugs_into, needs, provides: None, ports: 0, parts: &[], pluggable: true }
    }
    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }
    const fn provides(mut self, bus: Bus, ports: u8) -> Self {
        (self.provides, self.ports) = (Some(bus), ports);
        self
    }
    const fn virtio(self) -> Self {
        self.parts(&["virtio-backend"])
    }
    const fn parts(mut self, parts: &'static [&'static str]) -> Self {
        self.parts = parts;
        self
    }
    const fn fixed(mut self) -> Self {
        self.pluggable = false;
        self
    }

    pub(super) fn is_virtio(&self) -> bool {
        self.name.starts_with("virtio-")
    }

    /// A bridge names its bus like itself; any other device appends `.0`.
    pub(super) fn is_bridge(&self) -> bool {
        matches!(self.provides, Some(Bus::Pci | Bus::Pcie))
    }

    /// Who has the properties of the backend: behind a transport, the device itself.
    pub(super) fn property_owner(&self) -> String {
        match (self.name, self.name.strip_suffix("-pci")) {
            ("pci-serial" | "isa-serial", _) => "serial".to_owned(),
            (_, Some(device)) if self.is_virtio() => format!("{device}-device"),
            _ => self.name.to_owned(),
        }
    }

    pub(super) fn find(name: &str) -> Option<&'static Driver> {
        DRIVERS.iter().find(|driver| driver.name == name)
    }
}

const CHARDEV: Needs = Needs::Chardev { required: false };
const DRIVE: Needs = Needs::Drive { required: true };

/// What libvirt uses for the classes that are modelled; everything else is "not a valid device model name".
const DRIVERS: &[Driver] = &[
    Driver::new("e1000", Bus::Pci).needs(Needs::Netdev),
    Driver::new("e1000e", Bus::Pci).needs(Needs::Netdev),
    Driver::new("rtl8139", Bus::Pci).needs(Needs::Netdev),
    // Whatever the host has there: which driver holds it is not QEMU's business.
    Driver::new("vfio-pci", Bus::Pci),
    Driver::new("virtio-net-pci", Bus::Pci).needs(Needs::Netdev).virtio(),
    Driver::new("virtio-rng-pci", Bus::Pci).needs(Needs::Rng).virtio(),
    Driver::new("virtio-blk-pci", Bus::Pci).needs(DRIVE).virtio(),
    Driver::new("virtio-balloon-pci", Bus::Pci).virtio(),
    Driver::new("virtio-serial-pci", Bus::Pci).provides(Bus::VirtioSerial, 0).virtio(),
    Driver::new("virtio-scsi-pci", Bus::Pci).provides(Bus::Scsi, 0).virtio(),
    Driver::new("lsi", Bus::Pci).provides(Bus::Scsi, 0),
    Driver::new("pci-serial", Bus::Pci).needs(CHARDEV),
    Driver::new("pcie-root-port", Bus::Pcie).provides(Bus::Pcie, 0),
    Driver::new("pci-bridge", Bus::Pci).provides(Bus::Pci, 0),
    Driver::new("pcie-pci-bridge", Bus::Pci).provides(Bus::Pci, 0),
    Driver::new("piix3-usb-uhci", Bus::Pci).provides(Bus::Usb, 2),
    Driver::new("ich9-usb-ehci1", Bus::Pci).provides(Bus::Usb, 6),
    Driver::new("ich9-usb-uhci1", Bus::Pci).provides(Bus::Usb, 2),
    Driver::new("ich9-usb-uhci2", Bus::Pci).provides(Bus::Usb, 2),
    Driver::new("ich9-usb-uhci3", Bus::Pci).provides(Bus::Usb, 2),
    Driver::new("i82801b11-bridge", Bus::Pci).provides(Bus::Pci, 0).fixed(),
    Driver::new("pci-ohci", Bus::Pci).provides(Bus::Usb, 3),
    Driver::new("qemu-xhci", Bus::Pci).provides(Bus::Usb, 4),
    Driver::new("nec-usb-xhci", Bus::Pci).provides(Bus::Usb, 4),
    Driver::new("intel-hda", Bus::Pci).provides(Bus::Hda, 0),
    Driver::new("i6300esb", Bus::Pci),
    Driver::new("VGA", Bus::Pci).fixed(),
    Driver::new("cirrus-vga", Bus::Pci).fixed(),
    Driver::new("usb-serial", Bus::Usb).needs(Needs::Chardev { required: true }),
    Driver::new("usb-tablet", Bus::Usb),
    Driver::new("usb-mouse", Bus::Usb),
    Driver::new("usb-kbd", Bus::Usb),
    Driver::new("usb-hub", Bus::Usb),
    // Its disk is a part of it, on a SCSI bus of its own that has room for no other.
    Driver::new("usb-storage", Bus::Usb)
        .needs(DRIVE)
        .provides(Bus::Scsi, 0)
        .parts(&["{id}.0/legacy[0]"]),
    Driver::new("virtserialport", Bus::VirtioSerial).needs(CHARDEV),
    Driver::new("virtconsole", Bus::VirtioSerial).needs(CHARDEV),
    Driver::new("scsi-hd", Bus::Scsi).needs(DRIVE),
    Driver::new("scsi-cd", Bus::Scsi).needs(Needs::Drive { required: false }),
    Driver::new("ide-hd", Bus::Ide).needs(DRIVE),
    Driver::new("ide-cd", Bus::Ide).needs(Needs::Drive { required: false }),
    Driver::new("isa-serial", Bus::Isa).needs(CHARDEV),
    Driver::new("isa-parallel", Bus::Isa).needs(CHARDEV),
    Driver::new("ib700", Bus::Isa),
    Driver::new("hda-duplex", Bus::Hda),
];
