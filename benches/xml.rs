//! Reading and writing a definition, against quick-xml's bare event loop over the same bytes.
//!
//! Beside the figures of each, the ratio is measured in interleaved rounds: whatever else the machine does, it does to
//! all of them.

use std::{
    fmt::Write,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput};
use quick_xml::{Reader, events::Event};
use statusquo_vmm::domain::Domain;

/// The live definition of a large guest, as `dumpxml` shows it.
fn large() -> String {
    let mut devices = String::new();
    let mut add = |xml: &str| devices.push_str(xml);
    for number in 0..64 {
        add(&format!(
            "    <disk type='file' device='disk'>\n      <driver name='qemu' type='qcow2' cache='none' io='native' discard='unmap'/>\n      \
             <source file='/var/lib/libvirt/images/guest-{number:03}.qcow2' index='{number}'/>\n      <backingStore/>\n      \
             <target dev='sd{number}' bus='scsi'/>\n      <serial>c7a5fdbd-edaf-9455-926a-{number:012}</serial>\n      \
             <alias name='scsi0-0-{number}-0'/>\n      <address type='drive' controller='0' bus='0' target='{number}' unit='0'/>\n    </disk>\n"
        ));
    }
    for number in 0..32 {
        add(&format!(
            "    <interface type='bridge'>\n      <mac address='52:54:00:00:00:{number:02x}'/>\n      <source bridge='br{number}'/>\n      \
             <target dev='vnet{number}'/>\n      <model type='virtio'/>\n      <driver name='vhost' queues='4' rx_queue_size='1024'/>\n      \
             <alias name='net{number}'/>\n      <address type='pci' domain='0x0000' bus='0x{number:02x}' slot='0x00' function='0x0'/>\n    </interface>\n    \
             <controller type='pci' index='{number}' model='pcie-root-port'>\n      <model name='pcie-root-port'/>\n      \
             <target chassis='{number}' port='0x{number:x}'/>\n      <alias name='pci.{number}'/>\n      \
             <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0' multifunction='on'/>\n    </controller>\n"
        ));
    }
    for number in 0..16 {
        add(&format!(
            "    <channel type='unix'>\n      <source mode='bind' path='/run/libvirt/qemu/channel/1-guest/org.example.{number}'/>\n      \
             <target type='virtio' name='org.example.{number}' state='disconnected'/>\n      <alias name='channel{number}'/>\n      \
             <address type='virtio-serial' controller='0' bus='0' port='{number}'/>\n    </channel>\n"
        ));
    }
    let mut text = String::new();
    let vcpus: String = (0..128).fold(String::new(), |mut all, number| {
        let _infallible = writeln!(
            all,
            "    <vcpu id='{number}' enabled='yes' hotpluggable='yes' order='{number}'/>"
        );
        all
    });
    let _infallible = write!(
        text,
        "<domain type='kvm' id='1'>\n  <name>guest</name>\n  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\n  <metadata>\n    \
         <app:instance xmlns:app='http://example.org/instance/1'>\n      <app:name>web &amp; mail</app:name>\n      \
         <app:created>2023-05-04 11:37:02</app:created>\n    </app:instance>\n  </metadata>\n  \
         <memory unit='KiB'>268435456</memory>\n  <vcpu placement='static'>128</vcpu>\n  <vcpus>\n{vcpus}  </vcpus>\n  \
         <os>\n    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>\n  </os>\n  <!-- written by hand -->\n  \
         <devices>\n    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n{devices}  </devices>\n</domain>\n"
    );
    text
}

/// Every event, and nothing else.
fn bare(text: &str) -> usize {
    let mut reader = Reader::from_str(text);
    let mut events = 0;
    loop {
        match reader.read_event().expect("it is XML") {
            Event::Eof => return events,
            event => drop(black_box(event)),
        }
        events += 1;
    }
}

fn parse(text: &str) -> Domain {
    Domain::parse(text).expect("it is a definition")
}

/// The definitions of other guests, which a daemon has in memory. Without them the heap would be given back to the
/// kernel and asked for again in every round, and that costs more than reading.
struct Others(Vec<Domain>, usize);

impl Others {
    const COUNT: usize = 16;

    fn new(text: &str) -> Self {
        Others((0..Self::COUNT).map(|_| parse(text)).collect(), 0)
    }

    /// Keeps this one instead of the oldest.
    fn keep(&mut self, domain: Domain) {
        self.0[self.1 % Self::COUNT] = domain;
        self.1 += 1;
    }
}

/// Medians of interleaved rounds.
fn ratios(text: &str, rounds: usize) {
    let domain = parse(text);
    let mut others = Others::new(text);
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..rounds {
        let start = Instant::now();
        black_box(bare(black_box(text)));
        let looped = Instant::now();
        let read = parse(black_box(text));
        let parsed = Instant::now();
        black_box(domain.to_xml());
        let formatted = Instant::now();
        others.keep(read);
        for (times, time) in
            times.iter_mut().zip([looped - start, parsed - looped, formatted - parsed])
        {
            times.push(time);
        }
    }
    let [bare, parse, format] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    });
    let megabytes = |seconds: f64| text.len() as f64 / seconds / 1e6;
    println!(
        "{} bytes, medians of {rounds} interleaved rounds: quick-xml's bare loop {:.0} MB/s; parse {:.0} MB/s, {:.2} of \
         it; format {:.0} MB/s, {:.2} of it",
        text.len(),
        megabytes(bare),
        megabytes(parse),
        bare / parse,
        megabytes(format),
        bare / format
    );
}

fn main() {
    let text = large();
    assert_eq!(parse(&text).to_xml(), text);
    // `cargo bench -- --test` asks whether all of this works, and no more.
    let is_test = std::env::args().any(|argument| argument == "--test");
    ratios(&text, if is_test { 1 } else { 501 });
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("definition");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("quick-xml's bare loop", |b| b.iter(|| bare(&text)));
    group.bench_function("parse", |b| {
        let mut others = Others::new(&text);
        b.iter(|| others.keep(parse(&text)));
    });
    let domain = parse(&text);
    group.bench_function("format", |b| b.iter(|| domain.to_xml()));
    group.finish();
    criterion.final_summary();
}
