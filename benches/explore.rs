//! Exploring a state space: ours, and stateright on the same study in the same run.

use criterion::{Criterion, criterion_group, criterion_main};
use stateright::{Checker, Model};
use statusquo_benches::chardev;
use statusquo_model::{
    check,
    explore::{Options, explore},
    second_opinion::SecondOpinion,
};

fn engines(c: &mut Criterion) {
    let study = chardev("qemu-7.2", "server").expect("the study has this design and scope");
    let mut group = c.benchmark_group("explore chardev qemu-7.2 server");
    group.sample_size(10);
    group.bench_function("ours", |b| {
        b.iter(|| explore(&study, &Options::default()).map(|found| found.len()))
    });
    group.bench_function("stateright", |b| {
        b.iter(|| SecondOpinion::new(&study).checker().spawn_bfs().join().unique_state_count());
    });
    group.bench_function("ours, all properties", |b| {
        b.iter(|| {
            check::check(&study, &Options::default(), |_| true).map(|report| report.answers.len())
        });
    });
    group.finish();
}

criterion_group!(benches, engines);
criterion_main!(benches);
