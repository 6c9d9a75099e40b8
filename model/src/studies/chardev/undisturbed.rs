//! What users expect after each disruption: written from the facts, not with the machinery that is
//! under test.

use super::{
    action::Action,
    machine::Machine,
    state::{Kind, Peer, TRANSPORT_MAX},
};

impl Machine<'_> {
    /// Turns the state into the one that users expect after `disruption`.
    pub(super) fn undisturb(&mut self, disruption: Action) {
        match disruption {
            Action::Cont if self.bus.running() => {}
            Action::Cont if !self.bus.launched() => self.cont_undisturbed(),
            Action::Cont => self.as_if_never_stopped(),
            // As if the hosts had been cut off here, had found the machine again if they could, and
            // the machine had been started or stopped.
            Action::Migrate { host, run } => {
                if !run {
                    self.stop();
                }
                self.bus.set_launched(self.bus.launched() || run || self.events());
                self.each(|machine, at| machine.flap(at, host));
                if run {
                    self.as_if_never_stopped();
                }
                self.each(|machine, at| {
                    // A waiting notice is owed by the old QEMU, at once.
                    while machine.ports[at].limited() {
                        machine.second_passes(at);
                    }
                });
            }
            // Saving and loading in place changes nothing.
            _ => {}
        }
    }

    /// The first `cont` starts the machine: there is nothing to compare it with.
    fn cont_undisturbed(&mut self) {
        self.cont();
        if !self.events() {
            self.settle();
        }
    }

    fn flap(&mut self, at: usize, host: bool) {
        let kind = self.ports[at].kind();
        if kind == Kind::Pty && !self.events() {
            // What its host has not read is not lost with the terminal.
            self.take_back(at);
            self.ports[at].set_peer(if host { Peer::Connected } else { Peer::Gone });
        } else if kind.has_host() {
            if self.ports[at].is_connected() {
                self.host_leaves(at);
            }
            if host {
                self.ports[at].set_peer(Peer::Connected);
                self.transport_up(at);
            }
        } else if kind == Kind::Agent {
            // Its transport is as it was, with nothing in it: the agent reads what it is sent.
            self.ports[at].set_unread_by_host(0);
        } else if kind.is_always_on() && self.bus.launched() {
            self.ports[at].set_peer(Peer::Connected);
        }
        if !self.events() {
            self.expect(at, self.bus.running());
        }
    }

    fn as_if_never_stopped(&mut self) {
        self.bus.set_running(true);
        if self.events() {
            let post_load = self.bus.post_load();
            self.bus.set_post_load(false);
            self.each(|machine, at| machine.heard_all(at, post_load));
        } else {
            self.each(|machine, at| machine.expect(at, true));
        }
    }

    /// The port has heard every event, and the backend knows what the stream says.
    fn heard_all(&mut self, at: usize, post_load: bool) {
        let port = &mut self.ports[at];
        if !port.plugged() {
            return;
        }
        port.set_attached(true);
        port.set_host_connected_at_source(false);
        if post_load {
            let open = port.guest_connected();
            self.tell_backend(at, open);
        }
        let port = self.ports[at];
        if port.backend_open() && !port.host_connected() {
            self.opened(at);
        } else if !port.backend_open() && port.host_connected() {
            self.closed(at);
        }
        if port.added() {
            self.announce(at);
        }
        self.take_input(at);
    }

    /// What `ours` promises of a port, said once more from the facts alone.
    fn expect(&mut self, at: usize, running: bool) {
        let Machine { ports, bus, .. } = self;
        let port = &mut ports[at];
        let connected = port.peer() != Peer::Gone;
        let open = port.plugged() && port.open();
        let guest_is_there = running && bus.driver() && port.plugged();
        port.set_backend_open(connected);
        port.set_host_connected(connected && port.plugged());
        port.set_frontend_open(open);
        port.set_guest_connected(open);
        port.set_management_told(open);
        if guest_is_there && bus.control() {
            port.set_known(true);
            port.set_guest_told(connected);
        }
        let waiting = if guest_is_there { port.transmit() } else { 0 };
        let room = match port.kind() {
            _ if !connected => 0,
            Kind::File | Kind::Null => u8::MAX,
            _ => TRANSPORT_MAX - port.unread_by_host(),
        };
        let from_held = u8::from(port.held()).min(room);
        let from_ring = waiting.min(room - from_held);
        port.set_held(u8::from(port.held()) > from_held);
        port.set_transmit(port.transmit() - from_ring);
        if !matches!(port.kind(), Kind::File | Kind::Null) {
            port.set_unread_by_host(port.unread_by_host() + from_held + from_ring);
        }
        let to_guest = guest_is_there && open && port.posted() && port.unread_by_guest() > 0;
        if to_guest {
            port.set_posted(false);
            port.set_unread_by_guest(port.unread_by_guest() - 1);
        }
    }
}
