//! How the embedded hypervisor behaves in time, and what each refusal says.
//!
//! The texts are those of QEMU 7.2.22; `impl/tests/real/hypervisor.rs` compares many more with a real one.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::hypervisor::{Inventory, monitor::unix_server};

const NOW: Config =
    Config { machine: MachineType::Pc, guest_answers: Delay::Turns(0), finalize: Delay::Turns(0) };

fn device(value: Value) -> Command {
    Command::of("device_add", value)
}

fn null(id: &str) -> Command {
    Command::chardev_add(id, json!({"type": "null", "data": {}}))
}

/// A machine with a controller of each kind, not yet running.
fn machine(config: Config) -> Embedded {
    let commands = [
        device(json!({"driver": "virtio-serial-pci", "id": "vser0"})),
        device(json!({"driver": "piix3-usb-uhci", "id": "usb"})),
    ];
    Embedded::boot(config, &commands).unwrap()
}

fn running(config: Config) -> Embedded {
    let mut machine = machine(config);
    machine.does(&Command::cont());
    assert_eq!(machine.names(), ["RESUME"]);
    machine
}

impl Embedded {
    #[track_caller]
    fn does(&mut self, command: &Command) -> Value {
        self.execute(command).unwrap().unwrap()
    }

    #[track_caller]
    fn refuses(&mut self, command: &Command) -> String {
        let before = self.clone();
        let refusal = self.execute(command).unwrap().unwrap_err().to_string();
        self.turns = before.turns;
        assert_eq!(*self, before, "a refusal changes nothing");
        refusal
    }

    /// The events so far: names, and the devices of deletions.
    fn names(&mut self) -> Vec<String> {
        let name = |event: &Event| event.deleted_device().unwrap_or(&event.name).to_owned();
        self.events().iter().map(name).collect()
    }
}

fn soon() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the embedded hypervisor does not look at it")]
    let now = Instant::now();
    now + Duration::from_secs(1)
}

#[test]
fn a_running_guest_lets_a_device_go_when_it_answers() {
    let mut machine = running(Config { guest_answers: Delay::Turns(2), ..NOW });
    machine.does(&device(json!({"driver": "e1000", "id": "net0"})));
    machine.does(&Command::device_del("net0"));
    let pending = "GenericError: Device net0 is already in the process of unplug";
    assert_eq!(
        machine.execute(&Command::device_del("net0")).unwrap().unwrap_err().to_string(),
        pending
    );
    assert_eq!(machine.names(), [""; 0]);
    assert!(machine.inventory().unwrap().devices.contains("net0") || machine.names() == ["net0"]);
    assert!(!machine.inventory().unwrap().devices.contains("net0"));
}

#[test]
fn a_guest_that_stands_still_lets_nothing_go_and_a_reset_does() {
    let mut machine = machine(NOW);
    machine.does(&device(json!({"driver": "virtio-rng-pci", "id": "rng0"})));
    machine.does(&Command::device_del("rng0"));
    assert!(!machine.wait_event(soon()).unwrap(), "nothing will come, and that is known at once");
    machine.does(&Command::system_reset());
    // The part that has no id comes before the whole.
    assert_eq!(machine.names(), ["RESET", "DEVICE_DELETED", "rng0"]);
}

#[test]
fn a_guest_may_ignore_a_request_and_eject_later() {
    let mut machine = running(Config { guest_answers: Delay::Turns(9), ..NOW });
    machine.does(&device(json!({"driver": "e1000", "id": "net0"})));
    assert!(!machine.guest_ignores("net0"), "it was not asked");
    machine.does(&Command::device_del("net0"));
    assert!(machine.guest_ignores("net0"));
    assert!(!machine.wait_event(soon()).unwrap());
    assert!(machine.guest_unplug("net0"));
    assert_eq!(machine.names(), ["net0"]);
    assert!(!machine.guest_unplug("net0"));
}

#[test]
fn a_guest_may_eject_what_nobody_asked_for_but_only_from_pci() {
    let mut machine = running(NOW);
    machine.does(&device(json!({"driver": "usb-tablet", "id": "input0"})));
    assert!(!machine.guest_unplug("input0"));
    assert!(machine.guest_unplug("usb"));
    assert_eq!(machine.names(), ["input0", "usb"]);
}

#[test]
fn a_chardev_is_busy_until_its_device_has_ended_and_the_id_is_free_before() {
    let mut machine = machine(Config::default());
    machine.does(&null("c"));
    machine.does(&device(json!({"driver": "virtserialport", "id": "p", "chardev": "c"})));
    machine.does(&Command::device_del("p"));
    assert_eq!(machine.names(), [""; 0]);
    let busy = machine.execute(&Command::chardev_remove("c")).unwrap().unwrap_err();
    assert_eq!(busy.to_string(), "GenericError: Chardev 'c' is busy");
    assert_eq!(machine.names(), ["p"]);
    machine.does(&Command::chardev_remove("c"));

    // The old device's event comes when a new one has its id already.
    machine.does(&device(json!({"driver": "virtserialport", "id": "p"})));
    machine.does(&Command::device_del("p"));
    machine.does(&device(json!({"driver": "virtserialport", "id": "p"})));
    assert_eq!(machine.names(), ["p"]);
    assert!(machine.inventory().unwrap().devices.contains("p"));
}

#[test]
fn waiting_lets_time_pass() {
    let mut machine =
        running(Config { guest_answers: Delay::Turns(100), finalize: Delay::Turns(100), ..NOW });
    machine.does(&Command::device_del("usb"));
    assert!(machine.wait_event(soon()).unwrap());
    assert_eq!(machine.names(), ["usb"]);
    assert!(!machine.wait_event(soon()).unwrap());
    let mut machine = running(Config { finalize: Delay::Never, ..NOW });
    machine.does(&Command::device_del("usb"));
    assert!(!machine.wait_event(soon()).unwrap());
}

#[test]
fn the_machine_outlives_its_daemon_and_events_do_not() {
    let mut machine = running(NOW);
    machine.does(&Command::device_del("usb"));
    let mut after_a_crash = machine.clone();
    assert_eq!(after_a_crash, machine);
    after_a_crash.reconnect().unwrap();
    assert_eq!(after_a_crash.names(), [""; 0]);
    assert_eq!(after_a_crash.inventory().unwrap(), machine.inventory().unwrap());
    assert_eq!(machine.names(), ["usb"]);
}

#[test]
fn a_machine_that_has_ended_hangs_up() {
    let mut machine = running(NOW);
    machine.does(&Command::quit());
    assert_eq!(machine.names(), ["SHUTDOWN"]);
    let error = machine.execute(&Command::stop()).unwrap_err();
    assert_eq!(error.to_string(), "`stop`: the monitor closed the connection");
    assert!(machine.wait_event(soon()).unwrap_err().is_fatal());
    assert!(machine.reconnect().unwrap_err().is_fatal());
    let mut machine = running(NOW);
    machine.kill();
    assert!(!machine.is_alive() && machine.inventory().is_err());
}

#[test]
fn refusals_have_qemus_texts_and_change_nothing() {
    let mut machine = machine(NOW);
    for command in [
        null("c0"),
        null("c1"),
        Command::netdev_add("user", "h0", properties(json!({}))),
        Command::object_add("rng-random", "o0", properties(json!({"filename": "/dev/urandom"}))),
        Command::blockdev_add("null-co", "n0", properties(json!({}))),
        device(
            json!({"driver": "virtserialport", "id": "p0", "nr": 1, "chardev": "c0", "name": "org.a"}),
        ),
        device(json!({"driver": "e1000", "id": "net0", "netdev": "h0", "addr": "0x8"})),
        device(json!({"driver": "virtio-blk-pci", "id": "disk0", "drive": "n0"})),
    ] {
        machine.does(&command);
    }
    let refusals = [
        null("c0"),
        Command::chardev_add("x", json!({"type": "bogus", "data": {}})),
        Command::chardev_remove("c0"),
        Command::chardev_remove("x"),
        Command::device_del("x"),
        device(json!({"driver": "virtserialport", "id": "p0"})),
        device(json!({"driver": "virtserialport", "id": "p1", "chardev": "c0"})),
        device(json!({"driver": "virtserialport", "id": "p1", "nr": 1})),
        device(json!({"driver": "virtserialport", "id": "p1", "name": "org.a"})),
        device(json!({"driver": "isa-serial", "id": "s0"})),
        device(json!({"driver": "e1000", "id": "net1", "addr": "0x8"})),
        device(json!({"driver": "e1000", "id": "net1", "netdev": "h0"})),
        device(json!({"driver": "virtio-blk-pci", "id": "disk1"})),
        Command::object_add("rng-random", "o0", properties(json!({}))),
        Command::object_del("x"),
        Command::netdev_add("user", "h0", properties(json!({}))),
        Command::netdev_del("x"),
        Command::blockdev_add("null-co", "n0", properties(json!({}))),
        Command::blockdev_del("n0"),
        Command::blockdev_del("x"),
        Command::new("no-such"),
    ];
    let texts: Vec<_> = refusals.iter().map(|command| machine.refuses(command)).collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    GenericError: Chardev with id 'c0' already exists
    GenericError: Parameter 'type' does not accept value 'bogus'
    GenericError: Chardev 'c0' is busy
    GenericError: Chardev 'x' not found
    DeviceNotFound: Device 'x' not found
    GenericError: Duplicate device ID 'p0'
    GenericError: Property 'virtserialport.chardev' can't take value 'c0': Device 'c0' is in use
    GenericError: virtio-serial-bus: A port already exists at id 1
    GenericError: virtio-serial-bus: A port already exists by name org.a
    GenericError: Bus 'isa.0' does not support hotplugging
    GenericError: PCI: slot 8 function 0 not available for e1000, in use by e1000,id=net0
    GenericError: Property 'e1000.netdev' can't take value 'h0', it's in use
    GenericError: drive property not set
    GenericError: attempt to add duplicate property 'o0' to object (type 'container')
    GenericError: object 'x' not found
    GenericError: Duplicate ID 'h0'
    DeviceNotFound: Device 'x' not found
    GenericError: Duplicate nodes with node-name='n0'
    GenericError: Node n0 is in use
    GenericError: Failed to find node with node-name='x'
    CommandNotFound: The command no-such has not been found
    ");
}

#[test]
fn a_machine_that_cannot_be_built_says_which_command() {
    let commands = [
        device(json!({"driver": "e1000", "id": "a"})),
        device(json!({"driver": "e1000", "id": "a"})),
    ];
    let (index, error) = Embedded::boot(NOW, &commands).unwrap_err();
    assert_eq!((index, error.to_string().as_str()), (1, "GenericError: Duplicate device ID 'a'"));
    // What cannot be plugged can be built in.
    let q35 = Config { machine: MachineType::Q35, ..NOW };
    let port = device(json!({"driver": "pcie-root-port", "id": "pci.1", "bus": "pcie.0"}));
    assert!(Embedded::boot(q35, std::slice::from_ref(&port)).is_ok());
    let refusal = Embedded::new(q35).refuses(&port);
    assert_eq!(refusal, "GenericError: Bus 'pcie.0' does not support hotplugging");
}

#[test]
fn the_inventory_is_what_the_queries_say() {
    let mut machine = machine(NOW);
    machine.does(&Command::chardev_add("c", unix_server("/run/c.sock")));
    machine.does(&Command::netdev_add("user", "h0", properties(json!({}))));
    machine.does(&Command::blockdev_add(
        "raw",
        "r",
        properties(json!({"file": {"driver": "null-co"}})),
    ));
    let inventory = machine.inventory().unwrap();
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let expected = Inventory {
        devices: set(&["usb", "vser0"]),
        chardevs: set(&["c", "compat_monitor0"]),
        objects: set(&["pc.ram"]),
        netdevs: set(&["h0"]),
        blocknodes: set(&["#block000", "r"]),
    };
    assert_eq!(inventory, expected);
    let chardevs = machine.does(&Command::query_chardev());
    assert_eq!(
        chardevs[0],
        json!({"label": "c", "filename": "disconnected:unix:/run/c.sock,server=on", "frontend-open": false})
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    let names = prop::sample::select(vec![
        "chardev-add",
        "chardev-remove",
        "device_add",
        "device_del",
        "object-add",
        "object-del",
        "netdev_add",
        "netdev_del",
        "blockdev-add",
        "blockdev-del",
        "qom-list",
        "human-monitor-command",
        "system_reset",
        "cont",
        "stop",
    ]);
    let keys = prop::sample::select(vec![
        "id",
        "driver",
        "bus",
        "addr",
        "nr",
        "name",
        "chardev",
        "netdev",
        "drive",
        "rng",
        "type",
        "qom-type",
        "node-name",
        "backend",
        "file",
        "path",
        "port",
        "max_ports",
        "p2",
        "multifunction",
        "scsi-id",
        "lun",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            "a",
            "b",
            "a.0",
            "usb.0",
            "pci.0",
            "vser0.0",
            "1",
            "0x3",
            "0x3.0x1",
            "2.1",
            "e1000",
            "virtserialport",
            "usb-tablet",
            "usb-hub",
            "usb-serial",
            "virtio-serial-pci",
            "virtio-scsi-pci",
            "scsi-hd",
            "piix3-usb-uhci",
            "virtio-blk-pci",
            "null-co",
            "raw",
            "user",
            "rng-random",
            "pci-bridge",
            "",
        ])
        .prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!({"type": "null", "data": {}})),
        Just(json!({"type": "mux", "data": {"chardev": "a"}})),
        Just(json!(null)),
        any::<String>().prop_map(Value::from),
    ];
    (names, prop::collection::btree_map(keys, values, 0..6)).prop_map(|(name, arguments)| {
        let arguments = arguments.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Command { name: name.to_owned(), arguments }
    })
}

proptest! {
    /// Whatever is asked in whichever order: an answer, never a panic, and a reset brings everything to rest.
    #[test]
    fn any_commands_are_answered(commands in prop::collection::vec(any_command(), 0..60)) {
        let mut machine = running(Config::default());
        for command in &commands {
            machine.execute(command).unwrap().ok();
            let inventory = machine.inventory().unwrap();
            prop_assert!(inventory.chardevs.contains("compat_monitor0"));
        }
        machine.does(&Command::system_reset());
        while machine.wait_event(soon()).unwrap() {
            machine.events();
        }
        prop_assert!(!machine.awaits());
        prop_assert!(machine.ending.is_empty());
    }
}
