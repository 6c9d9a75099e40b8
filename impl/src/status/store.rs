//! A directory of status files.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{Disk, Facts, File, Filesystem, Status};
use crate::domain::{
    Error, Problem,
    tree::{Document, Limits},
};

const SUFFIX: &str = ".xml";

/// A directory of status files, one for each running domain: `NAME.xml`. One daemon at a time owns it.
///
/// A save is atomic and durable: the new text is written beside the old, made durable, renamed over it, and the
/// directory is made durable too. libvirt leaves out the last step (`virFileRewrite`). Whatever fails, the old file
/// is whole.
#[derive(Debug)]
pub struct Store<F = Disk> {
    directory: PathBuf,
    filesystem: F,
    limits: Limits,
}

/// A step on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{}`{}", .path.display(), hint(.source))]
pub struct StoreError {
    /// What was tried, a verb.
    pub step: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => ": the directory is gone, create it and try again",
        io::ErrorKind::StorageFull => ": no space is left, the last saved status is kept",
        io::ErrorKind::ReadOnlyFilesystem => ": read-only, the last saved status is kept",
        _ => "",
    }
}

/// A status that is on its way to the disk: [`Store::prepare`].
///
/// Three steps, so that their costs can be told apart; a `Saved` that is dropped leaves the old file.
#[derive(Debug)]
#[must_use = "nothing is durable before `commit`"]
pub struct Saved<'a, F: Filesystem> {
    store: &'a Store<F>,
    file: Option<Handle>,
    temporary: PathBuf,
    target: PathBuf,
}

struct Handle(Box<dyn File>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("File")
    }
}

/// What a directory held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The running domains, by file name.
    pub running: Vec<Status>,
    /// The files that were set aside, by file name.
    pub quarantined: Vec<Quarantined>,
}

/// A file that was set aside. It is never deleted, and no process was touched.
#[derive(Debug)]
pub struct Quarantined {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is now, or why it could not be moved.
    pub to: Result<PathBuf, StoreError>,
    /// Why.
    pub reason: Reason,
    /// What it says, if it can be read at all.
    pub status: Option<Box<Status>>,
}

impl std::fmt::Display for Quarantined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}; ", self.from.display(), self.reason)?;
        match &self.to {
            Ok(to) => write!(f, "kept as `{}`", to.display()),
            Err(error) => write!(f, "left in place: {error}: {}", error.source),
        }
    }
}

/// Why a file was set aside.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be read from the disk.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is no regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Truncated, corrupted or incomplete.
    #[error("not a whole status: {0}")]
    Corrupt(Error),
    /// Somebody else's document.
    #[error("not a status file: {0}")]
    Foreign(Error),
    /// Written by another version of this program.
    #[error("{0}")]
    Version(Error),
    /// The name inside is not the name of the file.
    #[error("belongs to domain `{0}`, not to the domain of that file name")]
    Misnamed(String),
    /// Another file speaks of the same domain.
    #[error("same {what} as `{}`", .other.display())]
    Duplicate {
        /// `uuid` or `name`.
        what: &'static str,
        /// The file that is kept.
        other: PathBuf,
    },
    /// The process it speaks of is gone.
    #[error("stale: {0}")]
    Stale(String),
}

impl Store {
    /// The store in a directory, which must exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::on(Disk, directory)
    }
}

impl<F: Filesystem> Store<F> {
    /// The store in a directory of some file system.
    pub fn on(filesystem: F, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), filesystem, limits: Limits::default() }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file of the domain `name`.
    pub fn path(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.directory.join(format!("{name}{SUFFIX}"));
        let bad = name.is_empty() || name.contains(['/', '\0']) || name.len() > 200;
        if bad {
            let message = "a domain's name must have 1 to 200 bytes and no `/`";
            let source = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Err(StoreError { step: "name", path, source });
        }
        Ok(path)
    }

    /// Saves a status: when this returns, it survives a power cut; when it fails, the last one is whole.
    pub fn save(&self, status: &Status) -> Result<(), StoreError> {
        let name = status.domain().name().map_err(|error| StoreError {
            step: "name",
            path: self.directory.clone(),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?;
        let text = status.to_xml();
        // What cannot be loaded again would cost the running guest its manager.
        if text.len() > self.limits.bytes {
            let most = self.limits.bytes;
            let message =
                format!("the status has {} bytes, and at most {most} can be read", text.len());
            let source = io::Error::new(io::ErrorKind::InvalidInput, message);
            return Err(StoreError { step: "write", path: self.path(&name)?, source });
        }
        let mut saved = self.prepare(&name)?;
        saved.write(text.as_bytes())?;
        saved.sync()?;
        saved.commit()
    }

    /// Begins to save the status of the domain `name`.
    pub fn prepare(&self, name: &str) -> Result<Saved<'_, F>, StoreError> {
        let target = self.path(name)?;
        // The loader takes no file that does not end in `.xml`.
        let temporary = self.directory.join(format!("{name}{SUFFIX}.new"));
        let file = self.filesystem.create(&temporary);
        let file =
            file.map_err(|source| StoreError { step: "create", path: temporary.clone(), source })?;
        Ok(Saved { store: self, file: Some(Handle(file)), temporary, target })
    }

    /// Removes the status of a domain that does not run any more; it is no error if there is none.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name)?;
        match self.filesystem.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(|source| StoreError { step: "remove", path, source })?,
        }
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<(), StoreError> {
        self.filesystem.sync_directory(&self.directory).map_err(|source| StoreError {
            step: "make durable",
            path: self.directory.clone(),
            source,
        })
    }

    /// Reads every status file. What cannot be used is set aside as `NAME.xml.quarantined-N`, with the reason.
    ///
    /// `stale` tells why the process of a status is not there any more, if it is not.
    pub fn load(
        &self,
        mut stale: impl FnMut(&Facts) -> Option<String>,
    ) -> Result<Loaded, StoreError> {
        let list = |source| StoreError { step: "list", path: self.directory.clone(), source };
        let entries = self.filesystem.list(&self.directory).map_err(list)?;
        let mut names: BTreeSet<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let mut loaded = Loaded::default();
        // Whose uuid and name are taken, by which file.
        let mut taken: BTreeMap<(&'static str, String), PathBuf> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.name.ends_with(SUFFIX)) {
            let path = self.directory.join(&entry.name);
            let read = match entry.is_file {
                true => self.read(&path),
                false => Err((Reason::NotAFile, None)),
            };
            let judged = read.and_then(|status| judge(status, &entry.name, &taken, &mut stale));
            match judged {
                Ok((status, keys)) => {
                    taken.extend(keys.into_iter().map(|key| (key, path.clone())));
                    loaded.running.push(status);
                }
                Err((reason, status)) => {
                    let to = self.set_aside(&entry.name, &mut names);
                    loaded.quarantined.push(Quarantined { from: path, to, reason, status });
                }
            }
        }
        if !loaded.quarantined.is_empty() {
            self.sync_directory()?;
        }
        Ok(loaded)
    }

    fn read(&self, path: &Path) -> Result<Status, Refused> {
        let unreadable = |error| (Reason::Unreadable(error), None);
        let file = self.filesystem.open(path).map_err(unreadable)?;
        let document = Document::read(file, self.limits).map_err(|error| match error.problem {
            Problem::Read(message) => unreadable(io::Error::other(message)),
            _ => (Reason::Corrupt(error), None),
        })?;
        Status::from_document(document).map_err(|error| {
            let reason = match error.problem {
                Problem::Root { expected: "domstatus", .. } => Reason::Foreign(error),
                Problem::Version { .. } => Reason::Version(error),
                _ => Reason::Corrupt(error),
            };
            (reason, None)
        })
    }

    /// Renames a file to the first free `NAME.quarantined-N`.
    fn set_aside(&self, name: &str, names: &mut BTreeSet<String>) -> Result<PathBuf, StoreError> {
        let from = self.directory.join(name);
        let free = (1u32..).map(|n| format!("{name}.quarantined-{n}")).find(|n| !names.contains(n));
        let to = free.unwrap_or_else(|| format!("{name}.quarantined"));
        let path = self.directory.join(&to);
        match self.filesystem.rename(&from, &path) {
            Ok(()) => {
                names.insert(to);
                Ok(path)
            }
            Err(source) => Err(StoreError { step: "set aside", path: from, source }),
        }
    }
}

/// Why a file is not used, and what it says if that much is known.
type Refused = (Reason, Option<Box<Status>>);
type Keys = [(&'static str, String); 2];

fn judge(
    status: Status,
    file: &str,
    taken: &BTreeMap<(&'static str, String), PathBuf>,
    stale: &mut impl FnMut(&Facts) -> Option<String>,
) -> Result<(Status, Keys), Refused> {
    let (facts, name, uuid) = match (status.facts(), status.domain().name(), status.domain().uuid())
    {
        (Ok(facts), Ok(name), Ok(uuid)) => (facts, name.into_owned(), uuid.to_ascii_lowercase()),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => {
            return Err((Reason::Corrupt(error), None));
        }
    };
    // A dead domain's file must not win over the file of a living one.
    if let Some(why) = stale(&facts) {
        return Err((Reason::Stale(why), Some(Box::new(status))));
    }
    let keys = [("uuid", uuid.replace('-', "")), ("name", name.clone())];
    for key in &keys {
        if let Some(other) = taken.get(key) {
            let reason = Reason::Duplicate { what: key.0, other: other.clone() };
            return Err((reason, Some(Box::new(status))));
        }
    }
    if file.strip_suffix(SUFFIX) != Some(&name) {
        return Err((Reason::Misnamed(name), Some(Box::new(status))));
    }
    Ok((status, keys))
}

impl<F: Filesystem> Saved<'_, F> {
    fn step(
        &mut self,
        step: &'static str,
        act: impl FnOnce(&mut dyn File) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        act(&mut *file.0).map_err(|source| StoreError {
            step,
            path: self.temporary.clone(),
            source,
        })
    }

    /// Writes the text.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.step("write", |file| file.write(bytes))
    }

    /// Makes the text durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.step("make durable", |file| file.sync())
    }

    /// Puts the new file in the place of the old, durably.
    pub fn commit(mut self) -> Result<(), StoreError> {
        self.store
            .filesystem
            .rename(&self.temporary, &self.target)
            .map_err(|source| StoreError { step: "replace", path: self.target.clone(), source })?;
        self.file = None;
        self.store.sync_directory()
    }
}

impl<F: Filesystem> Drop for Saved<'_, F> {
    fn drop(&mut self) {
        // Nothing is lost if it stays: the loader ignores it, and the next save empties it.
        if self.file.take().is_some() {
            drop(self.store.filesystem.remove(&self.temporary));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, io::Read, rc::Rc};

    use super::{
        super::{
            Entry,
            tests::{DOMAIN, facts, status},
        },
        *,
    };
    use crate::domain::Domain;

    /// The real file system, whose step number `fails_at` fails.
    #[derive(Clone)]
    struct Failing {
        steps: Rc<Cell<usize>>,
        fails_at: usize,
        kind: io::ErrorKind,
    }

    impl Failing {
        fn step(&self) -> io::Result<()> {
            self.steps.set(self.steps.get() + 1);
            match self.steps.get() == self.fails_at {
                true => Err(self.kind.into()),
                false => Ok(()),
            }
        }
    }

    struct FailingFile(Failing, Box<dyn File>);

    impl File for FailingFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            // A full disk takes half of it.
            let fails = self.0.step();
            let part = if fails.is_err() { bytes.len() / 2 } else { bytes.len() };
            self.1.write(&bytes[..part]).and(fails)
        }

        fn sync(&mut self) -> io::Result<()> {
            self.0.step()?;
            self.1.sync()
        }
    }

    impl Filesystem for Failing {
        fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
            self.step()?;
            Ok(Box::new(FailingFile(self.clone(), Disk.create(path)?)))
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
            self.step()?;
            Disk.open(path)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.step()?;
            Disk.rename(from, to)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            Disk.remove(path)
        }

        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            self.step()?;
            Disk.sync_directory(path)
        }

        fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
            self.step()?;
            Disk.list(path)
        }
    }

    fn alive(_: &Facts) -> Option<String> {
        None
    }

    fn named(name: &str, uuid: &str) -> Status {
        let xml = DOMAIN.replace("demo", name).replace("c7a5", uuid);
        Status::new(&facts(), &Domain::parse(&xml).unwrap()).unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.save(&status()).unwrap();
        store.save(&named("other", "0001")).unwrap();
        store.save(&status()).unwrap();
        let loaded = store.load(alive).unwrap();
        assert!(loaded.quarantined.is_empty());
        let texts: Vec<_> = loaded.running.iter().map(Status::to_xml).collect();
        assert_eq!(texts, [status().to_xml(), named("other", "0001").to_xml()]);
        store.remove("demo").unwrap();
        store.remove("demo").unwrap();
        assert_eq!(store.load(alive).unwrap().running.len(), 1);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(dir.path().join("other.xml")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn whatever_step_of_a_save_fails_the_last_status_or_the_new_one_is_whole() {
        let mut outcomes = Vec::new();
        for fails_at in 1..=6 {
            let dir = tempfile::tempdir().unwrap();
            Store::new(dir.path()).save(&status()).unwrap();
            let mut new = status();
            new.set_facts(&Facts { pid: 12, ..facts() }).unwrap();
            let kind = io::ErrorKind::StorageFull;
            let disk = Failing { steps: Rc::default(), fails_at, kind };
            let result = Store::on(disk, dir.path()).save(&new);
            let message = result.err().map_or("saved".to_owned(), |error| error.step.to_owned());
            let mut loaded = Store::new(dir.path()).load(alive).unwrap();
            assert!(loaded.quarantined.is_empty());
            let pid = loaded.running.remove(0).facts().unwrap().pid;
            let names = fs::read_dir(dir.path()).unwrap().count();
            outcomes.push(format!("{message}: pid {pid}, {names} file"));
        }
        insta::assert_snapshot!(outcomes.join("\n"), @r"
        create: pid 4711, 1 file
        write: pid 4711, 1 file
        make durable: pid 4711, 1 file
        replace: pid 4711, 1 file
        make durable: pid 12, 1 file
        saved: pid 12, 1 file
        ");
    }

    #[test]
    fn errors_say_what_failed_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let gone = Store::new(dir.path().join("gone"));
        let text =
            |error: StoreError| error.to_string().replace(dir.path().to_str().unwrap(), "DIR");
        let missing = "the directory is gone, create it and try again";
        assert_eq!(
            text(gone.save(&status()).unwrap_err()),
            format!("cannot create `DIR/gone/demo.xml.new`: {missing}")
        );
        assert_eq!(
            text(gone.load(alive).unwrap_err()),
            format!("cannot list `DIR/gone`: {missing}")
        );
        let full = Failing { steps: Rc::default(), fails_at: 2, kind: io::ErrorKind::StorageFull };
        assert_eq!(
            text(Store::on(full, dir.path()).save(&status()).unwrap_err()),
            "cannot write `DIR/demo.xml.new`: no space is left, the last saved status is kept"
        );
        let slash = named("a/b", "0001");
        assert_eq!(Store::new(dir.path()).save(&slash).unwrap_err().step, "name");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_set_aside_and_never_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.save(&status()).unwrap();
        let good = status().to_xml();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("b-truncated.xml", &good[..good.len() / 2]);
        put("c-empty.xml", "");
        put("d-corrupt.xml", &good.replace("pid='4711'", "pid='x'"));
        put("e-foreign.xml", DOMAIN);
        put("f-version.xml", &good.replace("version='1'", "version='9'"));
        put("g-misnamed.xml", &named("h", "0002").to_xml());
        put("zz-same-uuid.xml", &named("zz-same-uuid", "C7A5").to_xml());
        put("zz-same-name.xml", &named("demo", "0003").to_xml());
        let dead = named("i-stale", "0004");
        put("i-stale.xml", &dead.to_xml().replace("4711", "666"));
        put("not-ours.txt", "kept");
        put("c-empty.xml.quarantined-1", "an older one");
        put("demo.xml.new", "cut short");
        fs::create_dir(dir.path().join("j-directory.xml")).unwrap();
        let names_before = fs::read_dir(dir.path()).unwrap().count();

        let stale = |facts: &Facts| (facts.pid == 666).then(|| "process 666 is gone".to_owned());
        let loaded = store.load(stale).unwrap();
        let lines: Vec<_> = loaded.quarantined.iter().map(|q| q.to_string()).collect();
        let text = lines.join("\n").replace(dir.path().to_str().unwrap(), "DIR");
        insta::assert_snapshot!(text);
        assert_eq!(loaded.running.len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), names_before);
        // The second time there is nothing left to do.
        let again = store.load(stale).unwrap();
        assert_eq!((again.running.len(), again.quarantined.len()), (1, 0));
    }

    /// A definition that is as large as a definition may be is one that a status file may hold, or is refused.
    #[test]
    fn nothing_is_saved_that_cannot_be_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.save(&status()).unwrap();
        let filler = "<x y='z'/>\n".repeat((16 << 20) / 11 - 60_000);
        let large = DOMAIN.replace("<devices/>", &format!("<devices/>{filler}"));
        let limits = Limits { nodes: 1 << 22, ..Limits::default() };
        let domain = Domain::parse_bytes(large.as_bytes(), limits).unwrap();
        let refused = match Status::new(&facts(), &domain) {
            Err(error) => error.to_string(),
            Ok(status) => store.save(&status).unwrap_err().source.to_string(),
        };
        assert!(refused.contains("at most") || refused.contains("more than"), "{refused}");
        // The last status is as it was.
        let loaded = store.load(alive).unwrap();
        assert_eq!((loaded.running.len(), loaded.quarantined.len()), (1, 0));
        assert_eq!(loaded.running[0].to_xml(), status().to_xml());
    }

    /// Every truncation and many a flipped bit: the file is used as it was, or set aside; nothing panics, and the
    /// other domain is there.
    #[test]
    fn no_damage_costs_another_domain_or_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.save(&named("other", "0001")).unwrap();
        let good = status().to_xml().into_bytes();
        let path = dir.path().join("demo.xml");
        let cuts = (0..good.len()).map(|at| good[..at].to_vec());
        let flips = (0..good.len()).map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        for bytes in cuts.chain(flips).step_by(3) {
            fs::write(&path, &bytes).unwrap();
            let loaded = store.load(alive).unwrap();
            let names: Vec<_> =
                loaded.running.iter().map(|s| s.domain().name().unwrap().into_owned()).collect();
            assert!(names.contains(&"other".to_owned()), "{names:?}");
            match &loaded.quarantined[..] {
                // A byte in a place where any other is as good.
                [] => assert!(path.exists()),
                [one] => {
                    let kept = one.to.as_ref().unwrap();
                    assert_eq!(fs::read(kept).unwrap(), bytes);
                    fs::remove_file(kept).unwrap();
                }
                more => panic!("{more:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_set_aside_is_left_in_place_and_reported() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.xml"), "").unwrap();
        let kind = io::ErrorKind::ReadOnlyFilesystem;
        // Listing, opening, renaming.
        let disk = Failing { steps: Rc::default(), fails_at: 3, kind };
        let loaded = Store::on(disk, dir.path()).load(alive).unwrap();
        assert!(loaded.quarantined[0].to.is_err());
        assert!(dir.path().join("x.xml").exists());
    }

    #[test]
    fn an_unreadable_file_does_not_cost_the_others() {
        let dir = tempfile::tempdir().unwrap();
        Store::new(dir.path()).save(&status()).unwrap();
        Store::new(dir.path()).save(&named("other", "0001")).unwrap();
        let kind = io::ErrorKind::PermissionDenied;
        let disk = Failing { steps: Rc::default(), fails_at: 2, kind };
        let loaded = Store::on(disk, dir.path()).load(alive).unwrap();
        assert_eq!((loaded.running.len(), loaded.quarantined.len()), (1, 1));
        assert!(matches!(loaded.quarantined[0].reason, Reason::Unreadable(_)));
    }
}
