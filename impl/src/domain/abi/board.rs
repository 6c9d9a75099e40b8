//! What a guest sees beside its devices: processors with their topology and features, NUMA nodes, features of the
//! machine, timers, SMBIOS tables (`virCPUDefIsEqual`, `virDomainNumaCheckABIStability`,
//! `virDomainDefVcpuCheckAbiStability`, `virDomainDefFeaturesCheckABIStability`, `virDomainTimerDefCheckABIStability`,
//! `virSysinfoIsEqual`).
//!
//! These are trees, and they are compared as such: elements that have a name of their own by it, others by their
//! place. That says more than libvirt, which looks at the CPU's features in order and not at `match`, the caches of
//! NUMA cells and what connects these; a guest sees all of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Difference, scale};
use crate::domain::{
    Domain,
    tree::{Document, NodeId},
};

/// Processors that are counted one by one: more are compared as they are written.
const PROCESSORS_MAX: u32 = 1 << 14;

/// What names an element among its siblings.
fn name_attribute(element: &str) -> Option<&'static str> {
    match element {
        "feature" | "timer" | "entry" => Some("name"),
        "cell" | "sibling" | "vcpu" => Some("id"),
        "sysinfo" => Some("type"),
        _ => None,
    }
}

/// Of the host, or of how QEMU does it: no guest sees it.
fn is_element_unseen(parent: &str, element: &str) -> bool {
    matches!((parent, element), ("features", "msrs" | "tcg") | ("timer", "catchup"))
}

fn is_attribute_unseen(document: &Document, node: NodeId, attribute: &str) -> bool {
    match (document.name(node), attribute) {
        ("model", "fallback") | ("cell", "memAccess" | "discard" | "unit") => true,
        ("timer", "tickpolicy" | "track") => true,
        // Only the TSC's are the guest's.
        ("timer", "frequency" | "mode") => !document.has(node, "name", "tsc"),
        (_, attribute) => attribute == "unit",
    }
}

/// What an attribute that is not there means.
fn default(parent: &str, element: &str, attribute: &str) -> Option<&'static str> {
    match (parent, element, attribute) {
        ("domain", "cpu", "mode") => Some("custom"),
        ("domain", "cpu", "match") => Some("exact"),
        ("cpu", "feature", "policy") => Some("require"),
        ("cpu", "topology", "dies") => Some("1"),
        ("features", _, "state") => Some("on"),
        ("features", "hyperv", "mode") => Some("custom"),
        _ => None,
    }
}

const DEFAULTED: [&str; 5] = ["mode", "match", "policy", "dies", "state"];

pub(super) fn compare(first: &Domain, second: &Domain, found: &mut Vec<Difference>) {
    let roots = (first.root(), second.root());
    let both = (first.document(), second.document());
    let mut comparison = Comparison { first: both.0, second: both.1, found };
    comparison.children(roots, |name| matches!(name, "cpu" | "features" | "sysinfo"));
    let clock = |domain: &Domain| domain.document().child(domain.root(), "clock");
    comparison.timers(clock(first), clock(second));
    let (here, there) = (online(first), online(second));
    if here != there {
        found.push(Difference {
            path: first.document().path(first.root()),
            what: "vcpus that are online".to_owned(),
            first: here,
            second: there,
        });
    }
}

/// The processors that a guest starts with, by their numbers.
fn online(domain: &Domain) -> Option<String> {
    let (document, root) = (domain.document(), domain.root());
    if let Some(vcpus) = document.child(root, "vcpus") {
        let on =
            document.children_named(vcpus, "vcpu").filter(|&it| document.has(it, "enabled", "yes"));
        let ids: Vec<u32> = on.filter_map(|it| document.number(it, "id").ok()?).collect();
        return Some(listed(&ids.into_iter().collect()));
    }
    let vcpu = document.child(root, "vcpu")?;
    let all = document.text(vcpu).trim().parse().ok();
    let current = document.number(vcpu, "current").ok().flatten().or(all)?;
    Some(listed(&(0..current.min(PROCESSORS_MAX)).collect()))
}

/// `0-3,7`
fn listed(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let range = |(first, last): (u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(",")
}

/// A set of processors in one spelling: `virBitmapParse`.
fn processors(text: &str) -> Option<String> {
    let mut numbers = BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let (out, part) = part.strip_prefix('^').map_or((false, part), |part| (true, part));
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if last >= PROCESSORS_MAX || first > last {
            return None;
        }
        for number in first..=last {
            if out {
                numbers.remove(&number)
            } else {
                numbers.insert(number)
            };
        }
    }
    Some(listed(&numbers))
}

struct Comparison<'a> {
    first: &'a Document,
    second: &'a Document,
    found: &'a mut Vec<Difference>,
}

impl Comparison<'_> {
    fn timers(&mut self, first: Option<NodeId>, second: Option<NodeId>) {
        let is_timer = |name: &str| name == "timer";
        match (first, second) {
            (Some(first), Some(second)) => self.children((first, second), is_timer),
            (Some(one), None) => {
                let timers = self.first.children_named(one, "timer").collect();
                self.lacks(timers, true);
            }
            (None, Some(one)) => {
                let timers = self.second.children_named(one, "timer").collect();
                self.lacks(timers, false);
            }
            (None, None) => {}
        }
    }

    /// Elements that only the first, or only the second, has.
    fn lacks(&mut self, nodes: Vec<NodeId>, by_second: bool) {
        let document = if by_second { self.first } else { self.second };
        for node in nodes {
            let said = document.name(node).to_owned();
            let said = match name_attribute(&said).and_then(|name| document.attribute(node, name)) {
                Some(name) => format!("{said} {name}"),
                None => said,
            };
            let (first, second) = if by_second { (Some(said), None) } else { (None, Some(said)) };
            self.found.push(Difference {
                path: document.path(node),
                what: "element".to_owned(),
                first,
                second,
            });
        }
    }

    fn children(&mut self, (first, second): (NodeId, NodeId), wanted: impl Fn(&str) -> bool) {
        let named = |document: &Document, parent| {
            let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
            let mut named = BTreeMap::new();
            for node in document.children(parent) {
                let element = document.name(node);
                if !wanted(element) || is_element_unseen(document.name(parent), element) {
                    continue;
                }
                let name = name_attribute(element).and_then(|name| document.attribute(node, name));
                let name = (element.to_owned(), name.unwrap_or_default().into_owned());
                let count = counts.entry(name.clone()).or_default();
                *count += 1;
                named.insert((name, *count), node);
            }
            named
        };
        let (here, there) = (named(self.first, first), named(self.second, second));
        for (name, &node) in &here {
            match there.get(name) {
                Some(&other) => self.elements(node, other),
                None => self.lacks(vec![node], true),
            }
        }
        let only: Vec<NodeId> = there
            .iter()
            .filter(|(name, _)| !here.contains_key(*name))
            .map(|(_, &node)| node)
            .collect();
        self.lacks(only, false);
    }

    fn elements(&mut self, first: NodeId, second: NodeId) {
        let attributes = |document: &Document, node| {
            let given = document.attributes(node).map(|(name, _)| name.to_owned());
            given.chain(DEFAULTED.map(str::to_owned)).collect::<BTreeSet<String>>()
        };
        let mut names = attributes(self.first, first);
        names.extend(attributes(self.second, second));
        names.retain(|name| !is_attribute_unseen(self.first, first, name));
        for name in names {
            let (here, there) = (said(self.first, first, &name), said(self.second, second, &name));
            self.told(first, format!("@{name}"), here, there);
        }
        let leaf = |document: &Document, node| {
            let is_leaf = document.children(node).next().is_none();
            is_leaf.then(|| amount(document, node, &document.text(node)))
        };
        let (here, there) = (leaf(self.first, first), leaf(self.second, second));
        if let (Some(here), Some(there)) = (here, there) {
            self.told(first, self.first.name(first).to_owned(), Some(here), Some(there));
        }
        // Documents are no deeper than the limit of the parser.
        self.children((first, second), |_| true);
    }

    fn told(&mut self, node: NodeId, what: String, first: Option<String>, second: Option<String>) {
        if first != second {
            self.found.push(Difference { path: self.first.path(node), what, first, second });
        }
    }
}

fn said(document: &Document, node: NodeId, attribute: &str) -> Option<String> {
    let parent = document.parent(node).map(|parent| document.name(parent)).unwrap_or_default();
    let element = document.name(node);
    let Some(value) = document.attribute(node, attribute) else {
        return default(parent, element, attribute).map(str::to_owned);
    };
    Some(match (element, attribute) {
        ("cell", "cpus") => processors(&value).unwrap_or_else(|| value.into_owned()),
        ("cell", "memory") => amount(document, node, &value),
        _ => value.into_owned(),
    })
}

/// A size in bytes, where there is a unit or a number that has one by default; any other text as it is.
fn amount(document: &Document, node: NodeId, text: &str) -> String {
    let text = text.trim();
    let unit = document.attribute(node, "unit");
    let unit = match (document.name(node), unit.as_deref()) {
        (_, Some(unit)) => unit,
        ("cell" | "maxpagesize", None) => "KiB",
        ("tseg", None) => "MiB",
        _ => return text.to_owned(),
    };
    let bytes = text.parse::<u64>().ok().and_then(|number| number.checked_mul(scale(unit)?));
    bytes.map_or_else(|| text.to_owned(), |bytes| format!("{bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Emulator;

    #[track_caller]
    fn check(one: &str, other: &str, expected: &[&str]) {
        let read = |what: &str| {
            Domain::parse(&format!(
                "<domain type='kvm'>{what}<os><type arch='x86_64' machine='pc'>hvm</type></os><devices/></domain>"
            ))
            .unwrap()
        };
        let told = |one: &str, other: &str| {
            let found = read(one).abi_differences(&read(other), &Emulator::default()).unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(one, other), expected, "{one} {other}");
        assert_eq!(told(other, one).len(), expected.len(), "the other way round");
        assert_eq!(told(one, one), [""; 0]);
    }

    #[test]
    fn processors_and_their_topology() {
        check(
            "<vcpu>4</vcpu><cpu mode='custom'><model fallback='allow'>Nehalem</model><topology sockets='1' cores='4' threads='1'/><feature name='vmx' policy='disable'/></cpu>",
            "<vcpu>4</vcpu><cpu match='exact'><model>Nehalem</model><topology sockets='2' dies='1' cores='2' threads='1'/><feature policy='require' name='vmx'/><feature name='pcid'/></cpu>",
            &[
                "/domain/cpu/feature: @policy is `disable` in the one and `require` in the other",
                "/domain/cpu/topology: @cores is `4` in the one and `2` in the other",
                "/domain/cpu/topology: @sockets is `1` in the one and `2` in the other",
                "/domain/cpu/feature[2]: element is missing in the one and `feature pcid` in the other",
            ],
        );
        // What is left out means its default, and the order of features nothing.
        check(
            "<cpu><model>n</model><feature name='a'/><feature name='b' policy='require'/></cpu>",
            "<cpu mode='custom' match='exact'><model fallback='forbid'>n</model><feature name='b'/><feature name='a'/></cpu>",
            &[],
        );
        check(
            "<vcpu current='2'>4</vcpu>",
            "<vcpu current='3'>4</vcpu>",
            &["/domain: vcpus that are online is `0-1` in the one and `0-2` in the other"],
        );
        check(
            "<vcpu current='2'>3</vcpu>",
            "<vcpu>3</vcpu><vcpus><vcpu id='0' enabled='yes'/><vcpu id='1' enabled='yes'/><vcpu id='2' enabled='no'/></vcpus>",
            &[],
        );
    }

    #[test]
    fn numa_nodes() {
        let cpu = |cells: &str| format!("<cpu><numa>{cells}</numa></cpu>");
        check(
            &cpu(
                "<cell id='0' cpus='0-1' memory='512' unit='MiB'/><cell id='1' cpus='2,3' memory='524288'><distances><sibling id='0' value='20'/></distances></cell>",
            ),
            &cpu(
                "<cell id='0' cpus='0,1' memory='524288' memAccess='shared'/><cell id='1' cpus='2-4,^4' memory='262144'><distances><sibling id='0' value='21'/></distances></cell>",
            ),
            &[
                "/domain/cpu/numa/cell[2]: @memory is `536870912 bytes` in the one and `268435456 bytes` in the other",
                "/domain/cpu/numa/cell[2]/distances/sibling: @value is `20` in the one and `21` in the other",
            ],
        );
        check(
            &cpu("<cell id='0' cpus='0-3' memory='1'/>"),
            "<cpu/>",
            &["/domain/cpu/numa: element is `numa` in the one and missing in the other"],
        );
    }

    #[test]
    fn features_of_the_machine() {
        check(
            "<features><acpi/><pae state='on'/><hyperv><relaxed state='on'/><spinlocks state='on' retries='8191'/></hyperv><msrs unknown='ignore'/><smm state='on'><tseg unit='MiB'>8</tseg></smm></features>",
            "<features><pae/><hyperv mode='custom'><relaxed state='off'/><spinlocks state='on' retries='4096'/></hyperv><smm state='on'><tseg>9</tseg></smm></features>",
            &[
                "/domain/features/acpi: element is `acpi` in the one and missing in the other",
                "/domain/features/hyperv/relaxed: @state is `on` in the one and `off` in the other",
                "/domain/features/hyperv/spinlocks: @retries is `8191` in the one and `4096` in the other",
                "/domain/features/smm/tseg: tseg is `8388608 bytes` in the one and `9437184 bytes` in the other",
            ],
        );
    }

    #[test]
    fn timers() {
        check(
            "<clock offset='utc'><timer name='hpet' present='no'/><timer name='rtc' tickpolicy='catchup'/><timer name='tsc' frequency='1' mode='native'/></clock>",
            "<clock offset='utc'><timer name='tsc' frequency='2' mode='native'/><timer name='rtc' track='guest'/><timer name='hpet' present='yes' frequency='3'/><timer name='kvmclock'/></clock>",
            &[
                "/domain/clock/timer[1]: @present is `no` in the one and `yes` in the other",
                "/domain/clock/timer[3]: @frequency is `1` in the one and `2` in the other",
                "/domain/clock/timer[4]: element is missing in the one and `timer kvmclock` in the other",
            ],
        );
        check(
            "<clock offset='utc'><timer name='hpet'/></clock>",
            "<clock offset='utc'/>",
            &["/domain/clock/timer: element is `timer hpet` in the one and missing in the other"],
        );
    }

    #[test]
    fn smbios() {
        let sysinfo = |entry: &str| {
            format!(
                "<sysinfo type='smbios'><bios><entry name='vendor'>{entry}</entry></bios><oemStrings><entry>one</entry><entry>two</entry></oemStrings></sysinfo>"
            )
        };
        check(
            &sysinfo("A"),
            &sysinfo("B").replace("two", "three"),
            &[
                "/domain/sysinfo/bios/entry: entry is `A` in the one and `B` in the other",
                "/domain/sysinfo/oemStrings/entry[2]: entry is `two` in the one and `three` in the other",
            ],
        );
        check(
            &sysinfo("A"),
            "",
            &["/domain/sysinfo: element is `sysinfo smbios` in the one and missing in the other"],
        );
        check(
            "<maxMemory slots='4' unit='KiB'>65536</maxMemory>",
            "<maxMemory slots='8'>65536</maxMemory>",
            &["/domain: maxMemory/@slots is `4` in the one and `8` in the other"],
        );
    }

    #[test]
    fn sets_of_processors_are_bounded() {
        assert_eq!(processors("3,0-1,^1").as_deref(), Some("0,3"));
        assert_eq!(processors("0-4294967295"), None);
        assert_eq!(processors("a"), None);
    }
}
