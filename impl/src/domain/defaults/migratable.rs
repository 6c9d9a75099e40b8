//! What is shown to users, and what is sent to other daemons.

use super::usb::MACHINE;
use crate::domain::{Class, Domain, Error, is_user_alias, tree::NodeId};

/// The element that holds what was left out.
const LEFT_OUT: &str = "left-out";

/// On machines that give it at all. A QEMU without it cannot take the guest: its stream has the card.
const FIRST_NET_MODEL: &str = "rtl8139";

impl Domain {
    /// The definition as its user wrote it: `dumpxml --inactive`, and what is kept on disk.
    ///
    /// Values that were chosen automatically are not shown; their records keep them. Read again with
    /// [`Domain::complete`], whatever the reason, the text gives the same hardware. Who removes the records gets the
    /// defaults of today.
    ///
    /// # Errors
    /// When the document cannot grow.
    pub fn to_inactive(&self) -> Result<Self, Error> {
        let mut text = self.clone();
        text.forget_the_run();
        text.hide_automatic()?;
        text.compacted()
    }

    /// The definition as it is sent to another daemon, which may be an old libvirt, or kept in a save image:
    /// `dumpxml --migratable`.
    ///
    /// What an old receiver does not know and adds by itself is left out (`qemuDomainDefFormatBufInternal` with
    /// `VIR_DOMAIN_XML_MIGRATABLE`): the only USB controller, where it is a piix3-uhci of an i440fx machine, whose
    /// place is the same for ever; the only PCI root; the panic device of pseries and s390. So is a controller at slot
    /// 0, which cannot be written, and which the receivers that also start `-usb` have; and the model of a network card
    /// that nobody chose, where it is the first that there was (`qemuDomainDefaultNetModel`). Nothing else is: whatever is
    /// not constant over all receivers is said. What was left out is kept in `<metadata>`, for a receiver of ours.
    ///
    /// # Errors
    /// When the document cannot be edited.
    pub fn to_migratable(&self) -> Result<Self, Error> {
        let mut text = self.clone();
        let out: Vec<NodeId> = [
            self.only_controller("usb")?.filter(|&node| self.is_left_out_usb(node)),
            self.only_controller("pci")?.filter(|&node| self.is_left_out_root(node)),
            self.of(Class::Panic)
                .find(|panic| matches!(&*panic.kind(), "pseries" | "s390"))
                .map(|panic| panic.node),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !out.is_empty() {
            let origin = text.origin_node_made()?;
            let name = format!("{}{LEFT_OUT}", text.prefix(origin));
            let holder = text.document_mut().append_element(origin, &name)?;
            for node in out {
                let document = text.document_mut();
                let xml = document.fragment(node);
                document.append_xml(holder, &xml)?;
                document.remove(node);
            }
        }
        text.hide_first_net_models()?;
        text.compacted()
    }

    /// A network card whose model nobody chose, and that is what every reader has always given.
    fn hide_first_net_models(&mut self) -> Result<(), Error> {
        let keys = self.keys();
        for record in self.automatic() {
            let is_first = record.what == "model/@type" && record.value == FIRST_NET_MODEL;
            if let Some(&device) = keys.get(&record.of).filter(|_| is_first)
                && self.holds(&record, device)
            {
                self.hide(&record, device)?;
            }
        }
        Ok(())
    }

    /// Without what edits left behind.
    fn compacted(&self) -> Result<Self, Error> {
        Self::parse_bytes(self.to_xml().as_bytes(), self.document().limits())
    }

    /// The controller of this type, if there is one only, with index 0, and its user has given it no name.
    fn only_controller(&self, kind: &str) -> Result<Option<NodeId>, Error> {
        let mut all = self.of(Class::Controller).filter(|controller| controller.kind() == kind);
        let (Some(only), None) = (all.next(), all.next()) else { return Ok(None) };
        let named = only.alias().is_some_and(|alias| is_user_alias(&alias));
        Ok((only.index()? == Some(0) && !named).then_some(only.node))
    }

    fn is_left_out_usb(&self, node: NodeId) -> bool {
        let document = self.document();
        let constant = self.machine().is_i440fx() && document.has(node, "@model", "piix3-uhci");
        constant || document.has(node, "address/@type", MACHINE)
    }

    fn is_left_out_root(&self, node: NodeId) -> bool {
        let document = self.document();
        document.has(node, "@model", "pci-root") && document.child(node, "pcihole64").is_none()
    }

    /// Puts back what the sender left out, unless the text has it after all: then somebody has edited it, or has
    /// started another process since.
    pub(super) fn restore_left_out(&mut self) -> Result<(), Error> {
        let Some(origin) = self.origin_node() else { return Ok(()) };
        let name = format!("{}{LEFT_OUT}", self.prefix(origin));
        let document = self.document();
        let holders: Vec<NodeId> =
            document.children(origin).filter(|&node| document.name(node) == name).collect();
        for holder in holders {
            let held: Vec<NodeId> = self.document().children(holder).collect();
            for node in held {
                let document = self.document();
                let is = |name| document.name(node) == name;
                let there = if is("controller") {
                    let kind = document.get(node, "@type").unwrap_or_default().into_owned();
                    self.of(Class::Controller).any(|controller| controller.kind() == kind)
                } else {
                    !is("panic") || self.of(Class::Panic).next().is_some()
                };
                if !there {
                    let xml = self.document().fragment(node);
                    self.add_device(&xml)?;
                }
            }
            self.document_mut().remove(holder);
        }
        Ok(())
    }
}
