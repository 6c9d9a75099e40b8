//! Other machines, front-ends and transports than the usual ones: the same study, as far as they are alike.

use clap::{Args, ValueEnum};
use statusquo_model::studies::chardev::{
    Study,
    action::Action,
    state::{Kind, State},
};

use super::board::Board;

/// What is built around a study's ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Variants of --system qemu")]
pub struct Variant {
    /// The machine type
    #[arg(long, value_enum, default_value_t)]
    machine: Board,
    /// The device that a chardev is behind
    #[arg(long, value_enum, default_value_t)]
    front_end: FrontEnd,
    /// What the study's backends are
    #[arg(long, value_enum, default_value_t)]
    chardev: Transport,
}

/// The device of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FrontEnd {
    /// A port whose host comes and goes
    #[default]
    Virtserialport,
    /// A console: it keeps its chardev open, and does not hear of the host
    Virtconsole,
}

/// How bytes leave QEMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// Unix sockets, regular files
    #[default]
    Usual,
    /// TCP on loopback for a socket that listens
    Inet,
    /// A named pipe for a file
    Fifo,
}

const CONSOLE: &str =
    "a virtconsole keeps its chardev open whoever is there, and the study's ports do not";
const TCP: &str = "nobody can say how many bytes a TCP connection takes before it is full";

/// A chardev that says by itself that it is open. A null chardev does not, so that a port's guest is never told
/// of a host, and a console's guest is.
fn is_open(kind: Kind) -> bool {
    matches!(kind, Kind::File | Kind::Ring)
}

impl Variant {
    /// The usual one.
    pub fn is_usual(&self) -> bool {
        *self == Variant::default()
    }

    /// The usual one with this machine.
    #[cfg(test)]
    pub(super) fn of(machine: Board) -> Self {
        Variant { machine, ..Variant::default() }
    }

    /// The QEMU that has its machine.
    pub fn binary(&self) -> &'static str {
        self.machine.binary()
    }

    /// As it is said after QEMU's version; nothing for the usual one.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        if self.machine != Board::default() {
            words.push_str(&format!(" {}", self.machine.name()));
        }
        if self.front_end != FrontEnd::Virtserialport {
            words.push_str(" virtconsole");
        }
        words.push_str(match self.chardev {
            Transport::Usual => "",
            Transport::Inet => " inet",
            Transport::Fifo => " fifo",
        });
        words
    }

    pub(super) fn board(&self) -> Board {
        self.machine
    }

    pub(super) fn driver(&self) -> &'static str {
        match self.front_end {
            FrontEnd::Virtserialport => "virtserialport",
            FrontEnd::Virtconsole => "virtconsole",
        }
    }

    pub(super) fn is_inet(&self) -> bool {
        self.chardev == Transport::Inet
    }

    /// A file is a named pipe.
    pub(super) fn is_fifo(&self) -> bool {
        self.chardev == Transport::Fifo
    }

    /// Why nothing of a scope with these backends can be asked of it.
    pub(super) fn does_not_answer(&self, kinds: &[Kind]) -> Option<String> {
        let all = |known: fn(Kind) -> bool| kinds.iter().all(|&kind| known(kind));
        if self.front_end == FrontEnd::Virtconsole && !all(is_open) {
            Some(format!("{CONSOLE}: only files and ring buffers behave alike behind both"))
        } else if self.is_inet() && !all(|kind| kind == Kind::Server) {
            Some(
                "--chardev inet stands for sockets that listen, and the scope has others"
                    .to_owned(),
            )
        } else if self.is_fifo() && !all(|kind| kind == Kind::File) {
            Some("--chardev fifo stands for files, and the scope has others".to_owned())
        } else {
            None
        }
    }

    /// Why a step cannot be asked of it.
    pub(super) fn cannot(&self, _: &Study, state: &State, action: Action) -> Option<&'static str> {
        let of_console = match action {
            Action::Query { .. } => true,
            Action::Change { to, .. } => !is_open(to),
            _ => false,
        };
        if self.front_end == FrontEnd::Virtconsole && of_console {
            return Some(CONSOLE);
        }
        let fills = match action {
            Action::GuestWrite { port } => {
                let port = state.ports[usize::from(port)];
                port.kind() == Kind::Server && port.output() > 0
            }
            _ => false,
        };
        (self.is_inet() && fills).then_some(TCP)
    }
}
