//! The classes of devices.

/// What a device is: the name of its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// `<disk>`
    Disk,
    /// `<interface>`
    Interface,
    /// `<filesystem>`
    Filesystem,
    /// `<sound>`
    Sound,
    /// `<hostdev>`
    Hostdev,
    /// `<redirdev>`
    Redirdev,
    /// `<video>`
    Video,
    /// `<controller>`
    Controller,
    /// `<input>`
    Input,
    /// `<parallel>`
    Parallel,
    /// `<serial>`
    Serial,
    /// `<channel>`
    Channel,
    /// `<console>`
    Console,
    /// `<hub>`
    Hub,
    /// `<shmem>`
    Shmem,
    /// `<smartcard>`
    Smartcard,
    /// `<watchdog>`
    Watchdog,
    /// `<memballoon>`
    Memballoon,
    /// `<rng>`
    Rng,
    /// `<tpm>`
    Tpm,
    /// `<memory>`
    Memory,
    /// `<vsock>`
    Vsock,
    /// `<iommu>`
    Iommu,
    /// `<panic>`
    Panic,
    /// `<nvram>`
    Nvram,
    /// `<graphics>`
    Graphics,
    /// `<audio>`
    Audio,
    /// `<lease>`
    Lease,
    /// `<crypto>`
    Crypto,
}

impl Class {
    /// Every class, those with an alias first, in the order in which libvirt assigns them
    /// (`qemuAssignDeviceAliases`).
    pub const ALL: [Self; 29] = [
        Self::Disk,
        Self::Interface,
        Self::Filesystem,
        Self::Sound,
        Self::Hostdev,
        Self::Redirdev,
        Self::Video,
        Self::Controller,
        Self::Input,
        Self::Parallel,
        Self::Serial,
        Self::Channel,
        Self::Console,
        Self::Hub,
        Self::Shmem,
        Self::Smartcard,
        Self::Watchdog,
        Self::Memballoon,
        Self::Rng,
        Self::Tpm,
        Self::Memory,
        Self::Vsock,
        Self::Iommu,
        Self::Panic,
        Self::Nvram,
        Self::Graphics,
        Self::Audio,
        Self::Lease,
        Self::Crypto,
    ];

    /// The name of the element.
    pub fn element(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Interface => "interface",
            Self::Filesystem => "filesystem",
            Self::Sound => "sound",
            Self::Hostdev => "hostdev",
            Self::Redirdev => "redirdev",
            Self::Video => "video",
            Self::Controller => "controller",
            Self::Input => "input",
            Self::Parallel => "parallel",
            Self::Serial => "serial",
            Self::Channel => "channel",
            Self::Console => "console",
            Self::Hub => "hub",
            Self::Shmem => "shmem",
            Self::Smartcard => "smartcard",
            Self::Watchdog => "watchdog",
            Self::Memballoon => "memballoon",
            Self::Rng => "rng",
            Self::Tpm => "tpm",
            Self::Memory => "memory",
            Self::Vsock => "vsock",
            Self::Iommu => "iommu",
            Self::Panic => "panic",
            Self::Nvram => "nvram",
            Self::Graphics => "graphics",
            Self::Audio => "audio",
            Self::Lease => "lease",
            Self::Crypto => "crypto",
        }
    }

    /// The class of an element's name.
    pub fn of(element: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.element() == element)
    }
}
