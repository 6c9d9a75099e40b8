//! Devices by their names, over the control socket of a daemon whose QEMU is real and whose guest never lets a PCI
//! device go by itself: its processor is parked.
//!
//! A refusal is told word for word, and leaves the live definition, the status and the kept definition as they were.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    thread,
    time::Instant,
};

use serde_json::{Value, json};
use statusquo_vmm::hypervisor::{
    Command, Hypervisor,
    qmp::{Client as Monitor, Limits},
};

use super::support::{Daemon, PATIENCE, has_qemu};

/// What the running domain has, beside a machine of this type.
const DEVICES: &str = "<serial type='pty'/><console type='pty'/>\
    <console type='null'><target type='virtio'/></console>\
    <channel type='null'><target type='virtio' name='org.example.0'/></channel>\
    <rng model='virtio'><alias name='ua-rng'/><backend model='random'>/dev/urandom</backend></rng>";

fn xml(dir: &Path, name: &str, machine: &str, features: &str, devices: &str) -> String {
    let emulator = dir.join("qemu");
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='{machine}'>hvm</type></os>{features}<devices>\
         <emulator>{}</emulator><controller type='usb' index='0' model='none'/>\
         <controller type='virtio-serial' index='0'/><memballoon model='none'/>{devices}</devices></domain>",
        emulator.display()
    )
}

const ACPI: &str = "<features><acpi/></features>";

/// A daemon, and QEMU with a second monitor, with qtest and with firmware that is `hlt; jmp .-1` and nothing else.
fn daemon() -> Daemon {
    let daemon = Daemon::new();
    let dir = daemon.dir.path().to_owned();
    let mut firmware = vec![0xf4; 1 << 16];
    firmware[0xfff0..0xfff3].copy_from_slice(&[0xf4, 0xeb, 0xfd]);
    fs::write(dir.join("firmware"), firmware).unwrap();
    let script = format!(
        "#!/bin/sh\nexec qemu-system-x86_64 \"$@\" -bios {dir}/firmware -qtest-log /dev/null \
         -qtest unix:{dir}/qtest,server=on,wait=off -qmp unix:{dir}/look,server=on,wait=off\n",
        dir = dir.display()
    );
    fs::write(dir.join("qemu"), script).unwrap();
    fs::set_permissions(dir.join("qemu"), fs::Permissions::from_mode(0o700)).unwrap();
    daemon
}

fn running(machine: &str, features: &str, devices: &str) -> Daemon {
    let daemon = daemon();
    let xml = xml(daemon.dir.path(), "demo", machine, features, devices);
    let answer = daemon.ask(json!({"define": {"xml": xml}}));
    assert_eq!(answer["reply"]["defined"]["domain"], "demo", "{answer}");
    let answer = daemon.ask(json!({"start": {"domain": "demo"}}));
    assert_eq!(answer["reply"], "done", "{answer}");
    daemon
}

fn by_alias(alias: &str) -> Value {
    json!({"detach": {"domain": "demo", "device": {"alias": alias}}})
}

fn by_xml(xml: &str) -> Value {
    json!({"detach": {"domain": "demo", "device": {"xml": xml}}})
}

fn attach(xml: &str) -> Value {
    json!({"attach": {"domain": "demo", "xml": xml}})
}

fn open(name: Option<&str>) -> Value {
    match name {
        Some(name) => json!({"open-console": {"domain": "demo", "name": name}}),
        None => json!({"open-console": {"domain": "demo"}}),
    }
}

/// A definition has the path of its emulator in it, which moves what comes after it.
fn without_column(message: &str) -> String {
    match message
        .split_once(", column ")
        .and_then(|(line, rest)| Some((line, rest.split_once(',')?)))
    {
        Some((line, (_, rest))) if line == "line 1" => format!("{line},{rest}"),
        _ => message.to_owned(),
    }
}

impl Daemon {
    fn dumps(&self) -> Vec<String> {
        let dump = |form| {
            let answer = self.ask(json!({"dump": {"domain": "demo", "form": form}}));
            answer["reply"]["xml"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        let mut dumps: Vec<String> = ["live", "inactive", "status"].map(dump).into();
        dumps.push(fs::read_to_string(self.runtime().join("status/demo.xml")).unwrap());
        dumps
    }

    /// Refused with this kind and these words, and nothing has changed.
    #[track_caller]
    fn refuses(&self, request: Value, kind: &str, message: &str) {
        let before = self.dumps();
        let answer = self.ask(request);
        let said = answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(without_column(said), without_column(message), "{answer}");
        assert_eq!(answer["error"]["kind"], kind, "{answer}");
        assert_eq!(self.dumps(), before, "{message}");
    }

    fn look(&self) -> Monitor {
        Monitor::connect(self.dir.path().join("look"), Limits::default()).unwrap()
    }

    /// The aliases in the live dump.
    fn aliases(&self) -> Vec<String> {
        let live = self.dumps().remove(0);
        let parts = live.split("<alias name='").skip(1);
        parts.map(|part| part.split('\'').next().unwrap_or_default().to_owned()).collect()
    }

    fn await_gone(&self, alias: &str) {
        let start = Instant::now();
        while self.aliases().iter().any(|other| other == alias) {
            assert!(start.elapsed() < PATIENCE, "`{alias}` is there still\n{}", self.log());
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn a_name_that_is_none_is_told_and_changes_nothing() {
    if !has_qemu() {
        return;
    }
    let daemon = running("pc", ACPI, DEVICES);
    let there = "there are: `usb`, `virtio-serial0`, `pci.0`, `serial0`, `console1`, `channel0`, `ua-rng`, \
                 `input0`, `input1`";
    let no_such = |request, name: &str| {
        daemon.refuses(request, "no-such-device", &format!("no device is called {name}; {there}"));
    };
    let long = "x".repeat(10_000);
    let shown = format!("`{}…` (and 9936 characters more)", "x".repeat(64));
    let names =
        [("nobody", "`nobody`"), ("<a>\n&\u{1b}[0m", "`<a>\\n&\\u{1b}[0m`"), (&long, &shown)];
    for (name, shown) in names {
        no_such(by_alias(name), shown);
        no_such(open(Some(name)), shown);
    }
    no_such(by_xml("<channel><alias name='&lt;channel0&gt;'/></channel>"), "`<channel0>`");
    daemon.refuses(
        by_xml("<channel><target name='other'/></channel>"),
        "no-such-device",
        "no device is as the element <channel> says; of that class there are: `channel0`",
    );
    daemon.refuses(
        by_xml("<console/>"),
        "no-such-device",
        "the element <console> is about more than one device: `serial0`, `console1`; add the alias of the one that is \
         meant",
    );
    daemon.refuses(
        by_xml("<channel><alias name='serial0'/></channel>"),
        "no-such-device",
        "the element <channel> has the alias `serial0`, and that is a <serial>",
    );
    for name in ["serial0", "console0"] {
        daemon.refuses(
            by_alias(name),
            "not-hotpluggable",
            "the <serial> `serial0` cannot be unplugged while the machine runs: it is on the bus isa.0, which has no \
             hot-plug",
        );
    }
    let channel = |alias: &str| {
        let target = "<target type='virtio' name='org.example.9'/>";
        attach(&format!("<channel type='null'>{target}<alias name='{alias}'/></channel>"))
    };
    daemon.refuses(
        channel("ua-rng"),
        "bad-xml",
        "line 1, column 1, /domstatus/domain/devices/channel[2]: alias `ua-rng` is used by more than one device",
    );
    let no_alias = |alias: &str| {
        format!(
            "line 1, column 1, /domstatus/domain/devices/channel[2]: `{alias}` is not a user alias: `ua-` and then \
             letters, digits, `_` and `-`, 128 in all at most"
        )
    };
    daemon.refuses(channel("ua-&lt;b&gt;"), "bad-xml", &no_alias("ua-<b>"));
    let shown = format!("ua-{}", "x".repeat(61));
    daemon.refuses(channel(&format!("ua-{long}")), "bad-xml", &no_alias(&shown));
    daemon.refuses(
        open(Some("ua-rng")),
        "no-such-device",
        "`ua-rng` is a <rng>: only a console, a serial or a parallel port can be opened",
    );
    daemon.refuses(
        open(Some("console1")),
        "not-a-pty",
        "the <console> `console1` is not on a pty: its type is `null`",
    );
    // A definition with one alias for two devices, or with two for one, is not kept.
    let define = |devices: &str| json!({"define": {"xml": xml(daemon.dir.path(), "demo", "pc", ACPI, devices)}});
    let twice = "<serial type='null'><alias name='ua-a'/></serial><rng model='virtio'><alias name='ua-a'/>\
                 <backend model='random'>/dev/urandom</backend></rng>";
    let at = |what: &str| format!("line 1, column N, /domain/devices/{what}");
    daemon.refuses(
        define(twice),
        "bad-xml",
        &at("rng: alias `ua-a` is used by more than one device"),
    );
    let markup =
        "<channel type='null'><target type='virtio'/><alias name='ua-&lt;b&gt;'/></channel>";
    daemon.refuses(
        define(markup),
        "bad-xml",
        &at("channel: `ua-<b>` is not a user alias: `ua-` and then letters, digits, `_` and `-`, 128 in all at most"),
    );
    let differ = "<serial type='pty'><alias name='ua-a'/></serial><console type='pty'><alias name='ua-b'/></console>";
    daemon.refuses(
        define(differ),
        "bad-xml",
        &at("console: the console shows the serial port `ua-a`, so it cannot be called `ua-b`: give both the same \
             alias, or only one of them"),
    );
}

#[test]
fn a_console_is_opened_by_each_of_its_names_and_without_one() {
    if !has_qemu() {
        return;
    }
    let mut daemon = running("pc", ACPI, DEVICES);
    let console = |daemon: &Daemon, name| {
        let answer = daemon.ask(open(name));
        let console = &answer["reply"]["console"];
        assert_eq!(console["alias"], "serial0", "{answer}");
        console["path"].as_str().unwrap().to_owned()
    };
    let path = console(&daemon, None);
    // It is QEMU's end of the guest's serial port: somebody reads what is written.
    let mut terminal = fs::File::options().write(true).open(&path).unwrap();
    terminal.write_all(b"x").unwrap();
    for restarted in [false, true] {
        for name in [None, Some("serial0"), Some("console0")] {
            assert_eq!(console(&daemon, name), path, "{name:?}, restarted: {restarted}");
        }
        daemon.kill();
        daemon.start(&[]);
        daemon.await_state("demo", "running");
    }
    // A console that is plugged beside the pair is not given the pair's second name.
    let plugged = daemon.ask(attach("<console type='null'><target type='virtio'/></console>"));
    assert_eq!(plugged["reply"]["attached"]["alias"], "console2", "{plugged}");
    let output = daemon.command().args(["console", "demo"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{path}\n"));
    let output = daemon.command().args(["console", "demo", "--alias", "ua-rng"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let answer = daemon.ask(json!({"destroy": {"domain": "demo"}}));
    assert_eq!(answer["reply"], "done");
    assert_eq!(daemon.refused(open(None)), "`demo` does not run");
}

#[test]
fn the_first_plugged_console_does_not_take_the_name_of_the_pair() {
    if !has_qemu() {
        return;
    }
    let daemon = running("pc", ACPI, "<serial type='pty'><alias name='ua-a'/></serial>");
    let plugged = daemon.ask(attach("<console type='null'><target type='virtio'/></console>"));
    assert_eq!(plugged["reply"]["attached"]["alias"], "console1", "{plugged}");
    assert_eq!(daemon.ask(open(Some("console0")))["reply"]["console"]["alias"], "ua-a");
}

/// A device whose unplug was asked for stays until the guest lets it go: it can be asked for again, it keeps its name,
/// and nobody else gets that.
#[test]
fn a_device_that_is_going_away_keeps_its_name_until_it_is_gone() {
    if !has_qemu() {
        return;
    }
    let mut daemon = running("pc", ACPI, DEVICES);
    let before = daemon.dumps();
    for restarted in [false, true] {
        // QEMU forgets after 5 ms that it has asked, for a guest may have missed it.
        for _ in 0..2 {
            let answer = daemon.ask(by_alias("ua-rng"));
            let requested = json!({"unplug-requested": {"alias": "ua-rng"}});
            assert_eq!(answer["reply"], requested, "restarted: {restarted}");
            assert_eq!(daemon.dumps(), before);
        }
        let rng = "<rng model='virtio'><alias name='ua-rng'/><backend model='random'>/dev/urandom</backend></rng>";
        daemon.refuses(
            attach(rng),
            "bad-xml",
            "line 1, column 1, /domstatus/domain/devices/rng[2]: alias `ua-rng` is used by more than one device",
        );
        daemon.refuses(
            open(Some("ua-rng")),
            "no-such-device",
            "`ua-rng` is a <rng>: only a console, a serial or a parallel port can be opened",
        );
        if !restarted {
            daemon.kill();
            daemon.start(&[]);
            daemon.await_state("demo", "running");
        }
    }
    let mut events = daemon.connect();
    assert_eq!(events.ask(json!("events"))["reply"], "done");
    eject(&daemon, "ua-rng");
    let gone = json!({"device-removed": {"domain": "demo", "alias": "ua-rng"}});
    assert_eq!(events.next()["event"], gone);
    daemon.refuses(
        by_alias("ua-rng"),
        "no-such-device",
        "no device is called `ua-rng`; there are: `usb`, `virtio-serial0`, `pci.0`, `serial0`, `console1`, `channel0`, \
         `input0`, `input1`",
    );
}

/// The guest's write to the eject register of the chipset.
fn eject(daemon: &Daemon, alias: &str) {
    let path = format!("/machine/peripheral/{alias}");
    let question = Command::new("qom-get").with("path", path).with("property", "addr");
    let function = daemon.look().execute(&question).unwrap().unwrap().as_u64().unwrap();
    let stream = UnixStream::connect(daemon.dir.path().join("qtest")).unwrap();
    let mut lines = BufReader::new(&stream);
    for line in
        ["outl 0xae10 0x0\n".to_owned(), format!("outl 0xae08 {:#x}\n", 1 << (function >> 3))]
    {
        (&stream).write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        lines.read_line(&mut answer).unwrap();
        assert!(answer.starts_with("OK"), "{answer}");
    }
}

#[test]
fn an_unplug_that_nobody_asked_for_takes_exactly_the_device_that_it_names() {
    if !has_qemu() {
        return;
    }
    let daemon = running("pc", ACPI, DEVICES);
    for number in 1..4 {
        let target = format!("<target type='virtio' name='org.example.{number}'/>");
        let answer = daemon.ask(attach(&format!("<channel type='null'>{target}</channel>")));
        assert_eq!(answer["reply"]["attached"]["alias"], format!("channel{number}"));
    }
    let mut expected = daemon.aliases();
    let mut events = daemon.connect();
    events.ask(json!("events"));
    for alias in ["channel2", "console1"] {
        daemon.look().execute(&Command::device_del(alias)).unwrap().unwrap();
        let gone = json!({"device-removed": {"domain": "demo", "alias": alias}});
        assert_eq!(events.next()["event"], gone);
        daemon.await_gone(alias);
        expected.retain(|other| other != alias);
        assert_eq!(daemon.aliases(), expected);
        let answer = daemon.look().execute(&Command::query_chardev()).unwrap().unwrap();
        let label = format!("char{alias}");
        assert!(!answer.as_array().unwrap().iter().any(|chardev| chardev["label"] == *label));
    }
}

/// Buses that take no devices are found out before anything is plugged, and named with the device.
#[test]
fn a_bus_without_hotplug_is_refused_before_qemu_is_asked() {
    if !has_qemu() {
        return;
    }
    let rng = |alias: &str, bus: u8, slot: u8| {
        attach(&format!(
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{alias}\
             <address type='pci' domain='0' bus='{bus}' slot='{slot}' function='0'/></rng>"
        ))
    };
    let user = "<alias name='ua-b'/>";
    // The first port is virtio-serial's.
    let port = "<controller type='pci' index='1' model='pcie-root-port'/>\
                <controller type='pci' index='2' model='pcie-root-port'/>";
    // i440FX has hot-plug with ACPI only: which bus it is and that it has none, QEMU says.
    let cases = [
        (
            "pc",
            "",
            "",
            "`ua-b` cannot be plugged into the bus `pci.0`, which takes no devices while the machine runs",
        ),
        (
            "q35",
            ACPI,
            port,
            "line 1, column 1, /domstatus/domain/devices/rng: plugging the rng `ua-b` into pcie.0, a pcie-root, is not \
             supported",
        ),
    ];
    for (machine, features, devices, message) in cases {
        let daemon = running(machine, features, devices);
        let has = daemon.look().inventory().unwrap();
        daemon.refuses(rng(user, 0, 9), "not-hotpluggable", message);
        assert_eq!(daemon.look().inventory().unwrap(), has, "{machine}");
        let log = daemon.log();
        for word in ["object-add", "device_add", "add-backend", "add-frontend"] {
            assert!(!log.contains(word), "{machine}: {word}\n{log}");
        }
        assert!(log.contains("boundary before"), "the log would show what is asked");
    }
    // The bus that takes them is named as QEMU names it.
    let daemon = running("q35", ACPI, port);
    let answer = daemon.ask(rng(user, 2, 0));
    assert_eq!(answer["reply"]["attached"]["alias"], "ua-b", "{answer}");
    let question = Command::new("qom-get")
        .with("path", "/machine/peripheral/ua-b")
        .with("property", "parent_bus");
    let bus = daemon.look().execute(&question).unwrap().unwrap();
    assert!(bus.as_str().unwrap().ends_with("/pci.2"), "{bus}");
}
