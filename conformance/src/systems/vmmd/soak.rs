//! Kills at random instants of a daemon that runs freely, while clients ask for random changes.
//!
//! After each kill the daemon is started again, and then the definition, the status file and QEMU must have the same
//! devices, QEMU no backend without a device, and the guest must be the same process.

use std::{
    fs, io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use statusquo_vmm::{
    daemon::control::{self, Form, Named, Request},
    domain::Domain,
    hypervisor::{Hypervisor, process::Process, qmp::Client},
    status::Status,
};

use super::{
    DOMAIN, Home, PATIENCE, Vmmd,
    control::Connection,
    guest::{self, Chipset, Class},
};

/// A kill falls within this time after the first request of a life.
const LIFE_MAX: Duration = Duration::from_millis(120);
/// Devices of one class, so that buses do not fill up.
const DEVICES_MAX: usize = 4;

/// What a soak came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soaked {
    /// Kills, each followed by a recovery that was looked at.
    pub kills: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Requests that were still unanswered when the kill came.
    pub unanswered: u64,
    /// Kills after which the file said other than QEMU, so that recovery had something to do.
    pub apart: u64,
    /// What was wrong, with the kill after which it was.
    pub wrong: Vec<String>,
}

impl Soaked {
    fn add(&mut self, other: Soaked) {
        self.kills += other.kills;
        self.requests += other.requests;
        self.unanswered += other.unanswered;
        self.apart += other.apart;
        self.wrong.extend(other.wrong);
    }
}

/// Kills so often, with so many daemons at a time. The same seed gives the same requests; instants are real time.
///
/// # Errors
/// When a daemon cannot be run at all.
pub fn soak(vmmd: &Vmmd, kills: u64, seed: u64, jobs: usize) -> io::Result<Soaked> {
    let left = AtomicU64::new(kills);
    let jobs = u64::try_from(jobs).unwrap_or(1).clamp(1, kills.max(1));
    let all: Vec<io::Result<Soaked>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs)
            .map(|job| {
                let left = &left;
                scope.spawn(move || Soak::new(vmmd, seed.wrapping_add(job))?.run(left))
            })
            .collect();
        let failed = || Err(io::Error::other("a soak panicked"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| failed())).collect()
    });
    let mut sum = Soaked::default();
    for soaked in all {
        sum.add(soaked?);
    }
    Ok(sum)
}

struct Soak {
    look: Client,
    home: Home,
    qemu: Process,
    random: Random,
    soaked: Soaked,
}

impl Soak {
    fn new(vmmd: &Vmmd, seed: u64) -> io::Result<Self> {
        let mut home = Home::new(vmmd, false)?;
        guest::write_crowded_emulator(home.dir.path(), &vmmd.qemu)?;
        let mut connection = home.start_daemon()?;
        let xml = guest::definition(home.dir.path());
        for request in [Request::Define { xml }, Request::Start { domain: DOMAIN.to_owned() }] {
            connection.ask(request, 2 * PATIENCE)?.map_err(io::Error::other)?;
        }
        let qemu = home.qemu().ok_or_else(|| io::Error::other("QEMU wrote no pidfile"))?;
        let look = guest::look(home.dir.path()).map_err(io::Error::other)?;
        Ok(Soak { look, home, qemu, random: Random(seed), soaked: Soaked::default() })
    }

    fn run(mut self, left: &AtomicU64) -> io::Result<Soaked> {
        let one = |left: u64| left.checked_sub(1);
        while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_ok() {
            let mut connection = self.home.connect()?;
            self.live(&mut connection)?;
            drop(connection);
            self.home.kill_daemon()?;
            self.soaked.kills += 1;
            self.soaked.apart += u64::from(self.places().is_ok_and(|places| !places.agree()));
            // Sometimes a device goes while nobody looks.
            if self.random.below(4) == 0 {
                self.eject_one()?;
            }
            let mut connection = self.home.start_daemon()?;
            if let Err(why) = self.must_agree(&mut connection) {
                let log = self.home.log_end();
                self.soaked
                    .wrong
                    .push(format!("after kill {}: {why}; the log ends: {log}", self.soaked.kills));
                break;
            }
        }
        Ok(self.soaked)
    }

    /// Requests until the time of this life is over.
    fn live(&mut self, connection: &mut Connection) -> io::Result<()> {
        let start = Instant::now();
        let life = Duration::from_micros(self.random.below(LIFE_MAX.as_micros() as u64));
        let mut owed = Vec::new();
        while start.elapsed() < life {
            let request = self.request()?;
            owed.push(connection.send(request)?);
            self.soaked.requests += 1;
            if self.random.below(3) == 0 {
                self.eject_one()?;
            }
            // Some requests meet another one that is still being done.
            if self.random.below(3) > 0
                && let Some(last) = owed.last().copied()
            {
                let left = life.saturating_sub(start.elapsed());
                if connection.answer(last, left)?.is_some() {
                    owed.pop();
                }
            }
        }
        for id in owed {
            let answered = connection.answer(id, Duration::ZERO)?.is_some();
            self.soaked.unanswered += u64::from(!answered);
        }
        Ok(())
    }

    fn request(&mut self) -> io::Result<Request> {
        let class = Class::ALL[self.random.below(Class::ALL.len() as u64) as usize];
        let there = class.frontends(&self.look.inventory().map_err(io::Error::other)?);
        let domain = DOMAIN.to_owned();
        let attaches = there.is_empty() || (there.len() < DEVICES_MAX && self.random.below(2) == 0);
        // The piix3-uhci has two ports, and one of them is taken.
        let attaches = attaches && (class != Class::UsbSerial || there.is_empty());
        Ok(if attaches {
            Request::Attach { domain, xml: class.xml(self.random.below(8) == 0) }
        } else {
            let number = there[self.random.below(there.len() as u64) as usize];
            let device = Named::Alias(format!("{}{number}", class.prefix()));
            Request::Detach { domain, device }
        })
    }

    /// The guest lets go of some PCI device, asked or not.
    fn eject_one(&mut self) -> io::Result<()> {
        let class = if self.random.below(2) == 0 { Class::Rng } else { Class::Nic };
        let there = class.frontends(&self.look.inventory().map_err(io::Error::other)?);
        if let Some(number) = there.first() {
            let id = format!("{}{number}", class.prefix());
            // It may have gone meanwhile.
            drop(guest::eject(self.home.dir.path(), &mut self.look, Chipset::I440fx, &id));
        }
        Ok(())
    }

    /// At rest, all places have the same. A device that is just going gets the time to go.
    fn must_agree(&mut self, connection: &mut Connection) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let dump = Request::Dump { domain: DOMAIN.to_owned(), form: Form::Live };
            let answer = connection.ask(dump, PATIENCE).map_err(|error| error.to_string())?;
            let apart = match answer {
                Ok(control::Reply::Xml(xml)) => {
                    let definition = Domain::parse(&xml).map_err(|error| error.to_string())?;
                    let mut places = self.places()?;
                    places.definition = Some(devices(|class| class.in_definition(&definition)));
                    if places.agree() { None } else { Some(format!("{places:?}")) }
                }
                other => Some(format!("a dump is answered with {other:?}")),
            };
            match self.qemu.is_alive() {
                Ok(true) => {}
                Ok(false) => return Err("the guest is lost".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
            match apart {
                None => return Ok(()),
                Some(apart) if start.elapsed() > PATIENCE => return Err(apart),
                Some(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn places(&mut self) -> Result<Everywhere, String> {
        let inventory = self.look.inventory().map_err(|error| error.to_string())?;
        let text =
            fs::read_to_string(self.home.status_file()).map_err(|error| error.to_string())?;
        let status = Status::parse(&text).map_err(|error| error.to_string())?;
        let document = status.document();
        let intents = status.intents().flat_map(|intent| document.children(intent)).count();
        Ok(Everywhere {
            frontends: devices(|class| class.frontends(&inventory)),
            backends: devices(|class| class.backends(&inventory)),
            file: devices(|class| class.in_definition(status.domain())),
            intents,
            definition: None,
        })
    }
}

fn devices(of: impl Fn(Class) -> Vec<u8>) -> Vec<String> {
    let named = |class: Class| {
        of(class).into_iter().map(move |number| format!("{}{number}", class.prefix()))
    };
    Class::ALL.into_iter().flat_map(named).collect()
}

/// What each place has.
#[derive(Debug)]
struct Everywhere {
    frontends: Vec<String>,
    backends: Vec<String>,
    file: Vec<String>,
    intents: usize,
    definition: Option<Vec<String>>,
}

impl Everywhere {
    fn agree(&self) -> bool {
        self.frontends == self.backends
            && self.frontends == self.file
            && self.intents == 0
            && self.definition.as_ref().is_none_or(|definition| *definition == self.frontends)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): enough to choose requests, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
