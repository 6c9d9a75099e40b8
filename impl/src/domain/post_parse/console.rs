//! Serial ports, and the console that is one of them.

use crate::domain::{
    Class, Device, Domain, Error, Problem, is_user_alias,
    tree::{Document, NodeId},
};

/// Most ISA serial ports: `VIR_MAX_ISA_SERIAL_PORTS`.
const ISA_PORTS: u32 = 4;

impl Domain {
    fn nodes_of(&self, class: Class) -> Vec<NodeId> {
        self.of(class).map(|device| device.node).collect()
    }

    /// Types, models and ports of serial, parallel and console devices: `virDomainChrIsaSerialDefPostParse`,
    /// `qemuDomainChrDefPostParse`, `virDomainChrDefPostParse`.
    pub(super) fn complete_serials(&mut self) -> Result<(), Error> {
        self.assign_isa_ports()?;
        let (default, model) = self.default_serial();
        for node in self.nodes_of(Class::Serial) {
            let document = self.document();
            let kind = document.get(node, "target/@type").unwrap_or_default().into_owned();
            if kind == "isa-debug" && !self.machine().is_x86() {
                let problem = Problem::Unsupported("isa-debug on this architecture".to_owned());
                return Err(document.error(node, problem));
            }
            // `isa-serial` once was every serial port, so it stands for the default.
            let kind = match &*kind {
                "" | "isa-serial" => default,
                _ => &kind,
            };
            let model = match kind {
                "usb-serial" => "usb-serial",
                "pci-serial" => "pci-serial",
                "isa-debug" => "isa-debugcon",
                _ => model,
            };
            self.put_missing(node, "target/@type", kind)?;
            if kind == default && !kind.is_empty() {
                self.put_changed(node, "target/@type", kind)?;
            }
            self.put_missing(node, "target/model/@name", model)?;
        }
        for class in [Class::Parallel, Class::Serial] {
            for node in self.nodes_of(class) {
                if self.document().get(node, "target/@port").is_none() {
                    let mut next = 0;
                    for other in self.nodes_of(class) {
                        let port = self.document().number(other, "target/@port")?;
                        next = next.max(port.map_or(0, |port| port.saturating_add(1)));
                    }
                    self.document_mut().put(node, "target/@port", &next.to_string())?;
                }
            }
        }
        for node in self.nodes_of(Class::Console) {
            self.put_missing(node, "target/@type", "serial")?;
        }
        Ok(())
    }

    /// A console's port is its place, whatever the definition says: `virDomainDefParseXML`.
    pub(super) fn number_consoles(&mut self) -> Result<(), Error> {
        for (place, node) in self.nodes_of(Class::Console).into_iter().enumerate() {
            self.put_changed(node, "target/@port", &place.to_string())?;
        }
        Ok(())
    }

    /// A console that is plugged gets the next port: `virDomainChrDefPostParse`. The others keep theirs, whatever
    /// has been unplugged meanwhile, so that what a dump showed stays true.
    pub(super) fn number_new_consoles(&mut self) -> Result<(), Error> {
        for node in self.nodes_of(Class::Console) {
            if self.document().get(node, "target/@port").is_none() {
                let mut next = 0;
                for other in self.nodes_of(Class::Console) {
                    let port = self.document().number(other, "target/@port")?;
                    next = next.max(port.map_or(0, |port| port.saturating_add(1)));
                }
                self.document_mut().put(node, "target/@port", &next.to_string())?;
            }
        }
        Ok(())
    }

    /// Type and model of a serial port that does not say.
    fn default_serial(&self) -> (&'static str, &'static str) {
        let machine = self.machine();
        if machine.is_x86() {
            ("isa-serial", "isa-serial")
        } else if machine.is_pseries() {
            ("spapr-vio-serial", "spapr-vty")
        } else if machine.is_arm_virt() {
            ("system-serial", "pl011")
        } else if machine.is_riscv_virt() {
            ("system-serial", "16550a")
        } else if machine.is_s390() {
            ("sclp-serial", "sclpconsole")
        } else {
            ("", "")
        }
    }

    fn assign_isa_ports(&mut self) -> Result<(), Error> {
        let is_isa = |device: &Device<'_>| device.kind() == "isa-serial";
        let isa: Vec<NodeId> =
            self.of(Class::Serial).filter(is_isa).map(|device| device.node).collect();
        let mut used = [false; ISA_PORTS as usize];
        for &node in &isa {
            let Some(port) = self.document().number(node, "target/@port")? else { continue };
            match used.get_mut(port as usize) {
                Some(used @ false) => *used = true,
                Some(true) => {
                    let problem = Problem::AddressInUse(format!("ISA serial port {port}"));
                    return Err(self.document().error(node, problem));
                }
                None => return Err(self.document().error(node, Problem::NoAddress("ISA serial"))),
            }
        }
        for &node in &isa {
            if self.document().get(node, "target/@port").is_none() {
                let free = used.iter().position(|used| !used);
                let problem = || self.document().error(node, Problem::NoAddress("ISA serial"));
                let port = free.ok_or_else(problem)?;
                used[port] = true;
                self.document_mut().put(node, "target/@port", &port.to_string())?;
            }
        }
        Ok(())
    }

    /// The first console of a machine is its first serial port: `virDomainDefAddConsoleCompat`.
    ///
    /// One difference is meant: a console that is put before others moves their ports, so that what is written reads
    /// the same again. libvirt 9.0 leaves the ports as they were.
    pub(super) fn pair_console(&mut self) -> Result<(), Error> {
        let consoles = self.nodes_of(Class::Console);
        let is_serial = |document: &Document, node: NodeId| {
            matches!(
                &*document.get(node, "target/@type").unwrap_or_default(),
                "" | "serial" | "none"
            )
        };
        if let Some(&late) = consoles.iter().skip(1).find(|&&node| is_serial(self.document(), node))
        {
            return Err(self.document().error(late, Problem::SerialConsoleNotFirst));
        }
        if self.os_type() != "hvm" {
            return Ok(());
        }
        let serial = self.of(Class::Serial).next().map(|device| device.node);
        match (consoles.first().copied(), serial) {
            (Some(console), None) if is_serial(self.document(), console) => {
                let xml = self.document().fragment(console);
                let serial = self.document_mut().insert_xml(console, &xml)?;
                self.document_mut().rename(serial, "serial")?;
                self.document_mut().remove_attribute(serial, "tty");
                if let Some(target) = self.document().child(serial, "target") {
                    self.document_mut().remove_attribute(target, "type");
                }
                self.document_mut().put(serial, "target/@port", "0")?;
            }
            (first, Some(serial))
                if !first.is_some_and(|console| is_serial(self.document(), console)) =>
            {
                let kind = self.document().get(serial, "target/@type").unwrap_or_default();
                if matches!(&*kind, "pci-serial" | "usb-serial" | "isa-debug") {
                    return Ok(());
                }
                let xml = "<console><target type='serial'/></console>";
                match first {
                    Some(first) => self.document_mut().insert_xml(first, xml)?,
                    None => self.add_device(xml)?,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// A serial port and the console that shows it are one device, so they have one alias.
    ///
    /// A user's alias on the console alone is kept, as that of the serial port. libvirt 9.0 loses it: the console is
    /// printed with the serial port's alias.
    pub(super) fn pair_aliases(&mut self) -> Result<(), Error> {
        let Some(console) = self.of(Class::Console).next() else { return Ok(()) };
        let Some(serial) = self.overlaid_serial(console.node) else { return Ok(()) };
        let (console, serial) = (console.node, serial.node);
        let user_alias = |node| {
            let alias = self.document().get(node, "alias/@name")?;
            is_user_alias(&alias).then(|| alias.into_owned())
        };
        match (user_alias(serial), user_alias(console)) {
            (Some(serial), Some(console_alias)) if serial != console_alias => {
                let problem = Problem::AliasesDiffer { serial, console: console_alias };
                Err(self.document().error(console, problem))
            }
            (None, Some(alias)) => {
                self.document_mut().put(serial, "alias/@name", &alias)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Makes the first console show the first serial port: `virDomainDefFormatInternalSetRootName`, which prints a
    /// relabelled copy of the serial port. What libvirt does not know of stays in either as it is.
    ///
    /// To be called after any change to the serial port.
    pub fn mirror_console(&mut self) -> Result<(), Error> {
        let Some(console) = self.of(Class::Console).next().map(|device| device.node) else {
            return Ok(());
        };
        let Some(serial) = self.overlaid_serial(console) else { return Ok(()) };
        let serial = serial.node;
        self.mirror_attributes(serial, console)?;
        let document = self.document();
        let mut target = Document::parse("<target type='serial'/>")?;
        let port = document.get(serial, "target/@port").unwrap_or("0".into());
        target.set_attribute(target.root(), "port", &port)?;
        let mut target = Some(target.to_xml());
        let mut wanted = Vec::new();
        for node in known(document, serial) {
            match document.is(node, "target") {
                true => wanted.extend(target.take()),
                false => wanted.push(document.fragment(node)),
            }
        }
        wanted.extend(target);
        let there: Vec<NodeId> = known(document, console).collect();
        let mut last = None;
        for (place, xml) in wanted.iter().enumerate() {
            let document = self.document_mut();
            let node = match there.get(place) {
                Some(&node) => {
                    let shown = Document::parse_with(xml, document.limits())?;
                    match document.same(node, &shown, shown.root()) {
                        true => node,
                        false => document.replace_xml(node, xml)?,
                    }
                }
                None => {
                    let next = match last {
                        Some(last) => document.next_element(last),
                        None => document.children(console).next(),
                    };
                    match next {
                        Some(next) => document.insert_xml(next, xml)?,
                        None => document.append_xml(console, xml)?,
                    }
                }
            };
            last = Some(node);
        }
        for &node in there.iter().skip(wanted.len()) {
            self.document_mut().remove(node);
        }
        Ok(())
    }

    fn mirror_attributes(&mut self, serial: NodeId, console: NodeId) -> Result<(), Error> {
        let document = self.document();
        let path = document.get(serial, "source/@path").filter(|_| {
            document.has(serial, "@type", "pty")
                && document.get(serial, "target/@port").is_none_or(|port| port == "0")
        });
        let mut wanted = vec![("type".to_owned(), document.get(serial, "@type"))];
        wanted.push(("tty".to_owned(), path));
        // What the copied elements' names and attributes may need.
        for (name, value) in document.attributes(serial) {
            if name.starts_with("xmlns:") && document.attribute(console, name).is_none() {
                wanted.push((name.to_owned(), Some(value)));
            }
        }
        let wanted: Vec<(String, Option<String>)> =
            wanted.into_iter().map(|(name, value)| (name, value.map(Into::into))).collect();
        for (name, value) in wanted {
            match value {
                Some(value) => self.put_changed(console, &format!("@{name}"), &value)?,
                None => drop(self.document_mut().remove_attribute(console, &name)),
            }
        }
        Ok(())
    }
}

/// The elements of a character device that libvirt prints.
fn known(document: &Document, device: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    let names = ["source", "protocol", "log", "target", "alias", "address", "acpi"];
    let is_known = move |node: &NodeId| names.iter().any(|name| document.is(*node, name));
    document.children(device).filter(is_known)
}

#[cfg(test)]
mod tests {
    use super::super::tests::domain;
    use crate::domain::{Class, Domain};

    /// Class, kind and port of each serial port and console.
    #[track_caller]
    fn check(arch: &str, machine: &str, devices: &str, expected: &str) {
        let domain = domain(arch, machine, devices);
        let of = |class| {
            domain.of(class).map(|device| {
                let port = device.get("target/@port").unwrap_or("-".into());
                format!("{} {} {port}", device.class.element(), device.kind())
            })
        };
        let found: Vec<_> = of(Class::Serial).chain(of(Class::Console)).collect();
        assert_eq!(found.join(", "), expected);
    }

    #[test]
    fn the_first_console_and_the_first_serial_port_are_one() {
        let pc = |devices, expected| check("x86_64", "pc", devices, expected);
        let isa = "serial isa-serial 0, console serial 0";
        pc("", "");
        // C-1: the console makes the serial port, which is number 0.
        pc("<console type='pty'><target port='3'/></console>", isa);
        // C-2 and C-3: both are there.
        pc("<serial type='pty'/><console type='pty'/>", isa);
        pc("<serial type='pty'/><console type='stdio'/>", isa);
        // C-4: the serial port makes the console, before others.
        pc("<serial type='pty'/>", isa);
        pc(
            "<serial type='pty'/><console type='pty'><target type='virtio'/></console>",
            "serial isa-serial 0, console serial 0, console virtio 1",
        );
        // C-5: not for these.
        pc("<serial type='pty'><target type='usb-serial'/></serial>", "serial usb-serial 0");
        pc("<serial type='pty'><target type='pci-serial'/></serial>", "serial pci-serial 0");
        // C-6: no serial port, no serial console.
        pc("<console type='pty'><target type='virtio'/></console>", "console virtio 0");
        check(
            "aarch64",
            "virt",
            "<serial type='pty'/>",
            "serial system-serial 0, console serial 0",
        );
        check(
            "ppc64",
            "pseries",
            "<console type='pty'/>",
            "serial spapr-vio-serial 0, console serial 0",
        );
        check(
            "s390x",
            "s390-ccw-virtio",
            "<console type='pty'/>",
            "serial sclp-serial 0, console serial 0",
        );
    }

    #[test]
    fn ports_are_the_next_free_ones() {
        let serial = "<serial type='null'/>";
        check(
            "x86_64",
            "pc",
            &format!("<serial type='null'><target port='2'/></serial>{serial}"),
            "serial isa-serial 2, serial isa-serial 3, console serial 2",
        );
        let many = format!(
            "<domain><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{}</devices></domain>",
            "<serial type='null'><target type='isa-serial'/></serial>".repeat(5)
        );
        let error = Domain::parse(&many).unwrap().post_parse().unwrap_err();
        assert_eq!(error.problem.to_string(), "no free ISA serial address is left");
    }

    #[test]
    fn only_the_first_console_can_be_serial() {
        let two = "<domain><devices><console/><console><target type='serial'/></console></devices></domain>";
        let error = Domain::parse(two).unwrap().post_parse().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1, column 28, /domain/devices/console[2]: only the first console can be a serial port"
        );
    }

    #[test]
    fn a_pair_has_one_alias() {
        let alias = |name: &str| match name {
            "" => String::new(),
            name => format!("<alias name='ua-{name}'/>"),
        };
        let pair = |serial: &str, console: &str| {
            let (serial, console) = (alias(serial), alias(console));
            format!(
                "<serial type='pty'>{serial}</serial>\n<console type='null'>{console}</console>"
            )
        };
        let aliases = |devices: &str| {
            let mut domain = domain("x86_64", "pc", devices);
            domain.assign_aliases().unwrap();
            let of =
                |class| domain.of(class).filter_map(|it| it.alias()).collect::<Vec<_>>().join(" ");
            assert_eq!(of(Class::Serial), of(Class::Console));
            of(Class::Serial)
        };
        assert_eq!(aliases(&pair("", "")), "serial0");
        assert_eq!(aliases(&pair("a", "")), "ua-a");
        assert_eq!(aliases(&pair("", "a")), "ua-a");
        assert_eq!(aliases(&pair("a", "a")), "ua-a");
        assert_eq!(aliases(&format!("<console type='pty'>{}</console>", alias("a"))), "ua-a");
        let differ = format!(
            "<domain><os><type>hvm</type></os><devices>{}</devices></domain>",
            pair("a", "b")
        );
        let error = Domain::parse(&differ).unwrap().post_parse().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 1, /domain/devices/console: the console shows the serial port `ua-a`, so it cannot be called `ua-b`: give both the same alias, or only one of them"
        );
    }

    /// What libvirt does not know of stays in each of the two, and nothing grows.
    #[test]
    fn what_is_unknown_in_a_console_stays_and_the_second_time_changes_nothing() {
        let consoles = [
            "<console/>",
            "<console type='pty'><x/><x/><!-- c --><target port='7'/><source path='/old'/>text<y z='1'>\n</y></console>",
            "<console>\n  <x>\n    <a/>\n  </x>\n</console><!-- after -->",
            "<console x:own='1' xmlns:x='urn:x'><source xmlns='urn:y'/><alias name='old'/><alias/></console>",
        ];
        let serials = [
            "<serial type='pty'/>",
            "<serial type='pty'><x/><target port='2'/><source path='/dev/pts/1'/><z/></serial>",
            "<serial type='null' xmlns:q='urn:q'><q:mine/><log q:of='1' file='/l'/>\n<target type='usb-serial' port='&apos;/>&lt;'/></serial>",
            "",
        ];
        for (serial, console) in serials.iter().flat_map(|s| consoles.map(|c| (s, c))) {
            for between in ["", "\n", "\n<!-- c -->"] {
                // `domain` checks that the second time changes nothing.
                let mut domain = domain("x86_64", "pc", &format!("{serial}{between}{console}"));
                domain.assign_aliases().unwrap();
                domain.mirror_console().unwrap();
                let once = domain.to_xml();
                domain.mirror_console().unwrap();
                assert_eq!(domain.to_xml(), once);
                let console = domain.of(Class::Console).next().unwrap();
                let serial = domain.of(Class::Serial).next().unwrap();
                assert_eq!(
                    (console.alias(), console.backend()),
                    (serial.alias(), serial.backend())
                );
                assert_eq!(console.get("target/@port"), serial.get("target/@port"));
                assert_eq!(console.get("source/@path"), serial.get("source/@path"));
            }
        }
        let domain = domain("x86_64", "pc", &format!("{}\n{}", serials[1], consoles[1]));
        insta::assert_snapshot!(domain.of(Class::Console).next().unwrap().to_xml(), @r"
        <console type='pty'><x/><x/><!-- c --><target type='serial' port='2'/><source path='/dev/pts/1'/>text<y z='1'>
        </y></console>
        ");
    }

    #[test]
    fn the_console_shows_what_the_serial_port_is() {
        let mut domain = domain(
            "x86_64",
            "pc",
            "  <serial type='pty'>\n    <source path='/dev/pts/3'/>\n  </serial>\n  <console type='stdio'>\n    <x:mine xmlns:x='urn:x'/>\n  </console>",
        );
        domain.assign_aliases().unwrap();
        domain.mirror_console().unwrap();
        let console = domain.of(Class::Console).next().unwrap();
        insta::assert_snapshot!(console.to_xml(), @r"
        <console type='pty' tty='/dev/pts/3'>
            <x:mine xmlns:x='urn:x'/>
            <source path='/dev/pts/3'/>
            <target type='serial' port='0'/>
            <alias name='serial0'/>
          </console>
        ");
    }
}
