use statusquo_model::{check::*, explore::*, family::*, studies::chardev::Chardev, words::words};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    for design in Chardev::designs() {
        if args.len() > 2 && !args[2].split(',').any(|d| d == design.name) {
            continue;
        }
        for scope in Chardev::scopes() {
            if !args[1].split(',').any(|s| s == scope.name) {
                continue;
            }
            let start = std::time::Instant::now();
            let study = Chardev::study(design, scope);
            let options = Options { threads: all_threads(), ..Options::default() };
            let report = check(&study, &options, |_| true).unwrap();
            println!(
                "== {} {} states {} transitions {} depth {} {:?}",
                design.name,
                scope.name,
                report.exploration.len(),
                report.exploration.transitions(),
                report.exploration.depth(),
                start.elapsed()
            );
            println!(
                "   dead {} {:?}",
                report.dead_actions.iter().map(words).collect::<Vec<_>>().join(" "),
                report.dead_outcomes
            );
            for a in &report.answers {
                println!("   {:60} {} (asked {})", a.property, a.verdict, a.asked);
                if args.len() > 3
                    && let Verdict::Violated(c) = &a.verdict
                {
                    for s in &c.path {
                        println!("        {} -> {}", words(&s.action), words(&s.outcome));
                    }
                    match &c.fault {
                        Fault::Noticed { disruption, tell } => {
                            println!(
                                "      ! {} -> {}",
                                words(&disruption.action),
                                words(&disruption.outcome)
                            );
                            for t in tell {
                                println!(
                                    "        {} -> {:?} || {:?}",
                                    words(&t.action),
                                    t.disturbed.as_ref().map(words),
                                    t.undisturbed.as_ref().map(words)
                                );
                            }
                        }
                        Fault::Cycle(c) => {
                            for s in c {
                                println!("      @ {} -> {}", words(&s.action), words(&s.outcome));
                            }
                        }
                        f => println!("      {f:?}"),
                    }
                }
            }
        }
    }
}
