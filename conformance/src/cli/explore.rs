//! `statusquo explore`.

use std::net::SocketAddr;

use clap::Args;
use statusquo_model::second_opinion;

use super::{Common, Ended, Which};
use crate::studies::{self, Replayable, Visitor};

#[derive(Debug, Args)]
pub(super) struct Explore {
    #[command(flatten)]
    which: Which,
    /// The design to explore [default: ours]
    #[arg(long)]
    design: Option<String>,
    /// Where to listen; loopback only
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
}

impl Explore {
    pub(super) fn run(&self, _: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.which.study, ExploreVisitor(self))?
    }
}

struct ExploreVisitor<'a>(&'a Explore);

impl Visitor for ExploreVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let ExploreVisitor(asked) = self;
        let scope = studies::scope::<F>(asked.which.scope.as_deref())?;
        let design = match &asked.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let listen = second_opinion::loopback(asked.listen)?;
        // stateright would panic on a port that is taken; nobody else may take it in between for long.
        drop(std::net::TcpListener::bind(listen).map_err(|error| {
            anyhow::anyhow!(
                "cannot listen on {}: {error}; choose another with --listen",
                asked.listen
            )
        })?);
        eprintln!(
            "{} {}, scope {}: http://{}/ until interrupted",
            F::NAME,
            design.name,
            scope.name,
            asked.listen
        );
        second_opinion::serve(&F::study(design, scope), asked.listen)?;
        Ok(Ended::AsExpected)
    }
}
