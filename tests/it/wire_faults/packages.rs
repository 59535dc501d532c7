//! Odd packages: cut by a length that was too short, encoded, too large, oddly named, offered
//! twice, gone in a way of its own. What arrived is kept and marked, and nothing that is still
//! there is given up.

use std::time::Duration;

use roma_sim::knobs::{ConsumePoint, Encoding, SpentJob};
use roma_sim::{ContentSpec, CreatedJob, Endpoint, Fault, JobReason, JobState, Knobs, defaults};

use crate::support::world::{Setup, World};

const DAY: Duration = Duration::from_hours(24);
/// More than the sockets hold: a client that goes away in time has left the last byte with the
/// server.
const LARGE: ContentSpec = ContentSpec::Random { bytes: 20_000_000 };

/// A server that deletes the package as soon as it is asked for.
fn hasty() -> Knobs {
    Knobs { consume_point: ConsumePoint::Request, ..Knobs::default() }
}

async fn world_of(knobs: Knobs) -> World {
    World::new(Setup { knobs, ..Setup::default() }).await
}

/// Adopts a job with this package.
async fn watch(world: &mut World, content: ContentSpec) -> CreatedJob {
    let job = world.job(JobState::Ready, content);
    world.watch(&job.job_id).await;
    job
}

/// A field of what was recorded when the download ended.
async fn remark(world: &World, field: &str) -> String {
    let select = format!(
        "SELECT json_extract(detail, '$.{field}') FROM events WHERE event = 'download_finished'"
    );
    world.column(&select).await.remove(0)
}

/// The transfer is whole by its own account, and the content is a beginning: it may be the only
/// copy, so it is kept; and it is not taken for what it begins like.
#[tokio::test]
async fn a_package_cut_by_a_short_length_is_kept_and_marked() {
    for (content, begins_like) in [
        (ContentSpec::Zip { bytes: 50_000 }, "zip"),
        (ContentSpec::Assets, "zip"),
        (ContentSpec::Json { bytes: 50_000 }, "JSON"),
        (ContentSpec::Random { bytes: 50_000 }, ""),
    ] {
        let mut world = world_of(hasty()).await;
        world.simulator.world().script(Endpoint::Download, Fault::ShorterLength { less: 30 });
        let job = watch(&mut world, content.clone()).await;
        world.settle().await;
        let package = job.package_id.unwrap();
        assert_eq!(world.states().await, ["stored"], "{content:?}");
        assert_eq!(world.column("SELECT format FROM archives").await, ["other"], "{content:?}");
        let flaw = remark(&world, "flaw").await;
        match begins_like {
            "" => assert_eq!(flaw, "null", "{content:?}"),
            like => assert!(flaw.contains(like) && flaw.contains("does not end"), "{flaw}"),
        }
        let record = world.simulator.world().ledger().package(&package).unwrap().clone();
        assert_eq!(record.gets.len(), 1);
        let kept = world.column("SELECT raw_bytes FROM archives").await;
        assert_eq!(kept, [(record.bytes() - 30).to_string()]);
    }
}

/// A whole package has no remarks, so that a remark means something.
#[tokio::test]
async fn a_whole_package_is_not_marked() {
    for content in [
        ContentSpec::Assets,
        ContentSpec::Zip { bytes: 50_000 },
        ContentSpec::Json { bytes: 50_000 },
        ContentSpec::Raw(b"neither".to_vec()),
    ] {
        let mut world = world_of(Knobs::default()).await;
        watch(&mut world, content.clone()).await;
        world.settle().await;
        for field in ["flaw", "encoding", "media_type"] {
            assert_eq!(remark(&world, field).await, "null", "{content:?} {field}");
        }
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn how_a_package_is_encoded_is_recorded() {
    for (encoding, word) in [(Encoding::Gzip, "gzip"), (Encoding::Deflate, "deflate")] {
        let knobs = Knobs {
            download_encoding: encoding,
            download_content_type: Some("text/html; charset=UTF-8".to_owned()),
            ..hasty()
        };
        let mut world = world_of(knobs).await;
        let job = watch(&mut world, ContentSpec::Zip { bytes: 50_000 }).await;
        world.settle().await;
        assert_eq!(world.states().await, ["stored"]);
        assert_eq!(remark(&world, "encoding").await, word);
        assert_eq!(remark(&world, "media_type").await, "text/html; charset=UTF-8");
        assert_eq!(world.column("SELECT format FROM archives").await, ["other"]);
        assert_eq!(world.simulator.world().ledger().gets(&job.package_id.unwrap()).len(), 1);
        // As it came, so that it can be undone.
        let held = world.archive(1).await.state.holding().unwrap().clone();
        let mut kept = Vec::new();
        world.vault.extract(&held.file, held.raw, &mut kept).unwrap();
        let magic: &[u8] = if word == "gzip" { b"\x1f\x8b" } else { b"\x78" };
        assert!(kept.starts_with(magic), "{:?}", &kept[..4]);
    }
}

/// A refusal that comes encoded, or behind a byte-order mark, is one all the same: taken for the
/// package it would hide a loss.
#[tokio::test]
async fn a_refusal_is_not_stored_however_it_is_dressed() {
    const REFUSAL: &str = r#"{"error_code":"ROMA.0011","error_msg":"does not exist"}"#;
    for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Deflate] {
        for body in [REFUSAL.to_owned(), format!("\u{feff}{REFUSAL}"), String::new()] {
            let mut world = world_of(Knobs { download_encoding: encoding, ..hasty() }).await;
            watch(&mut world, ContentSpec::Raw(body.clone().into_bytes())).await;
            world.settle().await;
            assert_eq!(world.states().await, ["lost"], "{encoding:?} {body:?}");
        }
    }
}

/// Announced or not, a package that is larger than allowed waits for the limit to be raised, for a
/// week at least, and is not moved again and again meanwhile.
#[tokio::test]
async fn a_package_that_is_too_large_waits_for_a_person() {
    for endless in [false, true] {
        let mut setup = Setup::default();
        setup.limits.max_package_bytes = 100_000;
        let mut world = World::new(setup).await;
        if endless {
            world.simulator.world().script_always(Endpoint::Download, Fault::EndlessBody);
        }
        let job = watch(&mut world, LARGE).await;
        world.live_through(6 * DAY).await;
        assert_eq!(world.states().await, ["running"], "{endless}");
        let error = world.archive(1).await.last_error.unwrap();
        let least = if endless { "at least " } else { "20000000 bytes" };
        for part in ["limits.max_package_size", "100000", least] {
            assert!(error.contains(part), "{error}");
        }
        let package = job.package_id.unwrap();
        let gets = world.simulator.world().ledger().gets(&package).len();
        assert!((100..=150).contains(&gets), "{gets} in six days");
        world.simulator.world().clear_faults();
        world.setup.limits.max_package_bytes = 20_000_000;
        let mut world = world.restart().await;
        world.settle().await;
        assert_eq!(world.states().await, ["stored"], "{endless}");
        world.check_oracle().await;
    }
}

#[tokio::test]
async fn a_package_that_stays_too_large_is_a_loss_in_the_end() {
    let mut setup = Setup::default();
    setup.limits.max_package_bytes = 100_000;
    let mut world = World::new(setup).await;
    watch(&mut world, LARGE).await;
    let start = world.now();
    world.settle().await;
    assert_eq!(world.states().await, ["lost"]);
    assert!(world.now().since(start) >= 7 * DAY);
    let error = world.archive(1).await.last_error.unwrap();
    assert!(error.contains("limits.max_package_size"), "{error}");
    // And at once when ROMA says that asking has consumed it.
    let mut setup = Setup { knobs: hasty(), ..Setup::default() };
    setup.limits.max_package_bytes = 100_000;
    let mut world = World::new(setup).await;
    watch(&mut world, LARGE).await;
    world.live_through(Duration::from_hours(1)).await;
    assert_eq!(world.states().await, ["lost"]);
}

/// The package is asked for under exactly the id that ROMA gave, once, at its instance.
#[tokio::test]
async fn odd_ids_name_what_they_name_and_nothing_else() {
    let long = "x".repeat(128);
    for id in [
        "../../../../v3/auth/tokens",
        "..%2f..%2f",
        "%2e%2e",
        "%",
        "%00",
        "a/b",
        "a\\..\\b",
        "a\0b",
        "\0",
        ".\t.",
        "\t",
        "a\r\nHost: elsewhere\r\n\r\n",
        "a?b=c#d",
        "//elsewhere/",
        "@elsewhere",
        "http://127.0.0.1:9/",
        " ",
        "...",
        "数据包-ü-\u{202e}\u{1f4e6}",
        &long,
    ] {
        let mut world = world_of(hasty()).await;
        let odd = Fault::OddPackageId { id: id.to_owned() };
        world.simulator.world().script(Endpoint::Job, odd);
        world.export().await;
        world.settle().await;
        assert_eq!(world.states().await, ["stored"], "{id:?}");
        {
            let server = world.simulator.world();
            assert_eq!(server.ledger().gets(id).len(), 1, "{id:?}");
            let below = format!(
                "/v2/{}/instances/{}/assets/archives/",
                defaults::PROJECT_ID,
                defaults::INSTANCE_ID
            );
            let mut paths = server.ledger().requests().map(|request| &request.path);
            assert!(paths.any(|path| path.starts_with(&below)), "{id:?}");
            let known = server.ledger().requests().all(|request| request.endpoint.is_some());
            assert!(known, "{id:?}: something else was asked for");
        }
        world.check_oracle().await;
    }
}

/// Two ids that no address can hold, and one that no gateway takes: out of reach for ever.
#[tokio::test]
async fn an_id_that_no_address_can_hold_is_a_loss() {
    for id in [".", "..", &"x".repeat(40_000)] {
        let mut world = world_of(Knobs::default()).await;
        let odd = Fault::OddPackageId { id: id.to_owned() };
        world.simulator.world().script(Endpoint::Job, odd);
        world.export().await;
        world.settle().await;
        assert_eq!(world.states().await, ["lost", "stored"], "{}", id.len());
        assert_eq!(world.simulator.world().ledger().gets(id).len(), 0);
        world.check_oracle().await;
    }
}

/// Both jobs are looked at in the same moment.
#[tokio::test]
async fn a_package_that_many_jobs_offer_is_fetched_once() {
    let mut world = world_of(Knobs::default()).await;
    let first = world.job(JobState::Ready, ContentSpec::Assets);
    let package_id = first.package_id.clone().unwrap();
    world.watch(&first.job_id).await;
    for _ in 0..7 {
        let other = world.job(JobState::Ready, ContentSpec::Assets);
        let same = Fault::SamePackageIdAsOtherJob { package_id: package_id.clone() };
        world.simulator.world().script_for(Endpoint::Job, &other.job_id, same);
        world.watch(&other.job_id).await;
    }
    world.settle().await;
    let states = world.states().await;
    assert_eq!(states.iter().filter(|state| *state == "stored").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| *state == "failed").count(), 7, "{states:?}");
    assert_eq!(world.simulator.world().ledger().gets(&package_id).len(), 1);
    world.check_oracle().await;
}

/// A job that offered its package and then says that it failed has lost it: the scope is exported
/// again, as for every other way to say so.
#[tokio::test]
async fn every_way_in_which_a_job_says_that_its_package_is_gone_is_made_good() {
    for spent in [
        SpentJob::KeepsId,
        SpentJob::FinishedWithoutId,
        SpentJob::SuccessWithoutId,
        SpentJob::NotFound,
        SpentJob::Failed,
    ] {
        let mut world = world_of(Knobs { consumed_job: Some(spent), ..hasty() }).await;
        world.simulator.world().script(Endpoint::Download, Fault::CutBody { bytes: 100 });
        world.export().await;
        world.settle().await;
        assert_eq!(world.states().await, ["lost", "stored"], "{spent:?}");
        assert_eq!(world.archive(2).await.replaces.map(|id| id.0), Some(1));
        let world = world.restart().await;
        world.check_oracle().await;
    }
}

/// With status 200 as well as with any other.
#[tokio::test]
async fn what_a_server_repeats_is_not_recorded() {
    let echo = |code, body: String| Fault::Status {
        code,
        error_code: None,
        body: Some(body),
        retry_after: None,
        content_type: Some(format!("text/x-{}", defaults::TOKEN)),
    };
    let reason = JobReason {
        resource_type: None,
        resource_name: None,
        error_code: None,
        error_msg: Some(format!("you sent {}", defaults::TOKEN)),
    };
    let plain = defaults::TOKEN;
    let escaped: Vec<_> = plain.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let escaped = escaped.concat();
    for (endpoint, fault) in [
        (Endpoint::Job, Fault::FailedWithReasons { reasons: vec![reason] }),
        (Endpoint::Job, echo(200, format!(r#"{{"status":"FAILED","reason":"{escaped}"}}"#))),
        (Endpoint::Job, echo(404, format!(r#"{{"error_msg":"{escaped}"}}"#))),
        (Endpoint::Download, echo(200, format!(r#"{{"error_msg":"{plain}"}}"#))),
        (Endpoint::Download, echo(200, format!("some text, not {}", "x".repeat(10)))),
        (Endpoint::Export, echo(200, format!("<p>{plain}"))),
        (Endpoint::Apps, echo(200, format!(r#"{{"error_code":"X.1","error_msg":"{plain}"}}"#))),
    ] {
        let mut world = world_of(Knobs::default()).await;
        world.simulator.world().script(endpoint, fault.clone());
        world.export().await;
        world.settle().await;
        let told = world.column("SELECT detail FROM events").await.concat();
        assert!(!told.contains(plain) && !told.contains(&escaped), "{fault:?}: {told}");
        let world = world.restart().await;
        drop(world);
    }
}
