//! One step: the guards of every action, and what each changes in the world.
//!
//! A change of the world is handed to the design as an event ([`super::events`]) or left to be
//! found ([`super::settle`]), and that is all the designs differ in here.

use super::{
    action::Action,
    outcome::{Outcome, Reply},
    rules::{Delivery, Rules},
    state::{Bus, Kind, PORTS_MAX, Peer, Port, State, TRANSPORT_MAX},
};
use crate::study::Blocked;

/// One step under construction.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) rules: &'a Rules,
    /// Ports in the scope.
    pub(super) ports_len: usize,
    /// Elements that a transmit ring holds.
    pub(super) ring_max: u8,
    pub(super) ports: [Port; PORTS_MAX],
    pub(super) bus: Bus,
    pub(super) outcome: Outcome,
}

impl<'a> Machine<'a> {
    #[inline]
    pub(super) fn new(rules: &'a Rules, ports_len: usize, ring_max: u8, state: &State) -> Self {
        let State { ports, bus } = *state;
        Machine { rules, ports_len, ring_max, ports, bus, outcome: Outcome::default() }
    }

    #[inline]
    pub(super) fn state(&self) -> State {
        State { ports: self.ports, bus: self.bus }
    }

    #[inline]
    fn believes(&self) -> bool {
        self.rules.delivery == Delivery::Beliefs
    }

    /// The guard and the effect of `action`.
    #[inline]
    pub(super) fn act(&mut self, action: Action) -> Result<(), Blocked> {
        self.is_alive()?;
        match action.port() {
            Some(port) => self.act_at(port, action)?,
            None => self.act_on_all(action)?,
        }
        self.rest();
        Ok(())
    }

    /// The same where the action's port is the machine's only one.
    pub(super) fn act_at_first(&mut self, action: Action) -> Result<(), Blocked> {
        self.is_alive()?;
        match action.port() {
            Some(_) => self.act_at(0, action)?,
            None => self.act_on_all(action)?,
        }
        self.rest();
        Ok(())
    }

    /// What follows without anybody's action.
    #[inline]
    pub(super) fn rest(&mut self) {
        if self.believes() {
            self.settle();
        } else if !self.bus.dead() {
            self.each(Self::poll);
        }
        if self.bus.dead() {
            State { ports: self.ports, bus: self.bus } = State::dead();
            self.outcome = Outcome::died();
        }
    }

    #[inline]
    fn act_on_all(&mut self, action: Action) -> Result<(), Blocked> {
        match action {
            // Of a machine that is stopped already nobody hears.
            Action::Stop if !self.bus.running() => {}
            Action::Stop => self.stop(),
            Action::Cont => self.cont(),
            Action::SystemReset => self.reset_guest(),
            Action::SaveLoad => self.save_load(),
            Action::DriverInit => {
                self.can_run_guest()?;
                enabled(!self.bus.driver(), "the driver is set up already")?;
                self.bus.set_driver(true);
                self.bus.set_control(true);
                self.each(Self::attach_if_running);
                self.each(Self::announce);
            }
            Action::DriverReset => {
                self.can_run_guest()?;
                self.has_driver()?;
                self.reset_guest();
            }
            Action::PostControl => {
                self.can_run_guest()?;
                self.has_driver()?;
                enabled(!self.bus.control(), "the driver gives control buffers back already")?;
                self.bus.set_control(true);
            }
            Action::WithholdControl => {
                self.can_run_guest()?;
                self.has_driver()?;
                enabled(self.bus.control(), "the driver keeps every control buffer already")?;
                self.bus.set_control(false);
            }
            Action::Migrate { host, run } => self.migrate(host, run),
            Action::SecondPasses => {
                let waits = (0..self.ports_len).any(|at| self.ports[at].limited());
                enabled(waits, "no notice was sent less than a second ago")?;
                self.each(Self::second_passes);
            }
            _ => return Err(Blocked("it is about a port")),
        }
        Ok(())
    }

    #[inline]
    fn act_at(&mut self, at: usize, action: Action) -> Result<(), Blocked> {
        let port = self.ports[at];
        match action {
            Action::Query { .. } => {
                self.outcome.reply = Reply::Chardev {
                    connected: port.shown_connected(self.rules),
                    frontend_open: port.plugged() && port.frontend_open(),
                };
            }
            Action::Unplug { .. } if !port.plugged() => self.outcome.reply = Reply::DeviceNotFound,
            Action::Unplug { .. } => self.unplug(at),
            Action::Plug { .. } if port.plugged() => self.outcome.reply = Reply::DuplicateDevice,
            Action::Plug { .. } => self.plug(at),
            Action::Change { to, .. } => self.change(at, to),
            Action::GuestOpen { .. } => {
                self.can_use(at)?;
                self.ports[at].set_open(true);
                self.guest_says(at, true);
            }
            Action::GuestClose { .. } => {
                self.can_use(at)?;
                self.ports[at].set_open(false);
                self.guest_says(at, false);
            }
            Action::GuestWrite { .. } => {
                self.can_use(at)?;
                enabled(port.transmit() < self.ring_max, "the transmit ring is full")?;
                // The kernel does not say how much a pty takes, so the study never fills one.
                enabled(
                    port.kind() != Kind::Pty || port.output() == 0,
                    "the scope has at most one element on its way to a pty",
                )?;
                self.ports[at].set_transmit(port.transmit() + 1);
                self.kick(at);
            }
            Action::GuestPost { .. } => {
                self.can_use(at)?;
                enabled(!port.posted(), "the scope posts one receive buffer at a time")?;
                self.ports[at].set_posted(true);
                self.accept_input(at);
            }
            Action::HostConnect { .. } => {
                enabled(port.kind().has_host(), "this backend has no host that comes and goes")?;
                enabled(!port.is_connected(), "the host is connected already")?;
                self.ports[at].set_peer(Peer::Connected);
                self.transport_up(at);
            }
            Action::HostDisconnect { .. } => {
                enabled(port.kind().has_host(), "this backend has no host that comes and goes")?;
                enabled(port.is_connected(), "no host is connected")?;
                self.host_leaves(at);
            }
            Action::HostHalfClose { .. } => {
                enabled(
                    matches!(port.kind(), Kind::Server | Kind::Client),
                    "only a socket has two directions to close",
                )?;
                enabled(port.peer() == Peer::Connected, "the host's sending side is not open")?;
                self.ports[at].set_peer(Peer::HalfClosed);
            }
            Action::HostWrite { .. } => {
                enabled(port.kind() != Kind::Ring, "a ring buffer takes no input from the host")?;
                enabled(!port.kind().is_always_on(), "nobody is at the other end")?;
                enabled(port.peer() == Peer::Connected, "the host's sending side is not open")?;
                enabled(
                    port.unread_by_guest() < TRANSPORT_MAX,
                    "the scope leaves at most one element unread by the guest",
                )?;
                self.ports[at].set_unread_by_guest(port.unread_by_guest() + 1);
                self.accept_input(at);
            }
            Action::HostRead { .. } => {
                enabled(
                    port.kind() == Kind::Ring || !port.kind().is_always_on(),
                    "nobody is at the other end",
                )?;
                enabled(port.is_connected(), "no host is connected")?;
                if port.unread_by_host() == 0 {
                    self.outcome.reply = Reply::Nothing;
                } else {
                    self.host_reads_all(at);
                    self.wake(at);
                }
            }
            _ => return Err(Blocked("it is about the whole machine")),
        }
        Ok(())
    }

    /// The host leaves; what it has not read it does not want.
    pub(super) fn host_leaves(&mut self, at: usize) {
        self.ports[at].set_peer(Peer::Gone);
        self.ports[at].set_unread_by_host(0);
        self.transport_down(at);
    }

    /// The host reads what is there, and it is counted.
    pub(super) fn host_reads_all(&mut self, at: usize) {
        let port = &mut self.ports[at];
        self.outcome.seen_mut(at).host_receives += port.unread_by_host();
        port.set_unread_by_host(0);
    }

    /// QEMU ends the connection: the host reads on to the end of what it was sent. Only the slave of a
    /// pty loses that when its master is closed (Linux, `pty_close` hangs the slave up); the design
    /// `ours` takes it back before.
    pub(super) fn cut_off(&mut self, at: usize) {
        let kind = self.ports[at].kind();
        if self.ports[at].is_connected() && !kind.is_always_on() {
            if kind != Kind::Pty {
                self.host_reads_all(at);
            } else if self.events() {
                self.ports[at].set_unread_by_host(0);
            }
            self.outcome.seen_mut(at).host_sees.push(false);
            self.ports[at].set_peer(Peer::Gone);
        }
    }

    /// The guest restarts: its rings, its driver and its applications are gone.
    fn reset_guest(&mut self) {
        self.bus.set_driver(false);
        self.bus.set_control(false);
        self.each(Self::reset_port);
        for port in &mut self.ports[..self.ports_len] {
            port.set_open(false);
            port.set_known(false);
            port.set_added(false);
            port.set_guest_told(false);
            port.set_transmit(0);
            port.set_posted(false);
        }
        self.each(Self::attach_if_running);
    }

    #[inline]
    pub(super) fn each(&mut self, what: impl Fn(&mut Self, usize)) {
        (0..self.ports_len).for_each(|at| what(self, at));
    }

    fn is_alive(&self) -> Result<(), Blocked> {
        enabled(!self.bus.dead(), "QEMU has crashed")
    }

    fn can_run_guest(&self) -> Result<(), Blocked> {
        enabled(self.bus.running(), "the machine does not run")
    }

    fn has_driver(&self) -> Result<(), Blocked> {
        enabled(self.bus.driver(), "the guest has no driver")
    }

    fn can_use(&self, at: usize) -> Result<(), Blocked> {
        self.can_run_guest()?;
        self.has_driver()?;
        enabled(self.ports[at].plugged(), "the port is not plugged in")?;
        enabled(self.ports[at].known(), "the guest has not been told of the port")
    }
}

#[inline]
fn enabled(guard: bool, else_because: &'static str) -> Result<(), Blocked> {
    if guard { Ok(()) } else { Err(Blocked(else_because)) }
}
