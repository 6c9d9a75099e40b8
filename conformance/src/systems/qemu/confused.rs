//! A driver that keeps numbers in the other order than its machine's devices: found out in its first step.

use std::{path::Path, sync::Arc, time::Duration};

use statusquo_model::{
    family::Family,
    studies::chardev::{
        Chardev, Study,
        action::Action::{Cont, DriverInit},
        state::Kind,
    },
};

use super::{Qemu, board::Board, chardev::Replayed, order::Order, variant::Variant};
use crate::{
    replay::{Factory, Fault, System, Verdict, explain, replay_one},
    systems::real::{Real, or_skip},
    trace::played,
};

/// A QEMU whose driver is of this order.
#[derive(Debug)]
struct Confused(Qemu, Order);

impl Factory<Study> for Confused {
    fn name(&self) -> String {
        "a confused driver".to_owned()
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let mut replayed = Replayed::new(&self.0, &[Kind::File], true)?;
        if self.1 != replayed.machine.qtest.order {
            replayed.machine.qtest.order = self.1;
            // Nothing is going to come.
            replayed.patience = Duration::from_millis(50);
        }
        Ok(Box::new(replayed))
    }
}

/// A QEMU with this board, where it is installed.
fn found(board: Board) -> Option<Qemu> {
    or_skip(Real::Qemu, Qemu::find_as(Path::new(board.binary()), Variant::of(board)))
}

/// What comes of the driver's first step.
fn first_step(qemu: Qemu, order: Order) -> String {
    let design = Chardev::designs().iter().find(|one| one.name == "qemu-7.2").unwrap();
    let scope = Chardev::scopes().iter().find(|one| one.name == "file").unwrap();
    let study = Chardev::study(design, scope);
    let trace = played(&study, &[Cont, DriverInit]).unwrap();
    let factory: Arc<dyn Factory<Study>> = Arc::new(Confused(qemu, order));
    match replay_one(&trace, &factory, Duration::from_secs(60)).0 {
        Verdict::Agrees => "agrees".to_owned(),
        Verdict::Diverges(divergence) => explain(&study, &trace, &divergence),
        Verdict::Inconclusive(why) => panic!("{why}"),
    }
}

#[test]
fn a_driver_of_the_other_order_is_not_answered() {
    let diverges = "    1  cont\n    2  driver-init\n       \
         expected: {port0: {announced: true, guest-told: [connected]}, reply: ok}\n       observed: reply ok\n       \
        in the model this step changes driver: no -> yes, port0 guest was told: no -> yes\n       \
        the model answers so to stop here\n";
    for board in [Board::Pc, Board::Pseries] {
        let Some(qemu) = found(board) else { continue };
        let (right, wrong) = match board.order() {
            Order::Little => (Order::Little, Order::Big),
            Order::Big => (Order::Big, Order::Little),
        };
        assert_eq!(first_step(qemu.clone(), right), "agrees", "{board:?}");
        assert_eq!(first_step(qemu, wrong), diverges, "{board:?}");
    }
}
