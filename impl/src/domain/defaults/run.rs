//! Values that only one run sees, and that its configuration must not get to know: the driver that takes a device of
//! the host, and what a network has given.

use super::record;
use crate::domain::{Class, Domain, tree::NodeId};

/// What is recorded of the run only, and of no guest's hardware.
const OF_THE_RUN: [&str; 1] = ["driver/@name"];

impl Domain {
    /// Leaves open again what nobody chose for longer than a run; what was chosen stays.
    pub(super) fn forget_the_run(&mut self) {
        let keys = self.keys();
        for record in self.automatic() {
            let Some(&device) = keys.get(&record.of) else { continue };
            if OF_THE_RUN.contains(&&*record.what) && self.holds(&record, device) {
                let document = self.document_mut();
                record::take_out(document, device, &record.what);
                record.remove(document);
            }
        }
        let given: Vec<NodeId> = self
            .of(Class::Interface)
            .filter_map(|card| self.document().child(card.node, "actual"))
            .collect();
        given.into_iter().for_each(|given| self.document_mut().remove(given));
    }
}
