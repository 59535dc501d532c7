//! Assets that vanish between the reading of the lists and their job, or that the configuration
//! names and nobody has: what is left is exported, and what is not is told.

use roma_archived::settings::Selection;
use roma_sim::knobs::{EmptyLists, UnknownIds};
use roma_sim::{Endpoint, Fault, Knobs, ListMove, defaults};

use crate::support::world::{Setup, World};

const INSTANCE: &str = defaults::INSTANCE_ID;

async fn world(unknown_ids: UnknownIds) -> World {
    World::new(Setup { knobs: Knobs { unknown_ids, ..Knobs::default() }, ..Setup::default() }).await
}

/// The one snapshot: its state, its parts, what it was to hold, and how much of it it does not.
async fn snapshot(world: &World) -> String {
    let select = "SELECT concat_ws(' ', state, parts, assets, assets_missing) FROM snapshots";
    world.column(select).await.join(", ")
}

async fn told(world: &World, event: &str) -> Vec<String> {
    world.column(&format!("SELECT detail FROM events WHERE event = '{event}' ORDER BY seq")).await
}

#[tokio::test]
async fn what_vanished_is_dropped_and_the_rest_is_exported_again() {
    for unknown_ids in [UnknownIds::FailJob, UnknownIds::Refuse] {
        let mut world = world(unknown_ids).await;
        let victim = world.simulator.world().task_ids(INSTANCE)[0].clone();
        let all = defaults::APPS + defaults::TASKS;
        // Right after the list was read.
        world.simulator.world().script(Endpoint::Tasks, Fault::ListMoves(ListMove::Gone(0)));
        world.export().await;
        world.settle().await;
        assert_eq!(world.states().await, ["failed", "stored"], "{unknown_ids:?}");
        assert_eq!(snapshot(&world).await, format!("complete 1 {all} 1"));
        let reduced = told(&world, "coverage_reduced").await;
        assert!(reduced.len() == 1 && reduced[0].contains(&victim), "{reduced:?}");
        assert_eq!(world.archive(2).await.scope.unwrap().len(), all - 1);
        let lists = world.simulator.world().ledger().count_all(Endpoint::Tasks);
        assert_eq!(lists, 2, "one look more");
        world.check_oracle().await;
        // The next run knows nothing of it any more.
        world.clock.advance(std::time::Duration::from_secs(1));
        world.export().await;
        world.settle().await;
        let missing = world.column("SELECT assets_missing FROM snapshots ORDER BY id").await;
        assert_eq!(missing, ["1", "0"]);
    }
}

#[tokio::test]
async fn a_job_that_failed_waits_for_a_list_that_cannot_be_read() {
    let mut world = world(UnknownIds::FailJob).await;
    {
        let mut server = world.simulator.world();
        server.script(Endpoint::Tasks, Fault::ListMoves(ListMove::Gone(0)));
        server.script(Endpoint::Tasks, Fault::status(503));
        server.script(Endpoint::Tasks, Fault::CloseBeforeHead { effect: roma_sim::Effect::After });
    }
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["failed", "stored"]);
    let events = world.events(1).await;
    let postponed = events.iter().filter(|event| *event == "poll_postponed").count();
    assert_eq!(postponed, 2, "{events:?}");
    world.check_oracle().await;
}

#[tokio::test]
async fn a_refused_request_waits_for_a_list_that_cannot_be_read() {
    let mut world = world(UnknownIds::Refuse).await;
    {
        let mut server = world.simulator.world();
        server.script(Endpoint::Tasks, Fault::ListMoves(ListMove::Gone(0)));
        server.script(Endpoint::Tasks, Fault::CloseBeforeHead { effect: roma_sim::Effect::After });
    }
    world.export().await;
    world.settle().await;
    // Nobody knows whether the list was read; that the job did not start is certain.
    assert_eq!(world.states().await, ["failed", "stored"]);
    assert!(world.events(1).await.contains(&"request_postponed".to_owned()));
    world.check_oracle().await;
}

#[tokio::test]
async fn a_snapshot_does_without_a_part_of_which_nothing_is_left() {
    let mut world = world(UnknownIds::FailJob).await;
    {
        let mut server = world.simulator.world();
        server.resize_instance(INSTANCE, 0, 101);
        // The greatest id is alone in the second part; it goes after the second page.
        let ids = server.task_ids(INSTANCE);
        let (place, _) = ids.iter().enumerate().max_by_key(|(_, id)| *id).unwrap();
        server.script(Endpoint::Tasks, Fault::Informational { code: 103 });
        server.script(Endpoint::Tasks, Fault::ListMoves(ListMove::Gone(place)));
    }
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored", "failed"]);
    assert_eq!(snapshot(&world).await, "complete 1 101 1");
    assert_eq!(told(&world, "scope_vanished").await.len(), 1);
    world.check_oracle().await;
}

#[tokio::test]
async fn a_job_that_failed_for_another_reason_fails() {
    let mut world = world(UnknownIds::FailJob).await;
    let reasons = Fault::FailedWithReasons { reasons: Vec::new() };
    world.simulator.world().script(Endpoint::Job, reasons);
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["failed"]);
    let all = defaults::APPS + defaults::TASKS;
    assert_eq!(snapshot(&world).await, format!("incomplete 1 {all} 0"));
    assert_eq!(told(&world, "coverage_reduced").await.len(), 0);
    world.check_oracle().await;
}

#[tokio::test]
async fn ids_of_the_configuration_that_nobody_has_are_told_and_left_out() {
    let known = World::new(Setup::default()).await.simulator.world().app_ids(INSTANCE)[0].clone();
    let apps = Selection::Ids(vec!["nobody".to_owned(), known.clone(), known.clone()]);
    let mut world = World::new(Setup { apps: apps.clone(), ..Setup::default() }).await;
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["stored"]);
    let asked = defaults::TASKS + 2;
    assert_eq!(snapshot(&world).await, format!("complete 1 {asked} 1"));
    assert!(told(&world, "coverage_reduced").await[0].contains("nobody"));
    assert_eq!(world.archive(1).await.scope.unwrap().apps, std::slice::from_ref(&known));
    // Whoever may not list applications can still name them, and finds out by the job.
    let mut world = World::new(Setup { apps, ..Setup::default() }).await;
    world.simulator.world().script_always(Endpoint::Apps, Fault::status(403));
    world.export().await;
    world.settle().await;
    assert_eq!(world.states().await, ["failed"]);
    let error = world.archive(1).await.last_error.unwrap();
    assert!(error.contains("nobody"), "{error}");
    world.check_oracle().await;
}

#[tokio::test]
async fn assets_that_roma_counts_and_does_not_show_are_told() {
    let mut world = world(UnknownIds::FailJob).await;
    let body = r#"{"total":9,"size":1,"apps":[{"id":"APP"}]}"#;
    let id = world.simulator.world().app_ids(INSTANCE)[0].clone();
    let page = Fault::Status {
        code: 200,
        error_code: None,
        body: Some(body.replace("APP", &id)),
        retry_after: None,
        content_type: None,
    };
    world.simulator.world().script_always(Endpoint::Apps, page);
    world.export().await;
    world.settle().await;
    let asked = defaults::TASKS + 9;
    assert_eq!(snapshot(&world).await, format!("complete 1 {asked} 8"));
    world.check_oracle().await;
}

#[tokio::test]
async fn an_empty_list_that_is_refused_is_left_out_and_stays_so() {
    let mut world = world(UnknownIds::FailJob).await;
    world.simulator.world().knobs_mut().empty_lists = EmptyLists::Omit;
    world.simulator.world().resize_instance(INSTANCE, 0, 150);
    world.export().await;
    world.settle().await;
    let refused = |world: &World| {
        let server = world.simulator.world();
        server.ledger().count(Endpoint::Export, 400)
    };
    assert_eq!(snapshot(&world).await, "complete 2 150 0");
    assert_eq!(refused(&world), 2);
    world.clock.advance(std::time::Duration::from_secs(1));
    world.export().await;
    world.settle().await;
    assert_eq!(refused(&world), 2, "the form that ROMA takes is known by now");
    assert_eq!(world.states().await.iter().filter(|state| *state == "stored").count(), 4);
    world.check_oracle().await;
}
