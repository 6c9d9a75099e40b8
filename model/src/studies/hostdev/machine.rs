//! What a daemon does with a device, from its definition to the host's kernel.

use super::{
    Study,
    action::{Asked, Refusal, Result},
    rules::{DefaultIs, Detach, Driver, Network, Rejects, Start},
    state::{Device, State},
};

/// A device was not prepared, and whether the host was touched.
pub(super) struct Refused {
    why: Refusal,
    late: bool,
    /// The driver is open to the end, or one that the manager does not know: it cannot even be given back.
    pub(super) is_unknown: bool,
}

impl Refused {
    fn early(why: Refusal) -> Self {
        Refused { why, late: false, is_unknown: false }
    }

    fn late(why: Refusal) -> Self {
        Refused { why, late: true, is_unknown: false }
    }

    pub(super) fn result(&self) -> Result {
        if self.late { Result::RefusedLate(self.why) } else { Result::Refused(self.why) }
    }
}

type Prepared = std::result::Result<Driver, Refused>;

impl Study {
    /// What this daemon puts where nothing stands, if the host has anything.
    fn default(&self, s: &State) -> Option<Driver> {
        match self.rules.default {
            DefaultIs::Todays => self.bounds.todays(s.newer, s.vfio),
            DefaultIs::Legacy => Some(self.bounds.legacy()),
        }
    }

    fn fill(&self, s: &State, driver: Option<Driver>, fills: bool) -> Option<Driver> {
        driver.or_else(|| self.default(s).filter(|_| fills))
    }

    /// A text is parsed, not for the first time if it is `loaded`.
    pub(super) fn parse(
        &self,
        s: &State,
        driver: Option<Driver>,
        loaded: bool,
    ) -> std::result::Result<Option<Driver>, Refusal> {
        let rules = &self.rules;
        let refuses = rules.rejects == Rejects::AtParse && s.newer;
        if refuses && driver.is_some_and(|driver| self.bounds.is_foreign(driver)) {
            return Err(Refusal::Unsupported);
        }
        Ok(self.fill(s, driver, rules.parse_fills || (rules.define_fills && !loaded)))
    }

    /// A device of the definition, at start.
    pub(super) fn start(&self, s: &State, driver: Option<Driver>) -> Prepared {
        self.prepare(s, self.fill(s, driver, self.rules.start != Start::No))
    }

    /// A device that a network gives, at start or when an interface is plugged.
    pub(super) fn of_network(&self, s: &State, driver: Option<Driver>, plugged: bool) -> Prepared {
        let fills = match plugged {
            false => self.rules.start == Start::AfterNetworks,
            true => self.rules.attach,
        };
        let driver = match self.rules.network {
            Network::Keep => self.fill(s, driver, fills),
            Network::Overwrite => self.default(s),
        };
        if plugged { self.plug(s, driver) } else { self.prepare(s, driver) }
    }

    /// A device that is plugged.
    pub(super) fn attach(&self, s: &State, text: Option<Driver>) -> Prepared {
        let parsed = self.parse(s, text, false).map_err(Refused::early)?;
        self.plug(s, self.fill(s, parsed, self.rules.attach))
    }

    fn plug(&self, s: &State, driver: Option<Driver>) -> Prepared {
        let foreign = driver.is_some_and(|driver| self.bounds.is_foreign(driver));
        if foreign && self.rules.rejects == Rejects::AtParse {
            return Err(Refused::early(Refusal::Unsupported));
        }
        self.prepare(s, driver)
    }

    /// The wrapper, if there is one, and the hostdev manager.
    fn prepare(&self, s: &State, driver: Option<Driver>) -> Prepared {
        let rules = &self.rules;
        let driver = self.fill(s, driver, rules.wrapper);
        let checks = matches!(rules.rejects, Rejects::InWrapper | Rejects::BeforeAnything);
        let Some(driver) = driver else {
            let why = if checks { Refusal::HostCannot } else { Refusal::DriverIsOpen };
            return Err(Refused { is_unknown: true, ..Refused::early(why) });
        };
        let foreign = self.bounds.is_foreign(driver);
        let why = if foreign || driver == Driver::Kvm {
            Refusal::Unsupported
        } else {
            Refusal::HostCannot
        };
        match (self.bounds.can(driver, s.vfio), rules.rejects) {
            (true, _) if s.stuck => Err(Refused::early(Refusal::InUse)),
            (true, _) => Ok(driver),
            // The manager itself knows no legacy driver any more.
            (false, _) if driver == Driver::Kvm => {
                Err(Refused { is_unknown: true, ..Refused::early(why) })
            }
            (false, Rejects::BeforeAnything) => Err(Refused::early(why)),
            (false, Rejects::InWrapper) if !foreign => Err(Refused::early(why)),
            (false, _) => Err(Refused::late(why)),
        }
    }

    /// Does the device go back to the host when it is unplugged by a text that leaves its driver open?
    pub(super) fn gives_back(&self, s: &State, device: &Device) -> bool {
        device.of_network
            || match self.rules.detach {
                Detach::Live => true,
                Detach::Parsed => self.parse(s, None, true).is_ok_and(|object| object.is_some()),
                Detach::ParsedAndFilled => self.default(s).is_some(),
            }
    }

    /// The same device, started and plugged: what would be answered?
    pub(super) fn both_ways(&self, s: &State) -> Option<[Result; 2]> {
        let config = s.config?;
        let ways = match config.asked {
            Asked::Nothing => return None,
            Asked::Network(driver) => {
                [false, true].map(|plugged| self.of_network(s, driver, plugged))
            }
            _ => [self.start(s, config.memory), self.attach(s, config.asked.driver())],
        };
        Some(
            ways.map(|prepared| prepared.map_or_else(|refused| refused.result(), |_| Result::Done)),
        )
    }
}
