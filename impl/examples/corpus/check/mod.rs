//! What is compared with libvirt's test data, and what came of it.

mod arguments;
mod outputs;
mod round_trip;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Differences that were looked at: section, file, reason.
const REASONS: &str = include_str!("../reasons.tsv");

/// What came of one directory.
#[derive(Debug)]
pub(crate) struct Report {
    sections: Vec<Section>,
    /// Reasons for differences that are not there.
    stale: Vec<String>,
}

/// What was compared in one way.
#[derive(Debug, Default)]
pub(crate) struct Section {
    name: &'static str,
    /// Files, devices and the like, in order.
    counts: Vec<(String, usize)>,
    /// Each difference: its file, what differs, and the reason.
    differences: BTreeMap<String, (Vec<String>, Option<&'static str>)>,
}

impl Section {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn count(&mut self, what: &str, number: usize) {
        self.counts.push((what.to_owned(), number));
    }

    fn differ(&mut self, file: &str, what: Vec<String>) {
        self.differences.insert(file.to_owned(), (what, None));
    }
}

impl Report {
    /// Every difference has its reason, and every reason its difference.
    pub(crate) fn is_as_expected(&self) -> bool {
        let unexplained = |section: &Section| section.differences.values().any(|d| d.1.is_none());
        self.stale.is_empty() && !self.sections.iter().any(unexplained)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            writeln!(f, "{}", section.name)?;
            for (what, number) in &section.counts {
                writeln!(f, "  {number:>6} {what}")?;
            }
            let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (file, (what, reason)) in &section.differences {
                match reason {
                    Some(reason) => by_reason.entry(reason).or_default().push(file),
                    None => {
                        writeln!(f, "  NOT EXPLAINED {file}")?;
                        for line in what {
                            writeln!(f, "      {line}")?;
                        }
                    }
                }
            }
            for (reason, files) in by_reason {
                writeln!(f, "  {:>6} differ: {reason}", files.len())?;
                for file in files {
                    writeln!(f, "           {file}")?;
                }
            }
            writeln!(f)?;
        }
        for line in &self.stale {
            writeln!(f, "NO SUCH DIFFERENCE {line}")?;
        }
        Ok(())
    }
}

/// Compares everything.
///
/// # Errors
/// When the directory cannot be read, or is not that of libvirt's tests.
pub(crate) fn run(directory: &Path) -> io::Result<Report> {
    let files = xml_files(directory)?;
    let inputs = directory.join("qemuxml2argvdata");
    if files.is_empty() || !inputs.is_dir() {
        let what =
            format!("{}: not the directory `tests` of libvirt's source", directory.display());
        return Err(io::Error::other(what));
    }
    let mut sections = vec![round_trip::section(directory, &files)?];
    sections.extend(arguments::sections(&inputs)?);
    sections.extend(outputs::sections(&inputs, &directory.join("qemuxml2xmloutdata"))?);
    let mut stale = BTreeSet::new();
    for line in REASONS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let (Some(name), Some(file), Some(reason)) =
            (columns.next(), columns.next(), columns.next())
        else {
            return Err(io::Error::other(format!("reasons.tsv: not three columns: {line}")));
        };
        let section = sections.iter_mut().find(|section| section.name == name);
        match section.and_then(|section| section.differences.get_mut(file)) {
            Some(difference) => difference.1 = Some(reason),
            None => drop(stale.insert(format!("{name}\t{file}"))),
        }
    }
    Ok(Report { sections, stale: stale.into_iter().collect() })
}

/// `*/*.xml`, in order.
fn xml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(names_in(&path)?.into_iter().map(|name| path.join(name)));
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    files.sort();
    Ok(files)
}

/// The names in a directory, in order.
fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
