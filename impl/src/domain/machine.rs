//! What follows from the architecture and the machine type.

use std::borrow::Cow;

/// Architecture and machine type, as in `<type arch='…' machine='…'>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine<'a> {
    /// The architecture, `x86_64` for example.
    pub arch: Cow<'a, str>,
    /// The machine type, `pc-q35-7.2` for example.
    pub name: Cow<'a, str>,
}

impl Machine<'_> {
    fn is(&self, name: &str) -> bool {
        // `virt` and `virt-7.2`, but not `virtex`.
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// `ARCH_IS_X86`
    pub fn is_x86(&self) -> bool {
        matches!(&*self.arch, "x86_64" | "i686")
    }

    /// `ARCH_IS_PPC64`
    pub fn is_ppc64(&self) -> bool {
        matches!(&*self.arch, "ppc64" | "ppc64le")
    }

    /// `ARCH_IS_PPC`
    pub fn is_ppc(&self) -> bool {
        self.is_ppc64() || matches!(&*self.arch, "ppc" | "ppcemb")
    }

    /// `ARCH_IS_S390`
    pub fn is_s390(&self) -> bool {
        matches!(&*self.arch, "s390" | "s390x")
    }

    /// `ARCH_IS_ARM`
    pub fn is_arm(&self) -> bool {
        matches!(&*self.arch, "armv6l" | "armv7l" | "armv7b" | "aarch64")
    }

    /// `ARCH_IS_RISCV`
    pub fn is_riscv(&self) -> bool {
        matches!(&*self.arch, "riscv32" | "riscv64")
    }

    /// `qemuDomainMachineIsI440FX`
    pub fn is_i440fx(&self) -> bool {
        let starts = |prefix| self.name.starts_with(prefix);
        self.is_x86()
            && (self.name == "pc"
                || ["pc-0.", "pc-1.", "pc-i440fx-", "rhel"].into_iter().any(starts))
    }

    /// `qemuDomainMachineIsQ35`
    pub fn is_q35(&self) -> bool {
        self.is_x86() && (self.name == "q35" || self.name.starts_with("pc-q35-"))
    }

    /// `qemuDomainMachineIsPSeries`
    pub fn is_pseries(&self) -> bool {
        self.is_ppc64() && self.is("pseries")
    }

    /// `qemuDomainMachineIsARMVirt`
    pub fn is_arm_virt(&self) -> bool {
        matches!(&*self.arch, "armv6l" | "armv7l" | "aarch64") && self.is("virt")
    }

    /// `qemuDomainMachineIsRISCVVirt`
    pub fn is_riscv_virt(&self) -> bool {
        self.is_riscv() && self.is("virt")
    }

    /// `qemuDomainMachineHasBuiltinIDE`
    pub fn has_builtin_ide(&self) -> bool {
        self.is_i440fx() || matches!(&*self.name, "malta" | "sun4u" | "g3beige")
    }

    /// `qemuDomainHasBuiltinESP`
    pub fn has_builtin_esp(&self) -> bool {
        match &*self.arch {
            "sparc" => true,
            "mips64" | "mips64el" => matches!(&*self.name, "magnum" | "pica61"),
            "m68k" => self.name == "q800",
            _ => false,
        }
    }

    /// The names of PCI buses are `pci.N`, not `pci`: `virQEMUCapsHasPCIMultiBus`.
    pub fn has_pci_multibus(&self) -> bool {
        self.is_x86()
            || self.is_ppc()
            || self.is_s390()
            || self.is_arm_virt()
            || self.is_riscv_virt()
    }

    /// The root of PCI is a `pcie-root`: `qemuDomainDefAddDefaultDevices`.
    pub fn has_pcie_root(&self) -> bool {
        self.is_q35() || self.is_arm_virt() || self.is_riscv_virt()
    }

    /// The root of PCI is a `pci-root`: `qemuDomainDefAddDefaultDevices`.
    pub fn has_pci_root(&self) -> bool {
        match &*self.arch {
            "i686" | "x86_64" => self.is_i440fx(),
            "armv6l" => self.name == "versatilepb",
            "mips" | "mipsel" | "mips64" | "mips64el" => self.name == "malta",
            "ppc64" | "ppc64le" | "alpha" | "ppc" | "ppcemb" | "sh4" | "sh4eb" | "sparc64" => true,
            "s390" | "s390x" => true,
            _ => false,
        }
    }
}
