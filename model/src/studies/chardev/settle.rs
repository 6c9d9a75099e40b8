//! How the design `ours` works: after every step each belief is compared with the fact, and each
//! byte with its receiver.

use super::{
    machine::Machine,
    state::{Kind, Peer, TRANSPORT_MAX},
};

impl Machine<'_> {
    pub(super) fn settle(&mut self) {
        self.each(Self::settle_port);
    }

    fn settle_port(&mut self, at: usize) {
        let reachable = self.bus.running() && self.bus.driver();
        let tellable = reachable && self.bus.control();
        let port = &mut self.ports[at];
        let seen = self.outcome.seen_mut(at);

        // The backend's belief about its client. An agent's transport follows from it.
        let client = port.plugged() && port.open();
        port.set_guest_connected(client);
        if port.kind() == Kind::Agent && client != port.frontend_open() {
            if client {
                port.set_peer(Peer::Connected);
            } else if port.is_connected() {
                seen.host_receives += port.unread_by_host();
                port.set_unread_by_host(0);
                port.set_peer(Peer::Gone);
            }
            seen.host_sees.push(client);
        }
        port.set_frontend_open(client);

        let connected = port.is_connected();
        port.set_backend_open(connected);
        port.set_host_connected(connected && port.plugged());

        // Management's belief about the guest.
        if port.management_told() != client {
            port.set_management_told(client);
            seen.management_told.push(client);
        }

        // The guest's belief about its host.
        if tellable && port.plugged() && !port.known() {
            port.set_known(true);
            port.set_guest_told(false);
            seen.announced = true;
        }
        if tellable && port.known() && port.guest_told() != connected {
            port.set_guest_told(connected);
            seen.guest_told.push(connected);
        }

        self.move_bytes(at, reachable);
    }

    /// A byte moves when its receiver is there.
    fn move_bytes(&mut self, at: usize, reachable: bool) {
        let port = &mut self.ports[at];
        let seen = self.outcome.seen_mut(at);
        // What was taken from the guest before does not need the guest.
        while port.is_connected() && (port.held() || reachable && port.transmit() > 0) {
            let full = port.unread_by_host() >= TRANSPORT_MAX;
            if full {
                break;
            }
            if port.held() {
                port.set_held(false);
            } else {
                port.set_transmit(port.transmit() - 1);
                seen.completed += 1;
            }
            if matches!(port.kind(), Kind::File | Kind::Null) {
                seen.stored += 1;
            } else {
                port.set_unread_by_host(port.unread_by_host() + 1);
            }
        }
        if reachable && port.guest_connected() && port.posted() && port.unread_by_guest() > 0 {
            port.set_posted(false);
            port.set_unread_by_guest(port.unread_by_guest() - 1);
            seen.guest_receives += 1;
        }
    }
}
