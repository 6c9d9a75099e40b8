//! Workloads that the benches share.

use statusquo_model::{
    family::{Design, Family, Scope},
    studies::chardev::{Chardev, Study},
};

/// The chardev study of one design at one scope, both by name.
///
/// ```
/// assert!(statusquo_benches::chardev("ours", "server").is_some());
/// assert!(statusquo_benches::chardev("ours", "nowhere").is_none());
/// ```
pub fn chardev(design: &str, scope: &str) -> Option<Study> {
    let design: &Design = Chardev::designs().iter().find(|known| known.name == design)?;
    let scope: &Scope = Chardev::scopes().iter().find(|known| known.name == scope)?;
    Some(Chardev::study(design, scope))
}
