//! Every policy of a space, asked everything.
//!
//! A policy's answers are put together from parts that few edges decide: what a configuration becomes, what
//! a device is when it comes to be, and what restarts and migrations then make of it. Each part is explored
//! completely, once for each choice of its edges. That the answers are those of the machine is a test.

use std::{collections::HashMap, num::NonZeroUsize};

use super::{
    Bounds,
    field::{Field, Release, Value},
    policy::{Daemon, Edge, Op, Policy, Realized},
    properties::CODES,
};

/// A set of properties, one bit each, in the order of [`CODES`].
pub type Set = u16;

/// All properties.
pub const EVERYTHING: Set = (1 << CODES.len()) - 1;

/// The set of these properties.
///
/// # Panics
/// When there is no property of such a name: the names are literals.
pub fn set(codes: &[&str]) -> Set {
    codes.iter().fold(0, |set, code| {
        let at = CODES.iter().position(|known| known == code).expect("a known property");
        set | 1 << at
    })
}

/// The names of a set.
pub fn codes(set: Set) -> impl Iterator<Item = &'static str> {
    CODES.into_iter().enumerate().filter(move |(at, _)| set >> at & 1 == 1).map(|(_, code)| code)
}

const PURE: Set = 1;
const OBEYED: Set = 1 << 1;
const TRUTH: Set = 1 << 2;
const RESOLVED: Set = 1 << 3;
const DETACH: Set = 1 << 4;
const RESTART: Set = 1 << 5;
const MIG: Set = 1 << 6;
const MIG_SAME: Set = 1 << 7;
const BOOT: Set = 1 << 8;
const ADOPT_OLD: Set = 1 << 9;
const ADOPT_NEW: Set = 1 << 10;
const NOLEAK: Set = 1 << 11;
const KEPT: Set = 1 << 12;
const OLDACC: Set = 1 << 13;
const OLDACC_KNOWN: Set = 1 << 14;

/// Policies: a choice of operators for each edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Every value carries its origin.
    pub provenance: bool,
    /// What each edge may do, in the order of [`Edge::ALL`].
    pub operators: [&'static [Op]; 12],
}

impl Space {
    /// Everything that makes sense.
    pub fn whole(provenance: bool) -> Self {
        Space { provenance, operators: Edge::ALL.map(Edge::operators) }
    }

    /// A small one, in which every policy resolves: what is written to disk is kept, plugged and
    /// allocated devices get today's default, and only edges that libvirts disagree about are open.
    pub fn small() -> Self {
        use Op::*;
        let mut space = Space { provenance: false, operators: [&[Keep]; 12] };
        let open: [(Edge, &'static [Op]); 10] = [
            (Edge::Define, &[Keep, Fill]),
            (Edge::Load, &[Keep, Fill, FillLegacy]),
            (Edge::Start, &[Fill, FillLegacy]),
            (Edge::Attach, &[Fill]),
            (Edge::Network, &[Fill]),
            (Edge::Detach, &[Derive]),
            (Edge::StatusSave, &[Keep, Lose]),
            (Edge::StatusLoad, &[Fill, FillLegacy]),
            (Edge::Send, &[Keep, Strip, Lose]),
            (Edge::Receive, &[Fill, FillLegacy]),
        ];
        for (edge, operators) in open {
            space.operators[edge as usize] = operators;
        }
        space
    }

    /// How many policies.
    pub fn len(&self) -> usize {
        self.operators.iter().map(|operators| operators.len()).product()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The policy of a number below [`Space::len`]; the last edges count fastest.
    pub fn policy(&self, mut number: usize) -> Policy {
        let mut policy = Policy { provenance: self.provenance, ..Policy::KEEP };
        for edge in Edge::ALL.into_iter().rev() {
            let operators = self.operators[edge as usize];
            policy.ops[edge as usize] = operators[number % operators.len()];
            number /= operators.len();
        }
        policy
    }

    /// The number of a policy that is in the space.
    pub fn number(&self, policy: &Policy) -> Option<usize> {
        let places = Edge::ALL.into_iter().map(|edge| {
            let operators = self.operators[edge as usize];
            let place = operators.iter().position(|op| *op == policy.op(edge))?;
            Some((place, operators.len()))
        });
        let number = places.into_iter().try_fold(0, |number, place| {
            let (place, len) = place?;
            Some(number * len + place)
        })?;
        (policy.provenance == self.provenance).then_some(number)
    }

    /// All choices for some edges, the others kept.
    fn choices(&self, edges: &[Edge]) -> Vec<Policy> {
        let kept = Policy { provenance: self.provenance, ..Policy::KEEP };
        edges.iter().fold(vec![kept], |policies, &edge| {
            let with = |policy: &Policy, op: Op| policy.with(&[(edge, op)]);
            let operators = self.operators[edge as usize];
            policies
                .iter()
                .flat_map(|policy| operators.iter().map(move |&op| with(policy, op)))
                .collect()
        })
    }
}

/// What every policy of a space satisfies.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The policies.
    pub space: Space,
    /// What each satisfies, by its number. A property that is never asked is not violated.
    pub satisfied: Vec<Set>,
}

impl Answers {
    /// Visits every policy with what it satisfies, in the order of their numbers.
    pub fn each(&self, mut visit: impl FnMut(&[Op; 12], Set)) {
        let operators = &self.space.operators;
        let mut places = [0; 12];
        let mut ops = operators.map(|operators| operators[0]);
        for &satisfied in &self.satisfied {
            visit(&ops, satisfied);
            for edge in (0..ops.len()).rev() {
                places[edge] = (places[edge] + 1) % operators[edge].len();
                ops[edge] = operators[edge][places[edge]];
                if places[edge] != 0 {
                    break;
                }
            }
        }
    }

    /// Policies that satisfy at least these.
    pub fn having(&self, wanted: Set) -> usize {
        self.satisfied.iter().filter(|&&set| set & wanted == wanted).count()
    }

    /// The first policy that satisfies these and violates those.
    pub fn example(&self, wanted: Set, violated: Set) -> Option<Policy> {
        let at =
            self.satisfied.iter().position(|&set| set & wanted == wanted && set & violated == 0)?;
        Some(self.space.policy(at))
    }

    /// How many policies satisfy exactly each set.
    pub fn exactly(&self) -> Vec<usize> {
        let mut exactly = vec![0; usize::from(EVERYTHING) + 1];
        self.satisfied.iter().for_each(|&set| exactly[usize::from(set)] += 1);
        exactly
    }

    /// How many policies satisfy at least each set.
    pub fn at_least(&self) -> Vec<usize> {
        let mut counts = self.exactly();
        for bit in 0..CODES.len() {
            for at in (0..counts.len()).filter(|at| at >> bit & 1 == 0) {
                counts[at] += counts[at | 1 << bit];
            }
        }
        counts
    }

    /// Every set that no policy satisfies although it does without any one of its members.
    pub fn conflicts(&self) -> Vec<Set> {
        let counts = self.at_least();
        let mut conflicts: Vec<Set> = (0..=EVERYTHING)
            .filter(|&wanted| {
                let without = (0..CODES.len()).map(|bit| wanted & !(1 << bit));
                counts[usize::from(wanted)] == 0
                    && without.filter(|one| *one != wanted).all(|one| counts[usize::from(one)] > 0)
            })
            .collect();
        conflicts.sort_by_key(|set| (set.count_ones(), *set));
        conflicts
    }

    /// Sets that some policy satisfies, and none more than that.
    pub fn best(&self) -> Vec<(Set, usize)> {
        let exactly = self.exactly();
        let some = |set: Set| exactly[usize::from(set)] > 0;
        let sets: Vec<Set> = (0..=EVERYTHING).filter(|&set| some(set)).collect();
        let most = |set: Set| !sets.iter().any(|&other| other != set && other & set == set);
        let best = sets.iter().filter(|&&set| most(set));
        best.map(|&set| (set, exactly[usize::from(set)])).collect()
    }
}

/// Asks every policy of a space everything, in one world.
pub fn enumerate(space: &Space, bounds: &Bounds, threads: NonZeroUsize) -> Answers {
    let world = World { bounds };
    let heads = space.choices(&[Edge::Define, Edge::Save, Edge::Load, Edge::Start]);
    let attaches = space.operators[Edge::Attach as usize];
    let networks = space.operators[Edge::Network as usize];
    let mut born: Vec<(Set, usize)> = Vec::new();
    let mut kinds: Vec<(Elements, Op)> = Vec::new();
    let mut known: HashMap<(Elements, Op), usize> = HashMap::new();
    for head in &heads {
        let (mut violated, mut elements) = (0, Elements::default());
        world.configurations(head, &mut violated, &mut elements);
        for &attach in attaches {
            let head = head.with(&[(Edge::Attach, attach)]);
            let (mut violated, mut elements) = (violated, elements);
            world.attached(&head, &mut violated, &mut elements);
            for &network in networks {
                let head = head.with(&[(Edge::Network, network)]);
                let (mut violated, mut elements) = (violated, elements);
                world.allocated(&head, &mut violated, &mut elements);
                let kind = (elements, head.op(Edge::Start));
                let at = *known.entry(kind).or_insert_with(|| {
                    kinds.push(kind);
                    kinds.len() - 1
                });
                born.push((violated, at));
            }
        }
    }
    let lives = lives(&world, space, &kinds, threads);
    let mut satisfied = Vec::with_capacity(space.len());
    let per_head = attaches.len() * networks.len();
    let [detaches, dumps, saves, loads] = [Edge::Detach, Edge::Dump, Edge::Save, Edge::Load]
        .map(|edge| space.operators[edge as usize].len());
    let starts = space.operators[Edge::Start as usize].len();
    for (at, &(violated, kind)) in born.iter().enumerate() {
        let head = at / per_head;
        let (load, define_save) = (head / starts % loads, head / (starts * loads));
        debug_assert!(define_save < space.operators[0].len() * saves);
        for detach in 0..detaches {
            for life in &lives[kind] {
                let named = life.named[load * detaches + detach];
                for dump in 0..dumps {
                    let leaks = life.leaks[define_save * dumps + dump];
                    satisfied.push(EVERYTHING & !(violated | life.violated | named | leaks));
                }
            }
        }
    }
    Answers { space: space.clone(), satisfied }
}

/// What becomes of the devices of one kind of policy.
struct Life {
    violated: Set,
    /// By load and detach.
    named: Vec<Set>,
    /// By define, save and dump.
    leaks: Vec<Set>,
}

/// For each kind, all choices of status-save, status-load, send and receive.
fn lives(
    world: &World<'_>,
    space: &Space,
    kinds: &[(Elements, Op)],
    threads: NonZeroUsize,
) -> Vec<Vec<Life>> {
    let tails = space.choices(&[Edge::StatusSave, Edge::StatusLoad, Edge::Send, Edge::Receive]);
    let named = space.choices(&[Edge::Load, Edge::Detach]);
    let leaks = space.choices(&[Edge::Define, Edge::Save, Edge::Dump]);
    let one = |(elements, start): &(Elements, Op)| -> Vec<Life> {
        let mut judged: HashMap<Elements, (Vec<Set>, Vec<Set>)> = HashMap::new();
        let each = |tail: &Policy| {
            let tail = tail.with(&[(Edge::Start, *start)]);
            let (mut violated, mut elements) = (0, *elements);
            world.disturbed(&tail, &mut violated, &mut elements);
            let (named, leaks) = judged.entry(elements).or_insert_with(|| {
                let named = named.iter().map(|policy| world.named(policy, &elements));
                let leaks = leaks.iter().map(|policy| world.leaks(policy, &elements));
                (named.collect(), leaks.collect())
            });
            Life { violated, named: named.clone(), leaks: leaks.clone() }
        };
        tails.iter().map(each).collect()
    };
    let share = kinds.len().div_ceil(threads.get()).max(1);
    std::thread::scope(|scope| {
        let shares: Vec<_> = kinds
            .chunks(share)
            .map(|kinds| scope.spawn(|| kinds.iter().map(one).collect::<Vec<_>>()))
            .collect();
        shares
            .into_iter()
            .flat_map(|share| match share.join() {
                Ok(lives) => lives,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

/// A running device, and what is on disk of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Element {
    disk: Option<Field>,
    release: Release,
    device: Realized,
    fresh: bool,
    automatic: bool,
}

/// A set of [`Element`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Elements([u64; 32]);

const FIELDS: usize = Field::ALL.len();

impl Element {
    fn number(self) -> usize {
        let disk = self.disk.map_or(0, |disk| 1 + place(disk));
        let mut number = disk * 3 + self.release as usize;
        number = number * FIELDS + place(self.device.live);
        number = number * 3 + self.device.has as usize;
        number * 4 + usize::from(self.fresh) * 2 + usize::from(self.automatic)
    }

    fn of(number: usize) -> Self {
        let (automatic, fresh) = (number % 2 == 1, number / 2 % 2 == 1);
        let number = number / 4;
        let has = Value::ALL[number % 3];
        let number = number / 3;
        let live = Field::ALL[number % FIELDS];
        let number = number / FIELDS;
        let release = Release::ALL[number % 3];
        let disk = (number / 3).checked_sub(1).map(|disk| Field::ALL[disk]);
        Element { disk, release, device: Realized { live, has }, fresh, automatic }
    }

    fn is_truthful(self) -> bool {
        self.device.live.is_true_of(self.device.has)
    }
}

fn place(field: Field) -> usize {
    match field {
        Field::Unset => 0,
        Field::Set(value) => 1 + value as usize,
        Field::Auto(value) => 4 + value as usize,
    }
}

impl Elements {
    /// Adds one; is it new?
    fn add(&mut self, element: Element) -> bool {
        let number = element.number();
        let (word, bit) = (&mut self.0[number / 64], 1 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn iter(&self) -> impl Iterator<Item = Element> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (bit < 64).then(|| Element::of(at * 64 + bit))
            })
        })
    }
}

/// A configuration, between two boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Config {
    asked: Field,
    by: Release,
    daemon: Release,
    disk: Field,
    memory: Field,
    last_boot: Option<Value>,
}

struct World<'a> {
    bounds: &'a Bounds,
}

impl World<'_> {
    fn daemon<'a>(&self, policy: &'a Policy, release: Release) -> Option<Daemon<'a>> {
        let default = self.bounds.default;
        (release != Release::Ancient).then_some(Daemon { policy, default, release })
    }

    fn releases(&self) -> impl Iterator<Item = Release> {
        let first = self.bounds.first;
        Release::ALL.into_iter().filter(move |release| *release >= first)
    }

    /// Fields that a user may write.
    fn texts(&self) -> impl Iterator<Item = Field> {
        self.bounds.asked.iter().filter_map(|asked| asked.field())
    }

    /// Every life of every configuration, and the devices that start from it.
    fn configurations(&self, policy: &Policy, violated: &mut Set, elements: &mut Elements) {
        let mut found: Vec<Config> = Vec::new();
        for by in self.releases() {
            for asked in self.texts() {
                let (memory, disk) = match self.daemon(policy, by) {
                    Some(daemon) => {
                        let memory = daemon.pass(Edge::Define, asked, None);
                        (memory, daemon.pass(Edge::Save, memory, None))
                    }
                    None if asked == Field::Unset => (asked, asked),
                    None => continue,
                };
                found.push(Config { asked, by, daemon: by, disk, memory, last_boot: None });
            }
        }
        let mut next = 0;
        while let Some(&config) = found.get(next) {
            next += 1;
            let started = self.start(policy, config, violated, elements);
            let loaded = self.releases().filter(|to| *to >= config.daemon).map(|to| {
                let memory = match self.daemon(policy, to) {
                    Some(daemon) => daemon.pass(Edge::Load, config.disk, None),
                    None => config.memory,
                };
                Config { daemon: to, memory, ..config }
            });
            for after in loaded.chain([started]) {
                if !found.contains(&after) {
                    found.push(after);
                }
            }
            let Config { asked, disk, memory, .. } = config;
            if asked == Field::Unset && (disk.chosen().is_some() || memory.chosen().is_some()) {
                *violated |= PURE;
            }
        }
    }

    fn start(
        &self,
        policy: &Policy,
        config: Config,
        violated: &mut Set,
        elements: &mut Elements,
    ) -> Config {
        let mut demand = |what: Set, so: bool| *violated |= if so { 0 } else { what };
        let Config { asked, by, daemon: release, disk, memory, last_boot } = config;
        let device = match self.daemon(policy, release) {
            Some(daemon) => daemon.start(memory),
            None => Realized { live: Field::Unset, has: Value::A },
        };
        demand(BOOT, last_boot.is_none_or(|last| last == device.has));
        demand(OBEYED, asked.value().is_none_or(|wanted| wanted == device.has));
        if release != Release::Ancient {
            demand(RESOLVED, device.live != Field::Unset);
            if asked == Field::Unset {
                let adopted = if by == release { ADOPT_NEW } else { ADOPT_OLD };
                demand(adopted, device.has == self.bounds.default.of(release));
            }
        }
        let automatic = asked == Field::Unset;
        let fresh = by == release;
        elements.add(Element { disk: Some(disk), release, device, fresh, automatic });
        Config { last_boot: Some(device.has), ..config }
    }

    fn attached(&self, policy: &Policy, violated: &mut Set, elements: &mut Elements) {
        for release in self.releases() {
            for text in self.texts() {
                let device = match self.daemon(policy, release) {
                    Some(daemon) => daemon.attach(text),
                    None if text == Field::Unset => Realized { live: Field::Unset, has: Value::A },
                    None => continue,
                };
                if text.value().is_some_and(|wanted| wanted != device.has) {
                    *violated |= OBEYED;
                }
                if release != Release::Ancient && device.live == Field::Unset {
                    *violated |= RESOLVED;
                }
                let automatic = text == Field::Unset;
                elements.add(Element { disk: None, release, device, fresh: true, automatic });
            }
        }
    }

    fn allocated(&self, policy: &Policy, violated: &mut Set, elements: &mut Elements) {
        let daemons: Vec<Daemon<'_>> =
            self.releases().filter_map(|release| self.daemon(policy, release)).collect();
        for (at, daemon) in daemons.iter().enumerate() {
            let device = daemon.allocate();
            if device.live == Field::Unset {
                *violated |= RESOLVED;
            }
            let element = Element {
                disk: None,
                release: daemon.release,
                device,
                fresh: true,
                automatic: true,
            };
            elements.add(element);
            // Defined by an earlier one.
            if at > 0 {
                elements.add(Element { fresh: false, ..element });
            }
        }
    }

    /// Restarts, upgrades and migrations, in any order, as often as one likes.
    fn disturbed(&self, policy: &Policy, violated: &mut Set, elements: &mut Elements) {
        let mut todo: Vec<Element> = elements.iter().collect();
        while let Some(element) = todo.pop() {
            if !element.is_truthful() {
                *violated |= TRUTH;
            }
            let mut go_on = |next: Element| {
                if elements.add(next) {
                    todo.push(next);
                }
            };
            for to in self.releases().filter(|to| *to >= element.release) {
                go_on(self.restart(policy, element, to, violated));
            }
            for to in Release::ALL {
                self.migrate(policy, element, to, violated).into_iter().for_each(&mut go_on);
            }
        }
    }

    fn restart(
        &self,
        policy: &Policy,
        element: Element,
        to: Release,
        violated: &mut Set,
    ) -> Element {
        let Element { release: from, device, .. } = element;
        let Some(next) = self.daemon(policy, to) else { return element };
        let device = match self.daemon(policy, from) {
            Some(daemon) => daemon.reconnect(&next, device),
            None => Realized {
                live: next.pass(Edge::StatusLoad, device.live, Some(device.has)),
                ..device
            },
        };
        let fresh = element.fresh && from == to;
        let after = Element { release: to, device, fresh, ..element };
        if element.is_truthful() && !after.is_truthful() {
            *violated |= RESTART;
        }
        if device.live == Field::Unset {
            *violated |= RESOLVED;
        }
        after
    }

    fn migrate(
        &self,
        policy: &Policy,
        element: Element,
        to: Release,
        violated: &mut Set,
    ) -> Option<Element> {
        let mut demand = |what: Set, so: bool| *violated |= if so { 0 } else { what };
        let Element { release: from, device, fresh, automatic, .. } = element;
        let text = match self.daemon(policy, from) {
            Some(daemon) => daemon.send(device),
            None => device.live,
        };
        let alone = fresh && from == to;
        let Some(there) = self.daemon(policy, to) else {
            let accepted = text == Field::Unset;
            let same = !element.is_truthful() || !accepted || device.has == Value::A;
            demand(MIG, same);
            demand(MIG_SAME, !alone || same);
            demand(OLDACC, !(automatic && fresh) || accepted);
            demand(OLDACC_KNOWN, !(automatic && device.has == Value::A) || accepted);
            return None;
        };
        let arrived = there.receive(text, device.has);
        let same = !element.is_truthful() || arrived.has == device.has;
        demand(MIG, same);
        demand(MIG_SAME, !alone || same);
        demand(RESOLVED, arrived.live != Field::Unset);
        Some(Element { disk: None, release: to, device: arrived, fresh: alone, automatic })
    }

    /// What is wrong when a device is unplugged.
    fn named(&self, policy: &Policy, elements: &Elements) -> Set {
        elements.iter().fold(0, |violated, Element { release, device, .. }| {
            let Some(daemon) = self.daemon(policy, release) else { return violated };
            match daemon.named(device.has) {
                Field::Unset => violated | RESOLVED,
                object if !object.is_true_of(device.has) => violated | DETACH,
                _ => violated,
            }
        })
    }

    /// What is wrong when its dump is defined.
    fn leaks(&self, policy: &Policy, elements: &Elements) -> Set {
        elements.iter().filter(|element| element.is_truthful()).fold(0, |violated, element| {
            let Element { disk, release, device, .. } = element;
            let (Some(disk), Some(daemon)) = (disk, self.daemon(policy, release)) else {
                return violated;
            };
            let defined = daemon.redefine(device).chosen();
            match disk.chosen() {
                None if defined.is_some() => violated | NOLEAK,
                Some(chosen) if defined != Some(chosen) => violated | KEPT,
                _ => violated,
            }
        })
    }
}
