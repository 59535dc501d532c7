//! What a run takes: the lists of an instance whatever moves meanwhile, and jobs whose parts can be
//! compared from one run to the next.

use std::collections::BTreeSet;
use std::time::Duration;

use roma_archived::lifecycle::Archive;
use roma_sim::{Endpoint, Fault, ListMove, defaults};

use crate::support::world::{Setup, World, name};

/// The assets of a run's parts, in order.
async fn parts(world: &World, snapshot: i64) -> Vec<(BTreeSet<String>, BTreeSet<String>)> {
    let archives: Vec<Archive> =
        world.catalog.archives_of(roma_archived::model::SnapshotId(snapshot)).await.unwrap();
    let scopes = archives.into_iter().map(|archive| archive.scope.unwrap());
    scopes.map(|s| (s.apps.into_iter().collect(), s.tasks.into_iter().collect())).collect()
}

async fn large() -> World {
    let world = World::new(Setup::default()).await;
    world.simulator.world().resize_instance(defaults::INSTANCE_ID, 130, 250);
    world
}

async fn run(world: &mut World) {
    world.export().await;
    world.settle().await;
    // Two runs at one moment could not be told apart.
    world.clock.advance(Duration::from_secs(1));
}

#[tokio::test]
async fn no_asset_is_missed_although_the_lists_move_while_they_are_read() {
    for (endpoint, what) in [
        (Endpoint::Apps, ListMove::Gone(3)),
        (Endpoint::Apps, ListMove::Favourite(120)),
        (Endpoint::Apps, ListMove::New(0)),
        (Endpoint::Tasks, ListMove::Gone(99)),
        (Endpoint::Tasks, ListMove::Favourite(249)),
    ] {
        let mut world = large().await;
        // Before the second page is read.
        world.simulator.world().script(endpoint, Fault::ListMoves(what));
        run(&mut world).await;
        let (apps, tasks): (Vec<_>, Vec<_>) = parts(&world, 1).await.into_iter().unzip();
        let (apps, tasks): (BTreeSet<_>, BTreeSet<_>) =
            (apps.into_iter().flatten().collect(), tasks.into_iter().flatten().collect());
        let (known_apps, known_tasks) = {
            let server = world.simulator.world();
            (server.app_ids(defaults::INSTANCE_ID), server.task_ids(defaults::INSTANCE_ID))
        };
        assert_eq!(apps, known_apps.into_iter().collect(), "{endpoint:?} {what:?}");
        assert_eq!(tasks, known_tasks.into_iter().collect(), "{endpoint:?} {what:?}");
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn a_list_that_never_keeps_still_is_taken_with_all_that_was_seen() {
    let mut world = large().await;
    let what = Fault::ListMoves(ListMove::Favourite(129));
    world.simulator.world().script_always(Endpoint::Apps, what);
    run(&mut world).await;
    assert_eq!(world.column("SELECT state FROM snapshots").await, ["complete"]);
    let pages = world.simulator.world().ledger().count_all(Endpoint::Apps);
    assert!((6..=12).contains(&pages), "{pages}");
    world.check_oracle().await;
}

#[tokio::test]
async fn what_did_not_change_lies_in_the_same_part_as_the_night_before() {
    let mut world = large().await;
    run(&mut world).await;
    let before = parts(&world, 1).await;
    assert_eq!(before.len(), 4);
    {
        let mut server = world.simulator.world();
        server.move_list(defaults::INSTANCE_ID, Endpoint::Apps, ListMove::Gone(0));
        server.move_list(defaults::INSTANCE_ID, Endpoint::Apps, ListMove::New(0));
        server.move_list(defaults::INSTANCE_ID, Endpoint::Apps, ListMove::Favourite(77));
        server.move_list(defaults::INSTANCE_ID, Endpoint::Tasks, ListMove::Favourite(200));
    }
    // Another process, which knows nothing but the catalog.
    let mut world = world.restart().await;
    run(&mut world).await;
    let after = parts(&world, 2).await;
    assert_eq!(after.len(), 4);
    let changed: Vec<usize> = (0..4).filter(|part| before[*part] != after[*part]).collect();
    assert_eq!(changed.len(), 1, "one went, and another took its place");
    let (old, new) = (&before[changed[0]], &after[changed[0]]);
    assert_eq!(old.0.symmetric_difference(&new.0).count(), 2);
    assert_eq!(old.1, new.1);
    assert_eq!(world.archive(1).await.export, name("nightly"));
    world.check_oracle().await;
}
