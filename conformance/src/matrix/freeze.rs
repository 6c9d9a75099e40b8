//! Every policy of the freeze study, counted.

use anyhow::bail;
use serde_json::json;
use statusquo_model::{
    check,
    explore::Options,
    family::{Design, Family, Scope},
    studies::freeze::{
        CODES, DESIGNS, Freeze, any,
        enumerate::{Answers, codes, set},
        lemmas::{COMBINATIONS, Conflict, Lemma, Theory, Witness},
    },
};

use super::{Matrix, Wanted};
use crate::{cli::Format, report};

/// Counts of policies, conflicts, named instances and lemmas.
#[derive(Clone, Copy, Debug)]
pub struct FreezeMatrix;

impl Matrix for FreezeMatrix {
    fn print(&self, wanted: &Wanted, format: Format) -> anyhow::Result<String> {
        if !wanted.is_everything() {
            bail!(
                "the tables of freeze have no cells to choose from; leave out --where, --upgraded and --all-builds"
            );
        }
        let theory = Theory::of(check::all_threads());
        let instances = instances()?;
        Ok(match format {
            Format::Json => as_json(&theory, &instances)?,
            _ => as_text(&theory, &instances, format == Format::Markdown),
        })
    }
}

/// A named policy in one world, and the length of the shortest run for each property it violates.
struct Instance {
    design: &'static Design,
    policy: String,
    scope: &'static Scope,
    violated: Vec<Option<usize>>,
}

/// Every named policy where the default changes, and where it is constant or nobody's to choose.
fn instances() -> anyhow::Result<Vec<Instance>> {
    let mut instances = Vec::new();
    for scope in Freeze::scopes() {
        for (design, policy) in &DESIGNS {
            let report =
                check::check(&Freeze::study(design, scope), &Options::default(), |_| true)?;
            let violated = report.answers.iter().map(|answer| answer.verdict.trace_len()).collect();
            instances.push(Instance { design, policy: policy.to_string(), scope, violated });
        }
    }
    Ok(instances)
}

/// Which spaces there are, and what each is called.
fn spaces(theory: &Theory) -> impl Iterator<Item = (&'static str, &'static str, &Answers)> {
    theory.counted.iter().map(|one| (one.space, one.world, &one.answers))
}

fn as_json(theory: &Theory, instances: &[Instance]) -> anyhow::Result<String> {
    let counted: Vec<_> = spaces(theory)
        .map(|(space, world, answers)| {
            let at_least = answers.at_least();
            let combinations: Vec<_> = COMBINATIONS
                .iter()
                .map(|demands| json!({ "together": demands, "policies": at_least[usize::from(set(demands))] }))
                .collect();
            let exactly: Vec<_> = (0..).zip(answers.exactly()).filter(|(_, count)| *count > 0).collect();
            let exactly: Vec<_> = exactly
                .into_iter()
                .map(|(set, count)| json!({ "satisfied": codes(set).collect::<Vec<_>>(), "policies": count }))
                .collect();
            json!({
                "space": space, "world": world, "policies": answers.space.len(),
                "combinations": combinations, "exactly": exactly,
            })
        })
        .collect();
    let conflicts: Vec<_> = ["plain", "provenance"]
        .into_iter()
        .map(|space| json!({ "space": space, "world": "changing", "conflicts": theory.conflicts(space, "changing") }))
        .collect();
    let any_daemon: Vec<_> = ["changing", "constant"]
        .into_iter()
        .map(|world| {
            let conflicts: Vec<_> = any::conflicts(world)
                .iter()
                .map(|(names, forced)| json!({ "demands": short(names), "forced": forced.steps() }))
                .collect();
            json!({ "world": world, "asked": any::ABOUT_GUESTS, "conflicts": conflicts })
        })
        .collect();
    let instances: Vec<_> = instances
        .iter()
        .map(|one| {
            let violated = CODES.iter().zip(&one.violated);
            let violated: serde_json::Map<_, _> = violated
                .filter_map(|(code, length)| {
                    length.map(|length| ((*code).to_owned(), json!(length)))
                })
                .collect();
            json!({
                "design": one.design.name, "policy": one.policy, "world": one.scope.name,
                "violated": violated,
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({
        "version": report::VERSION, "study": "freeze", "counted": counted, "conflicts": conflicts,
        "any-daemon": any_daemon, "instances": instances, "lemmas": theory.lemmas(),
    }))?)
}

fn as_text(theory: &Theory, instances: &[Instance], markdown: bool) -> String {
    let heading =
        |text: &str| if markdown { format!("\n## {text}\n\n") } else { format!("\n{text}\n\n") };
    let mut text = heading("Policies per combination of properties");
    text.push_str(&combinations(theory, markdown));
    for (space, world) in [("plain", "changing"), ("provenance", "changing")] {
        let answers = theory.answers(space, world);
        text.push_str(&heading(&format!(
            "The most that can be had together: {space}, default {world}"
        )));
        text.push_str(&best(answers, markdown));
        text.push_str(&heading(&format!("What cannot be had together: {space}, default {world}")));
        text.push_str("Every set of demands that no policy satisfies although some policy satisfies all of them but any one. \
                       For each demand, the first policy that gives up that one, and the shortest run in which it is missed.\n");
        for conflict in theory.conflicts(space, world) {
            text.push_str(&conflict_text(&conflict, markdown));
        }
    }
    text.push_str(&heading("What no daemon can have together: default changing"));
    text.push_str("Of all that is asked of what a guest gets, whatever is remembered and written where: for each set, the shortest history \
                   after which every answer is wrong, against the daemon that evades it longest.\n\n");
    for (names, forced) in any::conflicts("changing") {
        let (bullet, tick) = if markdown { ("- ", "`") } else { ("  ", "") };
        let steps: Vec<String> =
            forced.steps().iter().map(|step| format!("{tick}{step}{tick}")).collect();
        text.push_str(&format!("{bullet}{}: {}\n", short(&names).join(" & "), steps.join("; ")));
    }
    text.push_str(&heading("Named policies"));
    text.push_str(&named(instances, markdown));
    text.push_str(&heading("Lemmas"));
    for lemma in theory.lemmas() {
        text.push_str(&lemma_text(&lemma, markdown));
    }
    text
}

/// The short names of properties.
fn short(names: &[&'static str]) -> Vec<&'static str> {
    names.iter().filter_map(|name| name.split(':').next()).collect()
}

fn combinations(theory: &Theory, markdown: bool) -> String {
    let mut head = vec!["satisfied together".to_owned()];
    head.extend(spaces(theory).map(|(space, world, _)| format!("{space}, {world}")));
    let mut all = vec!["(all policies)".to_owned()];
    all.extend(spaces(theory).map(|(.., answers)| answers.space.len().to_string()));
    let at_least: Vec<Vec<usize>> =
        spaces(theory).map(|(.., answers)| answers.at_least()).collect();
    let mut table = vec![head, all];
    for demands in COMBINATIONS {
        let mut row = vec![demands.join(" & ")];
        row.extend(at_least.iter().map(|counts| counts[usize::from(set(demands))].to_string()));
        table.push(row);
    }
    report::table(&table, markdown)
}

fn best(answers: &Answers, markdown: bool) -> String {
    let mut table = vec![["policies", "violate only"].map(str::to_owned).to_vec()];
    for (satisfied, count) in answers.best() {
        let missing: Vec<&str> =
            CODES.into_iter().filter(|code| satisfied & set(&[code]) == 0).collect();
        let missing = if missing.is_empty() { "nothing".to_owned() } else { missing.join(", ") };
        table.push(vec![count.to_string(), missing]);
    }
    report::table(&table, markdown)
}

fn conflict_text(conflict: &Conflict, markdown: bool) -> String {
    let demands = conflict.demands.join(" & ");
    let mut text = if markdown { format!("\n### {demands}\n\n") } else { format!("\n{demands}\n") };
    conflict.given_up.iter().for_each(|witness| text.push_str(&witness_text(witness, markdown)));
    text
}

fn witness_text(witness: &Witness, markdown: bool) -> String {
    let (bullet, tick) = if markdown { ("- ", "`") } else { ("  ", "") };
    let name = witness.design.map(|design| format!("{design}: ")).unwrap_or_default();
    let steps: Vec<String> =
        witness.steps.iter().map(|step| format!("{tick}{step}{tick}")).collect();
    format!(
        "{bullet}{} is missed by {name}{} (scope {}): {}\n",
        witness.property,
        witness.policy,
        witness.world,
        steps.join("; ")
    )
}

fn named(instances: &[Instance], markdown: bool) -> String {
    let mut table = vec![vec!["policy".to_owned(), "scope".to_owned()]];
    table[0].extend(CODES.map(str::to_owned));
    for one in instances {
        let cell = |length: &Option<usize>| {
            length.map_or_else(|| "yes".to_owned(), |length| format!("no, {length}"))
        };
        let mut row = vec![one.design.name.to_owned(), one.scope.name.to_owned()];
        row.extend(one.violated.iter().map(cell));
        table.push(row);
    }
    let mut text = report::table(&table, markdown);
    text.push_str("\n`no, n`: the shortest run that shows it has n steps.\n\n");
    let bullet = if markdown { "- " } else { "" };
    for (design, policy) in &DESIGNS {
        text.push_str(&format!("{bullet}{}: {policy} ({})\n", design.name, design.source));
    }
    text
}

fn lemma_text(lemma: &Lemma, markdown: bool) -> String {
    let verdict = if lemma.holds { "holds" } else { "DOES NOT HOLD" };
    let mut text = if markdown {
        format!("\n### {}\n\n{}: {verdict}.\n\n", lemma.name, lemma.says)
    } else {
        format!("\n{}: {}: {verdict}\n", lemma.name, lemma.says)
    };
    let mut table = vec![["policies", "of", "which"].map(str::to_owned).to_vec()];
    for count in &lemma.counts {
        table.push(vec![count.count.to_string(), count.of.to_string(), count.what.clone()]);
    }
    text.push_str(&report::table(&table, markdown));
    text.push('\n');
    lemma.witnesses.iter().for_each(|witness| text.push_str(&witness_text(witness, markdown)));
    text
}
