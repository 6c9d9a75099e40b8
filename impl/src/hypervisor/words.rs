//! With which words a process was started: how one is known that has not yet said which it is.

use std::{fs, path::PathBuf};

use super::process::stat_fields;

/// A process's command line and environment, NUL after each word, as `/proc/PID/cmdline` and `environ` show them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// What it was called with, its own name first.
    pub command_line: Vec<u8>,
    /// `NAME=value`.
    pub environment: Vec<u8>,
}

impl Words {
    /// The words of a process, none of one that is over or may not be looked at. `None` says that they are not there
    /// yet: look again.
    ///
    /// Whoever starts a process goes on as soon as it has left the memory of its parent (`exec_mmap` in Linux's
    /// `fs/exec.c`), and only later are its words put where `/proc` finds them (`create_elf_tables` in
    /// `fs/binfmt_elf.c`). In between it looks like a process without any.
    #[must_use]
    pub fn of(process: u32) -> Option<Words> {
        let file = |name: &str| PathBuf::from(format!("/proc/{process}/{name}"));
        let read = |name: &str| fs::read(file(name)).unwrap_or_default();
        let program = || Program::of(&fs::read_to_string(file("stat")).unwrap_or_default());
        let before = program();
        let words = Words { command_line: read("cmdline"), environment: read("environ") };
        // One that is over has no program any more, and a thread of the kernel never had one.
        let is_settled =
            before.is_some() && before == program() || fs::read_link(file("exe")).is_err();
        is_settled.then_some(words)
    }
}

/// What a process runs since its last `exec`.
#[derive(PartialEq, Eq)]
struct Program {
    /// Where its code begins: the last that `exec` sets (`load_elf_binary`), after the words.
    code: u64,
    /// Where its words begin: by chance, so another program's are elsewhere.
    words: u64,
}

impl Program {
    /// By `/proc/PID/stat`, if all of it is there.
    fn of(stat: &str) -> Option<Program> {
        const START_CODE: usize = 23;
        const ARG_START: usize = 45;
        let fields = stat_fields(stat)?;
        let number = |at: usize| fields.get(at)?.parse().ok();
        let program = Program { code: number(START_CODE)?, words: number(ARG_START)? };
        (program.code != 0).then_some(program)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_was_just_started_has_its_words_or_none_yet() {
        for _ in 0..200 {
            let child = Command::new("sleep").arg("60").env("ANY", "of its own").spawn().unwrap();
            // Far more looks than a start takes.
            let words = (0..1_000_000).find_map(|_| Words::of(child.id())).unwrap();
            assert_eq!(words.command_line, b"sleep\x0060\0");
            let environment = String::from_utf8_lossy(&words.environment);
            assert!(
                environment.split('\0').any(|word| word == "ANY=of its own"),
                "{environment:?}"
            );
            end(child);
        }
    }

    #[test]
    fn one_without_an_environment_is_not_waited_for() {
        let child = Command::new("sleep").arg("60").env_clear().spawn().unwrap();
        let words = (0..1_000_000).find_map(|_| Words::of(child.id())).unwrap();
        assert_eq!((&*words.command_line, &*words.environment), (&b"sleep\x0060\0"[..], &b""[..]));
        end(child);
    }

    #[test]
    fn one_that_is_over_has_none() {
        assert_eq!(Words::of(u32::MAX), Some(Words::default()));
        let mut child = Command::new("true").spawn().unwrap();
        while Words::of(child.id()) != Some(Words::default()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_program_is_there_when_its_code_is() {
        let stat = |code: u64, words: u64| {
            format!("7 (a) b) R {}{code} {}{words} 0", "1 ".repeat(22), "2 ".repeat(21))
        };
        let program = Program::of(&stat(5, 6)).unwrap();
        assert_eq!((program.code, program.words), (5, 6));
        assert!(Program::of(&stat(0, 6)).is_none());
        assert!(Program::of("7 (a) R 1").is_none());
        assert!(Program::of("").is_none());
    }
}
