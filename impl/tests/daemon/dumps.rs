//! What is shown of a definition, and that no restart changes it.

use std::fs;

use serde_json::json;

use super::support::{Daemon, Peer, define, play};

#[track_caller]
fn dump(daemon: &Daemon, name: &str, form: &str) -> String {
    let answer = daemon.ask(json!({"dump": {"domain": name, "form": form}}));
    let xml = answer["reply"]["xml"].as_str();
    xml.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

const FORMS: [&str; 3] = ["live", "inactive", "migratable"];

fn forms(daemon: &Daemon, name: &str) -> Vec<String> {
    FORMS.iter().map(|form| dump(daemon, name, form)).collect()
}

/// The devices of a dump, without blanks, records and what is the same in all.
fn devices(xml: &str) -> String {
    let from = xml.find("<devices>").unwrap() + "<devices>".len();
    let devices = &xml[from..xml.find("</devices>").unwrap()];
    devices.split('\n').map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[test]
fn what_is_inactive_is_what_the_user_wrote_and_what_is_live_is_whole() {
    let mut daemon = Daemon::new();
    let xml = "<domain type='qemu'>\n  <name>demo</name>\n  <os><type arch='x86_64' machine='pc'>hvm</type></os>\n  \
               <x:mine xmlns:x='urn:x'><!-- kept --></x:mine>\n  <devices>\n    <disk><source file='/a'/><target dev='vda'/></disk>\n    \
               <serial type='null'><alias name='serial7'/></serial>\n    <rng model='virtio'><alias name='ua-rng'/></rng>\n  </devices>\n</domain>";
    daemon.ask(json!({"define": {"xml": xml}}));
    let before = forms(&daemon, "demo");
    let said =
        FORMS.iter().zip(&before).map(|(form, shown)| format!("{form}:\n{}\n", devices(shown)));
    insta::assert_snapshot!(said.collect::<String>(), @r"
    live:
    <disk><source file='/a'/><target dev='vda' bus='virtio'/><address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></disk>
    <serial type='null'>
    <target type='isa-serial' port='0'>
    <model name='isa-serial'/>
    </target>
    </serial>
    <rng model='virtio'><alias name='ua-rng'/><address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/></rng>
    <controller type='usb' index='0' model='piix3-uhci'>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>
    </controller>
    <controller type='pci' index='0' model='pci-root'/>
    <input type='mouse' bus='ps2'/>
    <input type='keyboard' bus='ps2'/>
    <memballoon model='virtio'>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </memballoon>
    <console type='null'><target type='serial' port='0'/></console>
    inactive:
    <disk><source file='/a'/><target dev='vda'/></disk>
    <serial type='null'>
    <target type='isa-serial' port='0'>
    <model name='isa-serial'/>
    </target>
    </serial>
    <rng model='virtio'><alias name='ua-rng'/></rng>
    migratable:
    <disk><source file='/a'/><target dev='vda' bus='virtio'/><address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></disk>
    <serial type='null'>
    <target type='isa-serial' port='0'>
    <model name='isa-serial'/>
    </target>
    </serial>
    <rng model='virtio'><alias name='ua-rng'/><address type='pci' domain='0x0000' bus='0x00' slot='0x04' function='0x0'/></rng>
    <input type='mouse' bus='ps2'/>
    <input type='keyboard' bus='ps2'/>
    <memballoon model='virtio'>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </memballoon>
    <console type='null'><target type='serial' port='0'/></console>
    ");
    for shown in &before {
        assert!(shown.contains("<x:mine xmlns:x='urn:x'><!-- kept --></x:mine>"), "{shown}");
    }
    // What is kept is what is shown as inactive.
    let kept = daemon.dir.path().join("s/definitions/demo.xml");
    assert_eq!(fs::read_to_string(kept).unwrap(), before[1]);
    // A kill changes no dump.
    daemon.kill();
    daemon.start(&[]);
    assert_eq!(forms(&daemon, "demo"), before);
    // What was shown, defined again, is the same definition; so is what a receiver is sent.
    for form in [1, 0, 2] {
        let answer = daemon.ask(json!({"define": {"xml": before[form]}}));
        assert_eq!(answer["reply"]["defined"]["domain"], "demo", "{answer}");
        let again = forms(&daemon, "demo");
        assert_eq!(devices(&again[0]), devices(&before[0]), "{}", FORMS[form]);
    }
}

#[test]
fn a_running_domain_is_sent_without_what_the_other_host_adds() {
    let mut daemon = Daemon::new();
    define(&daemon, "demo");
    play(&daemon, "demo", Peer::Answers);
    assert_eq!(daemon.ask(json!({"start": {"domain": "demo"}})), json!({"id": 1, "reply": "done"}));
    let before = forms(&daemon, "demo");
    let said = FORMS.iter().zip(&before).map(|(form, shown)| {
        let shown = devices(shown).replace(&daemon.dir.path().display().to_string(), "DIR");
        format!("{form}:\n{}\n", shown.replace("><", ">\n<"))
    });
    insta::assert_snapshot!(said.collect::<String>(), @r"
    live:
    <emulator>DIR/emulator</emulator>
    <controller type='usb' index='0' model='none'>
    <alias name='usb'/>
    </controller>
    <controller type='virtio-serial' index='0'>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    <alias name='virtio-serial0'/>
    </controller>
    <controller type='pci' index='0' model='pci-root'>
    <alias name='pci.0'/>
    </controller>
    <memballoon model='none'/>
    <input type='mouse' bus='ps2'>
    <alias name='input0'/>
    </input>
    <input type='keyboard' bus='ps2'>
    <alias name='input1'/>
    </input>
    inactive:
    <emulator>DIR/emulator</emulator>
    <controller type='usb' index='0' model='none'/>
    <controller type='virtio-serial' index='0'>
    </controller>
    <memballoon model='none'/>
    migratable:
    <emulator>DIR/emulator</emulator>
    <controller type='usb' index='0' model='none'>
    </controller>
    <controller type='virtio-serial' index='0'>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>
    </controller>
    <memballoon model='none'/>
    <input type='mouse' bus='ps2'>
    </input>
    <input type='keyboard' bus='ps2'>
    </input>
    ");
    daemon.kill();
    daemon.start(&[]);
    // The monitor is played by this process, so the next daemon does not believe it; it knows the guest all the same.
    daemon.await_state("demo", "unresponsive");
    assert_eq!(forms(&daemon, "demo"), before);
}

#[test]
fn what_cannot_be_is_refused_at_its_place_and_changes_nothing() {
    let daemon = Daemon::new();
    define(&daemon, "demo");
    let before = forms(&daemon, "demo");
    let refused = |devices: &str| {
        let xml = before[0].replace("</devices>", &format!("{devices}</devices>"));
        daemon.refused(json!({"define": {"xml": xml}}))
    };
    let disk = "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk>";
    let said = refused(&format!("\n{disk}\n {disk}\n"));
    assert!(
        said.ends_with(
            "/domain/devices/disk[1]: give each disk a target of its own"
        ) && said.contains("column 2, /domain/devices/disk[2]: target `vda` is given to two disks, of `/a` and of `/a`; the other is at line "),
        "{said}"
    );
    let said = refused("<rng model='virtio'><alias name='ua-&lt;'/></rng>");
    assert!(said.contains("/domain/devices/rng: `ua-<` is not a user alias"), "{said}");
    assert_eq!(forms(&daemon, "demo"), before);
}
