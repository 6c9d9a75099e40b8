//! The real systems: which of them are here, and which somebody insists on.

use std::{collections::BTreeSet, fmt::Display, path::Path};

use statusquo_model::catalogue::{self, UnknownName};

use super::{
    libvirt::Programs,
    qemu::{DEFAULT_BINARY, Qemu},
};

/// Names systems that must be here, separated by commas: without one of them, nothing is said to be as
/// expected. What is not named is skipped where it is missing, and said to be.
pub const REQUIRE: &str = "STATUSQUO_REQUIRE";

/// A system that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Real {
    /// The emulator by itself.
    Qemu,
    /// libvirt with its QEMU driver, and the emulator.
    Libvirt,
    /// What the example adapter is written in.
    Python,
}

impl Real {
    /// Every one.
    pub const ALL: [Real; 3] = [Real::Qemu, Real::Libvirt, Real::Python];

    /// The name on the command line and in [`REQUIRE`].
    pub fn name(self) -> &'static str {
        match self {
            Real::Qemu => "qemu",
            Real::Libvirt => "libvirt",
            Real::Python => "python3",
        }
    }

    /// What is done with it.
    pub fn what_for(self) -> &'static str {
        match self {
            Real::Qemu => "replay --system qemu",
            Real::Libvirt => "replay --system libvirt, findings --against libvirt",
            Real::Python => "the tests of the example adapter in Python",
        }
    }

    /// Tries it out: its version.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn find(self) -> Result<String, String> {
        match self {
            Real::Qemu => match Qemu::find(Path::new(DEFAULT_BINARY)) {
                Ok(qemu) => Ok(qemu.version().to_owned()),
                Err(missing) => Err(missing.to_string()),
            },
            Real::Libvirt => Programs::default().version(),
            Real::Python => super::version("python3").ok_or_else(|| {
                "python3 is not here; on Debian: apt-get install python3".to_owned()
            }),
        }
    }
}

/// The systems that [`REQUIRE`] names.
///
/// # Errors
/// When it names one that there is not.
pub fn required() -> Result<BTreeSet<Real>, UnknownName> {
    parse(&std::env::var(REQUIRE).unwrap_or_default())
}

fn parse(names: &str) -> Result<BTreeSet<Real>, UnknownName> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let real = |name: &str| {
        let found = Real::ALL.into_iter().find(|real| real.name() == name);
        found.ok_or_else(|| catalogue::unknown("system", name, Real::ALL.map(Real::name)))
    };
    names.map(real).collect()
}

/// Is it here? A test that needs it ends early where not.
///
/// # Panics
/// As [`or_skip`].
pub fn is_here(real: Real) -> bool {
    or_skip(real, real.find()).is_some()
}

/// What was found of it, or a word that a test is skipped.
///
/// # Panics
/// When it is required and not here: a test that was to look at it must not pass.
pub fn or_skip<T>(real: Real, found: Result<T, impl Display>) -> Option<T> {
    found
        .map_err(|why| {
            let required = required().unwrap_or_else(|unknown| panic!("{REQUIRE}: {unknown}"));
            assert!(!required.contains(&real), "{REQUIRE} asks for {}: {why}", real.name());
            eprintln!("skipped, because {} is not here: {why}", real.name());
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_known() {
        assert_eq!(parse("").unwrap(), BTreeSet::new());
        assert_eq!(
            parse("libvirt, qemu,").unwrap(),
            [Real::Qemu, Real::Libvirt].into_iter().collect()
        );
        assert_eq!(
            parse("qemuu").unwrap_err().to_string(),
            "no system is named `qemuu`; did you mean `qemu`?"
        );
    }
}
