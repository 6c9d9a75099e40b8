//! Who is connected, and who has been told: two facts and three beliefs, without I/O.

use std::fmt;

/// The two facts in one letter, after the qemu-devel thread of 2011-07.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Backend connected, client connected.
    A,
    /// Both disconnected.
    B,
    /// Backend connected only.
    C,
    /// Client connected only.
    D,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Somebody who believes something about the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observer {
    /// The guest, about its host: virtio-serial's `PORT_OPEN`.
    Guest,
    /// Management, about the guest: QEMU's `VSERPORT_CHANGE`.
    Management,
    /// The backend, about the guest: QEMU's `frontend-open`.
    Backend,
}

/// One port's facts, and what each observer was last told of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    transport: bool,
    client: bool,
    guest_told: bool,
    management_told: bool,
    backend_told: bool,
}

impl Connection {
    /// The host's end is, or is no longer, connected.
    pub fn set_transport(&mut self, connected: bool) {
        self.transport = connected;
    }

    /// The guest has the port open, or no longer.
    pub fn set_client(&mut self, open: bool) {
        self.client = open;
    }

    /// Fact: the host's end is connected.
    pub fn transport(&self) -> bool {
        self.transport
    }

    /// Fact: the guest has the port open.
    pub fn client(&self) -> bool {
        self.client
    }

    /// The facts as a letter.
    pub fn label(&self) -> Label {
        match (self.transport, self.client) {
            (true, true) => Label::A,
            (false, false) => Label::B,
            (true, false) => Label::C,
            (false, true) => Label::D,
        }
    }

    /// What this observer believes.
    pub fn belief(&self, observer: Observer) -> bool {
        match observer {
            Observer::Guest => self.guest_told,
            Observer::Management => self.management_told,
            Observer::Backend => self.backend_told,
        }
    }

    /// What this observer must be told, if he believes what is not so.
    pub fn owed(&self, observer: Observer) -> Option<bool> {
        let fact = match observer {
            Observer::Guest => self.transport,
            Observer::Management | Observer::Backend => self.client,
        };
        (self.belief(observer) != fact).then_some(fact)
    }

    /// This observer was told.
    pub fn told(&mut self, observer: Observer, what: bool) {
        match observer {
            Observer::Guest => self.guest_told = what,
            Observer::Management => self.management_told = what,
            Observer::Backend => self.backend_told = what,
        }
    }

    /// The guest restarts: its application is gone, and it believes nothing. No client is invented.
    pub fn guest_reset(&mut self) {
        self.client = false;
        self.guest_told = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of facts and beliefs, and who is owed what: a change here is a change of
    /// behaviour, and is read as a table.
    #[test]
    fn who_is_owed_what() {
        let mut table =
            String::from("label guest management backend -> owed guest, management, backend\n");
        for bits in 0..32_u8 {
            let bit = |at: u8| bits >> at & 1 == 1;
            let connection = Connection {
                transport: bit(4),
                client: bit(3),
                guest_told: bit(2),
                management_told: bit(1),
                backend_told: bit(0),
            };
            let owed = [Observer::Guest, Observer::Management, Observer::Backend].map(|observer| {
                match connection.owed(observer) {
                    None => "-",
                    Some(true) => "on",
                    Some(false) => "off",
                }
            });
            let yes = |flag: bool| if flag { "on" } else { "off" };
            table.push_str(&format!(
                "{} {:>3} {:>3} {:>3} -> {:>3} {:>3} {:>3}\n",
                connection.label(),
                yes(connection.guest_told),
                yes(connection.management_told),
                yes(connection.backend_told),
                owed[0],
                owed[1],
                owed[2]
            ));
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn nobody_is_told_twice() {
        let mut connection = Connection::default();
        connection.set_transport(true);
        assert_eq!(connection.owed(Observer::Guest), Some(true));
        connection.told(Observer::Guest, true);
        assert_eq!(connection.owed(Observer::Guest), None);
        // A flap that the guest could not be told of leaves nothing to tell.
        connection.set_transport(false);
        connection.set_transport(true);
        assert_eq!(connection.owed(Observer::Guest), None);
    }

    #[test]
    fn reset_invents_no_client() {
        let mut connection = Connection::default();
        connection.set_client(true);
        connection.told(Observer::Management, true);
        connection.guest_reset();
        assert!(!connection.client());
        assert_eq!(connection.owed(Observer::Management), Some(false));
    }
}
