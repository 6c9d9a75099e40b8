//! All pages of one system, made anew and compared with those that are kept.

use std::{fs, io, path::Path};

use anyhow::{Context, bail};
use serde_json::json;
use statusquo_model::catalogue;

use super::{Against, Findings, FindingsVisitor, Page};
use crate::{
    cli::{Common, Ended, Missing, print, print_json},
    findings::compose,
    report,
    studies::{self, Replayable, Visitor},
};

/// Is a study's shipped design this system's?
struct IsOf(Against);

impl Visitor for IsOf {
    type Output = bool;

    fn visit<F: Replayable>(self) -> bool {
        F::SHIPPED.is_some() && F::OF_QEMU == (self.0 == Against::Qemu)
    }
}

/// A page that was made anew.
struct Anew {
    /// Below the directory of all documents.
    file: String,
    /// What differs from the page that is kept.
    differs: Option<Difference>,
}

/// The first line that differs: its number, the line that is kept, and the one that was made.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
struct Difference {
    line: usize,
    kept: Option<String>,
    anew: Option<String>,
}

/// Makes every page of the system and compares it with the one that is kept, or replaces that.
pub(super) fn compare(
    asked: &Findings,
    against: Against,
    common: &Common,
) -> anyhow::Result<Ended> {
    let pages = asked.docs.join("findings");
    if !pages.is_dir() {
        bail!(
            "{}: there are no pages to compare with; run it in the project's directory, or name it with --docs",
            pages.display()
        );
    }
    let mut all = Vec::new();
    let mut missing = Vec::new();
    for study in catalogue::names() {
        if !studies::visit(study, IsOf(against))? {
            continue;
        }
        let page: anyhow::Result<Page> =
            studies::visit(study, FindingsVisitor { findings: asked, common })?;
        let page = match page {
            Ok(page) => page,
            Err(why) if why.is::<Missing>() => {
                missing.push(format!("{study}: {why}"));
                continue;
            }
            Err(why) => return Err(why),
        };
        all.push(settle(asked, &format!("findings/{study}.md"), page.markdown()? + "\n")?);
    }
    if all.is_empty() {
        return Err(Missing(missing.join("; ")).into());
    }
    all.push(settle(asked, "findings.md", compose(&read_all(&pages)?))?);
    show(asked, against, &all, &missing, common)
}

/// Compares one page, and writes it where that was asked for.
fn settle(asked: &Findings, file: &str, anew: String) -> anyhow::Result<Anew> {
    let path = asked.docs.join(file);
    let kept = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        kept => kept.with_context(|| format!("read {}", path.display()))?,
    };
    let differs = difference(&kept, &anew);
    if asked.update && differs.is_some() {
        fs::write(&path, anew).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(Anew { file: file.to_owned(), differs })
}

fn difference(kept: &str, anew: &str) -> Option<Difference> {
    let (mut kept, mut anew) = (kept.lines(), anew.lines());
    for line in 1.. {
        match (kept.next(), anew.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let text = |line: Option<&str>| line.map(str::to_owned);
                return Some(Difference { line, kept: text(one), anew: text(other) });
            }
        }
    }
    None
}

/// The pages as they are kept now: file, and text.
fn read_all(pages: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(pages).with_context(|| format!("read {}", pages.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.push((file, text));
    }
    all.sort();
    Ok(all)
}

fn show(
    asked: &Findings,
    against: Against,
    all: &[Anew],
    missing: &[String],
    common: &Common,
) -> anyhow::Result<Ended> {
    let differs = all.iter().any(|page| page.differs.is_some());
    if common.json() {
        let pages: Vec<_> =
            all.iter().map(|page| json!({ "file": page.file, "differs": page.differs })).collect();
        print_json(&json!({
            "version": report::VERSION, "against": against.name(), "pages": pages, "missing": missing,
            "updated": asked.update && differs,
        }))?;
    } else {
        for Anew { file, differs } in all {
            print(&match differs {
                None => format!("{file}: as it was"),
                Some(_) if asked.update => format!("{file}: written anew"),
                Some(Difference { line, kept, anew }) => {
                    let text = |line: &Option<String>| match line {
                        Some(line) => line.clone(),
                        None => "(it ends)".to_owned(),
                    };
                    format!(
                        "{file}: line {line} differs\n  kept: {}\n  anew: {}",
                        text(kept),
                        text(anew)
                    )
                }
            })?;
        }
        missing.iter().try_for_each(|why| print(&format!("not compared: {why}")))?;
    }
    Ok(match (differs && !asked.update, missing.is_empty()) {
        (true, _) => Ended::Violated,
        (false, false) => Ended::Incomplete,
        (false, true) => Ended::AsExpected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb"), None);
        let named = |line, kept: Option<&str>, anew: Option<&str>| {
            let text = |line: Option<&str>| line.map(str::to_owned);
            Some(Difference { line, kept: text(kept), anew: text(anew) })
        };
        assert_eq!(difference("a\nb\nc\n", "a\nx\nc\n"), named(2, Some("b"), Some("x")));
        assert_eq!(difference("a\n", "a\nb\n"), named(2, None, Some("b")));
        assert_eq!(difference("a\nb\n", "a\n"), named(2, Some("b"), None));
    }
}
