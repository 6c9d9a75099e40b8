//! `statusquo verify`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;
use statusquo_model::{
    catalogue,
    family::{Design, Role, Scope},
    pins::{self, Pin},
};

use super::{
    Common, Ended, Unfinished,
    check::check_one,
    generate::{suite_of, summary},
    print, print_json,
    replay::{Done, replay_on},
};
use crate::{
    generate::{Criterion, Cut},
    replay::{Factory, Options},
    report::{self, Checked},
    studies::{self, Replayable, Visitor},
    systems::model::ModelFactory,
};

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The studies to verify [default: all]
    studies: Vec<String>,
    /// Print what was found in the form of the pins, and compare nothing
    #[arg(long)]
    print_pins: bool,
    /// Also write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        let start = Instant::now();
        let all: Vec<&str> = if self.studies.is_empty() {
            catalogue::names()
        } else {
            self.studies.iter().map(String::as_str).collect()
        };
        let mut verified = Vec::new();
        for name in all {
            verified.push(studies::visit(name, VerifyVisitor { verify: self, common })??);
        }
        if self.print_pins {
            // What a search that was cut short counted is not what should be pinned.
            let complete = verified.iter().flat_map(|one| &one.checked).all(Checked::is_complete);
            return Ok(if complete { Ended::AsExpected } else { Ended::Incomplete });
        }
        let ended = verified.iter().map(Verified::ended).max().unwrap_or(Ended::Incomplete);
        if let Some(path) = &self.junit {
            junit(path, verified.iter().flat_map(Verified::cases))?;
        }
        if common.json() {
            let studies: Vec<_> = verified.iter().map(Verified::json).collect();
            print_json(&json!({
                "version": report::VERSION, "studies": studies, "exit-code": ended.code(),
                "seconds": start.elapsed().as_secs_f64(),
            }))?;
        } else {
            verified.iter().try_for_each(|verified| print(&verified.text()))?;
            let word = match ended {
                Ended::AsExpected if verified.iter().any(|one| !one.not_replayed.is_empty()) => {
                    "everything is as pinned; ours does what its model says where it is replayed"
                }
                Ended::AsExpected => "everything is as pinned, and ours does what its model says",
                Ended::Violated => "NOT as expected",
                Ended::Incomplete => "INCOMPLETE",
            };
            print(&format!("{word} ({:.1} s)", start.elapsed().as_secs_f64()))?;
        }
        Ok(ended)
    }
}

struct VerifyVisitor<'a> {
    verify: &'a Verify,
    common: &'a Common,
}

/// What was found out about one study.
struct Verified {
    study: &'static str,
    checked: Vec<Checked>,
    /// Pinned and not found.
    missing: Vec<String>,
    /// Found and not pinned.
    unexpected: Vec<String>,
    suites: Vec<String>,
    /// Suites that there are not, and why.
    unfinished: Vec<String>,
    replayed: Vec<Done>,
    /// Scopes that no system of ours answers.
    not_replayed: Vec<&'static str>,
    /// Other designs, and whether the suites of ours tell them from ours.
    told_apart: Vec<(&'static str, bool)>,
}

impl Visitor for VerifyVisitor<'_> {
    type Output = anyhow::Result<Verified>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let VerifyVisitor { verify, common } = self;
        let scopes: Vec<&'static Scope> = studies::scopes_to_verify::<F>().collect();
        let (mut checked, mut found) = (Vec::new(), Vec::new());
        for &scope in &scopes {
            for design in F::designs() {
                let (one, report) = check_one::<F>(design, scope, common, |_| true)?;
                found.extend(pins::of(design.name, scope.name, &report));
                checked.push(one);
            }
        }
        let unfinished: Vec<(&str, &str)> = checked
            .iter()
            .filter(|checked| !checked.is_complete())
            .map(|checked| (checked.design, checked.scope))
            .collect();
        if verify.print_pins {
            print(
                "# The expected matrix: design, scope, property, verdict, length of the shortest trace.",
            )?;
            print("# Written by `statusquo verify --print-pins`; read every line that changes.")?;
            found.iter().try_for_each(|pin| print(&pin.to_string()))?;
        }
        let pinned = pins::parse(F::PINS).context("the study's own pins")?;
        // A search that was cut short says nothing for its pins, and against them only what it violates.
        let is_due = |pin: &Pin| !unfinished.contains(&(pin.design.as_str(), pin.scope.as_str()));
        let counts = |pin: &&Pin| pin.verdict == "violated" || is_due(pin);
        let found: BTreeSet<String> = found.iter().filter(counts).map(Pin::to_string).collect();
        let due: BTreeSet<String> =
            pinned.iter().filter(|pin| is_due(pin)).map(Pin::to_string).collect();
        let pinned: BTreeSet<String> = pinned.iter().map(Pin::to_string).collect();
        let mut verified = Verified {
            study: F::NAME,
            checked,
            missing: due.difference(&found).cloned().collect(),
            unexpected: found.difference(&pinned).cloned().collect(),
            suites: Vec::new(),
            unfinished: Vec::new(),
            replayed: Vec::new(),
            not_replayed: Vec::new(),
            told_apart: Vec::new(),
        };
        if verify.print_pins {
            return Ok(verified);
        }
        let ours = studies::ours::<F>();
        let mut apart = BTreeSet::new();
        let options = Options { jobs: common.threads().get(), ..Options::default() };
        for &scope in &scopes {
            let study = F::study(ours, scope);
            let vmm = F::vmm(&study);
            if vmm.is_none() {
                verified.not_replayed.push(scope.name);
                if scope.role == Role::Check {
                    continue;
                }
            }
            let suite = suite_of::<F>(ours, scope, Criterion::Transitions, Cut::default(), common);
            let suite = match suite {
                Ok(suite) => suite,
                Err(error) if error.is::<Unfinished>() => {
                    verified.unfinished.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            verified.suites.push(summary(&suite.header));
            let on = |name: &str, factory: Arc<dyn Factory<F::Study>>, explained| {
                replay_on(
                    format!("{name}, scope {}", scope.name),
                    &study,
                    &suite,
                    &factory,
                    &options,
                    explained,
                    &[],
                )
            };
            let model = |design: &'static Design| -> Arc<dyn Factory<F::Study>> {
                Arc::new(ModelFactory { study: F::study(design, scope), design: design.name })
            };
            verified.replayed.push(on("the suite", model(ours), 1));
            verified.replayed.extend(vmm.map(|vmm| on("the suite", vmm, 3)));
            for other in F::designs().iter().filter(|design| *design != ours) {
                if !apart.contains(other.name) && on("the suite", model(other), 0).counts.1 > 0 {
                    apart.insert(other.name);
                }
            }
        }
        let others = F::designs().iter().filter(|design| *design != ours);
        verified.told_apart =
            others.map(|design| (design.name, apart.contains(design.name))).collect();
        Ok(verified)
    }
}

impl Verified {
    fn ended(&self) -> Ended {
        let pins = if !self.missing.is_empty() || !self.unexpected.is_empty() {
            Ended::Violated
        } else {
            Ended::AsExpected
        };
        let whole = self.unfinished.is_empty();
        let complete = if whole && self.checked.iter().all(Checked::is_complete) {
            Ended::AsExpected
        } else {
            Ended::Incomplete
        };
        let blind = match (self.told_apart.iter().all(|(_, told)| *told), whole) {
            (true, _) => Ended::AsExpected,
            // A suite that is not there might have told.
            (false, false) => Ended::Incomplete,
            (false, true) => Ended::Violated,
        };
        let replayed = self.replayed.iter().map(Done::ended).max().unwrap_or(Ended::Incomplete);
        [pins, complete, blind, replayed].into_iter().max().unwrap_or(Ended::Incomplete)
    }

    fn text(&self) -> String {
        let mut rows = vec![
            [
                "design",
                "scope",
                "states",
                "transitions",
                "search",
                "fails",
                "holds",
                "vacuous",
                "s",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for checked in &self.checked {
            let (fails, holds, vacuous) = checked.tally();
            rows.push(vec![
                checked.design.to_owned(),
                checked.scope.to_owned(),
                checked.states.to_string(),
                checked.transitions.to_string(),
                checked.end.clone(),
                fails.to_string(),
                holds.to_string(),
                vacuous.to_string(),
                format!("{:.2}", checked.seconds),
            ]);
        }
        let mut text = format!("{}\n{}", self.study, report::table(&rows, false));
        let verdicts: usize = self.checked.iter().map(|checked| checked.answers.len()).sum();
        text.push_str(&format!("\n{verdicts} verdicts, "));
        if self.missing.is_empty() && self.unexpected.is_empty() {
            let searches = self.checked.iter().filter(|checked| !checked.is_complete()).count();
            match searches {
                0 => text.push_str("all as pinned\n"),
                _ => text.push_str(&format!(
                    "{searches} searches were cut short, the others as pinned\n"
                )),
            }
        } else {
            text.push_str(&format!(
                "{} pinned and not found, {} found and not pinned:\n",
                self.missing.len(),
                self.unexpected.len()
            ));
            self.missing.iter().for_each(|pin| text.push_str(&format!("  - {pin}\n")));
            self.unexpected.iter().for_each(|pin| text.push_str(&format!("  + {pin}\n")));
        }
        text.push('\n');
        let suites = self.suites.iter().chain(&self.unfinished);
        suites.for_each(|suite| text.push_str(&format!("{suite}\n")));
        text.push('\n');
        self.replayed.iter().for_each(|done| text.push_str(&format!("{}\n", done.text())));
        if !self.not_replayed.is_empty() {
            let scopes = self.not_replayed.join(", ");
            text.push_str(&format!("not replayed on vmm, which does not answer them: {scopes}\n"));
        }
        let (told, not): (Vec<_>, Vec<_>) = self.told_apart.iter().partition(|(_, told)| *told);
        text.push_str(&format!(
            "the suites of ours diverge on the models of {} other designs",
            told.len()
        ));
        if !not.is_empty() {
            let names: Vec<&str> = not.iter().map(|(name, _)| *name).collect();
            text.push_str(&format!(", and do NOT tell from: {}", names.join(", ")));
        }
        text.push('\n');
        text
    }

    fn json(&self) -> serde_json::Value {
        let replayed: Vec<_> = self.replayed.iter().map(Done::json).collect();
        let told: Vec<_> = self
            .told_apart
            .iter()
            .map(|(name, told)| json!({ "design": name, "diverges": told }))
            .collect();
        json!({
            "study": self.study, "checked": self.checked, "suites": self.suites,
            "unfinished": self.unfinished, "replayed": replayed,
            "not-replayed": self.not_replayed, "told-apart": told, "pinned-and-not-found": self.missing, "found-and-not-pinned": self.unexpected,
        })
    }

    fn cases(&self) -> Vec<(String, f64, Option<String>)> {
        let checks = self.checked.iter().map(|checked| {
            let mine = |pin: &&String| {
                pin.starts_with(&format!("{}\t{}\t", checked.design, checked.scope))
            };
            let wrong: Vec<&str> = self
                .missing
                .iter()
                .chain(&self.unexpected)
                .filter(mine)
                .map(String::as_str)
                .collect();
            let name = format!("{} {} {}", self.study, checked.design, checked.scope);
            (name, checked.seconds, (!wrong.is_empty()).then(|| wrong.join("\n")))
        });
        let replays = self.replayed.iter().map(|done| {
            let failed = (done.ended() != Ended::AsExpected).then(|| done.text());
            (format!("{} {} on {}", self.study, done.name, done.system), done.seconds, failed)
        });
        let told = self.told_apart.iter().map(|(name, told)| {
            let failed = (!told).then(|| "the suites of ours do not tell it from ours".to_owned());
            (format!("{} told apart from {name}", self.study), 0.0, failed)
        });
        checks.chain(replays).chain(told).collect()
    }
}

/// Writes named results, with their seconds and what is wrong with them, as JUnit XML.
pub(super) fn junit(
    path: &Path,
    cases: impl IntoIterator<Item = (String, f64, Option<String>)>,
) -> anyhow::Result<()> {
    let mut suite = TestSuite::new("statusquo");
    for (name, seconds, failure) in cases {
        let status = match failure {
            None => TestCaseStatus::success(),
            Some(text) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_description(text);
                status
            }
        };
        let mut case = TestCase::new(name, status);
        case.set_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        suite.add_test_case(case);
    }
    let mut report = quick_junit::Report::new("statusquo");
    report.add_test_suite(suite);
    let text = report.to_string().context("write JUnit XML")?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
