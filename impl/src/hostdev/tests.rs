use super::*;
use crate::domain::{Emulator, Given, Origin, Problem, allocated};

const DEVICE: Pci = Pci { domain: 0, bus: 3, slot: 0, function: 1, multifunction: false };

fn hostdev(driver: &str) -> String {
    format!(
        "<hostdev mode='subsystem' type='pci' managed='yes'>{driver}<source><address domain='0x0000' \
         bus='0x03' slot='0x00' function='0x1'/></source></hostdev>"
    )
}

fn domain(devices: &str) -> Domain {
    let text = format!(
        "<domain type='kvm'><name>t</name><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices>{devices}<memballoon model='none'/></devices></domain>"
    );
    let mut domain = Domain::parse(&text).unwrap();
    domain.complete(Reading::Define, &Emulator::default()).unwrap();
    domain
}

fn host(legacy: bool, vfio: bool, prefers: Preference) -> Host {
    Host { hypervisor: Hypervisor::Qemu, legacy, vfio, prefers }
}

/// Every host, every release, every driver: by hand.
#[test]
fn the_driver_is_the_one_that_is_asked_for_or_the_best_there_is() {
    use Preference::{Legacy, Vfio};
    let xen = Host { hypervisor: Hypervisor::Xen, ..host(true, true, Vfio) };
    let table = [
        (host(true, true, Legacy), "kvm", ["kvm", "vfio", "unsupported"]),
        (host(true, true, Vfio), "vfio", ["kvm", "vfio", "unsupported"]),
        (host(true, false, Legacy), "kvm", ["kvm", "cannot", "unsupported"]),
        (host(true, false, Vfio), "kvm", ["kvm", "cannot", "unsupported"]),
        (host(false, true, Legacy), "vfio", ["unsupported", "vfio", "unsupported"]),
        (host(false, true, Vfio), "vfio", ["unsupported", "vfio", "unsupported"]),
        (host(false, false, Vfio), "cannot", ["unsupported", "cannot", "unsupported"]),
        (xen, "xen", ["unsupported", "unsupported", "xen"]),
    ];
    let said = |resolved: Result<Driver, Refused>| match resolved {
        Ok(driver) => driver.name(),
        Err(Refused::HostCannot { .. }) => "cannot",
        Err(_) => "unsupported",
    };
    for (host, open, named) in table {
        assert_eq!(said(host.resolve(DEVICE, None)), open, "{host:?}");
        let found = ["kvm", "vfio", "xen"].map(|name| said(host.resolve(DEVICE, Some(name))));
        assert_eq!(found, named, "{host:?}");
    }
    let error = host(false, true, Vfio).resolve(DEVICE, Some("pciback")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "driver `pciback` cannot take 0000:03:00.1 here: leave the driver open, or use vfio"
    );
}

#[test]
fn a_refused_device_leaves_everything_as_it_was() {
    let second = hostdev("<driver name='xen'/>").replace("0x03", "0x04");
    let mut live = domain(&(hostdev("") + &second));
    let (before, mut manager) = (live.to_xml(), Manager::default());
    let refused = take(&mut live, "t", &host(false, true, Preference::Vfio), &mut manager);
    assert!(matches!(refused, Err(Refused::Unsupported { .. })), "{refused:?}");
    assert_eq!((live.to_xml(), manager.clone()), (before, Manager::default()));
    assert_eq!(give_back("t", &mut manager), []);
    // A device that another guest has.
    let here = host(false, true, Preference::Vfio);
    let (mut one, mut other) = (domain(&hostdev("")), domain(&hostdev("")));
    take(&mut one, "one", &here, &mut manager).unwrap();
    let before = (other.to_xml(), manager.clone());
    let busy = take(&mut other, "other", &here, &mut manager).unwrap_err();
    assert_eq!(busy.to_string(), "0000:03:00.1 is in use by domain `one`: unplug it there first");
    assert_eq!((other.to_xml(), manager.clone()), before);
    assert!(manager.give_back("other", DEVICE).is_err());
    assert_eq!(give_back("one", &mut manager), [Effect::Restore { device: DEVICE }]);
    assert_eq!(manager, Manager::default());
}

#[test]
fn a_run_s_driver_is_marked_and_no_configuration_gets_to_know_it() {
    let here = host(false, true, Preference::Vfio);
    let shown = |driver: &str| {
        let mut live = domain(&hostdev(driver));
        take(&mut live, "t", &here, &mut Manager::default()).unwrap();
        let node = live.assigned().unwrap().remove(0).node;
        let marked = matches!(live.origin_of(node, "driver/@name"), Origin::Auto(_));
        let mut again = Domain::parse(&live.to_xml()).unwrap();
        again.complete(Reading::Define, &Emulator::default()).unwrap();
        let driver = |domain: &Domain| domain.assigned().unwrap().remove(0).driver;
        let kept = driver(&again.to_inactive().unwrap());
        // A status file keeps it.
        let mut process = Domain::parse(&live.to_xml()).unwrap();
        process.complete(Reading::Process, &Emulator::default()).unwrap();
        assert_eq!(driver(&process).as_deref(), Some("vfio"));
        (marked, driver(&live.to_inactive().unwrap()), kept)
    };
    assert_eq!(shown(""), (true, None, None));
    let vfio = Some("vfio".to_owned());
    assert_eq!(shown("<driver name='vfio'/>"), (false, vfio.clone(), vfio));
}

/// Whoever edits the dump takes the driver over.
#[test]
fn an_edited_driver_is_a_choice() {
    let mut live = domain(&hostdev(""));
    take(&mut live, "t", &host(true, true, Preference::Legacy), &mut Manager::default()).unwrap();
    let edited = live.to_xml().replace("<driver name=\"kvm\"/>", "<driver name='vfio'/>");
    let edited = edited.replace("<driver name='kvm'/>", "<driver name='vfio'/>");
    let mut again = Domain::parse(&edited).unwrap();
    again.complete(Reading::Define, &Emulator::default()).unwrap();
    let kept = again.to_inactive().unwrap().assigned().unwrap().remove(0);
    assert_eq!(kept.driver.as_deref(), Some("vfio"), "{edited}");
}

#[test]
fn what_a_network_gives_is_of_the_run() {
    let interface = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='pool'/></interface>";
    let given = |driver: Option<&str>| Given { source: DEVICE, driver: driver.map(str::to_owned) };
    let here = host(false, true, Preference::Vfio);
    let mut live = domain(&allocated(interface, &given(None)).unwrap());
    assert_eq!(live.assigned().unwrap(), [], "nobody defines what a network gives");
    let mut with = |driver| {
        let card = live.of(crate::domain::Class::Interface).next().unwrap();
        let (node, xml) = (card.node, allocated(&card.to_xml(), &given(driver)).unwrap());
        live.document_mut().remove(node);
        live.add_device(&xml).unwrap();
        live.assign_aliases().unwrap();
        let mut manager = Manager::default();
        let taken = take(&mut live, "t", &here, &mut manager).map(|_| ());
        (taken, live.clone(), manager)
    };
    let (refused, _, manager) = with(Some("xen"));
    assert!(matches!(refused, Err(Refused::Unsupported { .. })));
    assert_eq!(manager, Manager::default());
    let (taken, live, manager) = with(None);
    taken.unwrap();
    assert_eq!(manager.taken(DEVICE).map(|taken| taken.driver), Some(Driver::Vfio));
    assert_eq!(Manager::recover([("t", &live)]).unwrap(), manager);
    assert_eq!(live.to_inactive().unwrap().assigned().unwrap(), []);
}

#[test]
fn a_live_definition_must_say_the_driver() {
    let open = domain(&hostdev(""));
    let error = Manager::recover([("t", &open)]).unwrap_err();
    assert_eq!(error.path, "/domain/devices/hostdev");
    let taken = domain(&hostdev("<driver name='vfio'/>"));
    let error = Manager::recover([("t", &taken), ("u", &taken)]).unwrap_err();
    assert_eq!(error.problem, Problem::AddressInUse("0000:03:00.1".to_owned()));
}
