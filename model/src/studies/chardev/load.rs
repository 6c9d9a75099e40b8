//! Plugging, chardev-change, stop, cont, save, load and migration.

use super::{
    events::Event,
    machine::Machine,
    outcome::Reply,
    rules::{Gate, Load},
    state::{Awaited, Bus, Kind, Late, Peer, Port},
};

impl Machine<'_> {
    /// One port as it is created, before anything happened.
    pub(super) fn start_port(&mut self, at: usize, kind: Kind) {
        self.ports[at] = Port::new().with_kind(kind).with_plugged(true);
        if !self.events() {
            return;
        }
        self.ports[at].set_attached(!self.rules.detached_while_stopped);
        if self.rules.device_is_client {
            // "make all backends start in D"
            self.ports[at].set_frontend_open(true);
            self.ports[at].set_guest_connected(true);
        } else if self.connects_by_itself(kind) {
            // The port hears its chardev from its creation until the machine is reset for the first time.
            self.ports[at].set_attached(true);
            self.ports[at].set_peer(Peer::Connected);
            self.transport_up(at);
            self.ports[at].set_attached(!self.rules.detached_while_stopped);
        }
    }

    pub(super) fn stop(&mut self) {
        self.bus.set_running(false);
        self.each(Self::attach_if_running);
    }

    pub(super) fn cont(&mut self) {
        if self.bus.running() {
            return;
        }
        self.bus.set_running(true);
        if !self.bus.launched() {
            self.bus.set_launched(true);
            self.each(|machine, at| {
                let port = machine.ports[at];
                let by_itself = machine.connects_by_itself(port.kind())
                    || port.kind() == Kind::Agent && port.frontend_open();
                if by_itself && !port.is_connected() {
                    machine.ports[at].set_peer(Peer::Connected);
                    machine.transport_up(at);
                }
            });
        }
        self.each(Self::attach_if_running);
        self.finish_load();
        self.each(|machine, at| {
            if machine.ports[at].added() {
                machine.announce(at);
            }
        });
    }

    pub(super) fn unplug(&mut self, at: usize) {
        if self.events() {
            // `qemu_chr_fe_deinit` closes the front-end; the port itself is gone first.
            self.ports[at].set_attached(false);
            if self.ports[at].frontend_open() {
                self.tell_backend(at, false);
            }
        }
        let port = self.ports[at];
        let chardev = Port::new()
            .with_kind(port.kind())
            .with_peer(port.peer())
            .with_backend_open(port.backend_open())
            .with_frontend_open(port.frontend_open())
            .with_limited(port.limited())
            .with_late(port.late())
            .with_unread_by_host(port.unread_by_host())
            .with_unread_by_guest(port.unread_by_guest())
            .with_awaited(match port.awaited() {
                Awaited::No => Awaited::No,
                Awaited::Here | Awaited::Gone => Awaited::Gone,
            });
        if self.events() {
            // The reply, DEVICE_DELETED, says that nobody has it open. A notice that waits comes all the same.
            self.ports[at] = chardev;
        } else {
            self.ports[at] =
                chardev.with_held(port.held()).with_management_told(port.management_told());
        }
    }

    pub(super) fn plug(&mut self, at: usize) {
        self.ports[at].set_plugged(true);
        if !self.events() {
            return;
        }
        self.ports[at].set_attached(true);
        self.look_for_slave(at);
        if self.rules.device_is_client {
            self.set_guest(at, true);
        }
        if self.ports[at].overlooked() {
            self.ports[at].set_overlooked(false);
            if self.ports[at].is_connected() {
                self.book(at, Event::TransportUp);
            }
        }
        if self.ports[at].backend_open() {
            self.opened(at);
        }
        self.announce(at);
    }

    /// `chardev-change`: the new backend is there before the old one goes.
    pub(super) fn change(&mut self, at: usize, to: Kind) {
        if self.events() && self.ports[at].plugged() && !self.ports[at].attached() {
            self.outcome.reply = Reply::HotswapNotSupported;
            return;
        }
        self.cut_off(at);
        if self.events() {
            self.change_by_events(at, to);
        } else {
            self.take_back(at);
            let port = &mut self.ports[at];
            port.set_kind(to);
            port.set_frontend_open(false);
            let on = to.is_always_on() && self.bus.launched();
            port.set_peer(if on { Peer::Connected } else { Peer::Gone });
        }
    }

    fn change_by_events(&mut self, at: usize, to: Kind) {
        let opens = self.connects_by_itself(to);
        let port = &mut self.ports[at];
        port.set_unread_by_host(0);
        port.set_unread_by_guest(0);
        port.set_hung_up(false);
        port.set_kind(to);
        port.set_overlooked(to == Kind::Pty && !port.plugged());
        port.set_peer(if opens { Peer::Connected } else { Peer::Gone });
        if port.backend_open() && !opens {
            self.book(at, Event::TransportDown);
            if self.ports[at].plugged() {
                self.closed(at);
            }
        }
        match self.rules.gate {
            // `qemu_chr_fe_init` on the new chardev; nobody sets it again.
            Gate::Flags => self.ports[at].set_frontend_open(false),
            Gate::Book => {
                let client = self.ports[at].frontend_open();
                self.tell_backend(at, client);
            }
        }
        if opens {
            self.transport_up(at);
            self.wake(at);
        }
    }

    /// A new QEMU with new chardevs; the guest's memory and the device's state come along.
    pub(super) fn migrate(&mut self, host: bool, run: bool) {
        self.bus.set_running(false);
        self.bus.set_launched(self.bus.launched() || self.events());
        self.bus.set_post_load(false);
        self.each(|machine, at| {
            machine.cut_off(at);
            if machine.events() {
                machine.load_at_destination(at, host);
            } else {
                machine.settle_at_destination(at, host);
            }
        });
        self.bus.set_post_load(self.rules.load == Load::FirstRun);
        if run {
            self.cont();
        }
    }

    fn load_at_destination(&mut self, at: usize, host: bool) {
        let saved = self.ports[at];
        let port = &mut self.ports[at];
        let on = self.rules.gate == Gate::Book && saved.kind() == Kind::Null
            || matches!(saved.kind(), Kind::File | Kind::Ring)
            || saved.kind().has_host() && host;
        port.set_peer(if on { Peer::Connected } else { Peer::Gone });
        port.set_unread_by_host(0);
        port.set_unread_by_guest(0);
        port.set_hung_up(false);
        port.set_throttled(false);
        port.set_watch(false);
        port.set_limited(false);
        port.set_late(Late::Nothing);
        port.set_backend_open(false);
        port.set_frontend_open(false);
        port.set_host_connected(false);
        port.set_awaited(Awaited::No);
        port.set_overlooked(saved.kind() == Kind::Pty && !saved.plugged());
        port.set_attached(saved.plugged() && !self.rules.detached_while_stopped);
        if self.rules.device_is_client && saved.plugged() {
            // Init, or reset, has opened the client before the stream is read.
            self.ports[at].set_guest_connected(true);
            self.ports[at].set_frontend_open(true);
        }
        if on && !self.ports[at].overlooked() {
            self.book(at, Event::TransportUp);
            let heard = self.ports[at].plugged()
                && (self.ports[at].attached() || self.connects_by_itself(saved.kind()));
            self.ports[at].set_host_connected(heard);
        }
        self.load_port(at, saved);
    }

    /// `virtio_serial_load_device` for one port, `saved` being what the stream has.
    fn load_port(&mut self, at: usize, saved: Port) {
        if !saved.plugged() {
            return;
        }
        if self.ports[at].held() {
            // Only then (`fetch_active_ports_list`): where nothing is held, the ring waits for the guest's next kick.
            self.ports[at].set_throttled(false);
            self.ports[at].set_watch(false);
            self.flush(at);
        }
        let open = self.ports[at].guest_connected();
        let is_agent = saved.kind() == Kind::Agent;
        match self.rules.load {
            Load::Silent | Load::Settled => {}
            Load::InLoad if open => self.tell_backend(at, true),
            Load::InLoad => {}
            Load::Section if is_agent && saved.frontend_open() => self.tell_backend(at, true),
            Load::Section => {}
            Load::Flag if is_agent => self.tell_backend(at, true),
            Load::Flag => {}
            Load::FirstRun => {
                self.ports[at].set_host_connected_at_source(saved.host_connected());
                self.ports[at].set_awaited(Awaited::Here);
                return;
            }
        }
        if self.ports[at].host_connected() != saved.host_connected() {
            let connected = self.ports[at].host_connected();
            self.tell_guest(at, connected);
        }
    }

    /// The post-load timer: it waits for the machine to run.
    fn finish_load(&mut self) {
        if !self.bus.post_load() {
            return;
        }
        self.bus.set_post_load(false);
        self.each(|machine, at| {
            let port = machine.ports[at];
            machine.ports[at].set_host_connected_at_source(false);
            machine.ports[at].set_awaited(Awaited::No);
            if port.awaited() == Awaited::Gone {
                // `virtio_serial_post_load_timer_cb` goes through pointers; nobody has taken this one out
                // when the port was unplugged.
                machine.bus.set_dead(true);
            } else if port.awaited() == Awaited::Here {
                if port.host_connected() != port.host_connected_at_source() {
                    machine.tell_guest(at, port.host_connected());
                }
                machine.set_guest(at, port.guest_connected());
            }
        });
    }

    /// `loadvm` of what `savevm` has just saved: the device is reset and loaded, chardevs stay.
    pub(super) fn save_load(&mut self) {
        if !self.events() {
            return;
        }
        let (saved, bus): (_, Bus) = (self.ports, self.bus);
        self.stop();
        self.bus.set_driver(false);
        self.each(Self::reset_port);
        self.bus = bus.with_running(false).with_post_load(self.rules.load == Load::FirstRun);
        self.each(|machine, at| {
            machine.ports[at].set_awaited(Awaited::No);
            if saved[at].plugged() {
                let open = saved[at].guest_connected()
                    || machine.rules.device_is_client && machine.ports[at].guest_connected();
                machine.ports[at].set_guest_connected(open);
                machine.ports[at].set_held(saved[at].held());
                machine.load_port(at, saved[at]);
            }
        });
        if bus.running() {
            self.cont();
        }
    }

    fn settle_at_destination(&mut self, at: usize, host: bool) {
        self.take_back(at);
        let launched = self.bus.launched();
        let port = &mut self.ports[at];
        let kind = port.kind();
        let on = kind.is_always_on() && launched || kind.has_host() && host;
        port.set_peer(if on { Peer::Connected } else { Peer::Gone });
        port.set_frontend_open(false);
    }

    /// What a ring buffer or a pty still has goes to its successor; a socket's host has read it.
    pub(super) fn take_back(&mut self, at: usize) {
        let port = &mut self.ports[at];
        port.set_held(port.held() || port.unread_by_host() > 0);
        port.set_unread_by_host(0);
    }
}
