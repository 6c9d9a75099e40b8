//! What a definition must not say, though each part of it is right.

use std::collections::BTreeMap;

use super::{Class, Device, Domain, Error, Problem, lookup::Quoted};

impl Domain {
    /// Checks what no single device can be asked: user aliases ([`Domain::validate_aliases`]), and that no two disks
    /// have the same target.
    ///
    /// # Errors
    /// At the second of two devices that cannot both be; the message has the place of the first.
    pub fn validate(&self) -> Result<(), Error> {
        self.validate_aliases()?;
        self.validate_targets()
    }

    /// A disk's target is its name, and most of its alias: `virDomainDiskDefCheckDuplicateInfo`, at definition
    /// (`virDomainDefDuplicateDiskInfoValidate`) as at hotplug (`qemuDomainAttachDeviceDiskLiveInternal`).
    fn validate_targets(&self) -> Result<(), Error> {
        let mut seen: BTreeMap<String, Device<'_>> = BTreeMap::new();
        for disk in self.of(Class::Disk) {
            let Some(target) = disk.get("target/@dev").filter(|target| !target.is_empty()) else {
                continue;
            };
            if let Some(other) = seen.insert(target.clone().into_owned(), disk) {
                let place = other.error(Problem::Empty);
                let disks = format!(
                    "of {} and of {}; the other is at line {}, column {}, {}",
                    source(disk),
                    source(other),
                    place.line,
                    place.column,
                    place.path
                );
                let target = Quoted(&target).to_string();
                return Err(disk.error(Problem::DuplicateTarget { target, disks }));
            }
        }
        Ok(())
    }
}

/// What a disk is made of: `virDomainDiskGetSource`.
fn source(disk: Device<'_>) -> String {
    let paths = ["source/@file", "source/@dev", "source/@dir", "source/@name", "source/@volume"];
    paths
        .iter()
        .find_map(|path| disk.get(path))
        .map_or("nothing".to_owned(), |it| Quoted(&it).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(devices: &str, expected: &str) {
        let text = format!("<domain><devices>\n{devices}\n</devices></domain>");
        let said = Domain::parse(&text).unwrap().validate().map_err(|error| error.to_string());
        assert_eq!(said.err().unwrap_or_default(), expected);
    }

    #[test]
    fn two_disks_never_have_one_target() {
        check("<disk><target dev='vda'/></disk>\n<disk><target dev='vdb'/></disk>", "");
        check(
            "<disk><source file='/a'/><target dev='vda'/></disk>\n <disk><target dev='vda' bus='scsi'/></disk>",
            "line 3, column 2, /domain/devices/disk[2]: target `vda` is given to two disks, of nothing and of `/a`; \
             the other is at line 2, column 1, /domain/devices/disk[1]: give each disk a target of its own",
        );
        // What names no target cannot have that of another.
        check("<disk/><disk/><disk><target bus='scsi'/></disk>", "");
        // The message stays short and harmless.
        let long = format!("<disk><target dev='{}&#10;'/></disk>", "x".repeat(10_000));
        let text = format!("<domain><devices>{long}{long}</devices></domain>");
        let said = Domain::parse(&text).unwrap().validate().unwrap_err().to_string();
        assert!(said.len() < 400 && !said.contains('\n'), "{said}");
    }
}
