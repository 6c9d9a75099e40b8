//! The checks themselves: each on processes of its own.

use statusquo_model::{
    study::{Study, View},
    words::words,
};

use super::{Checked, NAMES, Options, Report, Verdict, walk};
use crate::{
    replay::{Fault, Observed},
    systems::exec::{self, Adapter, Answer, Command, Names, Request},
};

pub(super) struct Kit<'k, S: Study> {
    study: &'k S,
    names: &'k Names,
    command: &'k Command,
    options: &'k Options,
    walks: Vec<Vec<S::Action>>,
}

/// What was tried and found to be so, or what was wrong.
type Tried = Result<Found, String>;

enum Found {
    Holds(String),
    Vacuous(String),
}

type Answers<S> = Vec<Observed<S>>;

impl<'k, S: Study> Kit<'k, S> {
    pub(super) fn new(
        study: &'k S,
        names: &'k Names,
        command: &'k Command,
        options: &'k Options,
    ) -> Self {
        let walks = walk::walks(study, options.walks, options.steps, options.seed);
        Kit { study, names, command, options, walks }
    }

    pub(super) fn run(&self) -> Report {
        let steps = self.walks.iter().map(Vec::len).sum();
        let name = self.fresh().map(|(_, name)| name);
        let is_there = name.is_ok();
        let first = match &name {
            Ok(name) => Ok(Found::Holds(format!("it says that it is {name}"))),
            Err(why) => Err(why.clone()),
        };
        // What the walks are answered by processes that did nothing else.
        let alone: Result<Vec<Answers<S>>, String> = if is_there {
            (self.walks.iter()).map(|walk| self.run_walk(&mut self.fresh()?.0, walk)).collect()
        } else {
            Err("there was no handshake".to_owned())
        };
        let mut tried = vec![Some(first)];
        tried.push(is_there.then(|| self.alphabet(&alone)));
        for of_walks in [
            Self::reset,
            Self::repeatable,
            Self::processes_agree,
            Self::pure_view,
            Self::view_names,
        ] {
            tried.push(alone.as_ref().ok().map(|alone| of_walks(self, alone)));
        }
        for of_lines in
            [Self::unknown_action, Self::unknown_study, Self::malformed_line, Self::goodbye]
        {
            tried.push(is_there.then(|| of_lines(self)));
        }
        let why_not = if is_there { "no walk could be taken" } else { "there was no handshake" };
        let checked = |((check, asks), tried): ((&'static str, &'static str), Option<Tried>)| {
            let (verdict, evidence) = match tried {
                Some(Ok(Found::Holds(evidence))) => (Verdict::Holds, evidence),
                Some(Ok(Found::Vacuous(evidence))) => (Verdict::Vacuous, evidence),
                Some(Err(why)) => (Verdict::Fails, why),
                None => (Verdict::NotChecked, why_not.to_owned()),
            };
            Checked { check, asks, verdict, evidence }
        };
        Report {
            name: name.ok(),
            checks: NAMES.into_iter().zip(tried).map(checked).collect(),
            steps,
        }
    }

    /// A process in the initial state, and what it says that it is.
    fn fresh(&self) -> Result<(Adapter, String), String> {
        let mut adapter = self.command.spawn(self.options.deadline).map_err(|f| f.to_string())?;
        let name = exec::reset(&mut adapter, self.names).map_err(|fault| told(&adapter, &fault))?;
        Ok((adapter, name))
    }

    fn reset_again(&self, adapter: &mut Adapter) -> Result<(), String> {
        let reset = exec::reset(adapter, self.names);
        reset.map(drop).map_err(|fault| format!("a second reset: {}", told(adapter, &fault)))
    }

    fn run_walk(&self, adapter: &mut Adapter, walk: &[S::Action]) -> Result<Answers<S>, String> {
        let mut answers = Vec::new();
        for (number, &action) in (1..).zip(walk) {
            let answer = exec::apply::<S>(adapter, action);
            answers.push(answer.map_err(|fault| {
                format!("step {number}, {}: {}", words(&action), told(adapter, &fault))
            })?);
        }
        Ok(answers)
    }

    fn alphabet(&self, alone: &Result<Vec<Answers<S>>, String>) -> Tried {
        let alphabet = self.study.alphabet();
        let (mut adapter, _) = self.fresh()?;
        for &action in &alphabet {
            exec::apply::<S>(&mut adapter, action).map_err(|fault| {
                format!("{}, in the initial state: {}", words(&action), told(&adapter, &fault))
            })?;
            self.reset_again(&mut adapter)?;
        }
        let alone = alone.as_ref().map_err(Clone::clone)?;
        let blocked =
            alone.iter().flatten().filter(|it| matches!(it, Observed::Blocked(_))).count();
        let steps: usize = alone.iter().map(Vec::len).sum();
        Ok(Found::Holds(format!(
            "{} actions in the initial state, and {steps} steps of {} walks, {blocked} of them blocked",
            alphabet.len(),
            alone.len()
        )))
    }

    fn reset(&self, alone: &[Answers<S>]) -> Tried {
        let (mut adapter, _) = self.fresh()?;
        // Once there and once back: each walk comes after another one than the time before.
        let there = self.walks.iter().zip(alone);
        let back = there.clone().rev();
        for (number, (walk, alone)) in (1..).zip(there.chain(back)) {
            self.reset_again(&mut adapter)?;
            let answers = self.run_walk(&mut adapter, walk)?;
            same(
                walk,
                alone,
                &answers,
                "a fresh process",
                &format!("walk {number} of one process"),
            )?;
        }
        Ok(Found::Holds(format!(
            "{} walks in one process, as in {}",
            2 * self.walks.len(),
            alone.len()
        )))
    }

    fn repeatable(&self, _: &[Answers<S>]) -> Tried {
        for walk in &self.walks {
            let (mut adapter, _) = self.fresh()?;
            let first = self.run_walk(&mut adapter, walk)?;
            self.reset_again(&mut adapter)?;
            let second = self.run_walk(&mut adapter, walk)?;
            same(walk, &first, &second, "the first time", "the second")?;
        }
        Ok(Found::Holds(format!("{} walks, twice each", self.walks.len())))
    }

    fn processes_agree(&self, alone: &[Answers<S>]) -> Tried {
        for (walk, alone) in self.walks.iter().zip(alone) {
            let answers = self.run_walk(&mut self.fresh()?.0, walk)?;
            same(walk, alone, &answers, "one process", "another")?;
        }
        Ok(Found::Holds(format!("{} walks, in two processes each", alone.len())))
    }

    fn look(&self, adapter: &mut Adapter) -> Result<View, String> {
        exec::view(adapter).map_err(|fault| format!("view: {}", told(adapter, &fault)))
    }

    fn pure_view(&self, alone: &[Answers<S>]) -> Tried {
        let (mut looks, mut facts) = (0, 0);
        for (walk, alone) in self.walks.iter().zip(alone) {
            let (mut adapter, _) = self.fresh()?;
            let mut answers = Vec::new();
            for (number, action) in (1..).zip(walk) {
                let (first, second) = (self.look(&mut adapter)?, self.look(&mut adapter)?);
                looks += 2;
                facts += first.len();
                if first != second {
                    return Err(format!(
                        "before step {number}, {}, it shows {} and at once {}",
                        words(action),
                        facts_words(&first),
                        facts_words(&second)
                    ));
                }
                answers.extend(self.run_walk(&mut adapter, std::slice::from_ref(action))?);
            }
            same(walk, alone, &answers, "unobserved", "looked at before each step")?;
        }
        if facts == 0 {
            return Ok(Found::Vacuous("it shows no facts".to_owned()));
        }
        Ok(Found::Holds(format!("{looks} looks in {} walks", alone.len())))
    }

    fn view_names(&self, _: &[Answers<S>]) -> Tried {
        let Some(initial) = self.study.initial().into_iter().next() else {
            return Err("the study has no initial state".to_owned());
        };
        let known = self.study.view(&initial);
        let mut shown = View::new();
        for walk in &self.walks {
            let (mut adapter, _) = self.fresh()?;
            shown.extend(self.look(&mut adapter)?);
            self.run_walk(&mut adapter, walk)?;
            shown.extend(self.look(&mut adapter)?);
        }
        shown.sort();
        shown.dedup_by(|one, other| one.0 == other.0);
        let strange = shown.iter().find(|(what, _)| known.iter().all(|(name, _)| name != what));
        if let Some((what, _)) = strange {
            let nearest = statusquo_model::catalogue::unknown(
                "fact",
                what,
                known.iter().map(|(name, _)| name.as_str()),
            );
            return Err(nearest.to_string());
        }
        if shown.is_empty() {
            return Ok(Found::Vacuous("it shows no facts".to_owned()));
        }
        Ok(Found::Holds(format!("{} of the {} facts of the study", shown.len(), known.len())))
    }

    fn unknown_action(&self) -> Tried {
        let (mut adapter, _) = self.fresh()?;
        let asked = Request::Apply("no-such-action".into());
        let answer = adapter.ask(&asked);
        loud(&adapter, answer)
    }

    fn unknown_study(&self) -> Tried {
        let mut adapter = self.command.spawn(self.options.deadline).map_err(|f| f.to_string())?;
        let names = Names { study: "no-such-study".to_owned(), ..self.names.clone() };
        let answer = adapter.ask(&Request::Reset { protocol: exec::VERSION, names });
        loud(&adapter, answer)
    }

    fn malformed_line(&self) -> Tried {
        let mut all = Vec::new();
        for line in ["no request", "{\"id\":2,", "{\"id\":2,\"no-such-request\":{}}"] {
            let (mut adapter, _) = self.fresh()?;
            let answer = adapter.say(line).map(|(_, answer)| answer);
            match loud(&adapter, answer).map_err(|why| format!("{line}: {why}"))? {
                Found::Holds(how) | Found::Vacuous(how) => all.push(how),
            }
        }
        Ok(Found::Holds(all.swap_remove(0)))
    }

    fn goodbye(&self) -> Tried {
        let (mut adapter, _) = self.fresh()?;
        match adapter.ask(&Request::Bye {}) {
            Ok(Answer::Bye) => {}
            Ok(other) => return Err(format!("`bye` was answered with `{}`", other.kind())),
            Err(fault) => return Err(format!("bye: {}", told(&adapter, &fault))),
        }
        let status = adapter.end().map_err(|fault| format!("after bye: {fault}"))?;
        if !status.success() {
            return Err(format!("after bye it ended with {}", exec::obituary(status)));
        }
        let (mut adapter, _) = self.fresh()?;
        let status = adapter.close();
        let status = status.map_err(|fault| format!("when its input ended: {fault}"))?;
        Ok(Found::Holds(format!(
            "exit code 0 after bye, {} when its input ended",
            exec::obituary(status)
        )))
    }
}

/// An answer that nobody overlooks: an error, or an end that is none in peace.
fn loud(adapter: &Adapter, answer: Result<Answer, Fault>) -> Tried {
    match answer {
        Ok(Answer::Error(why)) => Ok(Found::Holds(format!("an error: {}", exec::clip(&why)))),
        Ok(other) => Err(format!("it was answered with `{}`", other.kind())),
        Err(Fault::Died(how)) if how != "exit code 0" => {
            Ok(Found::Holds(format!("it ended: {how}")))
        }
        Err(fault) => Err(told(adapter, &fault)),
    }
}

fn told(adapter: &Adapter, fault: &Fault) -> String {
    let said = adapter.said();
    if said.is_empty() {
        fault.to_string()
    } else {
        format!("{fault}; it said: {}", said.join(" | "))
    }
}

fn same<S: Study>(
    walk: &[S::Action],
    one: &[Observed<S>],
    other: &[Observed<S>],
    here: &str,
    there: &str,
) -> Result<(), String> {
    let differs = one.iter().zip(other).position(|(one, other)| !alike(one, other));
    let Some(at) = differs else { return Ok(()) };
    let answer = |observed: &Observed<S>| match observed {
        Observed::Outcome(outcome) => words(outcome),
        Observed::Blocked(why) => format!("blocked, because {why}"),
    };
    Err(format!(
        "step {}, {}: {here}: {}; {there}: {}",
        at + 1,
        words(&walk[at]),
        answer(&one[at]),
        answer(&other[at])
    ))
}

fn alike<S: Study>(one: &Observed<S>, other: &Observed<S>) -> bool {
    match (one, other) {
        (Observed::Outcome(one), Observed::Outcome(other)) => one == other,
        (Observed::Blocked(one), Observed::Blocked(other)) => one == other,
        _ => false,
    }
}

fn facts_words(view: &View) -> String {
    let facts: Vec<String> = view.iter().map(|(what, value)| format!("{what}: {value}")).collect();
    if facts.is_empty() { "nothing".to_owned() } else { facts.join(", ") }
}
