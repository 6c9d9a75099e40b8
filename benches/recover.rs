//! A restarted daemon and its domains: reading each status file, asking the hypervisor in process what it has, and
//! making file and hypervisor agree.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;
use statusquo_vmm::{
    domain::{Domain, hotplug_device},
    hotplug::{Device, Machine, Record, Request, StatusFile, perform},
    hypervisor::{
        Command, Hypervisor,
        embedded::{Config, Embedded},
        monitor::properties,
    },
    status::{Facts, Status},
};

const DOMAINS: usize = 1000;
/// Channels of each domain, the last of which was being attached when the daemon was killed.
const DEVICES: usize = 4;

struct File(Record);

impl StatusFile for File {
    fn save(&mut self, record: &Record) -> Result<(), String> {
        self.0 = record.clone();
        Ok(())
    }
}

/// A status file and the machine it is about.
fn left_behind() -> (String, Embedded) {
    let xml = "<domain type='qemu'><name>demo</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\
               <memory>16384</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
               <controller type='virtio-serial' index='0'/></devices></domain>";
    let mut domain = Domain::parse(xml).expect("the definition is right");
    domain.post_parse().expect("and can be completed");
    domain.assign_addresses().expect("with addresses");
    domain.assign_aliases().expect("and aliases");
    let controller =
        Command::device_add("virtio-serial-pci", "virtio-serial0", properties(json!({})));
    let booted = Embedded::boot(Config::default(), &[controller]);
    let mut hypervisor = booted.map_err(|(_, error)| error).expect("a machine with a controller");
    hypervisor.execute(&Command::cont()).expect("it answers").expect("it runs");
    let mut intent = String::new();
    for number in 0..DEVICES {
        let channel = "<channel type='null'><target type='virtio'/></channel>";
        let plugged = domain.plug(channel).expect("there is room");
        let device: Device = plugged.device;
        let mut machine = Machine::new(Record::default());
        machine.request(Request::Attach(device.clone())).expect("the alias is free");
        let mut file = File(Record::default());
        while perform(&mut machine, &mut hypervisor, &mut file).expect("it answers").is_some() {}
        if number + 1 < DEVICES {
            domain = plugged.domain;
        } else {
            intent = device.xml;
        }
    }
    let facts = Facts { pid: 1, boot: "b".to_owned(), ..Facts::default() };
    let mut status = Status::new(&facts, &domain).expect("a status of it");
    status.add_intent(&format!("<attach>{intent}</attach>")).expect("with an intent");
    (status.to_xml(), hypervisor)
}

/// What the daemon does for each domain that it finds; true if the last channel was adopted.
fn recover(text: &str, hypervisor: &mut Embedded) -> bool {
    let status = Status::parse(text).expect("the file is whole");
    let domain = status.domain();
    let devices = domain.devices().filter_map(|device| hotplug_device(device).ok()).collect();
    let intents = status.intents().flat_map(|intent| status.document().children(intent));
    let intents = intents.filter_map(|node| {
        let mut domain = domain.clone();
        let node = domain.add_device(&status.document().fragment(node)).ok()?;
        hotplug_device(domain.device(node)?).ok()
    });
    let record = Record { devices, intents: intents.collect() };
    let mut file = File(record.clone());
    let mut machine = Machine::recover(record);
    hypervisor.reconnect().expect("it is there");
    while perform(&mut machine, hypervisor, &mut file).expect("it answers").is_some() {}
    file.0.intents.is_empty() && file.0.devices.len() == DEVICES + 1
}

fn bench(c: &mut Criterion) {
    let (text, hypervisor) = left_behind();
    assert!(recover(&text, &mut hypervisor.clone()), "the interrupted attach is finished");
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    group.throughput(Throughput::Elements(DOMAINS as u64));
    group.bench_function("1000 domains, hypervisor in process", |b| {
        b.iter_batched(
            || vec![hypervisor.clone(); DOMAINS],
            |mut all| all.iter_mut().map(|one| recover(&text, one)).filter(|done| *done).count(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
