//! Joins two real endpoints through two chardevs and prints who comes and goes.
//!
//! ```text
//! cargo run -p statusquo-vmm --example bridge -- pty unix:/tmp/console.sock
//! ```
//!
//! Each end is `pty`, `unix:PATH` (listens), `unix-client:PATH`, `tcp:127.0.0.1:PORT` (listens) or
//! `tcp-client:127.0.0.1:PORT`. Ends with Ctrl-C; socket files go with it.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use statusquo_vmm::chardev::{Config, Event, Machine, frontend::Guest};

const USAGE: &str = "usage: bridge END END
  END: pty | unix:PATH | unix-client:PATH | tcp:127.0.0.1:PORT | tcp-client:127.0.0.1:PORT
Bytes from one end go to the other; who connects and leaves is printed. Ctrl-C ends it.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "-h" || arg == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let ends: Result<Vec<Config>, String> = args.iter().map(|arg| parse(arg)).collect();
    let result = match ends.as_deref() {
        Ok([one, other]) => {
            bridge([one.clone(), other.clone()]).map_err(|error| chain(error.as_ref()))
        }
        Ok(_) => Err(USAGE.to_owned()),
        Err(error) => Err(error.clone()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn parse(end: &str) -> Result<Config, String> {
    let address = |text: &str| {
        text.parse().map_err(|_| format!("`{text}` is no address, such as 127.0.0.1:7000"))
    };
    match end.split_once(':') {
        None if end == "pty" => Ok(Config::Pty),
        Some(("unix", path)) => Ok(Config::UnixServer { path: path.into(), send_buffer: None }),
        Some(("unix-client", path)) => {
            Ok(Config::UnixClient { path: path.into(), send_buffer: None })
        }
        Some(("tcp", text)) => Ok(Config::TcpServer { address: address(text)? }),
        Some(("tcp-client", text)) => Ok(Config::TcpClient { address: address(text)? }),
        _ => Err(format!("`{end}` is no end\n{USAGE}")),
    }
}

/// The guest between the two ports writes at one what it receives at the other.
fn bridge(ends: [Config; 2]) -> Result<(), Box<dyn std::error::Error>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let mut machine = Machine::new();
    for (port, config) in (1..).zip(ends) {
        let id = format!("end{port}");
        machine.add_chardev(&id, config)?;
        machine.plug(port, &format!("org.example.{port}"), &id)?;
        if let Some(address) = machine.address(&id) {
            println!("{id}: {address}");
        }
    }
    let mut guest = Guest::default();
    machine.cont();
    guest.start_driver();
    machine.turn(&mut guest, Some(Duration::ZERO))?;
    guest.open(1);
    guest.open(2);
    while !interrupted.load(Ordering::Relaxed) {
        for (from, to) in [(1, 2), (2, 1)] {
            for bytes in guest.received(from) {
                guest.write(to, bytes);
            }
            // One element under way in each direction: the slower end holds the faster one back.
            let rings = guest.memory.ports.get(&to);
            let waits = rings.is_some_and(|rings| !rings.transmit.is_empty());
            let posted =
                guest.memory.ports.get(&from).is_some_and(|rings| !rings.posted.is_empty());
            if !waits && !posted {
                guest.post(from, 4096);
            }
        }
        machine.turn(&mut guest, Some(Duration::from_millis(200)))?;
        for event in machine.events() {
            match event {
                Event::Host { chardev, connected } => {
                    let label = machine.query(&chardev)?.label;
                    println!(
                        "{chardev}: {} ({label})",
                        if connected { "connected" } else { "disconnected" }
                    );
                }
                Event::Guest { port, open } => {
                    println!(
                        "end{port}: the guest has it {}",
                        if open { "open" } else { "closed" }
                    );
                }
            }
        }
    }
    Ok(())
}
