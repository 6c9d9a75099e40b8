//! Beyond the suite: random walks on a real system that look for its end.
//!
//! A suite takes every step of its model once. A walk over the study's alphabet ([`Modelled`]) takes them in
//! other orders, and every answer is compared with the model's. A walk may also do what no model has an answer
//! for: a driver that lies, a request that must be refused, things at the wrong time; then all that is asked
//! of the system is that it survives and goes on answering. Walks that showed something new are kept and gone
//! on from; one that ends badly is shortened with the system as oracle.
//!
//! Everything follows from the seed: walks are made and judged in rounds, so neither the number of threads
//! nor who is first changes what is walked. Time decides how many of them, and nothing else.

mod modelled;
mod shorten;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use serde::{Serialize, de::DeserializeOwned};

pub use self::{modelled::Modelled, shorten::shorten, walk::Walk};

/// Where to walk.
pub trait Ground: Sync {
    /// One move.
    type Move: Clone + Eq + Send + Sync + Serialize + DeserializeOwned;
    /// What a walk may begin with.
    fn beginnings(&self) -> Vec<Vec<Self::Move>>;
    /// Moves of a beginning that every walk needs: one makes the system, where that is a move.
    fn fixed(&self) -> usize {
        1
    }
    /// Every other move.
    fn alphabet(&self) -> Vec<Self::Move>;
    /// Makes the moves on a fresh system, as far as it lives.
    fn walk(&self, moves: &[Self::Move]) -> Ran;
    /// The shortest walk that ends so, if it does again and again, and the runs that it took to find it.
    fn shorten(&self, moves: &[Self::Move], end: &End) -> (Option<ToEnd<Self::Move>>, usize) {
        shorten(self, moves, end)
    }
}

/// A walk to the end of a system.
pub type ToEnd<M> = (Vec<M>, End);

/// How a walk went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Which move, and what it showed, coarsely: what was not seen before makes a walk worth keeping.
    pub shown: Vec<(usize, String)>,
    /// How it ended, if not of its own accord.
    pub end: Option<End>,
    /// Why nothing was learned from there on: the machine that the system runs on refused something.
    pub stuck: Option<String>,
}

/// The end of a walk: the system's, or of its agreement with the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct End {
    /// The move that it did not survive.
    pub at: usize,
    /// That move's name.
    pub on: String,
    /// What kind of end.
    pub kind: EndKind,
    /// How it ended, with the last lines of its log.
    pub how: String,
}

/// Kinds of ends, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndKind {
    /// A signal: it crashed, or aborted.
    Crash,
    /// It does not answer any more.
    Hang,
    /// It gave up: an exit code.
    Exit,
    /// It goes on, and its answer is not the model's.
    Divergence,
}

/// What a failed check says of itself; all else in a log is on the way there.
const CHECKS: [&str; 5] = ["Assertion", "ERROR", "free()", "malloc", "corrupt"];

impl End {
    /// How it ended, without the lines of the log that say nothing of it.
    fn essence(&self) -> String {
        let (how, said) = self.how.split_once("; it said: ").unwrap_or((&self.how, ""));
        let telling =
            said.split(" | ").filter(|line| CHECKS.iter().any(|check| line.contains(check)));
        std::iter::once(how).chain(telling).collect::<Vec<_>>().join(" ")
    }

    /// Ends with the same signature are taken for the same bug.
    fn signature(&self) -> Signature {
        (self.kind, self.on.clone(), coarse(&self.essence()))
    }
}

type Signature = (EndKind, String, String);

/// Text without what differs from run to run: digits and paths.
pub fn coarse(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !word.contains('/'));
    let words: Vec<String> =
        words.map(|word| word.chars().filter(|c| !c.is_ascii_digit()).collect()).collect();
    words.join(" ")
}

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What everything follows from.
    pub seed: u64,
    /// Walks at a time.
    pub jobs: usize,
    /// No new walk after this moment. What was found by then is still shortened.
    pub until: Instant,
    /// No more walks than this.
    pub walks: usize,
    /// Moves of one walk.
    pub moves: usize,
    /// No new round once so many different ends were found.
    pub ends: usize,
}

/// What a search found.
#[derive(Debug)]
pub struct Found<M> {
    /// The shortest walk to each end, the worst first.
    pub ends: Vec<ToEnd<M>>,
    /// Walks, and moves made on all of them (without those that shorten).
    pub walks: usize,
    /// Moves made.
    pub moves: usize,
    /// Different things that moves showed.
    pub shown: usize,
    /// Runs that shortening took.
    pub runs: usize,
    /// Walks of which nothing is known from some move on, and why it is so of the first of them.
    pub stuck: (usize, Option<String>),
}

/// Walks of one round.
const ROUND: usize = 32;

/// Searches until the time, or the number of walks, is up. `watch` is told of each end as it is found.
pub fn search<G: Ground>(
    ground: &G,
    options: &Options,
    watch: &(dyn Fn(&[G::Move], &End) + Sync),
) -> Found<G::Move> {
    let mut walker = Walk::new(ground.beginnings(), ground.alphabet(), ground.fixed(), options);
    let mut seen = BTreeSet::new();
    // Every way to end that was met, and the shortest walks: several may come down to the same one.
    let mut met: BTreeSet<Signature> = BTreeSet::new();
    let mut ends: BTreeMap<Signature, ToEnd<G::Move>> = BTreeMap::new();
    let mut found =
        Found { ends: Vec::new(), walks: 0, moves: 0, shown: 0, runs: 0, stuck: (0, None) };
    while found.walks < options.walks && ends.len() < options.ends && Instant::now() < options.until
    {
        let round: Vec<_> =
            (found.walks..options.walks).take(ROUND).map(|number| walker.walk(number)).collect();
        let ran = in_parallel(&round, options.jobs, options.until, |moves| ground.walk(moves));
        for (moves, ran) in round.iter().zip(ran) {
            found.walks += 1;
            found.moves += ran.shown.len();
            let mut new = None;
            for (at, shown) in ran.shown {
                if seen.insert(shown) {
                    new = Some(at);
                }
            }
            if let Some(why) = ran.stuck {
                found.stuck.0 += 1;
                found.stuck.1.get_or_insert(why);
            }
            match ran.end {
                Some(end) if ends.len() < options.ends && met.insert(end.signature()) => {
                    watch(&moves[..=end.at], &end);
                    let (short, runs) = ground.shorten(&moves[..=end.at], &end);
                    found.runs += runs;
                    // What does not happen again is not shown.
                    if let Some((short, end)) = short {
                        let signature = end.signature();
                        met.insert(signature.clone());
                        let known = ends.get(&signature).map(|(moves, _)| moves.len());
                        if known.is_none_or(|known| short.len() < known) {
                            watch(&short, &end);
                            ends.insert(signature, (short, end));
                        }
                    }
                }
                Some(_) => {}
                None => {
                    if let Some(new) = new {
                        walker.keep(moves[..(new + 1).min(moves.len())].to_vec());
                    }
                }
            }
        }
    }
    found.shown = seen.len();
    found.ends = ends.into_values().collect();
    found
}

/// The answers in the order of the questions: to all of them, or to the first ones when time is up.
fn in_parallel<T: Sync, R: Send>(
    all: &[T],
    jobs: usize,
    until: Instant,
    what: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while Instant::now() < until {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at) else { break };
                    let result = what(one);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A system that three moves in this order end, whatever is between.
    struct Fragile(&'static [u8]);

    impl Ground for Fragile {
        type Move = u8;

        fn beginnings(&self) -> Vec<Vec<u8>> {
            vec![vec![100]]
        }

        fn alphabet(&self) -> Vec<u8> {
            (0..12).collect()
        }

        fn walk(&self, moves: &[u8]) -> Ran {
            let (mut ran, mut reached) = (Ran::default(), 0);
            for (at, one) in moves.iter().enumerate() {
                if self.0.get(reached) == Some(one) {
                    reached += 1;
                }
                if reached == self.0.len() {
                    let how = format!("signal 11, in run {at}");
                    let on = one.to_string();
                    ran.end = Some(End { at, on, kind: EndKind::Crash, how });
                    break;
                }
                ran.shown.push((at, format!("{one} after {reached}")));
            }
            ran
        }
    }

    fn options(walks: usize) -> Options {
        let until = Instant::now() + Duration::from_secs(600);
        Options { seed: 7, jobs: 2, until, walks, moves: 20, ends: 20 }
    }

    #[test]
    fn what_ends_a_system_is_found_and_shortened() {
        let found = search(&Fragile(&[3, 9, 3, 5]), &options(600), &|_, _| {});
        let ends: Vec<_> = found.ends.iter().map(|(moves, end)| (&moves[..], end.at)).collect();
        assert_eq!(
            ends,
            [(&[100, 3, 9, 3, 5][..], 4)],
            "the digits of a run do not make another end"
        );
        assert_eq!(found.walks, 600);
    }

    #[test]
    fn a_system_that_survives_gives_nothing() {
        let found = search(&Fragile(&[77]), &options(200), &|_, _| {});
        assert!(found.ends.is_empty());
        assert!(found.shown > 0 && found.moves > 200);
    }

    /// One that survives everything, and notes the walks; each takes a while.
    #[derive(Default)]
    struct Noting {
        walked: Mutex<Vec<Vec<u8>>>,
        pause: Duration,
    }

    impl Ground for Noting {
        type Move = u8;

        fn beginnings(&self) -> Vec<Vec<u8>> {
            vec![vec![100], vec![101, 1]]
        }

        fn alphabet(&self) -> Vec<u8> {
            (0..50).collect()
        }

        fn walk(&self, moves: &[u8]) -> Ran {
            thread::sleep(self.pause);
            self.walked.lock().unwrap().push(moves.to_vec());
            Fragile(&[200]).walk(moves)
        }
    }

    #[test]
    fn time_ends_a_round_and_what_was_walked_is_the_beginning_of_it() {
        let walked = |pause: u64, options: Options| {
            let ground = Noting { pause: Duration::from_millis(pause), ..Noting::default() };
            let found = search(&ground, &Options { jobs: 1, ..options }, &|_, _| {});
            (found.walks, ground.walked.into_inner().unwrap())
        };
        let (all, whole) = walked(0, options(ROUND));
        let until = Instant::now() + Duration::from_millis(50);
        let (some, part) = walked(20, Options { until, ..options(ROUND) });
        assert_eq!(all, ROUND);
        assert!((1..ROUND).contains(&some), "{some} of {ROUND} walks in time for three");
        assert_eq!(part, whole[..some]);
    }

    #[test]
    fn the_same_seed_walks_the_same_at_any_number_of_threads() {
        let walked = |jobs: usize, seed: u64| {
            let ground = Noting::default();
            search(&ground, &Options { jobs, seed, ..options(100) }, &|_, _| {});
            let mut all = ground.walked.into_inner().unwrap();
            all.sort();
            all
        };
        assert_eq!(walked(1, 1), walked(3, 1));
        assert_ne!(walked(2, 1), walked(2, 2));
    }
}
