//! Who can tell two states apart, and how.
//!
//! States are equivalent when no sequence of actions is observed differently from them: bisimilarity
//! of the Mealy graph, computed by partition refinement. Whether an action is enabled can be observed.

mod difference;
mod digest;
mod refine;
mod transparency;

pub use self::{
    difference::{Difference, difference},
    digest::{Minimal, minimise},
    transparency::{Transparency, transparency},
};
