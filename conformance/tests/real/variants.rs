//! Other machines, front-ends and transports.

use super::*;

fn replayed(scope: &str, steps: &str, variant: &[&str]) -> Ran {
    let usual = [
        "replay",
        "chardev",
        "--design",
        "qemu-7.2",
        "--system",
        "qemu",
        "--scope",
        scope,
        "--max-steps",
        steps,
    ];
    statusquo(&[&usual[..], variant].concat())
}

#[track_caller]
fn agrees(scope: &str, variant: &[&str], not_driven: Option<&str>) {
    if !qemu_is_here() {
        return;
    }
    let ran = replayed(scope, "200", &[variant, &["--format", "json"]].concat());
    let value = ran.json();
    let suite = &value["replayed"][0];
    assert_eq!((ran.code, &suite["diverge"]), (Some(0), &0.into()), "{value:#}");
    assert!(suite["covered"].as_u64().unwrap() >= 100, "{value:#}");
    let system = suite["system"].as_str().unwrap();
    assert!(system.ends_with(variant[1]), "{system}");
    let note = suite["note"].as_str().unwrap();
    match not_driven {
        Some(why) => assert!(note.starts_with("not driven: ") && note.contains(why), "{note}"),
        None => assert_eq!(note, ""),
    }
}

#[test]
fn q35_does_as_pc_does() {
    agrees("server", &["--machine", "q35"], None);
}

/// pSeries is of another QEMU, which belongs to what is required with the usual one.
fn power_is_here() -> bool {
    or_skip(Real::Qemu, Command::new("qemu-system-ppc64").arg("--version").output()).is_some()
}

#[test]
fn pseries_does_as_pc_does() {
    if power_is_here() {
        agrees("server", &["--machine", "pseries"], None);
    }
}

#[test]
fn a_wrong_design_is_found_out_on_pseries_as_well() {
    if !qemu_is_here() || !power_is_here() {
        return;
    }
    let wrong = ["--system", "qemu", "--machine", "pseries", "--scope", "null", "--max-steps", "9"];
    let ran = statusquo(&[&["replay", "chardev", "--design", "as-labelled"], &wrong[..]].concat());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let diverges = "the same in 1 step (1 run):\n    1  query{port: 0}\n       \
        expected: reply{chardev: {connected: false, frontend_open: true}}\n       \
        observed: reply{chardev: {connected: true, frontend_open: false}}\n";
    assert!(ran.out.contains(diverges), "{ran:?}");
}

#[test]
fn a_binary_of_another_target_is_named() {
    if !qemu_is_here() || !power_is_here() {
        return;
    }
    for (machine, given, has) in [
        ("pseries", "qemu-system-x86_64", "qemu-system-ppc64"),
        ("q35", "qemu-system-ppc64", "qemu-system-x86_64"),
    ] {
        let ran = replayed("null", "1", &["--machine", machine, "--qemu", given]);
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let says = format!("{given} has no machine {machine}; {has} has it");
        assert!(ran.err.contains(&says), "{ran:?}");
    }
}

#[test]
fn a_socket_on_tcp_does_as_one_on_unix_does() {
    agrees("server", &["--chardev", "inet"], Some("how many bytes a TCP connection takes"));
}

#[test]
fn a_named_pipe_takes_what_a_file_takes() {
    agrees("file", &["--chardev", "fifo"], None);
}

#[test]
fn a_virtconsole_without_a_host_does_as_a_port_does() {
    agrees("ring", &["--front-end", "virtconsole"], Some("a virtconsole keeps its chardev open"));
}

#[test]
fn where_a_variant_is_no_match_that_is_said() {
    let ran = statusquo(&["replay", "chardev", "--system", "model", "--machine", "q35"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("go with `--system qemu`"), "{ran:?}");
    let uart = replayed("file", "1", &["--machine", "pseries", "--front-end", "isa-serial"]);
    assert_eq!(uart.code, Some(2), "{uart:?}");
    let known = "invalid value 'isa-serial' for '--front-end <FRONT_END>'\n  \
        [possible values: virtserialport, virtconsole]";
    assert!(uart.err.contains(known), "{uart:?}");
    if !qemu_is_here() {
        return;
    }
    let console = replayed("server", "1", &["--front-end", "virtconsole"]);
    assert_eq!(console.code, Some(3), "{console:?}");
    assert!(
        console.err.contains("only files and ring buffers behave alike behind both"),
        "{console:?}"
    );
    let pipe = replayed("null", "1", &["--chardev", "fifo"]);
    assert!(pipe.err.contains("--chardev fifo stands for files"), "{pipe:?}");
}
