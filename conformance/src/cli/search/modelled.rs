//! Walks over a study's alphabet on the system that its shipped design is of.

use std::{sync::Arc, time::Instant};

use statusquo_model::{family::Role, words::words};

use super::{Search, Walked, keep, searched};
use crate::{
    cli::{Common, Ended, Missing},
    replay::Factory,
    search::Modelled,
    studies::{self, Replayable},
    systems::{libvirt::Programs, qemu::Qemu},
    trace::{Header, Suite, VERSION, write_suite},
};

use anyhow::{Context, bail};

/// No step of a living system takes so long.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) struct Visitor<'a> {
    pub(super) search: &'a Search,
    pub(super) common: &'a Common,
}

impl studies::Visitor for Visitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let Visitor { search, common } = self;
        let Some(shipped) = F::SHIPPED else {
            bail!("the study {} knows of no design that was shipped", F::NAME);
        };
        let design = studies::design::<F>(search.design.as_deref().unwrap_or(shipped))?;
        let qemu = if F::OF_QEMU { Some(Qemu::find(&search.qemu)?) } else { None };
        let scopes = match &search.scope {
            Some(name) => vec![studies::scope::<F>(Some(name))?],
            None => F::scopes().iter().filter(|it| it.role == Role::CheckAndReplay).collect(),
        };
        let mut drivable = Vec::new();
        let mut skipped = Vec::new();
        for scope in scopes {
            let study = F::study(design, scope);
            let factory: Result<Arc<dyn Factory<F::Study>>, String> = match &qemu {
                Some(qemu) => F::qemu(&study, qemu).ok_or("it is not about QEMU".to_owned()),
                None => F::libvirt(&study, Programs::default()),
            };
            // One that cannot even begin, cannot for any walk.
            let begun = factory.and_then(|factory| {
                factory.start().map_err(|why| why.to_string()).map(|_| factory)
            });
            match begun {
                Ok(factory) => {
                    drivable.push((scope, Modelled { study, factory, deadline: DEADLINE }))
                }
                Err(why) => skipped.push(format!("scope {}: {why}", scope.name)),
            }
        }
        let Some((_, first)) = drivable.first() else {
            return Err(Missing(skipped.join("; ")).into());
        };
        skipped.iter().for_each(|why| eprintln!("skipped: {why}"));
        let system = first.factory.name();
        let minutes = search.minutes / drivable.len() as f64;
        let mut walked = Vec::new();
        for (scope, ground) in &drivable {
            let start = Instant::now();
            let found = searched(ground, &search.options(minutes, common), common);
            if let Some(directory) = &search.keep {
                for (number, (moves, end)) in (1..).zip(&found.ends) {
                    let trace = ground.trace(moves);
                    let header = Header {
                        version: VERSION,
                        study: F::NAME.to_owned(),
                        design: design.name.to_owned(),
                        scope: scope.name.to_owned(),
                        criterion: format!("{} at {} of {system}", words(&end.kind), end.on),
                        digest: None,
                        covered: 0,
                        goals: 0,
                        resets: 1,
                        steps: trace.len() as u64,
                        lower_bound: 0,
                    };
                    let mut text = Vec::new();
                    write_suite(&Suite { header, traces: vec![trace] }, &mut text)?;
                    let text = String::from_utf8(text).context("a trace is text")?;
                    let file = format!("{}-seed-{}-{number}.jsonl", scope.name, search.seed);
                    keep(directory, &file, &text)?;
                }
            }
            let minutes = start.elapsed().as_secs_f64() / 60.0;
            walked.push(Walked { scope: Some(scope.name), found, minutes });
        }
        search.show(&system, Some(design.name), &walked, common)
    }
}
