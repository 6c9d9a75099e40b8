//! Both engines on the same study and scope, each in a process of its own: CPU time, unique states per
//! CPU second and peak memory of the whole process, and their ratios.
//!
//! `cargo run --release -p statusquo-benches --bin peers [-- DESIGN SCOPE]`

use std::{env, fs, process::Command};

use anyhow::{Context, bail};
use stateright::{Checker, Model};
use statusquo_benches::chardev;
use statusquo_model::{
    explore::{Options, explore},
    second_opinion::SecondOpinion,
};

const ROUNDS: usize = 3;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["child", engine, design, scope] => child(engine, design, scope),
        // The tables of both engines double at other sizes, so one size alone would flatter one of them.
        [] => ["no-replay", "qemu-7.2"].iter().try_for_each(|design| parent(design, "million")),
        [design, scope] => parent(design, scope),
        _ => bail!("usage: peers [DESIGN SCOPE]"),
    }
}

/// What one process used.
#[derive(Clone, Copy)]
struct Used {
    states: u64,
    cpu_s: f64,
    peak_kib: u64,
}

fn parent(design: &str, scope: &str) -> anyhow::Result<()> {
    chardev(design, scope)
        .with_context(|| format!("no chardev design `{design}` or scope `{scope}`"))?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        // Interleaved, so that a noisy neighbour disturbs both.
        rounds.push((run("ours", design, scope)?, run("stateright", design, scope)?));
    }
    let median = |figure: fn(&Used) -> f64, of: fn(&(Used, Used)) -> &Used| {
        let mut all: Vec<f64> = rounds.iter().map(|round| figure(of(round))).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!(
        "chardev {design}, scope {scope}, one thread each, medians of {ROUNDS} interleaved runs"
    );
    println!(
        "{:<12} {:>10} {:>8} {:>16} {:>10} {:>8}",
        "engine", "states", "CPU s", "states / CPU s", "peak MiB", "B/state"
    );
    let mut lines = Vec::new();
    for (name, of) in [
        ("ours", (|round| &round.0) as fn(&(Used, Used)) -> &Used),
        ("stateright", |round| &round.1),
    ] {
        let states = median(|used| used.states as f64, of);
        let cpu = median(|used| used.cpu_s, of);
        let peak = median(|used| used.peak_kib as f64, of);
        println!(
            "{name:<12} {states:>10.0} {cpu:>8.2} {:>16.0} {:>10.1} {:>8.0}",
            states / cpu,
            peak / 1024.0,
            peak * 1024.0 / states
        );
        lines.push((states, cpu, peak));
    }
    let [(ours, our_cpu, our_peak), (theirs, their_cpu, their_peak)] = lines[..] else {
        bail!("two engines were run");
    };
    if ours != theirs {
        bail!("the engines disagree: {ours} and {theirs} states");
    }
    println!(
        "ratio: {:.1} times the states per CPU second, {:.2} of the peak memory",
        their_cpu / our_cpu,
        our_peak / their_peak
    );
    Ok(())
}

fn run(engine: &str, design: &str, scope: &str) -> anyhow::Result<Used> {
    let output =
        Command::new(env::current_exe()?).args(["child", engine, design, scope]).output()?;
    if !output.status.success() {
        bail!("{engine}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout)?;
    let mut fields = text.split_whitespace();
    let mut next = || fields.next().context("a figure is missing");
    Ok(Used { states: next()?.parse()?, cpu_s: next()?.parse()?, peak_kib: next()?.parse()? })
}

fn child(engine: &str, design: &str, scope: &str) -> anyhow::Result<()> {
    let study = chardev(design, scope).context("no such design or scope")?;
    let states = match engine {
        "ours" => explore(&study, &Options::default())?.len(),
        // Neither judges any property.
        _ => SecondOpinion::new(&study)
            .only_counting()
            .checker()
            .spawn_bfs()
            .join()
            .unique_state_count(),
    };
    println!("{states} {} {}", cpu_seconds()?, peak_kib()?);
    Ok(())
}

/// User and system time of this process.
fn cpu_seconds() -> anyhow::Result<f64> {
    // Fields 14 and 15 after the command's name, in ticks of 10 ms.
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

fn peak_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
