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
