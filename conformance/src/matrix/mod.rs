//! A study's own table, beside the matrix of designs and properties that every study has.

mod freeze;
mod pci_root;
mod usb;

pub use self::{
    freeze::FreezeMatrix,
    pci_root::{PciRootMatrix, refusals_table, tally_table},
    usb::{UsbMatrix, claims_table, ends_table, generations_table, grids, rows, verdicts_line},
};

use crate::cli::Format;

/// A table that a study prints with `compare --matrix`.
pub trait Matrix: Sync {
    /// The table, complete.
    fn print(&self, wanted: &Wanted, format: Format) -> anyhow::Result<String>;
}

/// Which cells are wanted.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wanted {
    /// With --matrix: also guests whose daemon was upgraded in place before they move
    #[arg(long, requires = "matrix")]
    pub upgraded: bool,
    /// With --matrix: every QEMU, not only those that make a difference to the thread
    #[arg(long, requires = "matrix")]
    pub all_builds: bool,
    /// With --matrix: only cells with this value; repeat for more
    #[arg(long = "where", requires = "matrix", value_name = "KEY=VALUE", value_parser = condition)]
    pub conditions: Vec<(String, String)>,
}

impl Wanted {
    /// Nothing was chosen.
    fn is_everything(&self) -> bool {
        !self.upgraded && !self.all_builds && self.conditions.is_empty()
    }
}

fn condition(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, as in source=B")?;
    Ok((key.to_owned(), value.to_owned()))
}
