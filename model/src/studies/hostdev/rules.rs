//! What the designs disagree about, one field per decision.

use serde::{Deserialize, Serialize};

use crate::family::{Design, Status};

/// What a host's kernel does with a device that a guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Legacy assignment by KVM.
    Kvm,
    /// VFIO.
    Vfio,
    /// Xen's pciback.
    Xen,
}

/// One design's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Every parse fills an open driver, that of a configuration and that of a status file too.
    pub parse_fills: bool,
    /// A definition is filled when a user gives it, and at no later parse.
    pub define_fills: bool,
    /// When a start fills the devices of the definition.
    pub start: Start,
    /// A device that is plugged is filled.
    pub attach: bool,
    /// A device that a network gives is filled as soon as it is there.
    pub network: Network,
    /// The wrapper in front of the hostdev manager fills, whoever calls it to prepare a device.
    pub wrapper: bool,
    /// What is given back when a device is unplugged.
    pub detach: Detach,
    /// Where a driver is refused that this hypervisor has not.
    pub rejects: Rejects,
    /// What an open driver means.
    pub default: DefaultIs,
    /// The dump says which driver nobody chose, and a definition of that dump leaves it open.
    pub origin: bool,
    /// A start that fails gives back what it took, and nothing else.
    pub gives_back_what_it_took: bool,
}

/// When a start fills the devices of the definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Never.
    No,
    /// Before networks have given theirs.
    BeforeNetworks,
    /// After that, and so these as well.
    AfterNetworks,
}

/// What becomes of a device that a network gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It stays as the network has it.
    Keep,
    /// The hypervisor's only driver is written over it, whatever the network says.
    Overwrite,
}

/// What is given back when a device is unplugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detach {
    /// The object that the user's text was parsed to.
    Parsed,
    /// The same, filled.
    ParsedAndFilled,
    /// The device of the live definition.
    Live,
}

/// Where a driver is refused that this hypervisor has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejects {
    /// At every parse since the newer release, that of configurations included.
    AtParse,
    /// In front of the manager, except that of another hypervisor.
    InWrapper,
    /// In front of the manager, before anything is touched; whatever can be loaded is loaded.
    BeforeAnything,
    /// When the hypervisor is told, with the device already bound.
    Late,
}

/// What an open driver means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultIs {
    /// What is best today.
    Todays,
    /// What was there first, for ever.
    Legacy,
}

const POST_PARSE: Rules = Rules {
    parse_fills: true,
    define_fills: false,
    start: Start::No,
    attach: false,
    network: Network::Keep,
    wrapper: false,
    detach: Detach::Parsed,
    rejects: Rejects::Late,
    default: DefaultIs::Todays,
    origin: false,
    gives_back_what_it_took: false,
};

const START_ONLY: Rules = Rules { parse_fills: false, start: Start::AfterNetworks, ..POST_PARSE };

const LIBVIRT_9: Rules = Rules {
    parse_fills: false,
    wrapper: true,
    detach: Detach::Live,
    rejects: Rejects::InWrapper,
    ..POST_PARSE
};

const fn shipped(
    name: &'static str,
    (from, to): (&'static str, &'static str),
    summary: &'static str,
    source: &'static str,
    rules: Rules,
) -> (Design, Rules) {
    (Design { name, status: Status::Shipped { from, to }, summary, source }, rules)
}

const fn proposed(
    name: &'static str,
    (by, on): (&'static str, &'static str),
    summary: &'static str,
    source: &'static str,
    rules: Rules,
) -> (Design, Rules) {
    (Design { name, status: Status::Proposed { by, on }, summary, source }, rules)
}

const THREAD: &str =
    "libvir-list 2023-11, 'xen: explicitly set hostdev driver.type at runtime, not in postparse'";

/// The designs, with their decisions, in the order of the matrix.
pub const DESIGNS: [(Design, Rules); 11] = [
    shipped(
        "postparse",
        ("1.2.3", "1.3.2"),
        "filled at every parse",
        "libvirt 6225cb3df, `libxlDomainDeviceDefPostParse`",
        POST_PARSE,
    ),
    shipped(
        "postparse-network",
        ("1.3.4", "9.10.0"),
        "filled at every parse, and written over what a network gives",
        "libvirt 373b9e9f0, da6bbc51f, `libxlNetworkPrepareDevices`",
        Rules { network: Network::Overwrite, ..POST_PARSE },
    ),
    proposed(
        "start-before-network",
        ("the obvious first try", "2023-11"),
        "filled by a loop at start, before networks have given theirs",
        THREAD,
        Rules { start: Start::BeforeNetworks, ..START_ONLY },
    ),
    proposed(
        "start-only",
        ("the obvious second try", "2023-11"),
        "filled by a loop at start, after networks have given theirs",
        THREAD,
        START_ONLY,
    ),
    shipped(
        "start-attach",
        ("10.0.0", "11.3.0"),
        "filled at start and when a device is plugged, as merged for libxl; wrong names are refused at parse",
        "libvirt 9363c1cb, the patch of the thread",
        Rules { attach: true, rejects: Rejects::AtParse, ..START_ONLY },
    ),
    proposed(
        "start-attach-detach",
        ("the study", "2023-11"),
        "the same, and the object that names a device to unplug is filled too",
        "what is missing in libvirt 9363c1cb: `libxlDomainDetachHostPCIDevice`",
        Rules {
            attach: true,
            rejects: Rejects::AtParse,
            detach: Detach::ParsedAndFilled,
            ..START_ONLY
        },
    ),
    shipped(
        "libvirt-9.0",
        ("5.7.0", "9.0.0"),
        "filled by QEMU's wrapper in front of the hostdev manager; detach uses the live device",
        "libvirt `qemuHostdevPreparePCIDevicesCheckSupport`",
        LIBVIRT_9,
    ),
    shipped(
        "libvirt-11.3",
        ("10.0.0", "11.3.0"),
        "as libvirt-9.0, but what the check refuses goes on to the manager",
        "libvirt 11.3.0 `qemuDomainPrepareHostdevPCI` answers false where its callers look for less than 0",
        Rules { rejects: Rejects::Late, ..LIBVIRT_9 },
    ),
    proposed(
        "frozen-in-config",
        ("Peter Krempa", "2023-11"),
        "today's default is written into the configuration when it is defined",
        THREAD,
        Rules { define_fills: true, ..LIBVIRT_9 },
    ),
    proposed(
        "unset-means-legacy",
        ("Laine Stump", "2023-11"),
        "an open driver means the first one there was, for ever",
        THREAD,
        Rules { default: DefaultIs::Legacy, ..LIBVIRT_9 },
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "one check in front of the manager refuses before anything is touched; what was not \
                      chosen is marked so, and what was not taken is not given back",
            source: "docs/decisions/0012-the-driver-of-a-hostdev-is-a-fact-of-the-run.md",
        },
        Rules {
            origin: true,
            rejects: Rejects::BeforeAnything,
            gives_back_what_it_took: true,
            ..LIBVIRT_9
        },
    ),
];
