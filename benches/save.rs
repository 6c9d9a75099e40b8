//! What saving a status costs, step by step: format, write, fsync of the file, rename, fsync of the directory.

use std::{
    cell::RefCell,
    hint::black_box,
    io::{self, Read},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use statusquo_vmm::{
    domain::Domain,
    status::{Disk, Entry, Facts, File, Filesystem, Status, Store},
};

const STEPS: [&str; 5] =
    ["create", "write", "fsync of the file", "rename", "fsync of the directory"];

/// The real file system, with a clock for each step.
#[derive(Clone, Default)]
struct Timed(Rc<RefCell<[Duration; STEPS.len()]>>);

impl Timed {
    fn time<T>(&self, step: usize, act: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = act();
        self.0.borrow_mut()[step] += start.elapsed();
        done
    }
}

struct TimedFile {
    clocks: Timed,
    file: Box<dyn File>,
}

impl File for TimedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.clocks.time(1, || self.file.write(bytes))
    }
    fn sync(&mut self) -> io::Result<()> {
        self.clocks.time(2, || self.file.sync())
    }
}

impl Filesystem for Timed {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = self.time(0, || Disk.create(path))?;
        Ok(Box::new(TimedFile { clocks: self.clone(), file }))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        Disk.open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.time(3, || Disk.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.time(4, || Disk.sync_directory(path))
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        Disk.list(path)
    }
}

/// A guest with a handful of devices.
fn status() -> Status {
    let channel = "<channel type='null'><target type='virtio'/></channel>".repeat(8);
    let xml = format!(
        "<domain type='qemu'><name>demo</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\
         <memory>16384</memory><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>{channel}</devices></domain>"
    );
    let mut domain = Domain::parse(&xml).expect("the definition is right");
    domain.post_parse().expect("and can be completed");
    domain.assign_addresses().expect("with addresses");
    domain.assign_aliases().expect("and aliases");
    let facts = Facts { pid: 1, boot: "b".to_owned(), ..Facts::default() };
    Status::new(&facts, &domain).expect("a status of it")
}

/// The share of each step, of the same saves.
fn shares(directory: &Path, status: &Status, saves: u32) {
    let timed = Timed::default();
    let store = Store::on(timed.clone(), directory);
    let start = Instant::now();
    for _ in 0..saves {
        store.save(status).expect("it can be saved");
    }
    let all = start.elapsed();
    let steps = *timed.0.borrow();
    let rest = all.saturating_sub(steps.iter().sum());
    let share = |time: Duration| 100.0 * time.as_secs_f64() / all.as_secs_f64();
    print!(
        "of {saves} saves of {:.2?} each: format and the rest {:.2} %",
        all / saves,
        share(rest)
    );
    for (name, time) in STEPS.into_iter().zip(steps) {
        print!(", {name} {:.2} %", share(time));
    }
    println!();
}

fn bench(c: &mut Criterion) {
    // Beside the program, so that it is a disk and not memory.
    let here = std::env::current_exe().expect("this program is a file");
    let here = here.parent().expect("in a directory");
    let dir = tempfile::tempdir_in(here).expect("there is room beside this program");
    let status = status();
    let is_test = std::env::args().any(|argument| argument == "--test");
    shares(dir.path(), &status, if is_test { 1 } else { 100 });
    let mut group =
        c.benchmark_group(format!("saving a status of {} bytes", status.to_xml().len()));
    group.sample_size(20);
    group.bench_function("format", |b| b.iter(|| black_box(&status).to_xml()));
    for (step, name) in STEPS.into_iter().enumerate() {
        let timed = Timed::default();
        let store = Store::on(timed.clone(), dir.path());
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                timed.0.take();
                for _ in 0..times {
                    store.save(&status).expect("it can be saved");
                }
                timed.0.borrow()[step]
            });
        });
    }
    let store = Store::new(dir.path());
    group.bench_function("all of it", |b| b.iter(|| store.save(&status).expect("it can be saved")));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
