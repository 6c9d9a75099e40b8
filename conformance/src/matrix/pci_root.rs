//! What each design of the pci_root study refuses.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde_json::json;
use statusquo_model::{
    studies::pci_root::{
        hardware::{Machine, Qemu},
        refusals::{self, History, Row, Tally},
    },
    words::{render, words},
};

use super::{Matrix, Wanted};
use crate::{cli::Format, report};

/// Everything that is refused, and what for.
#[derive(Clone, Copy, Debug)]
pub struct PciRootMatrix;

impl Matrix for PciRootMatrix {
    fn print(&self, wanted: &Wanted, format: Format) -> anyhow::Result<String> {
        if wanted.upgraded || wanted.all_builds {
            bail!(
                "--upgraded and --all-builds are the usb study's; this table has all that there is"
            );
        }
        let rows = chosen(&wanted.conditions)?;
        let tallies: Vec<Tally> =
            refusals::tallies(&rows).into_iter().filter(|tally| tally.lines > 0).collect();
        Ok(match format {
            Format::Json => as_json(&rows, &tallies)?,
            _ => {
                let markdown = format == Format::Markdown;
                format!("{}\n{}", tally_table(&tallies, markdown), refusals_table(&rows, markdown))
            }
        })
    }
}

fn chosen(conditions: &[(String, String)]) -> anyhow::Result<Vec<Row>> {
    let mut rows = refusals::rows();
    for (key, value) in conditions {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::new();
        for row in rows {
            let fields = serde_json::to_value(&row)?;
            let Some(field) = fields.get(key) else {
                let known: Vec<&String> =
                    fields.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
                bail!("no line has a key `{key}`; there are: {known:?}");
            };
            let word = render(field);
            if word == *value {
                kept.push(row);
            }
            seen.insert(word);
        }
        if kept.is_empty() {
            bail!("no line has {key}={value}; there are: {seen:?}");
        }
        rows = kept;
    }
    Ok(rows)
}

/// One line of the table is one of the text, so that a line-based tool can read it too.
fn as_json(rows: &[Row], tallies: &[Tally]) -> anyhow::Result<String> {
    let lines: Vec<String> = rows.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    Ok(format!(
        "{{\n\"version\": {},\n\"study\": \"pci_root\",\n\"lines\": {},\n\"designs\": {},\n\"matrix\": [\n{}\n]\n}}",
        report::VERSION,
        rows.len(),
        json!(tallies),
        lines.join(",\n")
    ))
}

/// How many requests each design refuses.
pub fn tally_table(tallies: &[Tally], markdown: bool) -> String {
    let heading =
        ["design", "guests", "plugged", "QEMU cannot", "QEMU too old", "refused without need"];
    let mut table = vec![heading.map(str::to_owned).to_vec()];
    table.extend(tallies.iter().map(|tally| {
        let counts =
            [tally.lines, tally.plugged, tally.impossible, tally.unsupported, tally.needless];
        let counts = counts.map(|count| count.to_string());
        [tally.design.to_owned()].into_iter().chain(counts).collect()
    }));
    report::table(&table, markdown)
}

/// What is refused without need: one line for the histories in which it is the same.
pub fn refusals_table(rows: &[Row], markdown: bool) -> String {
    type Key<'a> = (&'a str, Machine, Qemu, bool, String);
    let mut order: Vec<Key<'_>> = Vec::new();
    let mut histories: BTreeMap<Key<'_>, Vec<History>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.is_needless()) {
        let request = row.refused.as_ref().map(words).unwrap_or_default();
        let why = row.why.as_ref().map(words).unwrap_or_default();
        let bus = row.bus.map(|bus| format!(" `{}`", words(&bus))).unwrap_or_default();
        let what = format!("{request}: {why}{bus}");
        let key = (row.design, row.machine, row.qemu, row.user_alias, what);
        if !histories.contains_key(&key) {
            order.push(key.clone());
        }
        histories.entry(key).or_default().push(row.history);
    }
    let heading = ["design", "machine", "QEMU", "root's alias", "what is refused", "when"];
    let mut table = vec![heading.map(str::to_owned).to_vec()];
    for key in order {
        let when: Vec<String> =
            histories.remove(&key).unwrap_or_default().iter().map(words).collect();
        let (design, machine, qemu, user_alias, what) = key;
        table.push(vec![
            design.to_owned(),
            words(&machine),
            words(&qemu),
            if user_alias { "ua-root" } else { "-" }.to_owned(),
            what,
            when.join(", "),
        ]);
    }
    if table.len() == 1 {
        return "nothing is refused without need\n".to_owned();
    }
    report::table(&table, markdown)
}
