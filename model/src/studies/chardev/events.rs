//! How the designs that hand events on do it: QEMU's mechanism, and the thread's diagrams.
//!
//! An event that finds nobody listening, or no buffer to be told in, is gone.

use super::{
    machine::Machine,
    rules::{Delivery, Diagram, Gate, Reset},
    state::{Kind, Label, Late, Peer, TRANSPORT_MAX},
};

/// What moves the chardev's book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    TransportUp,
    TransportDown,
    ClientUp,
    ClientDown,
}

/// What became of an element that the port gave to the transport.
enum Given {
    Taken,
    Full,
    /// Nobody there: `chr_write` returns -1.
    Failed,
}

impl Machine<'_> {
    #[inline]
    pub(super) fn events(&self) -> bool {
        self.rules.delivery == Delivery::Events
    }

    /// Does a backend without a peer count as connected? In QEMU a null chardev never does.
    #[inline]
    pub(super) fn connects_by_itself(&self, kind: Kind) -> bool {
        match kind {
            Kind::File | Kind::Ring => true,
            Kind::Null => self.rules.delivery == Delivery::Beliefs || self.rules.gate == Gate::Book,
            Kind::Server | Kind::Client | Kind::Pty | Kind::Agent => false,
        }
    }

    /// The transition of the chardev's book, by the labels or as the thread wrote it.
    pub(super) fn book(&mut self, at: usize, event: Event) {
        use {Event::*, Label::*};
        let port = &mut self.ports[at];
        let (mut backend, mut client) = port.book().flags();
        match self.rules.diagram {
            Diagram::Labels => match event {
                TransportUp => backend = true,
                TransportDown => backend = false,
                ClientUp => client = true,
                ClientDown => client = false,
            },
            Diagram::AsWritten => {
                let next = match (port.book(), event) {
                    // "other devices, on accept() goto D"
                    (B, TransportUp) | (B, ClientUp) => D,
                    (C, TransportDown) => B,
                    (C, ClientUp) => A,
                    (D, TransportUp) => A,
                    (D, ClientDown) => B,
                    // "if transport disconnects, goto B"
                    (A, TransportDown) => B,
                    (A, ClientDown) => C,
                    (same, _) => same,
                };
                // "B: for some devices, immediately goto C"
                let next = if next == B && port.kind().is_always_on() { C } else { next };
                (backend, client) = next.flags();
            }
        }
        port.set_backend_open(backend);
        port.set_frontend_open(client);
    }

    /// A front-end that comes or goes makes a pty look whether its slave is held.
    pub(super) fn look_for_slave(&mut self, at: usize) {
        let port = &mut self.ports[at];
        if port.kind() == Kind::Pty && !port.is_connected() && port.unread_by_guest() > 0 {
            port.set_hung_up(true);
        }
    }

    pub(super) fn transport_up(&mut self, at: usize) {
        self.ports[at].set_hung_up(false);
        if self.events() && !self.ports[at].overlooked() {
            self.book(at, Event::TransportUp);
            if self.hears(at) {
                self.opened(at);
            }
        }
    }

    pub(super) fn transport_down(&mut self, at: usize) {
        // A pty's chardev never learns that its slave was closed.
        if self.events() && self.ports[at].kind() != Kind::Pty {
            // The HUP watch disconnects at once and discards what was not read.
            self.ports[at].set_unread_by_guest(0);
            self.book(at, Event::TransportDown);
            if self.hears(at) {
                self.closed(at);
            } else if self.ports[at].watch() {
                // It ends with the transport, whoever hears of that.
                self.ports[at].set_throttled(false);
                self.ports[at].set_watch(false);
                if self.ports[at].kind() != Kind::Agent {
                    // The hang-up wakes the port, which tries again and fails. A SPICE server's watch just ends
                    // (`spice_char_source_check`), and what the port held is dropped before.
                    self.flush(at);
                }
            }
        }
    }

    fn hears(&self, at: usize) -> bool {
        self.ports[at].plugged() && self.ports[at].attached()
    }

    /// `CHR_EVENT_OPENED` at the port.
    pub(super) fn opened(&mut self, at: usize) {
        if !self.ports[at].host_connected() {
            self.ports[at].set_host_connected(true);
            self.tell_guest(at, true);
        }
    }

    /// `CHR_EVENT_CLOSED` at the port: what it holds and what the guest has queued is discarded.
    pub(super) fn closed(&mut self, at: usize) {
        let port = &mut self.ports[at];
        port.set_host_connected(false);
        port.set_throttled(false);
        port.set_watch(false);
        port.set_held(false);
        // A guest that restarts is given nothing back.
        if self.bus.driver() {
            self.outcome.seen_mut(at).completed += port.transmit();
        }
        port.set_transmit(0);
        self.tell_guest(at, false);
    }

    /// A `PORT_OPEN` message: lost without a control buffer.
    pub(super) fn tell_guest(&mut self, at: usize, connected: bool) {
        if self.bus.driver() && self.bus.control() && self.ports[at].known() {
            self.ports[at].set_guest_told(connected);
            self.outcome.seen_mut(at).guest_told.push(connected);
        }
    }

    fn tell_management(&mut self, at: usize, open: bool) {
        let port = &mut self.ports[at];
        if self.rules.rate_limit && port.limited() {
            port.set_late(if open { Late::Opened } else { Late::Closed });
        } else {
            port.set_limited(self.rules.rate_limit);
            port.set_management_told(open);
            self.outcome.seen_mut(at).management_told.push(open);
        }
    }

    pub(super) fn second_passes(&mut self, at: usize) {
        let port = &mut self.ports[at];
        match port.late() {
            Late::Nothing => port.set_limited(false),
            late => {
                let open = late == Late::Opened;
                port.set_late(Late::Nothing);
                port.set_management_told(open);
                self.outcome.seen_mut(at).management_told.push(open);
            }
        }
    }

    /// `PORT_ADD`, the guest's `PORT_READY`, and `PORT_OPEN` if the host is connected.
    pub(super) fn announce(&mut self, at: usize) {
        if !self.events() || !self.ports[at].plugged() || !self.bus.driver() {
            return;
        }
        if self.bus.control() {
            self.ports[at].set_added(true);
        }
        if self.bus.running() && self.ports[at].added() && !self.ports[at].known() {
            self.ports[at].set_known(true);
            self.ports[at].set_guest_told(false);
            self.outcome.seen_mut(at).announced = true;
            if self.ports[at].host_connected() {
                self.tell_guest(at, true);
            }
        }
    }

    /// A `PORT_OPEN` message of the guest's.
    pub(super) fn guest_says(&mut self, at: usize, open: bool) {
        if self.events() {
            self.set_guest(at, open);
        }
    }

    /// `set_guest_connected`: the book, and a notice for every message, changed or not.
    pub(super) fn set_guest(&mut self, at: usize, open: bool) {
        self.ports[at].set_guest_connected(open);
        self.tell_backend(at, open);
        self.tell_management(at, open);
    }

    /// The chardev hears of its client; only an agent's backend does anything about it.
    pub(super) fn tell_backend(&mut self, at: usize, open: bool) {
        self.book(at, if open { Event::ClientUp } else { Event::ClientDown });
        if self.ports[at].kind() == Kind::Agent && self.ports[at].is_connected() != open {
            if open {
                self.ports[at].set_peer(Peer::Connected);
                self.outcome.seen_mut(at).host_sees.push(true);
                self.transport_up(at);
            } else {
                self.cut_off(at);
                self.transport_down(at);
            }
        }
    }

    /// `guest_reset`: the held element is dropped; throttling outlives it.
    pub(super) fn reset_port(&mut self, at: usize) {
        if !self.events() || !self.ports[at].plugged() {
            return;
        }
        self.ports[at].set_held(false);
        match self.rules.reset {
            Reset::Ignored => {}
            Reset::Closes if self.ports[at].guest_connected() => self.set_guest(at, false),
            Reset::Closes => {}
            Reset::Reopens => {
                self.set_guest(at, false);
                self.set_guest(at, true);
            }
        }
    }

    /// `virtconsole_enable_backend`; attaching delivers OPENED again.
    pub(super) fn attach_if_running(&mut self, at: usize) {
        if self.rules.detached_while_stopped && self.ports[at].plugged() {
            self.ports[at].set_attached(self.bus.running());
            self.look_for_slave(at);
            if self.ports[at].attached() && self.ports[at].backend_open() {
                self.opened(at);
            }
        }
    }

    /// The host has read: the write watch fires.
    pub(super) fn wake(&mut self, at: usize) {
        if !self.events() {
            return;
        }
        if self.ports[at].throttled() && self.ports[at].watch() {
            self.ports[at].set_throttled(false);
            self.ports[at].set_watch(false);
            self.flush(at);
        }
    }

    /// The guest has put something in the ring, and says so: the one time that anybody looks there who did not
    /// have to wait before (`handle_output`).
    pub(super) fn kick(&mut self, at: usize) {
        if !self.events() {
            return;
        }
        if !self.may_write(at) {
            // Given away or dropped: the guest sees the same.
            let port = &mut self.ports[at];
            self.outcome.seen_mut(at).completed += port.transmit();
            port.set_transmit(0);
        } else if !self.ports[at].throttled() {
            self.flush(at);
        }
    }

    /// The element that the port holds, and what waits behind it in the ring (`do_flush_queued_data`).
    pub(super) fn flush(&mut self, at: usize) {
        while !self.ports[at].throttled() {
            let port = &mut self.ports[at];
            if port.held() {
                port.set_held(false);
            } else if port.transmit() > 0 {
                port.set_transmit(port.transmit() - 1);
            } else {
                break;
            }
            match (self.give(at), self.rules.gate) {
                (Given::Taken, _) | (Given::Failed, Gate::Book) => {
                    self.outcome.seen_mut(at).completed += 1;
                }
                (Given::Full, _) => self.throttle(at, true),
                (Given::Failed, Gate::Flags) => self.throttle(at, false),
            }
        }
    }

    /// Does the port write now, or throw away?
    fn may_write(&self, at: usize) -> bool {
        let port = self.ports[at];
        match self.rules.gate {
            Gate::Flags => port.host_connected(),
            Gate::Book => self.rules.write_in.contains(&port.book()),
        }
    }

    /// The element is kept; without a watch nobody will ask for it again.
    fn throttle(&mut self, at: usize, watch: bool) {
        let port = &mut self.ports[at];
        port.set_held(true);
        port.set_throttled(true);
        port.set_watch(watch);
    }

    /// QEMU's main loop, once what was asked of it is done. A SPICE server does not try again by itself.
    #[inline]
    pub(super) fn poll(&mut self, at: usize) {
        if self.ports[at].kind() != Kind::Agent {
            self.take_input(at);
        }
    }

    /// What gives a SPICE server a reason to try: a new message of its client's, or a guest that asks
    /// (`chr_accept_input`).
    pub(super) fn accept_input(&mut self, at: usize) {
        if self.events() && self.ports[at].kind() == Kind::Agent {
            self.take_input(at);
        }
    }

    /// `qemu_chr_fe_write` of one element.
    fn give(&mut self, at: usize) -> Given {
        // A SPICE server that is woken to take a message also sends what it has (`red_char_device_wakeup`).
        if self.ports[at].kind() == Kind::Agent && self.ports[at].is_connected() {
            self.take_input(at);
        }
        let port = &mut self.ports[at];
        let room = port.unread_by_host() < TRANSPORT_MAX;
        match port.kind() {
            // What nobody will read is taken all the same (`spice_chr_write`).
            Kind::Agent if !port.is_connected() => Given::Taken,
            Kind::Server | Kind::Client if !port.is_connected() => Given::Failed,
            Kind::Server | Kind::Client | Kind::Agent if !room => Given::Full,
            // Writes to a pty without a slave, and beyond a ring buffer's end, succeed.
            Kind::Pty if !port.is_connected() => Given::Taken,
            Kind::Ring if !room => Given::Taken,
            Kind::File | Kind::Null if !port.is_connected() => Given::Failed,
            Kind::File | Kind::Null => {
                self.outcome.seen_mut(at).stored += 1;
                Given::Taken
            }
            Kind::Server | Kind::Client | Kind::Agent | Kind::Pty | Kind::Ring => {
                port.set_unread_by_host(port.unread_by_host() + 1);
                Given::Taken
            }
        }
    }

    pub(super) fn take_input(&mut self, at: usize) {
        while let Some(can_deliver) = self.may_read(at) {
            let port = &mut self.ports[at];
            if port.unread_by_guest() > 0 {
                port.set_unread_by_guest(port.unread_by_guest() - 1);
                if can_deliver {
                    port.set_posted(false);
                    self.outcome.seen_mut(at).guest_receives += 1;
                }
            } else if port.peer() == Peer::HalfClosed {
                // End of file on input is taken for the end of the connection.
                self.cut_off(at);
                self.transport_down(at);
            } else {
                break;
            }
        }
    }

    /// Does the port read now, and if so, does what it reads get to its guest?
    #[inline]
    fn may_read(&self, at: usize) -> Option<bool> {
        let port = self.ports[at];
        let watched = port.attached() && !port.hung_up();
        if !(port.plugged() && watched && port.backend_open()) {
            return None;
        }
        let ready = self.bus.driver() && port.posted();
        match self.rules.gate {
            Gate::Flags => (ready && port.guest_connected()).then_some(port.host_connected()),
            // In C the rule lets bytes be read, and nobody is there for them.
            Gate::Book => {
                let client = port.book() == Label::A;
                let may = self.rules.read_in.contains(&port.book()) && (ready || !client);
                may.then_some(ready && client)
            }
        }
    }
}
