use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::Problem;

fn text(arch: &str, machine: &str, devices: &str) -> String {
    format!(
        "<domain type='kvm'>\n<name>demo</name>\n<os><type arch='{arch}' machine='{machine}'>hvm</type></os>\n<devices>\n{devices}\n</devices>\n</domain>"
    )
}

fn arch(machine: &str) -> &'static str {
    if machine.starts_with("pseries") { "ppc64" } else { "x86_64" }
}

#[track_caller]
fn read(xml: &str, reading: Reading, emulator: &Emulator) -> Domain {
    let mut domain = Domain::parse(xml).unwrap();
    domain.complete(reading, emulator).unwrap_or_else(|error| panic!("{error}\n{xml}"));
    let once = domain.to_xml();
    domain.complete(reading, emulator).unwrap();
    assert_eq!(domain.to_xml(), once, "the second time changes nothing");
    domain
}

fn all() -> Emulator {
    Emulator::default()
}

fn without(missing: &[&str]) -> Emulator {
    let all = usb::MODELS.iter().map(|(_, driver)| *driver);
    Emulator::with_drivers(all.filter(|driver| !missing.contains(driver)))
}

/// `model@address`, or what is wrong.
fn usb(domain: &Domain) -> String {
    let Some(node) = domain.usb_controller().unwrap() else { return "absent".to_owned() };
    let document = domain.document();
    let model = document.get(node, "@model").unwrap_or("unset".into());
    let address = match document.get(node, "address/@type").as_deref() {
        None => String::new(),
        Some("pci") => {
            let get = |name: &str| document.number(node, name).unwrap().unwrap_or(0);
            let (bus, slot) = (get("address/@bus"), get("address/@slot"));
            format!("@{bus:x}:{slot:x}.{}", get("address/@function"))
        }
        Some(other) => format!("@{other}"),
    };
    format!("{model}{address}")
}

const CARD: &str =
    "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='rtl8139'/></interface>";
const UNSET: &str = "<controller type='usb' index='0'/>";

#[track_caller]
fn check(machine: &str, devices: &str, reading: Reading, emulator: &Emulator, expected: &str) {
    let xml = text(arch(machine), machine, &format!("{CARD}{devices}"));
    assert_eq!(usb(&read(&xml, reading, emulator)), expected);
}

#[test]
fn defaults_of_today_are_for_who_defines_today() {
    use Reading::*;
    for open in ["", UNSET] {
        check("pseries-7.2", open, Define, &all(), "qemu-xhci@0:2.0");
        check("pseries-7.2", open, Define, &without(&["qemu-xhci"]), "nec-xhci@0:2.0");
        check("pseries-7.2", open, Load, &all(), "pci-ohci@0:2.0");
        check("pseries-7.2", open, Process, &all(), "pci-ohci@0:2.0");
        for reading in Reading::ALL {
            check("pc-i440fx-7.2", open, reading, &all(), "piix3-uhci@0:1.2");
            check(
                "pc-i440fx-7.2",
                open,
                reading,
                &without(&["piix3-usb-uhci"]),
                "piix3-uhci@0:1.2",
            );
        }
    }
    check("q35", "", Define, &all(), "qemu-xhci@3:0.0");
    check("q35", "", Load, &without(&["qemu-xhci"]), "nec-xhci@3:0.0");
    check("q35", "", Define, &without(&["qemu-xhci", "nec-usb-xhci"]), "ich9-ehci1@0:1d.7");
    check("q35", "", Process, &all(), "none");
    check("q35", UNSET, Define, &all(), "piix3-uhci@2:2.0");
}

/// One text of each generation that writes another, about the process that it had.
#[test]
fn the_text_of_every_generation_is_read_as_what_its_guest_has() {
    let at = |model: &str, slot: u32, function: u32| {
        format!(
            "<controller type='usb' index='0'{model}><address type='pci' domain='0x0000' bus='0x00' slot='{slot:#04x}' function='{function:#x}'/></controller>"
        )
    };
    let texts = [
        // Ancient, y and a0 to libvirt-9.0 on i440fx: nothing, and PIIX3 it is.
        ("pc-i440fx-7.2", String::new(), "piix3-uhci@0:1.2"),
        // y2, and y where the user wrote it.
        ("pc-i440fx-7.2", at("", 1, 2), "piix3-uhci@0:1.2"),
        // d.
        ("pc-i440fx-7.2", at(" model='piix3-uhci'", 1, 2), "piix3-uhci@0:1.2"),
        // y2 on ppc64: PIIX3's place was kept on every machine; who had it cannot be told from the text.
        ("pseries-2.5", at("", 1, 2), "pci-ohci@0:1.2"),
        // a0 to b on ppc64: nothing. Right for b, as long as no lower slot is free.
        ("pseries-2.5", String::new(), "pci-ohci@0:2.0"),
        // c.
        ("pseries-2.5", at("", 5, 0), "pci-ohci@0:5.0"),
        // d to 3.2.
        ("pseries-2.5", at(" model='pci-ohci'", 5, 0), "pci-ohci@0:5.0"),
        // 3.3 and later.
        ("pseries-2.6", at(" model='qemu-xhci'", 5, 0), "qemu-xhci@0:5.0"),
        // a2 to b on q35: nothing, and the guest has nothing.
        ("q35", String::new(), "none"),
        // c.
        ("q35", at("", 5, 0), "piix3-uhci@0:5.0"),
        ("q35", at(" model='nec-xhci'", 5, 0), "nec-xhci@0:5.0"),
        ("q35", "<controller type='usb' index='0' model='none'/>".to_owned(), "none"),
    ];
    for (machine, controller, expected) in texts {
        let card = CARD.replace(
            "</interface>",
            "<address type='pci' bus='0x00' slot='0x1' function='0'/></interface>",
        );
        // On i440fx slot 1 is PIIX3's, and y2 took that for every machine.
        let card = match machine {
            "pseries-2.5" if !expected.ends_with("1.2") => card,
            _ => card.replace("slot='0x1'", "slot='0x9'"),
        };
        let xml = text(arch(machine), machine, &format!("{card}{controller}"));
        assert_eq!(usb(&read(&xml, Reading::Process, &all())), expected, "{machine} {controller}");
    }
}

#[test]
fn what_cannot_be_what_the_guest_has_is_refused_with_the_reason() {
    let refused = |machine: &str, devices: &str, emulator: &Emulator| {
        let mut domain = Domain::parse(&text(arch(machine), machine, devices)).unwrap();
        match domain.complete(Reading::Process, emulator) {
            Err(error) => error.to_string(),
            Ok(()) => domain.usb_start(emulator).unwrap_err().to_string(),
        }
    };
    let bare = Emulator::with_drivers::<&str>([]);
    assert_eq!(
        refused("pseries-2.5", "", &bare),
        "line 1, column 1, /domain: no USB controller is given, and this QEMU has none that could be the default (pci-ohci): give its model"
    );
    assert_eq!(
        refused("q35", UNSET, &bare),
        "line 5, column 1, /domain/devices/controller: no USB controller is given, and this QEMU has none that could be the default (piix3-uhci): give its model"
    );
    assert_eq!(
        refused("q35", "<controller type='usb' index='0' model='nec-xhci'/>", &bare),
        "line 5, column 1, /domain/devices/controller[1]: this QEMU has no device `nec-usb-xhci`: choose another model, or another QEMU"
    );
    assert_eq!(
        refused("q35", "<controller type='usb' index='0' model='newer-xhci'/>", &all()),
        "line 5, column 1, /domain/devices/controller[1]: this QEMU has no device `newer-xhci`: choose another model, or another QEMU"
    );
    assert_eq!(
        refused(
            "pc",
            "<controller type='usb' index='0'><address type='pci' slot='5'/></controller>",
            &all()
        ),
        "line 5, column 1, /domain/devices/controller[1]: `0000:00:05.0` is not the address that this controller has in the chipset"
    );
}

#[test]
fn every_automatic_value_has_an_origin() {
    let xml = text("ppc64", "pseries-7.2", &format!("{CARD}{UNSET}"));
    let domain = read(&xml, Reading::Define, &all());
    let usb = domain.usb_controller().unwrap().unwrap();
    let auto = |what| match domain.origin_of(usb, what) {
        Origin::User => "user".to_owned(),
        Origin::Auto(auto) => format!("{} at {}", auto.by, auto.at.as_str()),
    };
    assert_eq!(auto("presence"), "user");
    let ours = format!("{} at define", env!("CARGO_PKG_VERSION"));
    assert_eq!((auto("@model"), auto("address")), (ours.clone(), ours));
    let card = domain.of(Class::Interface).next().unwrap().node;
    assert_eq!(domain.origin_of(card, "model/@type"), Origin::User);
    let records: Vec<String> = domain
        .automatic()
        .into_iter()
        .map(|record| format!("{}: {} {}", record.of, record.what, record.value))
        .collect();
    assert_eq!(
        records,
        [
            "interface 52:54:00:00:00:01: address bus=0x00 domain=0x0000 function=0x0 slot=0x01 type=pci",
            "controller usb 0: @model qemu-xhci",
            "controller usb 0: address bus=0x00 domain=0x0000 function=0x0 slot=0x02 type=pci",
            "controller pci 0: presence ",
            "controller pci 0: @model pci-root",
            "memballoon #1: presence ",
            "memballoon #1: address bus=0x00 domain=0x0000 function=0x0 slot=0x03 type=pci",
        ]
    );
}

#[test]
fn a_value_filled_elsewhere_can_be_recorded() {
    let hostdev = "<hostdev mode='subsystem' type='pci'><driver name='vfio'/><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>";
    let mut domain = Domain::parse(&text("x86_64", "pc", hostdev)).unwrap();
    let node = domain.of(Class::Hostdev).next().unwrap().node;
    assert_eq!(domain.origin_of(node, "driver/@name"), Origin::User);
    domain.record_auto(node, "driver/@name", Reading::Process).unwrap();
    assert!(matches!(domain.origin_of(node, "driver/@name"), Origin::Auto(_)));
    // Whoever writes another takes it over.
    domain.document_mut().put(node, "driver/@name", "xen").unwrap();
    assert_eq!(domain.origin_of(node, "driver/@name"), Origin::User);
}

#[test]
fn what_is_shown_is_what_was_written_and_reads_back_as_it_was() {
    for machine in ["pseries-7.2", "pc-i440fx-7.2", "q35"] {
        for devices in ["", UNSET, CARD] {
            let xml = text(arch(machine), machine, devices);
            let written = Domain::parse(&xml).unwrap();
            let defined = read(&xml, Reading::Define, &all());
            let shown = defined.to_inactive().unwrap();
            let nodes = |domain: &Domain| domain.devices().map(|d| d.node).collect::<Vec<_>>();
            let (left, right) = (nodes(&shown), nodes(&written));
            let same = left.len() == right.len()
                && left.iter().zip(&right).all(|(&left, &right)| {
                    shown.document().same_elements(left, written.document(), right)
                });
            assert!(same, "{machine}\n{}", shown.to_xml());
            // By an older or a newer daemon, with another QEMU, for any reason: the same hardware.
            for reading in Reading::ALL {
                let again = read(&shown.to_xml(), reading, &without(&["qemu-xhci"]));
                let differences = defined.abi_differences(&again, &all()).unwrap();
                assert_eq!(differences, [], "{machine} {devices} {reading:?}");
                assert_eq!(again.automatic().len(), defined.automatic().len());
            }
        }
    }
}

#[test]
fn who_removes_the_records_gets_the_defaults_of_today() {
    let old = read(&text("ppc64", "pseries-7.2", ""), Reading::Load, &all());
    let mut shown = old.to_inactive().unwrap();
    assert_eq!(usb(&read(&shown.to_xml(), Reading::Define, &all())), "pci-ohci@0:1.0");
    let root = shown.root();
    let metadata = shown.document().child(root, "metadata").unwrap();
    shown.document_mut().remove(metadata);
    assert_eq!(usb(&read(&shown.to_xml(), Reading::Define, &all())), "qemu-xhci@0:1.0");
}

#[test]
fn an_edit_wins_over_a_record() {
    let defined = read(&text("ppc64", "pseries-7.2", UNSET), Reading::Define, &all());
    let shown = defined.to_inactive().unwrap().to_xml();
    let edited = shown.replacen(" index='0'>", " index='0' model='nec-xhci'>", 1);
    let domain = read(&edited, Reading::Define, &all());
    let usb = domain.usb_controller().unwrap().unwrap();
    assert_eq!(domain.document().get(usb, "@model").as_deref(), Some("nec-xhci"));
    assert_eq!(domain.origin_of(usb, "@model"), Origin::User);
    // Its place was not edited.
    assert!(matches!(domain.origin_of(usb, "address"), Origin::Auto(_)));
}

#[test]
fn old_receivers_are_sent_what_they_can_follow() {
    let sent = |machine: &str, devices: &str| {
        let xml = text(arch(machine), machine, devices);
        let domain = read(&xml, Reading::Define, &all());
        let sent = domain.to_migratable().unwrap();
        let back = read(&sent.to_xml(), Reading::Process, &all());
        assert_eq!(domain.abi_differences(&back, &all()).unwrap(), [], "{machine} {devices}");
        let kinds = sent.of(Class::Controller).map(|controller| controller.kind().into_owned());
        kinds.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sent("pc", ""), "");
    assert_eq!(sent("pc", "<controller type='usb' index='0' model='piix3-uhci'/>"), "");
    assert_eq!(sent("pc", "<controller type='usb' index='0' model='nec-xhci'/>"), "usb");
    assert_eq!(
        sent("pc", "<controller type='usb' index='0'><alias name='ua-usb'/></controller>"),
        "usb"
    );
    let two =
        "<controller type='usb' index='0'/><controller type='usb' index='1' model='pci-ohci'/>";
    assert_eq!(sent("pc", two), "usb usb");
    assert_eq!(
        sent(
            "pc",
            "<controller type='pci' index='0' model='pci-root'><pcihole64>1</pcihole64></controller>"
        ),
        "pci"
    );
    assert_eq!(sent("pseries-7.2", ""), "usb");
    assert!(sent("q35", "").starts_with("usb sata pci"));
}

#[test]
fn what_was_left_out_comes_back_whole_but_not_over_an_edit() {
    let devices = "<controller type='usb' index='0' model='piix3-uhci'><vendor:ext xmlns:vendor='urn:x'/></controller>";
    let domain = read(&text("x86_64", "pc", devices), Reading::Define, &all());
    let sent = domain.to_migratable().unwrap().to_xml();
    // As libvirt sends it on: another prefix, and no blanks between the elements of metadata.
    let carried = sent
        .replace("<statusquo:", "<ns0:")
        .replace("</statusquo:", "</ns0:")
        .replace("xmlns:statusquo", "xmlns:ns0");
    let arrived = read(&carried, Reading::Process, &all());
    let usb = arrived.usb_controller().unwrap().unwrap();
    assert!(arrived.document().fragment(usb).contains("vendor:ext"));
    assert!(matches!(arrived.origin_of(usb, "address"), Origin::Auto(_)));
    // Somebody has added another in the meantime.
    let other = "<controller type='usb' index='0' model='nec-xhci'/></devices>";
    let edited = read(&carried.replace("</devices>", other), Reading::Process, &all());
    assert_eq!(edited.of(Class::Controller).filter(|c| c.kind() == "usb").count(), 1);
    let usb = edited.usb_controller().unwrap().unwrap();
    assert_eq!(edited.document().get(usb, "@model").as_deref(), Some("nec-xhci"));
}

/// The newest release of these tests gives another card to who defines today.
const NEWER: Defaults = Defaults { net_model: Some("virtio"), ..Defaults::TODAY };

fn read_as(xml: &str, defaults: &Defaults, reading: Reading) -> Domain {
    let mut domain = Domain::parse(xml).unwrap();
    domain.complete_as(defaults, reading, &all()).unwrap();
    domain
}

/// The model of the only card, and whether its user chose it.
fn card(domain: &Domain) -> (String, bool) {
    let card = domain.of(Class::Interface).next().unwrap();
    let chosen = domain.origin_of(card.node, "model/@type") == Origin::User;
    (card.get("model/@type").unwrap_or_default().into_owned(), chosen)
}

#[test]
fn a_new_default_for_cards_is_for_who_defines_today() {
    let open = text(
        "x86_64",
        "pc",
        "<interface type='user'><mac address='52:54:00:00:00:01'/></interface>",
    );
    let new = read_as(&open, &NEWER, Reading::Define);
    assert_eq!(card(&new), ("virtio".to_owned(), false));
    for reading in [Reading::Load, Reading::Process] {
        assert_eq!(card(&read_as(&open, &NEWER, reading)), ("rtl8139".to_owned(), false));
    }
    // An older daemon reads what the newer one has written, and the other way round.
    let shown = new.to_inactive().unwrap().to_xml();
    assert!(!shown.contains("<model"), "{shown}");
    let back = read_as(&shown, &Defaults::TODAY, Reading::Load);
    assert_eq!(card(&back), ("virtio".to_owned(), false));
    let old = read_as(&open, &Defaults::TODAY, Reading::Define).to_inactive().unwrap().to_xml();
    for reading in Reading::ALL {
        assert_eq!(card(&read_as(&old, &NEWER, reading)), ("rtl8139".to_owned(), false));
    }
    // A dump that is defined again is the same guest, and an edit in it is a choice.
    let again = read_as(&new.to_xml(), &Defaults::TODAY, Reading::Define);
    assert_eq!(card(&again), ("virtio".to_owned(), false));
    let mut edited = new.clone();
    let node = edited.of(Class::Interface).next().unwrap().node;
    edited.document_mut().put(node, "model/@type", "e1000e").unwrap();
    let edited = edited.to_xml();
    let edited = read_as(&edited, &NEWER, Reading::Define);
    assert_eq!(card(&edited), ("e1000e".to_owned(), true));
    let kept = read_as(&edited.to_inactive().unwrap().to_xml(), &NEWER, Reading::Load);
    assert_eq!(card(&kept), ("e1000e".to_owned(), true));
}

/// Only what nobody chose, and only where every reader gives the same.
#[test]
fn the_first_model_of_a_card_is_left_out_where_it_is_sent() {
    let sent = |model: &str, defaults: &Defaults| {
        let devices =
            format!("<interface type='user'><mac address='52:54:00:00:00:01'/>{model}</interface>");
        let domain = read_as(&text("x86_64", "pc", &devices), defaults, Reading::Define);
        let text = domain.to_migratable().unwrap();
        let says = text.of(Class::Interface).next().unwrap().get("model/@type").is_some();
        let arrived = read_as(&text.to_xml(), &NEWER, Reading::Process);
        assert_eq!(card(&arrived), card(&domain));
        (says, card(&arrived).0)
    };
    assert_eq!(sent("", &Defaults::TODAY), (false, "rtl8139".to_owned()));
    assert_eq!(sent("<model type='rtl8139'/>", &Defaults::TODAY), (true, "rtl8139".to_owned()));
    assert_eq!(sent("", &NEWER), (true, "virtio".to_owned()));
}

#[test]
fn a_plugged_card_is_not_taken_for_an_earlier_one_of_its_name() {
    let live = read_as(&text("x86_64", "pc", ""), &NEWER, Reading::Define);
    let plug = |live: &Domain, model: &str| {
        let xml =
            format!("<interface type='user'><mac address='52:54:00:00:00:01'/>{model}</interface>");
        live.plug_as(&NEWER, &xml).unwrap()
    };
    let mut first = plug(&live, "");
    assert_eq!(card(&first.domain), ("virtio".to_owned(), false));
    first.domain.remove_device(first.node);
    let second = plug(&first.domain, "<model type='virtio'/>");
    assert_eq!(card(&second.domain), ("virtio".to_owned(), true));
}

fn fact(vendor: u64, device: u64, slot: u64, function: u64, id: &str) -> serde_json::Value {
    json!({"bus": 0, "slot": slot, "function": function, "id": {"vendor": vendor, "device": device}, "qdev_id": id})
}

#[test]
fn a_process_that_is_taken_over_says_what_it_has() {
    let took = |machine: &str, devices: &str, pci: &[serde_json::Value]| {
        let xml = text(arch(machine), machine, &format!("{CARD}{devices}"));
        let mut domain = read(&xml, Reading::Load, &all());
        domain.take_over(&usb_facts(&json!([{"bus": 0, "devices": pci}]))).unwrap();
        let domain = read(&domain.to_xml(), Reading::Process, &all());
        let sent = domain.to_migratable().unwrap();
        (usb(&domain), usb(&sent), domain.usb_start(&all()).unwrap().len())
    };
    let is = |one: &str, sent: &str, start| (one.to_owned(), sent.to_owned(), start);
    // An older libvirt said `-usb`, and believed in slot 2.
    let ohci = fact(0x106b, 0x3f, 0, 0, "");
    assert_eq!(took("pseries-2.5", "", &[ohci]), is("pci-ohci@machine", "absent", 1));
    let nec = fact(0x1033, 0x194, 0, 0, "");
    assert_eq!(took("pseries-2.6", "", &[nec]), is("nec-xhci@machine", "absent", 1));
    let placed = fact(0x106b, 0x3f, 7, 0, "usb");
    assert_eq!(took("pseries-2.6", "", &[placed]), is("pci-ohci@0:7.0", "pci-ohci@0:7.0", 1));
    assert_eq!(took("pseries-2.6", "", &[]), is("none", "none", 0));
    let piix3 = fact(0x8086, 0x7020, 1, 2, "");
    assert_eq!(took("pc", "", std::slice::from_ref(&piix3)), is("piix3-uhci@0:1.2", "absent", 1));
    // Of two, the other is somebody else's.
    let second = fact(0x106b, 0x3f, 9, 0, "usb1");
    assert_eq!(took("pc", "", &[second, piix3]), is("piix3-uhci@0:1.2", "absent", 1));
}

#[test]
fn a_controller_at_slot_0_is_told_to_ours_and_started_again() {
    let mut domain = read(&text("ppc64", "pseries-2.5", CARD), Reading::Load, &all());
    let ohci = fact(0x106b, 0x3f, 0, 0, "");
    domain.take_over(&usb_facts(&json!([{"bus": 0, "devices": [ohci]}]))).unwrap();
    let sent = domain.to_migratable().unwrap();
    let arrived = read(&sent.to_xml(), Reading::Process, &all());
    assert_eq!(usb(&arrived), "pci-ohci@machine");
    assert_eq!(arrived.usb_start(&all()).unwrap(), [UsbStart::Machine]);
    // As is defining what is printed of it.
    let redefined = read(&arrived.to_xml(), Reading::Define, &all());
    assert_eq!(usb(&redefined), "pci-ohci@machine");
}

#[test]
fn answers_of_another_shape_are_passed_over() {
    for answer in [
        json!(null),
        json!({}),
        json!([1]),
        json!([{"devices": 1}]),
        json!([{"devices": [{"id": 3}]}]),
    ] {
        assert_eq!(usb_facts(&answer), []);
    }
    let mut deep = json!({"id": {"vendor": 0x1b36, "device": 0xd}, "slot": 1, "function": 0});
    for _ in 0..100 {
        deep = json!({"pci_bridge": {"devices": [deep]}});
    }
    assert_eq!(usb_facts(&json!([{"devices": [deep]}])), []);
}

#[test]
fn a_record_of_another_version_or_by_somebody_else_is_left_alone() {
    let metadata = "<metadata><x:origin xmlns:x='urn:statusquo:origin:2'><x:auto of='controller usb 0' what='@model' value='piix3-uhci' at='define'/></x:origin><y:origin xmlns:y='urn:else'/></metadata>";
    let xml = text("x86_64", "pc", UNSET).replace("<devices>", &format!("{metadata}<devices>"));
    let domain = read(&xml, Reading::Define, &all());
    assert!(domain.to_xml().contains("urn:statusquo:origin:2"));
    assert!(domain.to_xml().contains("urn:else"));
    assert!(domain.automatic().iter().all(|record| record.auto.by == env!("CARGO_PKG_VERSION")));
}

fn a_controller() -> impl Strategy<Value = String> {
    let model = prop::sample::select(vec![
        "",
        " model='piix3-uhci'",
        " model='pci-ohci'",
        " model='nec-xhci'",
        " model='none'",
        " model='qemu-xhci'",
    ]);
    let address = prop::sample::select(vec![
        "",
        "<address type='pci' domain='0' bus='0' slot='1' function='2'/>",
        "<address type='pci' slot='0' function='0'/>",
        "<address type='pci' slot='0x1e' function='0'/>",
        "<alias name='ua-usb'/>",
        "<address type='machine'/>",
    ]);
    let one = (model, address, 0..2u32).prop_map(|(model, address, index)| {
        format!("<controller type='usb' index='{index}'{model}>{address}</controller>")
    });
    prop::collection::vec(one, 0..3).prop_map(|all| all.concat())
}

fn a_text() -> impl Strategy<Value = String> {
    let machine = prop::sample::select(vec!["pc", "q35", "pseries-2.5", "pseries-7.2", "isapc"]);
    (machine, a_controller(), 0..3usize).prop_map(|(machine, controllers, cards)| {
        let card = "<interface type='user'><model type='virtio'/></interface>".repeat(cards);
        text(arch(machine), machine, &format!("{card}{controllers}"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What is sent, or shown, and read again is the same guest, whoever reads it and why.
    #[test]
    fn no_form_of_a_definition_changes_the_guest(xml in a_text(), at in 0..3usize, again in 0..3usize) {
        let mut domain = Domain::parse(&xml).unwrap();
        if let Err(error) = domain.complete(Reading::ALL[at], &all()) {
            let refused = matches!(
                error.problem,
                Problem::Value { .. } | Problem::AddressInUse(_) | Problem::NoDefault { .. } | Problem::NoAddress(_)
                    | Problem::Unsupported(_)
            );
            prop_assert!(refused, "{error}");
            return Ok(());
        }
        for form in [domain.to_migratable().unwrap(), domain.to_inactive().unwrap(), domain.clone()] {
            let form = form.to_xml();
            let mut back = Domain::parse(&form).unwrap();
            let reading = if form.contains("left-out") { Reading::Process } else { Reading::ALL[again] };
            back.complete(reading, &all()).map_err(|e| TestCaseError::fail(format!("{e}\n{form}")))?;
            let differences = domain.abi_differences(&back, &all()).unwrap();
            prop_assert!(differences.is_empty(), "{differences:?}\n{form}");
            let once = back.to_xml();
            back.complete(reading, &all()).unwrap();
            prop_assert_eq!(back.to_xml(), once);
        }
    }

    /// Records are read from texts that anybody can write.
    #[test]
    fn no_record_can_break_a_definition(
        of in "(controller usb 0|interface #1|[ -~]{0,12})",
        what in "(presence|address|@model|@|/@|a/@b|[ -~&&[^<&']]{0,12})",
        value in "[a-z0-9-]{0,8}",
        hidden in prop::sample::select(vec!["", " hidden='yes'"]),
        held in prop::sample::select(vec!["", "<controller type='usb' index='0'/>", "<address/>", "<domain/>"]),
    ) {
        let escaped = of.replace('&', "").replace(['<', '\''], "");
        let record = format!("<s:auto of='{escaped}' what='{what}' value='{value}' at='define'{hidden}>{held}</s:auto>");
        let metadata = format!("<metadata><s:origin xmlns:s='urn:statusquo:origin:1'>{record}<s:left-out>{held}</s:left-out></s:origin></metadata>");
        let xml = text("x86_64", "pc", CARD).replace("<devices>", &format!("{metadata}<devices>"));
        let mut domain = Domain::parse(&xml).unwrap();
        if domain.complete(Reading::Process, &all()).is_ok() {
            domain.to_inactive().unwrap();
            domain.to_migratable().unwrap();
        }
    }
}
