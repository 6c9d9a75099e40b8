//! Disks and controllers on a real QEMU, under a daemon that is killed before and after each of its effects.
//!
//! The other classes of devices are driven by `statusquo replay restart --system vmmd`. The names of these do not
//! count: a disk is called after its target, a controller after its index.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use statusquo_vmm::{
    domain::Domain,
    hypervisor::{
        Command, Hypervisor,
        qmp::{Client, Limits},
    },
    status::Status,
};

use super::support::{Daemon, PATIENCE, has_qemu};

/// More than any request has.
const BOUNDARIES_MAX: u64 = 60;

/// A daemon, a QEMU whose processor is parked, and a second monitor to look with.
pub(crate) struct Bench {
    pub(crate) daemon: Daemon,
    pub(crate) look: Client,
}

impl Bench {
    pub(crate) fn new(daemon: Daemon) -> Self {
        define(&daemon);
        assert_eq!(daemon.ask(start()), json!({"id": 1, "reply": "done"}), "{}", daemon.log());
        let look = look(daemon.dir.path());
        Bench { daemon, look }
    }

    /// What the definition, the status file and QEMU say of a device, and QEMU of its backend.
    fn places(&mut self, alias: &str, backend: Option<&str>) -> [bool; 4] {
        let has = |domain: &Domain| domain.devices().any(|it| it.alias().as_deref() == Some(alias));
        // A dump is answered when nothing else is to be done.
        let live = dump(&self.daemon, "live");
        let path = self.daemon.runtime().join("status/demo.xml");
        let status = Status::parse(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(status.intents().count(), 0, "{}", status.to_xml());
        let inventory = self.look.inventory().unwrap();
        let backends = &inventory.blocknodes;
        [
            has(&Domain::parse(&live).unwrap()),
            has(status.domain()),
            inventory.devices.iter().any(|id| id == alias),
            backend.map_or(inventory.devices.iter().any(|id| id == alias), |backend| {
                backends.iter().any(|id| id == backend)
            }),
        ]
    }

    fn reset(&mut self) {
        self.look.execute(&Command::of("system_reset", json!({}))).unwrap().unwrap();
    }
}

fn look(dir: &Path) -> Client {
    let limits = Limits { connect_within: PATIENCE, reply_within: PATIENCE, ..Limits::default() };
    Client::connect(dir.join("look"), limits).unwrap()
}

pub(crate) fn start() -> Value {
    json!({"start": {"domain": "demo"}})
}

fn dump(daemon: &Daemon, form: &str) -> String {
    let answer = daemon.ask(json!({"dump": {"domain": "demo", "form": form}}));
    answer["reply"]["xml"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

pub(crate) fn define(daemon: &Daemon) {
    let dir = daemon.dir.path();
    // `hlt`, from the reset vector on.
    fs::write(dir.join("firmware"), vec![0xf4; 64 << 10]).unwrap();
    let script = format!(
        "#!/bin/sh\nexec qemu-system-x86_64 \"$@\" -bios '{0}/firmware' -qmp 'unix:{0}/look,server=on,wait=off'\n",
        dir.display()
    );
    fs::write(dir.join("emulator"), script).unwrap();
    fs::set_permissions(dir.join("emulator"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(dir.join("image"), vec![0; 1 << 16]).unwrap();
    let xml = format!(
        "<domain type='qemu'><name>demo</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
         <emulator>{}/emulator</emulator><controller type='usb' index='0' model='piix3-uhci'/>\
         <controller type='virtio-serial' index='0'/><memballoon model='none'/></devices></domain>",
        dir.display()
    );
    let answer = daemon.ask(json!({"define": {"xml": xml}}));
    assert_eq!(answer["reply"]["defined"]["domain"], "demo", "{answer}");
}

/// A request to a daemon that is killed at this boundary, perhaps before it listens. Its answer, and whether it lived
/// until nothing more was to be done. After that another daemon runs.
fn ask_killed_at(bench: &mut Bench, boundary: u64, request: &Value) -> (Option<Value>, bool) {
    let daemon = &mut bench.daemon;
    daemon.kill();
    let listens = daemon.start_perhaps(&[("STATUSQUO_VMMD_KILL_AT", &boundary.to_string())]);
    let answer = match listens {
        true => reached(daemon).and_then(|()| daemon.try_ask(request.clone())),
        false => None,
    };
    let going = answer.as_ref().and_then(|it| it["reply"]["unplug-requested"]["alias"].as_str());
    if going.is_some() {
        // The guest lets go.
        bench.look.execute(&Command::of("system_reset", json!({}))).unwrap().unwrap();
    }
    // A dump is answered when nothing else is to be done.
    let dump = json!({"dump": {"domain": "demo", "form": "live"}});
    let deadline = Instant::now() + PATIENCE;
    let lived = answer.is_some()
        && loop {
            let Some(dump) = bench.daemon.try_ask(dump.clone()) else { break false };
            if going.is_none_or(|alias| !dump.to_string().contains(alias)) {
                break true;
            }
            assert!(Instant::now() < deadline, "{going:?} stays");
            thread::sleep(Duration::from_millis(5));
        };
    match lived {
        true => bench.daemon.kill(),
        false => drop(bench.daemon.child.take().unwrap().wait().unwrap()),
    }
    bench.daemon.start(&[]);
    (answer, lived)
}

/// Waits until the daemon has reached the monitor; none if it is gone before.
fn reached(daemon: &Daemon) -> Option<()> {
    let start = Instant::now();
    loop {
        let listed = daemon.try_ask(json!("list"))?;
        if listed["reply"]["domains"][0]["state"] == "running" {
            return Some(());
        }
        assert!(start.elapsed() < PATIENCE, "{listed}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Attaches and detaches, killed at every boundary of both.
#[track_caller]
fn check(xml: &str, alias: &str, backend: Option<&str>, ejects: bool) {
    if !has_qemu() {
        return;
    }
    let mut bench = Bench::new(Daemon::impatient());
    let xml = xml.replace("DIR", &bench.daemon.dir.path().display().to_string());
    let attach = json!({"attach": {"domain": "demo", "xml": xml}});
    let detach = json!({"detach": {"domain": "demo", "device": {"alias": alias}}});
    let before = dump(&bench.daemon, "live");
    let mut kills = 0;
    for (request, there) in [(&attach, true), (&detach, false)] {
        for boundary in 1.. {
            assert!(boundary < BOUNDARIES_MAX, "{request} never ends");
            // From where it begins, each time.
            if bench.places(alias, backend)[0] == there {
                let (opposite, done) =
                    if there { (&detach, "detached") } else { (&attach, "attached") };
                let answer = bench.daemon.ask(opposite.clone());
                if answer["reply"]["unplug-requested"].is_null() {
                    assert_eq!(answer["reply"][done]["alias"], alias, "{answer}");
                } else {
                    bench.reset();
                    bench.gone(alias, backend);
                }
            }
            let (answer, lived) = ask_killed_at(&mut bench, boundary, request);
            kills += u64::from(!lived);
            bench.daemon.await_state("demo", "running");
            if !there && ejects {
                // The guest lets go if it was asked by then.
                bench.reset();
            }
            let is_there = bench.agree(alias, backend);
            if let Some(answer) = answer {
                // What was said stays true, whatever was killed afterwards.
                assert!(answer["error"].is_null(), "boundary {boundary}: {answer}");
                let asked = !answer["reply"]["unplug-requested"].is_null();
                assert!(asked || is_there == there, "boundary {boundary}: {answer}");
            }
            if lived {
                break;
            }
        }
    }
    bench.gone(alias, backend);
    assert_eq!(dump(&bench.daemon, "live"), before);
    // Each request has its effects: two boundaries each.
    assert!(kills >= 16, "{kills} kills");
    println!("{alias}: {kills} kills");
}

impl Bench {
    /// Until all places say the same; what is on its way out may take QEMU a moment.
    fn agree(&mut self, alias: &str, backend: Option<&str>) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let places = self.places(alias, backend);
            if places.iter().all(|there| *there == places[0]) {
                return places[0];
            }
            let late = Instant::now() > deadline;
            assert!(!late, "{alias}: {places:?}\n{}", self.daemon.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn gone(&mut self, alias: &str, backend: Option<&str>) {
        let deadline = Instant::now() + PATIENCE;
        while self.agree(alias, backend) {
            assert!(Instant::now() < deadline, "{alias} stays\n{}", self.daemon.log());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_virtio_disk() {
    check(
        "<disk type='file'><driver name='qemu' type='raw'/><source file='DIR/image'/><target dev='vda' bus='virtio'/></disk>",
        "virtio-disk0",
        Some("drive-virtio-disk0"),
        true,
    );
}

#[test]
fn a_usb_disk() {
    check(
        "<disk type='file'><source file='DIR/image'/><target dev='sda' bus='usb'/></disk>",
        "usb-disk0",
        Some("drive-usb-disk0"),
        false,
    );
}

#[test]
fn a_virtio_serial_controller() {
    check("<controller type='virtio-serial' index='1'/>", "virtio-serial1", None, true);
}

#[test]
fn a_usb_controller() {
    check("<controller type='usb' index='1' model='ehci'/>", "usb1", None, true);
}

/// QEMU 7.2 never says that an xHCI controller has gone (docs/guide/daemon.md): who asks again learns it.
#[test]
fn a_controller_that_goes_without_an_event_is_detached_by_asking_again() {
    if !has_qemu() {
        return;
    }
    let mut bench = Bench::new(Daemon::impatient());
    let xml = "<controller type='usb' index='1' model='qemu-xhci'/>";
    let answer = bench.daemon.ask(json!({"attach": {"domain": "demo", "xml": xml}}));
    assert_eq!(answer["reply"]["attached"]["alias"], "usb1", "{answer}");
    let detach = json!({"detach": {"domain": "demo", "device": {"alias": "usb1"}}});
    let answer = bench.daemon.ask(detach.clone());
    assert_eq!(answer["reply"]["unplug-requested"]["alias"], "usb1", "{answer}");
    bench.reset();
    assert!(!bench.look.inventory().unwrap().devices.contains("usb1"));
    let answer = bench.daemon.ask(detach);
    assert_eq!(answer["reply"]["detached"]["alias"], "usb1", "{answer}");
    bench.gone("usb1", None);
}

#[test]
fn a_controller_stays_while_a_device_is_on_it_and_a_target_is_given_once() {
    if !has_qemu() {
        return;
    }
    let mut bench = Bench::new(Daemon::new());
    let image = bench.daemon.dir.path().join("image").display().to_string();
    let attach =
        |daemon: &Daemon, xml: &str| daemon.ask(json!({"attach": {"domain": "demo", "xml": xml}}));
    let answer = attach(&bench.daemon, "<controller type='virtio-serial' index='1'/>");
    assert_eq!(answer["reply"]["attached"]["alias"], "virtio-serial1", "{answer}");
    let channel = "<channel type='null'><target type='virtio'/>\
                   <address type='virtio-serial' controller='1' bus='0' port='1'/></channel>";
    let answer = attach(&bench.daemon, channel);
    assert_eq!(answer["reply"]["attached"]["alias"], "channel0", "{answer}");
    let disk = format!(
        "<disk type='file'><source file='{image}'/><target dev='vda' bus='virtio'/></disk>"
    );
    assert_eq!(attach(&bench.daemon, &disk)["reply"]["attached"]["alias"], "virtio-disk0");
    let before = dump(&bench.daemon, "status");
    let refused = |daemon: &Daemon, request: Value| daemon.refused(request);
    let detach = json!({"detach": {"domain": "demo", "device": {"alias": "virtio-serial1"}}});
    assert_eq!(
        refused(&bench.daemon, detach),
        "the <controller> `virtio-serial1` cannot be unplugged while the machine runs: `channel0` is on it, unplug that first"
    );
    let again = disk.replace("virtio'", "scsi'");
    let said = refused(&bench.daemon, json!({"attach": {"domain": "demo", "xml": again}}));
    assert!(
        said.starts_with("line 1, column 1, /domstatus/domain/devices/disk[2]: target `vda` is given to two disks, of ")
            && said.ends_with("/domstatus/domain/devices/disk[1]: give each disk a target of its own"),
        "{said}"
    );
    assert_eq!(dump(&bench.daemon, "status"), before);
    assert!(
        bench.agree("virtio-serial1", None)
            && bench.agree("virtio-disk0", Some("drive-virtio-disk0"))
    );
}
