//! The libvirt generations, and what they disagree about, one function per decision.

use serde::{Deserialize, Serialize};

use super::hardware::{Build, Machine, Model};

/// A stretch of releases that treat the default USB controller alike; the letters are the thread's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Generation {
    /// Ancient: no USB controllers in XML.
    Z,
    /// Controllers can be written; nothing is added.
    Y,
    /// A controller is added by the parser, and sent.
    Y2,
    /// The thread's \[A\], first part: it is dropped from the migratable text (409b5f549).
    A0,
    /// On ppc64 `pci-ohci` where QEMU has piix3-usb-uhci (d1778b714).
    A1,
    /// On ppc64 always `-usb` (88c6159ca).
    A2,
    /// On ppc64 `-usb` where QEMU lacks piix3-usb-uhci or pci-ohci (7b6b9d386).
    A3,
    /// On ppc64 `pci-ohci` (8156493d).
    B,
    /// Sent again, except on i440fx (be1a7e6d3).
    C,
    /// The model is filled in post-parse (f55eaccb0). Never released alone.
    D,
    /// piix3-uhci is dropped on i440fx too (31de0fab9).
    #[serde(rename = "D'")]
    DPrime,
    /// The same, and q35 prefers nec-xhci (d8bd83766).
    #[serde(rename = "D'5")]
    DPrime5,
    /// New defaults on ppc64 where a domain is defined, `VIR_DOMAIN_DEF_PARSE_ABI_UPDATE` (90acbc76e,
    /// 568887a32).
    E,
    /// The same, and the slot search becomes first fit (2bd0658d7).
    F,
    /// libvirt 9.0.0: the same, and q35 prefers qemu-xhci.
    N,
    /// This project's.
    #[serde(rename = "ours")]
    Ours,
}

use Generation::*;

/// How a hotplugged device is given a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// After the last one given, once around (c305783c6; before it, a pointer of the same kind).
    Next,
    /// The lowest one free (2bd0658d7).
    First,
}

/// Which controllers without a model, alone in a definition, a migratable text leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// None.
    Nothing,
    /// Those without a model, on every machine.
    Unset,
    /// Those without a model, on i440fx.
    UnsetOnI440fx,
    /// Those without a model and piix3-uhci, on i440fx.
    Piix3OnI440fx,
}

impl Generation {
    /// From the oldest to the newest.
    pub const ALL: [Generation; 16] =
        [Z, Y, Y2, A0, A1, A2, A3, B, C, D, DPrime, DPrime5, E, F, N, Ours];

    /// The name in the matrix.
    pub fn name(self) -> &'static str {
        match self {
            Z => "Z",
            Y => "Y",
            Y2 => "Y2",
            A0 => "A0",
            A1 => "A1",
            A2 => "A2",
            A3 => "A3",
            B => "B",
            C => "C",
            D => "D",
            DPrime => "D'",
            DPrime5 => "D'5",
            E => "E",
            F => "F",
            N => "N",
            Ours => "ours",
        }
    }

    /// The releases it stands for. Where a rule changed within a stretch, the part that is modelled.
    pub fn releases(self) -> &'static str {
        match self {
            Z => "up to 0.9.4",
            Y => "0.9.5 to 0.9.9",
            Y2 => "0.9.10 and 0.9.11",
            A0 => "0.9.12",
            A1 => "0.10.0 to 1.0.4",
            A2 => "1.1.2 to 1.2.3",
            A3 => "1.2.4 to 1.3.0",
            B => "1.3.1 to 1.3.4",
            C => "1.3.5 to 2.1.0",
            D => "none: one commit",
            DPrime => "2.2.0 to 2.4.0",
            DPrime5 => "2.5.0 to 3.2.0",
            E => "3.3.0 to 3.5.0",
            F => "3.6.0 to 4.0.0",
            N => "9.0.0",
            Ours => "statusquo-vmm",
        }
    }

    /// pseries came in 0.9.9 and q35 in 1.1.2.
    pub fn knows_machine(self, machine: Machine) -> bool {
        match machine {
            Machine::I440fx => true,
            Machine::Pseries25 | Machine::Pseries26 => self >= Y2,
            Machine::Q35 => self >= A2,
        }
    }

    /// Does the parser know `<controller type='usb'>` (d6d54cd19)?
    pub fn knows_controllers(self) -> bool {
        self >= Y
    }

    /// Does the parser know the string (fd4fd420b, 092518971)?
    pub fn knows_model(self, model: Model) -> bool {
        match model {
            Model::Piix3Uhci | Model::PciOhci | Model::Ich9 => self >= Y,
            Model::NecXhci | Model::None => self >= A1,
            Model::QemuXhci => self >= E,
        }
    }

    /// What the parser adds where there is no USB controller: nothing, one without a model
    /// (`Some(None)`), or one with (`virDomainDefParseXML` in 0.9.10, later
    /// `qemuDomainDefAddDefaultDevices`). It asks for no flag: also on load and on arrival.
    pub fn adds(self, machine: Machine, build: Build) -> Option<Option<Model>> {
        let first =
            |models: &[Model]| models.iter().copied().find(|model| build.has(*model)).map(Some);
        match machine {
            Machine::Q35 if self >= N => first(&[Model::QemuXhci, Model::NecXhci, Model::Ich9]),
            Machine::Q35 if self >= DPrime5 => first(&[Model::NecXhci, Model::Ich9]),
            Machine::Q35 if self >= B => first(&[Model::Ich9]),
            Machine::Q35 => None,
            _ => (self >= Y2).then_some(None),
        }
    }

    /// What the parser makes of a controller without a model; nothing means that it stays so.
    /// `update` is `VIR_DOMAIN_DEF_PARSE_ABI_UPDATE`, set where a domain is defined.
    pub fn resolves(self, machine: Machine, build: Build, update: bool) -> Option<Model> {
        let first = |models: &[Model]| models.iter().copied().find(|model| build.has(*model));
        match machine.is_pseries() {
            _ if self < D => None,
            true if self >= E && update => {
                first(&[Model::QemuXhci, Model::NecXhci, Model::PciOhci])
            }
            true => first(&[Model::PciOhci]),
            false => first(&[Model::Piix3Uhci]),
        }
    }

    /// What the command line makes of a controller without a model: a device, or nothing for `-usb`
    /// (`qemuBuildControllerDevCommandLine`).
    pub fn device_for_unset(self, machine: Machine, build: Build) -> Option<Model> {
        let (piix3, ohci) = (build.has(Model::Piix3Uhci), build.has(Model::PciOhci));
        let uhci = piix3.then_some(Model::Piix3Uhci);
        match self {
            Z => None,
            D | DPrime | DPrime5 | E | F | N | Ours => None,
            _ if !machine.is_pseries() => uhci,
            Y | Y2 | A0 => uhci,
            A1 => (piix3 && ohci).then_some(Model::PciOhci),
            A2 => None,
            A3 => (piix3 && ohci).then_some(Model::PciOhci),
            B | C => ohci.then_some(Model::PciOhci),
        }
    }

    /// What a migratable text leaves out (`qemuDomainDefFormatBuf`).
    pub fn drops(self) -> Dropped {
        match self {
            Z | Y | Y2 => Dropped::Nothing,
            A0 | A1 | A2 | A3 | B => Dropped::Unset,
            C | D => Dropped::UnsetOnI440fx,
            DPrime | DPrime5 | E | F | N | Ours => Dropped::Piix3OnI440fx,
        }
    }

    /// Are the rules of PIIX3 applied to every machine (before fcbfd5842)?
    pub fn takes_all_for_piix3(self) -> bool {
        self <= A1
    }

    /// Does an address of zeros mean "please assign" (c026f8f1c)? Before, it is refused.
    pub fn assigns_all_zero(self) -> bool {
        self >= C
    }

    /// How a hotplugged device is given a slot.
    pub fn fit(self) -> Fit {
        if self >= F { Fit::First } else { Fit::Next }
    }

    /// Are PCIe devices of q35 given root ports (2.5.0)? Before, everything goes to one conventional bus.
    pub fn has_root_ports(self) -> bool {
        self >= DPrime5
    }

    /// Does the ich9 set of q35 prefer slot 0x1d (163338ec2)?
    pub fn prefers_slots_for_ich9(self) -> bool {
        self >= B
    }

    /// Does the command line itself choose PIIX3 for a controller that is left open, and refuse where QEMU
    /// has none? From \[D\] on the parser chooses, and what it leaves open is an error of its own.
    pub fn command_line_chooses(self) -> bool {
        self < D
    }

    /// Does the address of a controller that arrives without one come from the allocator that later serves
    /// hotplug? Until 1.3.5 addresses were assigned when the process starts (5d7314bbc), since then in
    /// post-parse, with an allocator of its own.
    pub fn arrival_moves_the_pointer(self) -> bool {
        self < C && self.fit() == Fit::Next
    }
}
