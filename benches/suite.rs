//! Generating a transition suite, and replaying it over real descriptors.

use std::num::NonZeroUsize;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use statusquo::{
    generate::{Criterion as Covers, Cut, generate},
    replay::{self, replay},
    studies::Replayable,
};
use statusquo_benches::chardev;
use statusquo_model::{
    explore::{Options, explore},
    studies::chardev::Chardev,
};

fn suite(c: &mut Criterion) {
    let study = chardev("ours", "server").expect("the study has this design and scope");
    let exploration = explore(&study, &Options::default()).expect("the study can be explored");
    let edges = exploration.edges(NonZeroUsize::MIN);
    let make = || {
        generate(
            &exploration,
            &edges,
            Covers::Transitions,
            ("chardev", "ours", "server"),
            Cut::default(),
        )
        .expect("this criterion is not about faults")
    };
    let suite = make();
    let mut group = c.benchmark_group("suite of chardev ours server");
    group.sample_size(10);
    group.throughput(Throughput::Elements(exploration.transitions()));
    group.bench_function("generate", |b| b.iter(|| make().traces.len()));
    group.throughput(Throughput::Elements(suite.header.steps));
    group.bench_function("replay on vmm", |b| {
        let factory = Chardev::vmm(&study).expect("ours answers this study");
        b.iter(|| {
            let replayed = replay(&suite.traces, &factory, &replay::Options::default());
            assert_eq!(replayed.counts().1, 0);
            replayed.steps()
        });
    });
    group.finish();
}

criterion_group!(benches, suite);
criterion_main!(benches);
