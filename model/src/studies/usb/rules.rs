//! Every rule of `docs/studies/usb.md`, by its number there, written out by hand once more.

use super::{
    addresses,
    definition::{Asked, Controller, Definition, Refusal, Text},
    generation::{
        Dropped, Fit,
        Generation::{self, *},
    },
    hardware::{Build, Bus, Device, Machine, Model, Place, shown},
    host::{Guest, Host},
};

const LIBVIRTS: [Generation; 15] = [Z, Y, Y2, A0, A1, A2, A3, B, C, D, DPrime, DPrime5, E, F, N];

fn host(generation: Generation, machine: Machine, build: Build) -> Host {
    Host { generation, machine, build }
}

fn root(slot: u8) -> Place {
    Place { bus: Bus::Root, slot, function: 0 }
}

/// One line per generation that differs from the one before.
#[track_caller]
fn table(of: impl Fn(Generation) -> String, expected: &[(Generation, &str)]) {
    let mut lines: Vec<(Generation, String)> = Vec::new();
    for generation in LIBVIRTS {
        let said = of(generation);
        if lines.last().is_none_or(|(_, last)| *last != said) {
            lines.push((generation, said));
        }
    }
    let lines: Vec<(Generation, &str)> =
        lines.iter().map(|(generation, said)| (*generation, said.as_str())).collect();
    assert_eq!(lines, expected);
}

/// What `define` makes of it: `unset`, a model, `absent`, or a refusal.
fn defined(generation: Generation, machine: Machine, build: Build, asked: Asked) -> String {
    match host(generation, machine, build).define(asked) {
        Err(refusal) => crate::words::words(&refusal),
        Ok(Definition { usb: None, .. }) => "absent".to_owned(),
        Ok(Definition { usb: Some(Controller { model: None, .. }), .. }) => "unset".to_owned(),
        Ok(Definition { usb: Some(Controller { model: Some(model), .. }), .. }) => {
            crate::words::words(&model)
        }
    }
}

/// And what a process then has.
fn started(generation: Generation, machine: Machine, build: Build, asked: Asked) -> String {
    let host = host(generation, machine, build);
    match host.define(asked).and_then(|config| host.start(config)) {
        Err(refusal) => crate::words::words(&refusal),
        Ok(guest) => shown(guest.hardware),
    }
}

/// And what a daemon makes of it that loads it.
fn loaded(generation: Generation, machine: Machine, build: Build, asked: Asked) -> String {
    match host(generation, machine, build).load_new(asked) {
        Err(refusal) => crate::words::words(&refusal),
        Ok(Definition { usb: None, .. }) => "absent".to_owned(),
        Ok(Definition { usb: Some(usb), .. }) => {
            usb.model.map_or_else(|| "unset".to_owned(), |model| crate::words::words(&model))
        }
    }
}

/// What is sent of a definition with this controller.
fn sent(generation: Generation, machine: Machine, model: Option<Model>) -> &'static str {
    let usb = Some(Controller { model, place: Some(root(5)) });
    let guest = Guest { live: Definition { usb, cards: 0 }, hardware: None, last_slot: 0 };
    match host(generation, machine, Build::Upstream).migratable(&guest).definition.usb {
        None => "dropped",
        Some(kept) if Some(kept) == usb => "kept",
        Some(_) => "changed",
    }
}

mod r1_releases {
    use super::*;

    #[test]
    fn machine_types() {
        table(
            |one| {
                Machine::ALL
                    .into_iter()
                    .filter(|machine| one.knows_machine(*machine))
                    .map(Machine::name)
                    .collect::<Vec<_>>()
                    .join(" ")
            },
            &[
                (Z, "i440fx"),
                (Y2, "pseries-2.5 pseries-2.6 i440fx"),
                (A2, "pseries-2.5 pseries-2.6 i440fx q35"),
            ],
        );
    }

    #[test]
    fn words_of_the_parser() {
        use Model::*;
        let known = |one: Generation| {
            [Piix3Uhci, PciOhci, Ich9, NecXhci, None, QemuXhci]
                .into_iter()
                .filter(|model| one.knows_controllers() && one.knows_model(*model))
                .map(|model| crate::words::words(&model))
                .collect::<Vec<_>>()
                .join(" ")
        };
        table(
            known,
            &[
                (Z, ""),
                (Y, "piix3-uhci pci-ohci ich9"),
                (A1, "piix3-uhci pci-ohci ich9 nec-xhci none"),
                (E, "piix3-uhci pci-ohci ich9 nec-xhci none qemu-xhci"),
            ],
        );
    }

    #[test]
    fn an_unknown_controller_or_model_is_an_error() {
        let pc = |one, asked| defined(one, Machine::I440fx, Build::Upstream, asked);
        assert_eq!(pc(Z, Asked::Unset), "unknown-controller");
        assert_eq!(pc(A0, Asked::Model(Model::NecXhci)), "unknown-model");
        assert_eq!(pc(A0, Asked::Model(Model::None)), "unknown-model");
        assert_eq!(pc(DPrime5, Asked::Model(Model::QemuXhci)), "unknown-model");
        assert_eq!(pc(Z, Asked::Absent), "absent");
    }
}

mod r2_no_controller_is_given {
    use super::*;

    #[test]
    fn i440fx() {
        for (build, later) in [(Build::Upstream, "piix3-uhci"), (Build::NoUhci, "unset")] {
            let of = |one| defined(one, Machine::I440fx, build, Asked::Absent);
            match build {
                Build::Upstream => table(of, &[(Z, "absent"), (Y2, "unset"), (D, later)]),
                _ => table(of, &[(Z, "absent"), (Y2, "unset")]),
            }
        }
    }

    #[test]
    fn ppc64() {
        let of = |one| defined(one, Machine::Pseries25, Build::Upstream, Asked::Absent);
        let expected = [(Z, "unknown-machine"), (Y2, "unset"), (D, "pci-ohci"), (E, "qemu-xhci")];
        table(of, &expected);
    }

    #[test]
    fn q35() {
        let of = |build| move |one| defined(one, Machine::Q35, build, Asked::Absent);
        let expected = [
            (Z, "unknown-machine"),
            (A2, "absent"),
            (B, "ich9"),
            (DPrime5, "nec-xhci"),
            (N, "qemu-xhci"),
        ];
        table(of(Build::Upstream), &expected);
        let expected = [(Z, "unknown-machine"), (A2, "absent"), (B, "ich9"), (DPrime5, "nec-xhci")];
        table(of(Build::NoQemuXhci), &expected);
        let without_ich9 =
            [(Z, "unknown-machine"), (A2, "absent"), (DPrime5, "nec-xhci"), (N, "qemu-xhci")];
        table(of(Build::NoUhci), &without_ich9);
        table(of(Build::Bare), &[(Z, "unknown-machine"), (A2, "absent")]);
    }

    #[test]
    fn it_is_added_without_asking_why_the_text_is_read() {
        // A process without USB gets a controller in its live definition when a newer daemon takes over.
        let guest = host(A2, Machine::Q35, Build::Upstream);
        let guest = guest.define(Asked::Absent).and_then(|config| guest.start(config)).unwrap();
        assert_eq!(guest.live.usb, None);
        let taken = host(N, Machine::Q35, Build::Upstream).reconnect(&guest).unwrap();
        assert_eq!(taken.live.usb.unwrap().model, Some(Model::QemuXhci));
        assert_eq!(taken.hardware, None);
    }
}

mod r3_a_model_is_left_open {
    use super::*;

    #[test]
    fn the_command_line_decides_until_d() {
        for machine in [Machine::Pseries25, Machine::I440fx, Machine::Q35] {
            for one in [A2, A3, B, C] {
                assert_eq!(defined(one, machine, Build::Upstream, Asked::Unset), "unset");
            }
        }
    }

    #[test]
    fn then_the_parser_does() {
        let of = |machine, build| {
            move |one: Generation| match one >= D {
                true => defined(one, machine, build, Asked::Unset),
                false => "-".to_owned(),
            }
        };
        let pseries = |build| of(Machine::Pseries26, build);
        table(pseries(Build::Upstream), &[(Z, "-"), (D, "pci-ohci"), (E, "qemu-xhci")]);
        table(pseries(Build::NoQemuXhci), &[(Z, "-"), (D, "pci-ohci"), (E, "nec-xhci")]);
        table(pseries(Build::Bare), &[(Z, "-"), (D, "unset")]);
        for machine in [Machine::I440fx, Machine::Q35] {
            table(of(machine, Build::Upstream), &[(Z, "-"), (D, "piix3-uhci")]);
            table(of(machine, Build::NoUhci), &[(Z, "-"), (D, "unset")]);
        }
    }

    #[test]
    fn only_who_defines_gets_a_new_default() {
        let of = |one| loaded(one, Machine::Pseries26, Build::Upstream, Asked::Unset);
        table(of, &[(Z, "unknown-machine"), (Y2, "unset"), (D, "pci-ohci")]);
        let of = |one| loaded(one, Machine::Pseries26, Build::Upstream, Asked::Absent);
        table(of, &[(Z, "unknown-machine"), (Y2, "unset"), (D, "pci-ohci")]);
    }

    #[test]
    fn q35_without_usb_and_q35_without_a_model_differ() {
        let of = |asked| defined(N, Machine::Q35, Build::Upstream, asked);
        assert_eq!((&*of(Asked::Absent), &*of(Asked::Unset)), ("qemu-xhci", "piix3-uhci"));
    }
}

mod r4_the_command_line {
    use super::*;

    #[test]
    fn ppc64() {
        // With every device: A0 takes PIIX3's, A1 an OHCI at PIIX3's place, A2 `-usb`, then an OHCI.
        let of = |build| move |one| started(one, Machine::Pseries25, build, Asked::Unset);
        table(
            of(Build::Upstream),
            &[
                (Z, "unknown-machine"),
                (Y2, "piix3-uhci@1.2"),
                (A1, "pci-ohci@1.2"),
                (A2, "pci-ohci@0.0"),
                (A3, "pci-ohci@2.0"),
                (E, "qemu-xhci@2.0"),
            ],
        );
        // Without UHCI everybody up to A3 says `-usb`.
        table(
            of(Build::NoUhci),
            &[
                (Z, "unknown-machine"),
                (Y2, "pci-ohci@0.0"),
                (B, "pci-ohci@2.0"),
                (E, "qemu-xhci@2.0"),
            ],
        );
        table(of(Build::Bare), &[(Z, "unknown-machine"), (Y2, "pci-ohci@0.0")]);
    }

    #[test]
    fn the_built_in_controller_of_a_newer_pseries_is_another() {
        let of = |one| started(one, Machine::Pseries26, Build::NoUhci, Asked::Unset);
        table(
            of,
            &[
                (Z, "unknown-machine"),
                (Y2, "nec-xhci@0.0"),
                (B, "pci-ohci@2.0"),
                (E, "qemu-xhci@2.0"),
            ],
        );
    }

    #[test]
    fn i440fx_has_piix3_however_it_is_asked_for() {
        for build in [Build::Upstream, Build::NoUhci, Build::Bare] {
            let of = |one| started(one, Machine::I440fx, build, Asked::Absent);
            table(of, &[(Z, "piix3-uhci@1.2")]);
            let of = |one| started(one, Machine::I440fx, build, Asked::Unset);
            table(of, &[(Z, "unknown-controller"), (Y, "piix3-uhci@1.2")]);
        }
    }

    #[test]
    fn q35_has_no_usb_of_its_own() {
        let of = |build, asked| move |one| started(one, Machine::Q35, build, asked);
        table(
            of(Build::Upstream, Asked::Absent),
            &[
                (Z, "unknown-machine"),
                (A2, "none"),
                (B, "ich9@1d.7"),
                (DPrime5, "nec-xhci@port:1.0"),
                (N, "qemu-xhci@port:1.0"),
            ],
        );
        table(
            of(Build::Upstream, Asked::Unset),
            &[(Z, "unknown-machine"), (A2, "piix3-uhci@bridge:2.0")],
        );
        let refused = [(Z, "unknown-machine"), (A2, "no-device"), (D, "no-model")];
        table(of(Build::NoUhci, Asked::Unset), &refused);
    }

    #[test]
    fn a_model_that_qemu_lacks_is_an_error_at_start() {
        let asked = Asked::Model(Model::NecXhci);
        assert_eq!(started(N, Machine::I440fx, Build::Bare, asked), "no-device");
        assert_eq!(started(N, Machine::I440fx, Build::Bare, Asked::Model(Model::None)), "none");
    }
}

mod r5_what_is_sent {
    use super::*;

    #[test]
    fn rules() {
        let of = |one: Generation| match one.drops() {
            Dropped::Nothing => "nothing".to_owned(),
            Dropped::Unset => "unset".to_owned(),
            Dropped::UnsetOnI440fx => "unset on i440fx".to_owned(),
            Dropped::Piix3OnI440fx => "unset and piix3 on i440fx".to_owned(),
        };
        let expected = [
            (Z, "nothing"),
            (A0, "unset"),
            (C, "unset on i440fx"),
            (DPrime, "unset and piix3 on i440fx"),
        ];
        table(of, &expected);
    }

    #[test]
    fn by_machine_and_model() {
        let of = |machine, model| move |one| sent(one, machine, model).to_owned();
        for machine in [Machine::Pseries25, Machine::Q35] {
            table(of(machine, None), &[(Z, "kept"), (A0, "dropped"), (C, "kept")]);
            table(of(machine, Some(Model::Piix3Uhci)), &[(Z, "kept")]);
        }
        table(of(Machine::I440fx, None), &[(Z, "kept"), (A0, "dropped")]);
        table(of(Machine::I440fx, Some(Model::Piix3Uhci)), &[(Z, "kept"), (DPrime, "dropped")]);
        for model in [Model::NecXhci, Model::PciOhci, Model::Ich9, Model::None] {
            table(of(Machine::I440fx, Some(model)), &[(Z, "kept")]);
        }
    }
}

mod r6_the_destination {
    use super::*;

    #[test]
    fn what_it_misses_is_refused_and_what_it_adds_is_not() {
        let q35 = |one| host(one, Machine::Q35, Build::Upstream);
        let nothing = Text { definition: Definition { usb: None, cards: 2 }, process: None };
        let arrived = q35(B).receive(&nothing, None).unwrap();
        assert!(arrived.silently_changed);
        assert_eq!(shown(arrived.guest.hardware), "ich9@1d.7");
        let sent = Some(Device { model: Model::Piix3Uhci, place: root(5) });
        assert_eq!(q35(B).receive(&nothing, sent), Err(Refusal::UnknownSection));
    }

    #[test]
    fn it_is_given_no_new_default() {
        let pseries = host(N, Machine::Pseries26, Build::Upstream);
        let open = Controller { model: None, place: Some(root(2)) };
        let text = Text { definition: Definition { usb: Some(open), cards: 2 }, process: None };
        let ohci = Some(Device { model: Model::PciOhci, place: root(2) });
        let arrived = pseries.receive(&text, ohci).unwrap();
        assert_eq!(arrived.guest.hardware, ohci);
    }
}

mod r7_addresses {
    use super::*;

    fn assigned(generation: Generation, machine: Machine, usb: Controller, cards: u8) -> String {
        let mut definition = Definition { usb: Some(usb), cards };
        match addresses::assign(generation, machine, &mut definition) {
            Err(refusal) => crate::words::words(&refusal),
            Ok(()) => {
                let place = definition.usb.and_then(|usb| usb.place);
                place.map_or_else(|| "nowhere".to_owned(), |place| place.to_string())
            }
        }
    }

    fn controller(model: Option<Model>, place: Option<Place>) -> Controller {
        Controller { model, place }
    }

    #[test]
    fn the_lowest_slot_that_is_free_but_never_slot_0() {
        let ohci = controller(Some(Model::PciOhci), None);
        for (cards, slot) in [(0b0, "1.0"), (0b10, "2.0"), (0b100, "1.0"), (0b110, "3.0")] {
            assert_eq!(assigned(N, Machine::Pseries25, ohci, cards), slot);
            assert_eq!(assigned(B, Machine::Pseries25, ohci, cards), slot);
        }
    }

    #[test]
    fn piix3_has_one_place() {
        let other = controller(Some(Model::Piix3Uhci), Some(root(5)));
        for one in [A0, C, N] {
            let open = controller(None, None);
            assert_eq!(assigned(one, Machine::I440fx, open, 0), "1.2");
            let refusal = "not-the-place-of-piix3";
            assert_eq!(assigned(one, Machine::I440fx, other, 0), refusal);
            // Its chip is in slot 1.
            assert_eq!(assigned(one, Machine::I440fx, open, 0b10), "place-taken");
            let nec = controller(Some(Model::NecXhci), Some(root(1)));
            assert_eq!(assigned(one, Machine::I440fx, nec, 0), "place-taken");
        }
    }

    #[test]
    fn until_1_1_1_on_every_machine() {
        let other = controller(Some(Model::Piix3Uhci), Some(root(5)));
        let of = |one: Generation| match one.knows_machine(Machine::Pseries25) {
            true => assigned(one, Machine::Pseries25, other, 0),
            false => "-".to_owned(),
        };
        table(of, &[(Z, "-"), (Y2, "not-the-place-of-piix3"), (A2, "5.0")]);
        let open = controller(None, None);
        assert_eq!(assigned(A1, Machine::Pseries25, open, 0b1000), "1.2");
        assert_eq!(assigned(A1, Machine::Pseries25, open, 0b10), "place-taken");
        // The slot of a video card that is not there is kept free.
        let nec = controller(Some(Model::NecXhci), None);
        assert_eq!(assigned(A1, Machine::Pseries25, nec, 0b1000), "4.0");
    }

    #[test]
    fn zeros_ask_for_an_address_since_c() {
        let zero = controller(Some(Model::PciOhci), Some(root(0)));
        let of = |one: Generation| match one.knows_machine(Machine::Pseries25) {
            true => assigned(one, Machine::Pseries25, zero, 0b1000),
            false => "-".to_owned(),
        };
        table(of, &[(Z, "-"), (Y2, "slot-zero"), (C, "1.0")]);
    }

    #[test]
    fn a_set_has_its_slot_on_q35_since_b() {
        let set = controller(Some(Model::Ich9), None);
        assert_eq!(assigned(A3, Machine::Q35, set, 0b10), "bridge:2.7");
        assert_eq!(assigned(B, Machine::Q35, set, 0b10), "1d.7");
        assert_eq!(assigned(N, Machine::I440fx, set, 0b100), "3.7");
    }

    #[test]
    fn no_controller_no_address() {
        assert_eq!(assigned(N, Machine::I440fx, controller(Some(Model::None), None), 0), "nowhere");
    }

    #[test]
    fn first_fit_and_next_fit() {
        table(|one| format!("{:?}", one.fit()), &[(Z, "Next"), (F, "First")]);
        // Cards in slots 1 and 3, the controller in 2; the last was given slot 3, then slot 1 was left.
        let usb = Some(controller(Some(Model::PciOhci), Some(root(2))));
        let definition = Definition { usb, cards: 0b1000 };
        let plug = |one, last| addresses::plug(one, Machine::Pseries25, &definition, last);
        assert_eq!(plug(C, 3), Ok(4));
        assert_eq!(plug(F, 3), Ok(1));
        // A daemon that was restarted has forgotten.
        assert_eq!(plug(C, 0), Ok(1));
        // Once around.
        let full = Definition { cards: 0b1111_1000, ..definition };
        assert_eq!(addresses::plug(C, Machine::Pseries25, &full, 7), Ok(1));
        assert_eq!(one_pass(Fit::Next), one_pass(Fit::First));
    }

    /// Over a fresh set both give the same.
    fn one_pass(fit: Fit) -> Vec<u8> {
        let generation = LIBVIRTS.into_iter().rev().find(|one| one.fit() == fit).unwrap();
        let mut definition = Definition { usb: None, cards: 0 };
        let mut last = 0;
        for _ in 0..4 {
            let machine = Machine::Pseries25;
            last = addresses::plug(generation, machine, &definition, last).unwrap();
            definition.cards |= 1 << last;
        }
        vec![definition.cards]
    }

    /// Dropping and adding again keeps the address exactly if all slots below are still taken.
    #[test]
    fn the_closed_form() {
        let pseries = host(B, Machine::Pseries25, Build::Upstream);
        for slot in 1..6u8 {
            for cards in (0..64u8).filter(|cards| cards & (1 | 1 << slot) == 0) {
                let had = Some(Device { model: Model::PciOhci, place: root(slot) });
                let text = Text { definition: Definition { usb: None, cards }, process: None };
                let below = (1 << slot) - 2;
                let kept =
                    pseries.receive(&text, had).is_ok_and(|there| there.guest.hardware == had);
                assert_eq!(kept, cards & below == below, "slot {slot}, cards {cards:#b}");
            }
        }
    }

    #[test]
    fn arrival_moves_the_pointer_until_addresses_are_given_by_the_parser() {
        let pseries = |one| host(one, Machine::Pseries25, Build::Upstream);
        let had = Some(Device { model: Model::PciOhci, place: root(2) });
        let text = Text { definition: Definition { usb: None, cards: 0b10 }, process: None };
        let plugged = |one| {
            let arrived = pseries(one).receive(&text, had).unwrap();
            let vacated = Host::unplug(&arrived.guest);
            pseries(one).plug(&vacated).unwrap().live.cards
        };
        assert_eq!((plugged(B), plugged(C)), (0b1000, 0b10));
    }
}

mod r8_upgrade_in_place {
    use super::*;

    /// Who started it, who sends it and who reads it are three.
    #[test]
    fn a_daemon_believes_what_it_would_have_done() {
        let old = host(A2, Machine::Pseries25, Build::Upstream);
        let guest = old.define(Asked::Absent).and_then(|config| old.start(config)).unwrap();
        assert_eq!(shown(guest.hardware), "pci-ohci@0.0");
        // The text of such a guest names a slot that is reserved for nothing.
        assert_eq!(guest.live.usb.unwrap().to_string(), "unset@2.0");
        let new = host(DPrime, Machine::Pseries25, Build::Upstream);
        let taken = new.reconnect(&guest).unwrap();
        assert_eq!(taken.live.usb.unwrap().to_string(), "pci-ohci@2.0");
        assert_eq!(shown(taken.hardware), "pci-ohci@0.0");
        let refused = new.receive(&new.migratable(&taken), taken.hardware);
        assert_eq!(refused, Err(Refusal::UnknownSection));
    }
}
