//! `statusquo doctor`.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Common, Ended, print, print_json};
use crate::{
    report,
    systems::{
        real::{self, REQUIRE, Real},
        version,
    },
};

#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// A real system, tried out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Tried {
    system: &'static str,
    what_for: &'static str,
    /// `None`: it cannot be had.
    version: Option<String>,
    /// Why it cannot be had.
    missing: Option<String>,
    /// `STATUSQUO_REQUIRE` names it.
    required: bool,
}

/// A program that a real system consists of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Found {
    program: &'static str,
    what_for: &'static str,
    /// The first line of `--version` that says something.
    version: Option<String>,
    /// How to get it on Debian.
    install: String,
}

const PROGRAMS: [(&str, &str, &str); 7] = [
    ("qemu-system-x86_64", "qemu, and the guests of libvirt and of our daemon", "qemu-system-x86"),
    ("faketime", "qemu: its time is made to stand still", "faketime"),
    ("setpriv", "qemu and libvirt: nothing that was started stays behind", "util-linux"),
    (
        "qemu-system-ppc64",
        "qemu with --machine pseries, and the pSeries guests of libvirt",
        "qemu-system-ppc",
    ),
    ("virsh", "libvirt", "libvirt-clients libvirt-daemon-driver-qemu"),
    ("/usr/sbin/libvirtd", "libvirt: the hosts that guests migrate between", "libvirt-daemon"),
    ("python3", "the example adapter in Python", "python3"),
];

impl Doctor {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        let required = real::required()?;
        let tried = Real::ALL.map(|real| Tried::out(real, &required));
        let found = PROGRAMS.map(|(program, what_for, package)| Found {
            program,
            what_for,
            version: version(program),
            install: format!("apt-get install {package}"),
        });
        let lacking: Vec<&str> = (tried.iter())
            .filter(|tried| tried.required && tried.version.is_none())
            .map(|tried| tried.system)
            .collect();
        let ended = if lacking.is_empty() { Ended::AsExpected } else { Ended::Incomplete };
        if common.json() {
            print_json(&json!({
                "version": report::VERSION, "systems": tried, "programs": found,
                "exit-code": ended.code(),
            }))?;
            return Ok(ended);
        }
        print(&report::table(&tried.iter().map(Tried::row).collect::<Vec<_>>(), false))?;
        print("")?;
        print(&report::table(&found.iter().map(Found::row).collect::<Vec<_>>(), false))?;
        print("the models and our implementation need none of them")?;
        if !lacking.is_empty() {
            print(&format!("{REQUIRE} asks for what is missing: {}", lacking.join(", ")))?;
        }
        Ok(ended)
    }
}

impl Tried {
    fn out(real: Real, required: &BTreeSet<Real>) -> Self {
        let (version, missing) = match real.find() {
            Ok(version) => (Some(version), None),
            Err(why) => (None, Some(why)),
        };
        let required = required.contains(&real);
        Tried { system: real.name(), what_for: real.what_for(), version, missing, required }
    }

    fn row(&self) -> Vec<String> {
        let state = match (&self.version, &self.missing) {
            (Some(version), _) => format!("here: {version}"),
            (None, why) => format!("missing: {}", why.as_deref().unwrap_or("no reason is known")),
        };
        let required = if self.required { "required; " } else { "" };
        vec![self.system.to_owned(), state, format!("({required}{})", self.what_for)]
    }
}

impl Found {
    fn row(&self) -> Vec<String> {
        let state = match &self.version {
            Some(version) => version.clone(),
            None => format!("missing; on Debian: {}", self.install),
        };
        vec![self.program.to_owned(), state, format!("({})", self.what_for)]
    }
}
