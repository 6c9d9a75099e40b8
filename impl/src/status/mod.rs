//! What is known of a running domain, kept where a killed daemon finds it again.
//!
//! A [`Status`] is one document: runtime facts, operations that were begun ([`Status::add_intent`]), and the live
//! definition. What it does not understand it keeps. A [`Store`] is a directory of them.
//!
//! ```xml
//! <domstatus version='1' state='running' reason='booted' pid='4711' started='86400' boot='…'>
//!   <monitor path='/run/vmm/demo/monitor.sock' type='unix'/>
//!   <versions program='0.1.0' qemu='7.2.0'/>
//!   <intents>
//!     <attach device='…'/>
//!   </intents>
//!   <domain type='kvm'>…</domain>
//! </domstatus>
//! ```
//!
//! libvirt's status file (`virDomainObjFormat`, `qemuDomainObjPrivateXMLFormat`) has no version, no boot id and no
//! intents: it cannot tell a file of yesterday's boot, and an operation that was cut short leaves no trace.

mod disk;
mod store;

pub use disk::{Disk, Entry, File, Filesystem};
pub use store::{Loaded, Quarantined, Reason, Saved, Store, StoreError};

use crate::domain::{
    Domain, Error, Problem,
    tree::{Document, Limits, NodeId},
};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// What the daemon knows of a running domain beside its definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The process.
    pub pid: u32,
    /// When that process was started, in ticks since boot (field 22 of `/proc/PID/stat`): a pid alone may be reused.
    pub started: Option<u64>,
    /// The boot in which the process runs (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// The lifecycle state.
    pub state: State,
    /// Why it is in that state, in one word.
    pub reason: String,
    /// The path of the monitor's socket.
    pub monitor: String,
    /// The version of this program that wrote the facts.
    pub program: String,
    /// The version of QEMU.
    pub qemu: String,
}

/// The lifecycle state of a domain that has a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The process was started, the monitor did not answer yet.
    #[default]
    Starting,
    /// The guest runs.
    Running,
    /// The guest is stopped.
    Paused,
    /// The process is about to end.
    Stopping,
    /// The guest panicked.
    Crashed,
}

impl State {
    const ALL: [Self; 5] =
        [Self::Starting, Self::Running, Self::Paused, Self::Stopping, Self::Crashed];

    /// The word in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
        }
    }
}

/// Facts, intents and the live definition of a running domain.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its document is the whole status.
    domain: Domain,
}

impl Status {
    /// The status of a domain that runs.
    pub fn new(facts: &Facts, domain: &Domain) -> Result<Self, Error> {
        let frame = format!("<domstatus version='{VERSION}'/>\n");
        let mut document = Document::parse(&frame)?;
        let root = document.root();
        let node = document.append_xml(root, &domain.to_xml_indented(2))?;
        let mut status = Self { domain: Domain::at(document, node)? };
        status.set_facts(facts)?;
        Ok(status)
    }

    /// Reads a status, and checks that it is complete.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_bytes(text.as_bytes(), Limits::default())
    }

    /// Reads a status from bytes, and checks that it is complete.
    pub fn parse_bytes(bytes: &[u8], limits: Limits) -> Result<Self, Error> {
        Self::from_document(Document::parse_bytes(bytes, limits)?)
    }

    /// The status that a document is, checked that it is complete.
    pub fn from_document(document: Document) -> Result<Self, Error> {
        let root = document.root();
        if !document.is(root, "domstatus") {
            let found = document.name(root).to_owned();
            return Err(document.error(root, Problem::Root { expected: "domstatus", found }));
        }
        match document.attribute(root, "version") {
            Some(version) if version == VERSION.to_string() => {}
            version => {
                let found = version.unwrap_or("none".into()).chars().take(64).collect();
                let problem = Problem::Version { found, supported: VERSION };
                return Err(document.error(root, problem));
            }
        }
        let mut domains = document.children_named(root, "domain");
        let node = match (domains.next(), domains.next()) {
            (Some(node), None) => node,
            (None, _) => return Err(document.error(root, Problem::MissingElement("domain"))),
            (_, Some(second)) => {
                let problem = Problem::Unsupported("a second domain in one status".to_owned());
                return Err(document.error(second, problem));
            }
        };
        drop(domains);
        let status = Self { domain: Domain::at(document, node)? };
        status.facts()?;
        status.domain.name()?;
        status.domain.uuid()?;
        Ok(status)
    }

    /// The status as XML.
    pub fn to_xml(&self) -> String {
        self.document().to_xml()
    }

    /// The live definition.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The live definition, to be changed.
    pub fn domain_mut(&mut self) -> &mut Domain {
        &mut self.domain
    }

    /// The tree of the whole status.
    pub fn document(&self) -> &Document {
        self.domain.document()
    }

    /// The tree of the whole status, to be edited. Its root, the facts and the domain must stay.
    pub fn document_mut(&mut self) -> &mut Document {
        self.domain.document_mut()
    }

    fn root(&self) -> NodeId {
        self.document().root()
    }

    /// The facts.
    pub fn facts(&self) -> Result<Facts, Error> {
        let (document, root) = (self.document(), self.root());
        let get = |path| document.get(root, path).map(|value| value.into_owned());
        let missing = |name| document.error(root, Problem::MissingAttribute(name));
        let word = get("@state").ok_or_else(|| missing("state"))?;
        let state = State::ALL.into_iter().find(|state| state.as_str() == word);
        let value = |value: String, expected| {
            let value = value.chars().take(64).collect();
            document.error(root, Problem::Value { value, expected })
        };
        let state = state.ok_or_else(|| value(word, "a lifecycle state"))?;
        let pid = document.number(root, "@pid")?.ok_or_else(|| missing("pid"))?;
        if pid == 0 {
            return Err(value("0".to_owned(), "the id of a process"));
        }
        let started = match get("@started") {
            None => None,
            Some(ticks) => Some(ticks.parse().map_err(|_| value(ticks, "a start time in ticks"))?),
        };
        Ok(Facts {
            pid,
            started,
            boot: get("@boot").ok_or_else(|| missing("boot"))?,
            state,
            reason: get("@reason").unwrap_or_default(),
            monitor: get("monitor/@path").ok_or_else(|| missing("monitor/@path"))?,
            program: get("versions/@program").unwrap_or_default(),
            qemu: get("versions/@qemu").unwrap_or_default(),
        })
    }

    /// Replaces the facts.
    pub fn set_facts(&mut self, facts: &Facts) -> Result<(), Error> {
        let root = self.root();
        let domain = self.domain.root();
        let document = self.document_mut();
        for name in ["monitor", "versions"] {
            if document.child(root, name).is_none() {
                document.insert_xml(domain, &format!("<{name}/>"))?;
            }
        }
        match facts.started {
            Some(started) => document.set_attribute(root, "started", &started.to_string())?,
            None => drop(document.remove_attribute(root, "started")),
        }
        for (path, value) in [
            ("@state", facts.state.as_str()),
            ("@reason", &facts.reason),
            ("@pid", &facts.pid.to_string()),
            ("@boot", &facts.boot),
            ("monitor/@path", &facts.monitor),
            ("monitor/@type", "unix"),
            ("versions/@program", &facts.program),
            ("versions/@qemu", &facts.qemu),
        ] {
            // What is the same already is not written again: the text only grows with what changes.
            if !document.has(root, path, value) {
                document.put(root, path, value)?;
            }
        }
        Ok(())
    }

    /// The operations that were begun and not finished, in order: any elements.
    pub fn intents(&self) -> impl Iterator<Item = NodeId> {
        let intents = self.document().child(self.root(), "intents");
        intents.into_iter().flat_map(|intents| self.document().children(intents))
    }

    /// Notes an operation before it is begun; the element says what is needed to finish or undo it.
    pub fn add_intent(&mut self, xml: &str) -> Result<NodeId, Error> {
        let root = self.root();
        let domain = self.domain.root();
        let document = self.document_mut();
        let intents = match document.child(root, "intents") {
            Some(intents) => intents,
            None => document.insert_xml(domain, "<intents/>")?,
        };
        document.append_xml(intents, xml)
    }

    /// Strikes out an operation that is finished or undone.
    pub fn remove_intent(&mut self, intent: NodeId) {
        self.document_mut().remove(intent);
    }

    /// The same status without what edits left behind in memory. Its nodes have other ids.
    pub fn compacted(&self) -> Result<Self, Error> {
        Self::parse(&self.to_xml())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) const DOMAIN: &str = "<domain type='kvm'>\n  <name>demo</name>\n  \
        <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\n  <devices/>\n</domain>\n";

    pub(super) fn facts() -> Facts {
        Facts {
            pid: 4711,
            started: Some(86400),
            boot: "3f1c".to_owned(),
            state: State::Running,
            reason: "booted".to_owned(),
            monitor: "/run/demo.sock".to_owned(),
            program: "0.1.0".to_owned(),
            qemu: "7.2.0".to_owned(),
        }
    }

    pub(super) fn status() -> Status {
        Status::new(&facts(), &Domain::parse(DOMAIN).unwrap()).unwrap()
    }

    #[test]
    fn facts_intents_and_definition_are_one_document() {
        let mut status = status();
        let intent = status.add_intent("<attach device='x'/>").unwrap();
        insta::assert_snapshot!(status.to_xml(), @r"
        <domstatus version='1' started='86400' state='running' reason='booted' pid='4711' boot='3f1c'>
          <monitor path='/run/demo.sock' type='unix'/>
          <versions program='0.1.0' qemu='7.2.0'/>
          <intents>
            <attach device='x'/>
          </intents>
          <domain type='kvm'>
            <name>demo</name>
            <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
            <devices/>
          </domain>
        </domstatus>
        ");
        let again = Status::parse(&status.to_xml()).unwrap();
        assert_eq!(again.facts().unwrap(), facts());
        assert_eq!(again.intents().count(), 1);
        assert_eq!(again.to_xml(), status.to_xml());
        status.remove_intent(intent);
        assert_eq!(status.intents().count(), 0);
        assert_eq!(status.compacted().unwrap().to_xml(), status.to_xml());
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let text = status().to_xml();
        let text = text.replace("<monitor", "<lockstate>x</lockstate><monitor new='y'");
        let text = text.replace("</domstatus>", "<!-- z --></domstatus>");
        let mut status = Status::parse(&text).unwrap();
        assert_eq!(status.to_xml(), text);
        status.set_facts(&Facts { pid: 12, ..facts() }).unwrap();
        assert_eq!(status.to_xml(), text.replace("4711", "12"));
    }

    #[track_caller]
    fn check_error(from: &str, to: &str, expected: &str) {
        let text = status().to_xml().replacen(from, to, 1);
        assert_eq!(Status::parse(&text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn an_incomplete_status_is_refused() {
        let at = "line 1, column 1, /domstatus: ";
        check_error(
            "version='1'",
            "version='2'",
            &format!("{at}version 2 is not known, only 1 is: use the program that wrote it"),
        );
        check_error(
            "version='1'",
            "",
            &format!("{at}version none is not known, only 1 is: use the program that wrote it"),
        );
        check_error("pid='4711'", "", &format!("{at}attribute `pid` is missing"));
        check_error("pid='4711'", "pid='0'", &format!("{at}`0` is not the id of a process"));
        check_error("pid='4711'", "pid='-1'", &format!("{at}`-1` is not a number"));
        check_error("'running'", "'flying'", &format!("{at}`flying` is not a lifecycle state"));
        check_error("boot='3f1c'", "", &format!("{at}attribute `boot` is missing"));
        check_error("path=", "p=", &format!("{at}attribute `monitor/@path` is missing"));
        check_error(
            "<name>demo</name>",
            "",
            "line 4, column 3, /domstatus/domain: element `name` is missing",
        );
        let missing = "<domstatus version='1'/>";
        assert_eq!(
            Status::parse(missing).unwrap_err().to_string(),
            format!("{at}element `domain` is missing")
        );
        let foreign = Status::parse(DOMAIN).unwrap_err();
        assert_eq!(
            foreign.to_string(),
            "line 1, column 1, /domain: the root element is `domain`, not `domstatus`"
        );
    }

    proptest! {
        #[test]
        fn no_cut_is_read_and_no_byte_makes_it_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = status().to_xml().into_bytes();
            // Only the last line end can be missing.
            let at = at.index(bytes.len() - 1);
            prop_assert!(Status::parse_bytes(&bytes[..at], Limits::default()).is_err());
            bytes[at] = byte;
            if let Ok(status) = Status::parse_bytes(&bytes, Limits::default()) {
                prop_assert_eq!(status.to_xml().into_bytes(), bytes);
            }
        }
    }
}
