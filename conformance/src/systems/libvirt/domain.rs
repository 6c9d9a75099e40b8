//! The domain that is played with, and what can be read of it without asking anybody.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Its name.
pub(super) const NAME: &str = "t";

/// A machine without a guest operating system, with a second monitor of ours. Its channels come and go.
pub(super) fn xml(qemu: &Path, look: &Path) -> String {
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{NAME}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>{}</emulator><controller type='virtio-serial' index='0'/>\
         <controller type='usb' model='none'/><memballoon model='none'/></devices>\
         <qemu:commandline><qemu:arg value='-qmp'/>\
         <qemu:arg value='unix:{},server=on,wait=off'/></qemu:commandline></domain>",
        qemu.display(),
        look.display()
    )
}

/// A channel, the n-th that was ever asked for.
pub(super) fn channel(number: u32) -> String {
    format!("<channel type='null'><target type='virtio' name='org.example.{number}'/></channel>")
}

/// Where QEMU's monitor listens.
pub(super) fn monitor(root: &Path) -> PathBuf {
    root.join(format!("lib/qemu/domain-1-{NAME}/monitor.sock"))
}

/// The status file.
pub(super) fn status(root: &Path) -> PathBuf {
    root.join(format!("run/qemu/{NAME}.xml"))
}

/// A directory of this name keeps libvirt from saving (`virFileRewrite` creates it as a file).
pub(super) fn obstacle(root: &Path) -> PathBuf {
    root.join(format!("run/qemu/{NAME}.xml.new"))
}

/// The pid of the guest's QEMU.
pub(super) fn pid(root: &Path) -> Option<i32> {
    fs::read_to_string(root.join(format!("run/qemu/{NAME}.pid"))).ok()?.trim().parse().ok()
}

/// Is this process the QEMU of this directory, and no zombie?
pub(super) fn is_ours(pid: i32, root: &Path) -> bool {
    // The words of a zombie are gone.
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let root = root.as_os_str().as_encoded_bytes();
    words.windows(root.len().max(1)).any(|part| part == root)
}

/// The definition in virsh's answer, which may repeat the command before it.
pub(super) fn definition(answer: &str) -> &str {
    let from = answer.find("<domain").unwrap_or_default();
    let to = answer.rfind(END).map_or(answer.len(), |at| at + END.len());
    answer.get(from..to).unwrap_or_default()
}

const END: &str = "</domain>";

/// The aliases of the channels in a dump.
pub(super) fn channels(dump: &str) -> Vec<String> {
    let named = dump.split("<channel ").skip(1).filter_map(|rest| {
        let element = rest.split("</channel>").next()?;
        let alias = element.split("<alias name='").nth(1)?;
        Some(alias.split('\'').next()?.to_owned())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_taken_out_of_what_is_around_it() {
        let dump = "<domain type='qemu'><name>t</name></domain>";
        assert_eq!(definition(&format!("dumpxml t\n{dump}\n\necho done  7  end")), dump);
        assert_eq!(definition(dump), dump);
        assert_eq!(definition("error: no domain"), "error: no domain");
    }
}
