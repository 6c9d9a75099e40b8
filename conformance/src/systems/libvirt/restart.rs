//! The restart study on libvirt: the daemon's effects are the monitor commands that the proxy lets go, one
//! for each step, and the saves of the status file in between.
//!
//! What cannot be driven here: a frontend that QEMU refuses (libvirt refuses before), an end of a device
//! that is put off (QEMU ends it within some 60 ms), and a guest that has a say (there is none).
//! That libvirt is *told* of the end is put off: the proxy holds the event, past the five seconds that
//! libvirt waits where the trace has it give up.
//! Device events are not observed: with an embedded driver nobody is left to be told.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use statusquo_model::studies::restart::{
    Study,
    action::Action,
    outcome::{Effect, Outcome, Reply},
    state::{Daemon, Detaching, Next, Recovering, State, Why},
};
use statusquo_vmm::hypervisor::{
    Hypervisor,
    qmp::{Client, Limits},
};
use tempfile::TempDir;

use super::{
    Programs, domain,
    life::{self, Qemu, keep_capabilities, reuse_capabilities},
    proxy::{Executed, Proxy},
    virsh::{Given, Virsh, configure},
};
use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    workdir,
};

/// How long anything may take that a loaded machine slows down.
const PATIENCE: Duration = Duration::from_secs(20);
/// The commands that are effects of the study.
const EFFECTS: [&str; 4] = ["chardev-add", "device_add", "device_del", "chardev-remove"];
/// The same for a daemon that recovers: what it looks at is one too.
const RECOVERY: [&str; 2] = ["qom-list", "chardev-remove"];

/// And what it does before it saves that a device was only asked to go.
const AFTER_GIVING_UP: &str = "qom-list";

/// libvirt for the restart study, where it can be driven at all.
pub(crate) fn factory(
    study: &Study,
    programs: Programs,
) -> Result<Arc<dyn Factory<Study>>, String> {
    if study.guest_ejects() {
        return Err("unplug of a PCI device needs a guest, and there is none here".to_owned());
    }
    life::factory_but_for(programs, Run::new, cannot)
}

fn cannot(state: &State, action: Action) -> Option<&'static str> {
    let device = |alias: u8| state.devices.get(usize::from(alias)).copied().unwrap_or_default();
    match (action, state.daemon) {
        (Action::Attach { bus_full: true }, _) => {
            Some("libvirt refuses a full bus before it asks QEMU")
        }
        (Action::Finalize { alias }, daemon) => {
            let can = match daemon {
                // Nobody listens, so nobody can tell when it was.
                Daemon::Down | Daemon::Busy(Next::Recover { next: Recovering::Connect, .. }) => {
                    true
                }
                // The event that somebody waits for, or has waited for, is held until then.
                Daemon::Busy(Next::Detach { alias: asked, next, .. }) => {
                    asked == alias
                        && match next {
                            Detaching::Wait | Detaching::SaveAfter(_) | Detaching::Tell(Ok(_)) => {
                                true
                            }
                            Detaching::Tell(Err(_)) => state.kills == 0,
                            _ => false,
                        }
                }
                // What the event of a life before was about, nobody can tell any more.
                Daemon::Idle => device(alias).memory.is_defined() && state.kills == 0,
                Daemon::Busy(_) => false,
            };
            (!can).then_some(AT_ONCE)
        }
        (Action::Step, Daemon::Busy(next)) => {
            let removes_backend_of = match next {
                Next::Detach { alias, next: Detaching::Backend, .. }
                | Next::Recover { next: Recovering::Clean(alias), .. } => Some(alias),
                _ => None,
            };
            removes_backend_of.is_some_and(|alias| device(alias).ending).then_some(AT_ONCE)
        }
        (Action::Attach { .. } | Action::Detach { .. }, Daemon::Idle) => {
            let waits = state.devices.iter().any(|device| device.deleted);
            waits.then_some("libvirt takes an event at once, before the next request")
        }
        _ => None,
    }
}

/// Its end is not waited for by anybody, nor put off.
const AT_ONCE: &str = "QEMU brings a device to its end within some 60 ms";

/// One domain under one libvirt, restarted at will.
struct Run {
    // Dropped in this order: the daemon, the proxy, the guest, the directory.
    virsh: Option<Virsh>,
    proxy: Proxy,
    qemu: Qemu,
    root: PathBuf,
    programs: Programs,
    asked: u32,
    /// The request is an attach; `virsh -q` says nothing when it is done.
    attaches: bool,
    /// A device has left QEMU's tree, and the trace has not yet brought it to its end.
    ending: bool,
    doing: Doing,
    _dir: TempDir,
    _common: Arc<TempDir>,
}

/// What the daemon is about, as far as the driver of this run must know.
enum Doing {
    Nothing,
    /// A request was given; its answer is shown when the study's daemon tells it.
    Request {
        given: Given,
        alias: Option<String>,
        file: PathBuf,
    },
    /// The next life's first command waits for the domain.
    Recovery {
        given: Option<Given>,
    },
    /// A device has gone that nobody waits for.
    Event,
}

impl Run {
    fn new(programs: &Programs) -> io::Result<Self> {
        let common = workdir::root()?;
        let dir = TempDir::new_in(common.path())?;
        // Sockets below it have short names or none.
        let root = dir.path().to_owned();
        configure(&root)?;
        reuse_capabilities(common.path(), &root)?;
        let mut qemu = Qemu::nobody(&root);
        let xml = root.join("domain.xml");
        fs::write(&xml, domain::xml(&programs.qemu, &root.join("look")))?;
        let mut virsh = Virsh::start(programs, &root)?;
        for command in [format!("define {}", xml.display()), format!("start {}", domain::NAME)] {
            let given = virsh.give(&command)?;
            let answer = virsh.wait(&given, Duration::from_secs(60))?;
            if let Some(error) = answer.lines().find(|line| line.starts_with("error:")) {
                return Err(io::Error::other(format!("virsh {command}: {error}")));
            }
        }
        if domain::pid(&root).is_none() {
            return Err(io::Error::other("libvirt wrote no pid file"));
        }
        keep_capabilities(common.path(), &root)?;
        qemu.find();
        virsh.kill();
        let proxy = Proxy::new(&domain::monitor(&root))?;
        let mut run = Run {
            virsh: None,
            proxy,
            qemu,
            root,
            programs: programs.clone(),
            asked: 0,
            attaches: false,
            ending: false,
            doing: Doing::Nothing,
            _dir: dir,
            _common: common,
        };
        run.restart()?;
        Ok(run)
    }

    fn virsh(&mut self) -> io::Result<&mut Virsh> {
        self.virsh.as_mut().ok_or_else(|| io::Error::other("the daemon is not running"))
    }

    /// A query that waits until the domain has no other job.
    fn wait_for_domain(&mut self) -> io::Result<Given> {
        self.virsh()?.give(&format!("dommemstat {}", domain::NAME))
    }

    fn kill(&mut self) {
        if let Some(virsh) = self.virsh.take() {
            virsh.kill();
        }
        self.proxy.next_session(&[], false);
        self.doing = Doing::Nothing;
    }

    fn start(&mut self, held: &[&'static str]) -> io::Result<()> {
        self.proxy.next_session(held, false);
        self.virsh = Some(Virsh::start(&self.programs, &self.root)?);
        Ok(())
    }

    /// Kill, start, and recovery to its end.
    fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.start(&[])?;
        let given = self.wait_for_domain()?;
        let virsh = self.virsh()?;
        virsh.wait(&given, PATIENCE)?;
        Ok(())
    }

    fn act(&mut self, action: Action, owed: &Outcome) -> Result<Outcome, Fault> {
        let mut seen = Outcome::default();
        match action {
            Action::Attach { .. } => {
                self.asked += 1;
                let file = self.root.join(format!("channel{}.xml", self.asked));
                fs::write(&file, domain::channel(self.asked)).map_err(environment)?;
                self.begin(
                    &format!("attach-device {} {} --live", domain::NAME, file.display()),
                    None,
                    file,
                )
                .map_err(environment)?;
            }
            Action::Detach { alias } => {
                let id = format!("channel{alias}");
                let dump = self.dump().map_err(environment)?;
                let Some(element) = element_of(&dump, &id) else {
                    seen.reply = Reply::Refused { why: Why::NoSuchDevice };
                    return Ok(self.finished(seen));
                };
                let file = self.root.join(format!("detach{alias}.xml"));
                fs::write(&file, element).map_err(environment)?;
                self.begin(
                    &format!("detach-device {} {} --live", domain::NAME, file.display()),
                    Some(id),
                    file,
                )
                .map_err(environment)?;
            }
            Action::Dump => {
                let dump = self.dump().map_err(environment)?;
                let aliases = numbers(domain::channels(&dump).iter().map(String::as_str))?;
                seen.reply = Reply::Devices { aliases };
            }
            Action::Inspect => seen.reply = self.inspect()?,
            Action::Step => self.step(owed, &mut seen)?,
            Action::GiveUp => {
                // After five seconds by its own clock, because the event is held; then it asks what devices
                // there are, and saves (`qemuDomainDetachDeviceLiveAndConfig`).
                self.proxy.hold(&[AFTER_GIVING_UP]);
                self.proxy.deliver();
                if !self.parks()? {
                    return Err(Fault::Garbage("it does not look what devices there are".into()));
                }
            }
            Action::Eject { .. } => return Err(environment("there is no guest")),
            Action::Finalize { alias } => {
                // QEMU does it by itself; the event is held until the daemon takes it.
                self.ending = false;
                if self.virsh.is_some() && !matches!(self.doing, Doing::Recovery { .. }) {
                    self.proxy
                        .wait_deleted(&format!("channel{alias}"), PATIENCE)
                        .map_err(environment)?;
                }
            }
            Action::Kill => self.kill(),
            Action::Start => {
                self.start(&RECOVERY).map_err(environment)?;
                self.doing = Doing::Recovery { given: None };
            }
            Action::Restart => self.restart().map_err(environment)?,
            Action::FillDisk => {
                fs::create_dir(domain::obstacle(&self.root)).map_err(environment)?;
            }
            Action::FreeDisk => {
                fs::remove_dir(domain::obstacle(&self.root)).map_err(environment)?;
            }
        }
        Ok(self.finished(seen))
    }

    /// What QEMU, the status file and, while it runs, the daemon have.
    fn inspect(&mut self) -> Result<Reply, Fault> {
        let inventory = Client::connect(self.root.join("look"), Limits::default())
            .and_then(|mut look| look.inventory())
            .map_err(environment)?;
        let channels = inventory.devices.iter().filter(|id| id.starts_with("channel"));
        let backends = inventory.chardevs.iter().filter_map(|id| id.strip_prefix("char"));
        let backends = backends.filter(|id| id.starts_with("channel"));
        let file = fs::read_to_string(domain::status(&self.root)).map_err(environment)?;
        let definition = match self.virsh {
            Some(_) => domain::channels(&self.dump().map_err(environment)?),
            None => Vec::new(),
        };
        Ok(Reply::Places {
            frontends: numbers(channels.map(String::as_str))?,
            backends: numbers(backends)?,
            file: numbers(domain::channels(&file).iter().map(String::as_str))?,
            intents: Vec::new(),
            definition: numbers(definition.iter().map(String::as_str))?,
        })
    }

    fn finished(&self, seen: Outcome) -> Outcome {
        Outcome { guest_lost: !self.qemu.is_alive(), ..seen }
    }

    fn begin(&mut self, command: &str, alias: Option<String>, file: PathBuf) -> io::Result<()> {
        self.proxy.hold(&EFFECTS);
        self.proxy.hold_events();
        self.attaches = alias.is_none();
        let given = self.virsh()?.give(command)?;
        self.doing = Doing::Request { given, alias, file };
        Ok(())
    }

    fn dump(&mut self) -> io::Result<String> {
        let virsh = self.virsh()?;
        let given = virsh.give(&format!("dumpxml {}", domain::NAME))?;
        virsh.wait(&given, PATIENCE)
    }

    /// The daemon's next effect, which the model says is this one.
    fn step(&mut self, owed: &Outcome, seen: &mut Outcome) -> Result<(), Fault> {
        // Nobody is left to be told, so what is told is not observed.
        (seen.added, seen.removed) = (owed.added.clone(), owed.removed.clone());
        match owed.did {
            Some(
                Effect::AddBackend
                | Effect::AddFrontend
                | Effect::RemoveFrontend
                | Effect::RemoveBackend
                | Effect::Look,
            ) => {
                if self.ending && owed.did == Some(Effect::RemoveBackend) {
                    return Err(environment("QEMU does not put the end of a device off"));
                }
                let executed = self.let_one_go()?;
                seen.did = executed.as_ref().and_then(effect);
                if let Some(executed) = executed {
                    seen.failed = executed.reply.get("error").is_some();
                    self.ending |= executed.name() == "device_del" && !seen.failed;
                    self.learn_alias(&executed);
                }
                // With nobody to answer, a failure is the end of it.
                if seen.failed && matches!(self.doing, Doing::Event) {
                    self.let_it_finish()?;
                }
                // A failure that ends the guest does so when libvirt hears of it.
                if owed.guest_lost {
                    self.proxy.deliver();
                    self.await_death();
                }
            }
            Some(Effect::TakeEvent) => {
                self.proxy.deliver();
                if let Doing::Request { alias: Some(alias), .. } = &self.doing {
                    self.proxy.wait_deleted(alias, PATIENCE).map_err(environment)?;
                } else {
                    // libvirt begins a job of its own for one that nobody waits for.
                    self.proxy.hold(&EFFECTS);
                    self.doing = Doing::Event;
                }
                self.proxy.release_events();
                seen.did = Some(Effect::TakeEvent);
            }
            Some(Effect::Connect) => {
                seen.did = self.parks()?.then_some(Effect::Connect);
            }
            Some(Effect::Save) => {
                let before = inode(&domain::status(&self.root));
                if self.proxy.is_parked() {
                    self.proxy.execute(PATIENCE).map_err(environment)?;
                }
                self.let_it_finish()?;
                if owed.guest_lost {
                    self.await_death();
                }
                let after = inode(&domain::status(&self.root));
                seen.did = Some(Effect::Save);
                // A file that is gone went with its guest.
                seen.failed = after == before || after.is_none();
            }
            Some(Effect::Tell) => {
                self.proxy.deliver();
                self.proxy.hold(&[]);
                seen.did = Some(Effect::Tell);
                seen.reply = self.told()?;
                self.doing = Doing::Nothing;
            }
            None => return Err(environment("a step without an effect")),
        }
        Ok(())
    }

    /// Waits until libvirt asks QEMU something that is an effect; `false` if it is done without.
    fn parks(&mut self) -> Result<bool, Fault> {
        if let Doing::Recovery { given: given @ None } = &mut self.doing {
            let virsh = self.virsh.as_mut().ok_or_else(|| environment("no daemon"))?;
            *given =
                Some(virsh.give(&format!("dommemstat {}", domain::NAME)).map_err(environment)?);
        }
        let Run { virsh, proxy, doing, .. } = self;
        let virsh = virsh.as_ref().ok_or_else(|| environment("no daemon"))?;
        let given = match doing {
            Doing::Request { given, .. } | Doing::Recovery { given: Some(given) } => given,
            Doing::Event => return proxy.wait_parked(PATIENCE, || false).map_err(environment),
            _ => return Err(environment("the daemon has nothing to do")),
        };
        proxy.wait_parked(PATIENCE, || virsh.answer(given).is_some()).map_err(environment)
    }

    /// Delivers the last answer and executes the next command.
    fn let_one_go(&mut self) -> Result<Option<Executed>, Fault> {
        self.proxy.deliver();
        if !self.parks()? {
            return Ok(None);
        }
        self.proxy.execute(PATIENCE).map(Some).map_err(environment)
    }

    fn let_it_finish(&mut self) -> Result<(), Fault> {
        let is_event = matches!(self.doing, Doing::Event);
        // Given while the domain has this job, so it waits for its end.
        let after =
            if is_event { Some(self.wait_for_domain().map_err(environment)?) } else { None };
        self.proxy.deliver();
        self.proxy.hold(&[]);
        let Run { virsh, doing, .. } = self;
        let virsh = virsh.as_mut().ok_or_else(|| environment("no daemon"))?;
        let given = match (&*doing, &after) {
            (Doing::Request { given, .. } | Doing::Recovery { given: Some(given) }, _)
            | (Doing::Event, Some(given)) => given,
            _ => return Err(environment("the daemon has nothing to do")),
        };
        virsh.wait(given, PATIENCE).map_err(environment)?;
        if is_event {
            self.doing = Doing::Nothing;
        }
        Ok(())
    }

    fn await_death(&self) {
        let start = std::time::Instant::now();
        while self.qemu.is_alive() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn learn_alias(&mut self, executed: &Executed) {
        if executed.name() == "device_add"
            && let Doing::Request { alias, .. } = &mut self.doing
        {
            *alias = executed.command["arguments"]["id"].as_str().map(str::to_owned);
        }
    }

    /// The answer that the requester gets.
    fn told(&mut self) -> Result<Reply, Fault> {
        let Doing::Request { given, alias, file } =
            std::mem::replace(&mut self.doing, Doing::Nothing)
        else {
            return Ok(Reply::Nothing);
        };
        let virsh = self.virsh().map_err(environment)?;
        let text = virsh.wait(&given, PATIENCE).map_err(environment)?;
        drop(fs::remove_file(file));
        let id = alias.unwrap_or_else(|| "channel0".to_owned());
        let alias = number(&id)?;
        if let Some(error) = text.lines().filter_map(|it| it.strip_prefix("error: ")).next_back() {
            return Ok(Reply::Refused { why: why(error)? });
        }
        if self.attaches {
            return Ok(Reply::Attached { alias });
        }
        // Done or only asked for: libvirt says the same of both, and the definition tells them apart.
        let definition = domain::channels(&self.dump().map_err(environment)?);
        Ok(match definition.contains(&id) {
            true => Reply::UnplugRequested { alias },
            false => Reply::Detached { alias },
        })
    }
}

fn why(error: &str) -> Result<Why, Fault> {
    let known = [
        ("cause is unknown", Why::Unknown),
        ("already exists", Why::DuplicateId),
        ("Duplicate device ID", Why::DuplicateId),
        ("duplicate property", Why::DuplicateId),
        ("is busy", Why::BackendRefused),
        ("not found", Why::BackendRefused),
        ("process of unplug", Why::UnplugPending),
    ];
    let found = known.iter().find(|(text, _)| error.contains(text)).map(|(_, why)| *why);
    found.ok_or_else(|| Fault::Garbage(error.to_owned()))
}

fn effect(executed: &Executed) -> Option<Effect> {
    Some(match executed.name() {
        "chardev-add" => Effect::AddBackend,
        "device_add" => Effect::AddFrontend,
        "device_del" => Effect::RemoveFrontend,
        "chardev-remove" => Effect::RemoveBackend,
        "qom-list" => Effect::Look,
        _ => return None,
    })
}

fn number(id: &str) -> Result<u8, Fault> {
    let number = id.strip_prefix("channel").and_then(|number| number.parse().ok());
    number.ok_or_else(|| Fault::Garbage(format!("`{id}` is no channel of this study")))
}

fn numbers<'a>(ids: impl Iterator<Item = &'a str>) -> Result<Vec<u8>, Fault> {
    let mut numbers = ids.map(number).collect::<Result<Vec<u8>, Fault>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}

fn element_of(dump: &str, id: &str) -> Option<String> {
    let alias = format!("<alias name='{id}'/>");
    let elements = dump.split("<channel ").skip(1);
    let element = elements.filter_map(|rest| rest.split("</channel>").next());
    element
        .into_iter()
        .find(|element| element.contains(&alias))
        .map(|element| format!("<channel {element}</channel>"))
}

fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, owed: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action, owed).map(Observed::Outcome)
    }
}
