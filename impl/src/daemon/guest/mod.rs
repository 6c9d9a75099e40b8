//! One domain in a thread of its own: what blocks here blocks nobody else.
//!
//! QMP has deadlines, fsync has none, and a QEMU may take its time to start. The thread takes one request after the
//! other, performs one effect after the other, and waits in poll(2) for orders and for QEMU.

pub(super) mod change;
mod life;

use std::{
    collections::VecDeque,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use self::change::refused;
use super::{
    Options,
    boundary::Boundaries,
    control::{Error, Event, Kind, Listed, Reply, Request, State, causes},
    live::Live,
    places::Places,
};
use crate::{
    domain::Domain,
    hotplug::{
        self, EffectKind, Machine, Notice, Performed, Refusal, StatusFile, Tell, Told, perform,
    },
    hypervisor::{self, Command, Hypervisor, MonitorError, process::Process, qmp::Client},
    status::{self, Facts, Status, Store},
};

/// Between two attempts at something that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a QEMU that closed its monitor may take to end.
const END_AFTER: Duration = Duration::from_millis(50);
/// How long a QEMU that is asked to end may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who asked, and which of their requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) client: u64,
    pub(super) id: u64,
}

/// What a guest's thread is told.
#[derive(Debug)]
pub(super) enum Order {
    Request(Asker, Request),
    /// The daemon ends; the machine goes on.
    End,
}

/// What a guest's thread says.
#[derive(Debug)]
pub(super) enum Said {
    Reply {
        domain: String,
        to: Asker,
        answer: Result<Reply, Error>,
    },
    Event(Event),
    Now(Listed),
    /// The thread has ended.
    Ended(String),
}

/// What all threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) places: Places,
    pub(super) options: Options,
    pub(super) boundaries: Boundaries,
}

/// To the event loop.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    pub(super) said: mpsc::Sender<Said>,
    pub(super) wake: Arc<UnixStream>,
}

impl Outbox {
    pub(super) fn say(&self, said: Said) {
        // Nobody listens any more when the daemon ends.
        drop(self.said.send(said));
        wake(&self.wake);
    }
}

/// A full pipe is as good as one byte in it.
pub(super) fn wake(mut stream: &UnixStream) {
    drop(stream.write(&[1]));
}

/// Empties what [`wake`] fills.
pub(super) fn woken(mut stream: &UnixStream) {
    let mut bytes = [0; 64];
    while matches!(stream.read(&mut bytes), Ok(count) if count == bytes.len()) {}
}

/// How a guest begins.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) definition: Option<Domain>,
    pub(super) status: Option<Status>,
}

/// One domain.
#[derive(Debug)]
pub(super) struct Guest {
    name: String,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    woken: UnixStream,
    outbox: Outbox,
    definition: Option<Domain>,
    running: Option<Running>,
    queue: VecDeque<(Asker, Request)>,
}

/// A domain with a process.
#[derive(Debug)]
struct Running {
    process: Process,
    /// None while the monitor is to be reached again.
    client: Option<Client>,
    machine: Machine,
    file: Live,
    state: State,
    /// Whose request is being performed.
    asker: Option<Asker>,
    /// Since when a device's end is waited for.
    waits_until: Option<Instant>,
    /// Nothing is tried before.
    not_before: Option<Instant>,
    /// The guest has powered off.
    shut_down: bool,
}

/// When there is something to do again.
enum When {
    Now,
    /// At an order or an event, or at this time.
    Then(Option<Instant>),
}

impl Guest {
    pub(super) fn new(
        name: String,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
        woken: UnixStream,
        outbox: Outbox,
        found: Found,
    ) -> Self {
        let Found { definition, status } = found;
        let running = status.and_then(|status| Running::adopt(status, &shared.places));
        let queue = VecDeque::new();
        Guest { name, shared, orders, woken, outbox, definition, running, queue }
    }

    /// Until the daemon ends, or nothing of the domain is left.
    pub(super) fn run(mut self) {
        self.finish_start();
        self.tell_state();
        loop {
            loop {
                match self.orders.try_recv() {
                    Ok(Order::Request(from, request)) => self.take(from, request),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Ok(Order::End) | Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            match self.work() {
                When::Now => {}
                When::Then(deadline) => self.wait(deadline),
            }
            if self.definition.is_none() && self.running.is_none() && self.queue.is_empty() {
                return;
            }
        }
    }

    fn answer(&self, to: Asker, answer: Result<Reply, Error>) {
        if let Err(error) = &answer {
            tracing::info!(domain = self.name, "refused: {error}");
        }
        self.outbox.say(Said::Reply { domain: self.name.clone(), to, answer });
    }

    fn tell(&self, event: Event) {
        tracing::info!(domain = self.name, ?event, "event");
        self.outbox.say(Said::Event(event));
    }

    fn tell_state(&self) {
        let running = self.running.as_ref();
        self.outbox.say(Said::Now(Listed {
            domain: self.name.clone(),
            state: running.map(|running| running.state).unwrap_or_default(),
            pid: running.map(|running| running.process.pid),
            persistent: self.definition.is_some(),
        }));
    }

    /// What does not wait for its turn is done at once.
    fn take(&mut self, from: Asker, request: Request) {
        match request {
            Request::Destroy { .. } => {
                let answer = self.destroy();
                self.answer(from, answer);
            }
            Request::Step { .. } | Request::GiveUp { .. } if !self.shared.options.stepwise => {
                let why = "single steps are for tests: start the daemon with --stepwise";
                self.answer(from, Err(Kind::BadRequest.because(why)));
            }
            Request::Step { .. } => {
                let answer = self.step();
                self.answer(from, answer);
            }
            Request::GiveUp { .. } => {
                let gave_up =
                    self.running.as_mut().is_some_and(|running| running.machine.give_up());
                let why = "the domain does not wait for a device to go";
                let answer =
                    if gave_up { Ok(Reply::Done) } else { Err(Kind::WrongState.because(why)) };
                self.answer(from, answer);
            }
            request => {
                self.queue.push_back((from, request));
                // The step that follows is one of this request.
                let idle = self.running.as_ref().is_none_or(|running| running.machine.is_idle());
                if self.shared.options.stepwise && idle {
                    self.serve();
                }
            }
        }
    }

    /// Does the next thing that can be done.
    fn work(&mut self) -> When {
        let Some(running) = &mut self.running else { return self.serve() };
        if running.shut_down {
            tracing::info!(domain = self.name, "the guest has shut down");
            if let Err(error) = self.destroy() {
                tracing::error!(domain = self.name, "{error}");
            }
            return When::Now;
        }
        if let Some(until) = running.not_before {
            if now() < until {
                // What needs no monitor goes on.
                return match self.serve() {
                    When::Then(None) => When::Then(Some(until)),
                    when => when,
                };
            }
            running.not_before = None;
        }
        if running.client.is_none() {
            self.reach();
            return When::Now;
        }
        if self.shared.options.stepwise {
            return if running.machine.is_idle() { self.serve() } else { When::Then(None) };
        }
        match self.perform() {
            Ok(Some(performed)) => {
                self.pace(&performed);
                When::Now
            }
            Ok(None) => self.nothing_to_perform(),
            Err(error) => {
                self.lose(&error);
                When::Now
            }
        }
    }

    fn nothing_to_perform(&mut self) -> When {
        let Some(running) = &mut self.running else { return When::Now };
        if running.machine.waits_for().is_none() {
            running.waits_until = None;
            return self.serve();
        }
        let wait = self.shared.options.unplug_wait;
        let until = *running.waits_until.get_or_insert_with(|| now() + wait);
        if now() < until {
            return When::Then(Some(until));
        }
        running.waits_until = None;
        running.machine.give_up();
        When::Now
    }

    /// What fails is not tried again at once; what QEMU did not answer is looked at anew.
    fn pace(&mut self, performed: &Performed) {
        let Some(running) = &mut self.running else { return };
        let is_silent = matches!(
            &performed.tell,
            Some(Tell { reply: Some(Told::Refused(Refusal::Silent { .. })), .. })
        );
        if is_silent {
            tracing::warn!(
                domain = self.name,
                "QEMU did not answer; what it did is looked at anew"
            );
            running.machine = Machine::recover(running.file.saved().clone());
        }
        let silent_look = performed.kind == EffectKind::Look && performed.failed.is_some();
        let state = match (silent_look || is_silent, performed.kind) {
            (true, _) => Some(State::Unresponsive),
            (false, EffectKind::Look) => Some(State::Running),
            _ => None,
        };
        let waits_again = performed.failed.is_some()
            && (silent_look
                || is_silent
                || performed.kind == EffectKind::RemoveBackend
                || (performed.kind == EffectKind::Save && running.machine.is_idle()));
        if is_silent || silent_look || (waits_again && performed.kind == EffectKind::Save) {
            running.not_before = Some(now() + AGAIN_AFTER);
        } else if waits_again {
            // A device that comes to its end keeps its backend for some 60 ms.
            running.not_before = Some(now() + Duration::from_millis(5));
        }
        if let Some(state) = state
            && running.state != state
            && (running.state == State::Unresponsive || state == State::Unresponsive)
        {
            running.state = state;
            self.tell_state();
        }
    }

    /// Performs the next effect, and tells what is to be told.
    fn perform(&mut self) -> Result<Option<Performed>, MonitorError> {
        let Some(Running { client: Some(client), machine, file, .. }) = &mut self.running else {
            return Ok(None);
        };
        let boundaries = &self.shared.boundaries;
        let mut events = Vec::new();
        let mut bounded = Bounded { client, boundaries, events: &mut events };
        let performed = perform(machine, &mut bounded, &mut BoundedFile { file, boundaries });
        for event in events {
            self.hear(&event);
        }
        let performed = performed?;
        let Some(done) = &performed else { return Ok(None) };
        match &done.failed {
            Some(why) => tracing::warn!(domain = self.name, effect = %done.kind, "failed: {why}"),
            None => tracing::debug!(domain = self.name, effect = %done.kind, "done"),
        }
        if let Some(tell) = &done.tell {
            self.shared.boundaries.around("tell", || self.pass_on(tell));
            if tell.reply.is_some()
                && let Some(running) = &mut self.running
            {
                running.asker = None;
            }
        }
        Ok(performed)
    }

    fn pass_on(&self, tell: &Tell) {
        let domain = || self.name.clone();
        for notice in &tell.notices {
            self.tell(match notice.clone() {
                Notice::DeviceAdded { alias } => Event::DeviceAdded { domain: domain(), alias },
                Notice::DeviceRemoved { alias } => Event::DeviceRemoved { domain: domain(), alias },
            });
        }
        let asker = self.running.as_ref().and_then(|running| running.asker);
        if let (Some(told), Some(asker)) = (&tell.reply, asker) {
            self.answer(
                asker,
                match told.clone() {
                    Told::Attached { alias } => Ok(Reply::Attached { alias }),
                    Told::Detached { alias } => Ok(Reply::Detached { alias }),
                    Told::UnplugRequested { alias } => Ok(Reply::UnplugRequested { alias }),
                    Told::Refused(refusal) => Err(refused(&refusal)),
                },
            );
        }
    }

    /// What QEMU says by itself, beside what the machine's procedures listen to.
    fn hear(&mut self, event: &hypervisor::Event) {
        let (state, word) = match event.name.as_str() {
            "STOP" => (State::Paused, status::State::Paused),
            "RESUME" => (State::Running, status::State::Running),
            // QEMU is started with `-no-shutdown`: it stays until it is told to go.
            "SHUTDOWN" => {
                if let Some(running) = &mut self.running {
                    running.shut_down = true;
                }
                return;
            }
            _ => return,
        };
        self.set_state(state, word);
    }

    fn set_state(&mut self, state: State, word: status::State) {
        let Some(running) = &mut self.running else { return };
        running.state = state;
        let saved = running.file.facts().map_err(|error| error.to_string()).and_then(|facts| {
            if facts.state == word {
                return Ok(());
            }
            running.file.set_facts(&Facts { state: word, ..facts })
        });
        if let Err(why) = saved {
            tracing::warn!(domain = self.name, "the state could not be saved: {why}");
        }
        self.tell_state();
    }

    fn step(&mut self) -> Result<Reply, Error> {
        let performed = self.perform();
        match performed {
            Ok(performed) => Ok(Reply::Stepped {
                effect: performed.as_ref().map(|performed| performed.kind),
                failed: performed.and_then(|performed| performed.failed),
            }),
            Err(error) => {
                let why = Kind::Unresponsive.because(causes(&error));
                self.lose(&error);
                Err(why)
            }
        }
    }

    /// Begins the next request, if the domain is free for it.
    fn serve(&mut self) -> When {
        let Some((from, request)) = self.queue.pop_front() else { return When::Then(None) };
        let answer = match request {
            Request::Define { xml } => self.define(&xml),
            Request::Undefine { .. } => self.undefine(),
            Request::Start { .. } => self.start(),
            Request::Dump { form, .. } => self.dump(form),
            Request::Attach { xml, .. } => match self.begin_attach(from, &xml) {
                Ok(()) => return When::Now,
                Err(error) => Err(error),
            },
            Request::Detach { device, .. } => match self.begin_detach(from, &device) {
                Ok(()) => return When::Now,
                Err(error) => Err(error),
            },
            Request::OpenConsole { name, .. } => self.open_console(name.as_deref()),
            other => Err(Kind::BadRequest.because(format!("{other:?} is not for a domain"))),
        };
        self.answer(from, answer);
        When::Now
    }

    fn wait(&mut self, deadline: Option<Instant>) {
        let monitor = self.running.as_ref().and_then(|running| running.client.as_ref());
        let readable = {
            let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
            fds.extend(monitor.map(|client| PollFd::new(client, PollFlags::IN)));
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut fds, left.as_ref()) {
                Ok(_) => fds.get(1).is_some_and(|fd| !fd.revents().is_empty()),
                Err(Errno::INTR) => false,
                Err(error) => {
                    tracing::error!(domain = self.name, "poll: {error}");
                    pause(AGAIN_AFTER);
                    false
                }
            }
        };
        woken(&self.woken);
        if readable
            && let Some(Running { client: Some(client), .. }) = &mut self.running
            && let Err(error) = client.wait_event(now())
        {
            self.lose(&error);
        }
    }
}

impl Running {
    fn new(process: Process, file: Live, client: Option<Client>) -> Self {
        let machine = Machine::recover(file.saved().clone());
        Running {
            process,
            client,
            machine,
            file,
            state: State::Running,
            asker: None,
            waits_until: None,
            not_before: None,
            shut_down: false,
        }
    }

    /// What an earlier daemon left running.
    fn adopt(status: Status, places: &Places) -> Option<Self> {
        let facts = status.facts().ok()?;
        let process = Process {
            pid: facts.pid,
            started: facts.started.unwrap_or_default(),
            boot: facts.boot.clone(),
        };
        let mut running =
            Running::new(process, Live::new(Store::new(places.status()), status), None);
        running.state = State::Unresponsive;
        Some(running)
    }

    fn connect(&self, shared: &Shared) -> Result<Client, String> {
        let facts = self.file.facts().map_err(|error| error.to_string())?;
        let client = Client::connect(facts.monitor, shared.options.limits);
        let client = client.map_err(|error| causes(&error))?;
        match client.peer_pid() {
            Ok(pid) if pid == self.process.pid => Ok(client),
            Ok(pid) => Err(format!(
                "the monitor belongs to process {pid}, not to process {} of the status file",
                self.process.pid
            )),
            Err(error) => Err(format!("whose is the monitor? {error}")),
        }
    }
}

/// The monitor, with a boundary before and after each command.
#[derive(Debug)]
struct Bounded<'a> {
    client: &'a mut Client,
    boundaries: &'a Boundaries,
    events: &'a mut Vec<hypervisor::Event>,
}

impl Hypervisor for Bounded<'_> {
    fn execute(&mut self, command: &Command) -> Result<hypervisor::Reply, MonitorError> {
        self.boundaries.around(&command.name, || self.client.execute(command))
    }
    fn events(&mut self) -> Vec<hypervisor::Event> {
        let events = self.client.events();
        self.events.extend(events.iter().cloned());
        events
    }
    fn wait_event(&mut self, deadline: Instant) -> Result<bool, MonitorError> {
        self.client.wait_event(deadline)
    }
    fn reconnect(&mut self) -> Result<(), MonitorError> {
        self.client.reconnect()
    }
}

/// The status file, with a boundary before and after each save.
struct BoundedFile<'a> {
    file: &'a mut Live,
    boundaries: &'a Boundaries,
}

impl StatusFile for BoundedFile<'_> {
    fn save(&mut self, record: &hotplug::Record) -> Result<(), String> {
        self.boundaries.around("save", || self.file.save(record))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the shell: its deadlines are real")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a start that was cut short is looked at again")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
