//! The migration matrix of the usb study.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::json;
use statusquo_model::{
    studies::usb::{
        claims::{self, Judged},
        generation::Generation,
        hardware::Build,
        matrix::{self, Ending, Extent, Row, TWO_BUILDS},
    },
    words::words,
};

use super::{Matrix, Wanted};
use crate::{cli::Format, report};

/// The migration matrix.
#[derive(Clone, Copy, Debug)]
pub struct UsbMatrix;

impl Matrix for UsbMatrix {
    fn print(&self, wanted: &Wanted, format: Format) -> anyhow::Result<String> {
        let extent = Extent {
            builds: if wanted.all_builds { &Build::ALL } else { TWO_BUILDS },
            upgraded: wanted.upgraded,
        };
        let rows = rows(extent, &wanted.conditions)?;
        let claims = claims::judged();
        Ok(match format {
            Format::Json => as_json(&rows, &claims)?,
            _ => {
                let markdown = format == Format::Markdown;
                format!(
                    "{}\n{}\n{}\n{}\n{}",
                    generations_table(markdown),
                    ends_table(&rows, markdown),
                    grids(&rows, markdown),
                    claims_table(&claims, markdown),
                    verdicts_line(&claims)
                )
            }
        })
    }
}

/// The cells that are wanted, in the order of the matrix.
pub fn rows(extent: Extent, conditions: &[(String, String)]) -> anyhow::Result<Vec<Row>> {
    let mut rows: Vec<Row> = matrix::cells(extent).map(|cell| cell.row()).collect();
    for (key, value) in conditions {
        let mut seen = std::collections::BTreeSet::new();
        let mut kept = Vec::new();
        for row in rows {
            let fields = serde_json::to_value(&row)?;
            let Some(field) = fields.get(key) else {
                let known: Vec<&String> =
                    fields.as_object().into_iter().flat_map(|f| f.keys()).collect();
                bail!("no cell has a key `{key}`; there are: {known:?}");
            };
            let word = report_word(field);
            if word == *value {
                kept.push(row);
            }
            seen.insert(word);
        }
        if kept.is_empty() {
            bail!("no cell has {key}={value}; there are: {seen:?}");
        }
        rows = kept;
    }
    Ok(rows)
}

fn report_word(value: &serde_json::Value) -> String {
    statusquo_model::words::render(value)
}

/// One cell a line, so that a line-based tool can read it too.
fn as_json(rows: &[Row], claims: &[Judged]) -> anyhow::Result<String> {
    let generations: Vec<_> = Generation::ALL
        .into_iter()
        .map(|one| json!({ "name": one.name(), "releases": one.releases() }))
        .collect();
    let mut text = format!(
        "{{\n\"version\": {},\n\"study\": \"usb\",\n\"generations\": {},\n\"cells\": {},\n\"outcomes\": {},\n\"verdicts\": {},\n\"claims\": {},\n\"matrix\": [\n",
        report::VERSION,
        serde_json::to_string(&generations)?,
        rows.len(),
        serde_json::to_string(&counts(rows))?,
        serde_json::to_string(&verdicts(claims))?,
        serde_json::to_string(claims)?
    );
    for (at, row) in rows.iter().enumerate() {
        text.push_str(if at == 0 { "" } else { ",\n" });
        text.push_str(&serde_json::to_string(row)?);
    }
    text.push_str("\n]\n}");
    Ok(text)
}

/// How many cells end how, with the error where there is one.
fn counts(rows: &[Row]) -> BTreeMap<String, usize> {
    rows.iter().fold(BTreeMap::new(), |mut counts, row| {
        *counts.entry(row.ending.word().to_owned()).or_default() += 1;
        if let Some(error) = row.ending.error() {
            *counts.entry(format!("{}: {}", row.ending.word(), words(&error))).or_default() += 1;
        }
        if let Some(back) = row.back {
            *counts.entry(format!("{}, and back: {back}", row.ending.word())).or_default() += 1;
        }
        counts
    })
}

/// How many cells end how.
pub fn ends_table(rows: &[Row], markdown: bool) -> String {
    let mut table = vec![["outcome", "cells"].map(str::to_owned).to_vec()];
    table.push(vec!["(all)".to_owned(), rows.len().to_string()]);
    table.extend(counts(rows).into_iter().map(|(what, count)| vec![what, count.to_string()]));
    report::table(&table, markdown)
}

/// What the letters stand for.
pub fn generations_table(markdown: bool) -> String {
    let mut table = vec![["generation", "releases"].map(str::to_owned).to_vec()];
    table.extend(Generation::ALL.map(|one| vec![one.name().to_owned(), one.releases().to_owned()]));
    report::table(&table, markdown)
}

/// A cell of a grid, in a word.
fn mark(row: &Row) -> String {
    match row.ending {
        Ending::Same => match row.back {
            Some("refused") => "same, one way".to_owned(),
            Some("silent") => "same, silent back".to_owned(),
            _ => "same".to_owned(),
        },
        Ending::Silent => "SILENT".to_owned(),
        Ending::Refused(error) => words(&error),
        Ending::Lost(error) => format!("LOST: {}", words(&error)),
        Ending::NoGuest(_) => "-".to_owned(),
    }
}

type Grid = Vec<(Generation, Generation, Vec<String>)>;

/// Source by destination, one grid for all circumstances under which it is the same.
pub fn grids(rows: &[Row], markdown: bool) -> String {
    let mut circumstances: BTreeMap<_, BTreeMap<_, BTreeMap<Generation, String>>> = BTreeMap::new();
    for row in rows {
        let cell = &row.cell;
        let key = (cell.machine, cell.build, cell.controller, cell.history);
        let from = (cell.source, cell.started_by);
        let line = circumstances.entry(key).or_default().entry(from).or_default();
        line.insert(cell.destination, mark(row));
    }
    let mut merged: Vec<(Grid, Vec<_>)> = Vec::new();
    for (key, lines) in circumstances {
        let grid: Grid = lines
            .into_iter()
            .map(|((source, start), line)| (source, start, line.into_values().collect()))
            .collect();
        match merged.iter_mut().find(|(known, _)| *known == grid) {
            Some((_, keys)) => keys.push(key),
            None => merged.push((grid, vec![key])),
        }
    }
    let destinations: std::collections::BTreeSet<_> =
        rows.iter().map(|row| row.cell.destination).collect();
    let mut text = String::new();
    for (number, (grid, keys)) in (1..).zip(merged) {
        let heading = if markdown { "### " } else { "" };
        text.push_str(&format!("{heading}Grid {number}\n\n"));
        for ((machine, build), rest) in grouped(&keys) {
            let bullet = if markdown { "- " } else { "  " };
            text.push_str(&format!(
                "{bullet}{}, QEMU {}: {rest}\n",
                words(&machine),
                words(&build)
            ));
        }
        let mut table = vec![vec!["from \\ to".to_owned()]];
        table[0].extend(destinations.iter().map(|one| one.name().to_owned()));
        for (source, start, line) in grid {
            let name = if source == start {
                source.name().to_owned()
            } else {
                format!("{} (started by {})", source.name(), start.name())
            };
            table.push([name].into_iter().chain(line).collect());
        }
        text.push_str(&format!("\n{}\n", report::table(&table, markdown)));
    }
    text
}

type Key = (
    statusquo_model::studies::usb::hardware::Machine,
    Build,
    statusquo_model::studies::usb::definition::Asked,
    matrix::History,
);

/// The circumstances of a grid: for each machine and QEMU, which controllers with which histories.
fn grouped(
    keys: &[Key],
) -> BTreeMap<(statusquo_model::studies::usb::hardware::Machine, Build), String> {
    let mut by_machine: BTreeMap<_, BTreeMap<_, Vec<matrix::History>>> = BTreeMap::new();
    for &(machine, build, controller, history) in keys {
        by_machine
            .entry((machine, build))
            .or_default()
            .entry(controller)
            .or_default()
            .push(history);
    }
    by_machine
        .into_iter()
        .map(|(at, controllers)| {
            let mut by_histories: BTreeMap<Vec<matrix::History>, Vec<String>> = BTreeMap::new();
            for (controller, histories) in controllers {
                by_histories.entry(histories).or_default().push(words(&controller));
            }
            let parts: Vec<String> = by_histories
                .into_iter()
                .map(|(histories, controllers)| {
                    let histories = if histories.len() == matrix::History::ALL.len() {
                        "any history".to_owned()
                    } else {
                        histories.iter().map(words).collect::<Vec<_>>().join(" or ")
                    };
                    format!("controller {}, {histories}", controllers.join(" or "))
                })
                .collect();
            (at, parts.join("; "))
        })
        .collect()
}

/// How many claims come out how: every verdict, also those that none has.
fn verdicts(claims: &[Judged]) -> BTreeMap<String, usize> {
    let all = [claims::Verdict::Agrees, claims::Verdict::Imprecise, claims::Verdict::Wrong];
    let count = |verdict| claims.iter().filter(|claim| claim.verdict == verdict).count();
    all.into_iter().map(|verdict| (words(&verdict), count(verdict))).collect()
}

/// The same in one line.
pub fn verdicts_line(claims: &[Judged]) -> String {
    let counts: Vec<String> =
        verdicts(claims).into_iter().map(|(verdict, count)| format!("{verdict} {count}")).collect();
    format!("{} claims: {}\n", claims.len(), counts.join(", "))
}

/// What the thread says, with verdicts.
pub fn claims_table(claims: &[Judged], markdown: bool) -> String {
    let mut table = vec![
        ["speaker", "claim", "argument", "verdict", "cases", "a case"].map(str::to_owned).to_vec(),
    ];
    for claim in claims {
        table.push(vec![
            claim.speaker.to_owned(),
            claim.says.to_owned(),
            claim.argument.to_owned(),
            words(&claim.verdict),
            format!("{} of {}", claim.hold, claim.cases),
            claim.trace.clone(),
        ]);
    }
    report::table(&table, markdown)
}
