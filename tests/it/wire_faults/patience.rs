//! `Retry-After`: honoured within reason, and a date by the server's own clock.

use std::time::Duration;

use jiff::tz::TimeZone;
use roma_archived::model::Timestamp;
use roma_sim::{ContentSpec, Endpoint, Fault, JobState, Knobs};

use crate::support::world::{Setup, World};

/// As `Retry-After` and `Date` write it.
fn http_date(moment: Timestamp) -> String {
    moment.to_jiff().to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// How long the call waits after a 429 with this wish, by a server whose clock is off.
async fn wait(endpoint: Endpoint, wish: impl Fn(Timestamp) -> String, hours_off: i64) -> Duration {
    let date_offset_ms = hours_off * 3_600_000;
    let knobs = Knobs { date_offset_ms, ..Knobs::default() };
    let mut world = World::new(Setup { knobs, ..Setup::default() }).await;
    let server = Timestamp::from_millis(world.now().as_millis() + date_offset_ms);
    let throttle = Fault::Throttle { retry_after: Some(wish(server)) };
    world.simulator.world().script_always(endpoint, throttle);
    let id = if endpoint == Endpoint::Export {
        world.export().await;
        1
    } else {
        let job = world.job(JobState::Ready, ContentSpec::Assets);
        world.watch(&job.job_id).await.0
    };
    world.run_due().await;
    let archive = world.archive(id).await;
    assert!(archive.last_error.is_some());
    archive.not_before.since(world.now())
}

#[tokio::test]
async fn a_wish_is_honoured_within_an_hour() {
    const HOUR: u64 = 3_600;
    // Our own first backoff is a second at most.
    let texts = [
        ("120", 120..=120),
        (" 120 ", 120..=120),
        ("0", 0..=1),
        ("3600", HOUR..=HOUR),
        ("3601", HOUR..=HOUR),
        ("1000000000000000000", HOUR..=HOUR),
        ("999999999999999999999999999999", HOUR..=HOUR),
        ("-5", 0..=1),
        ("+5", 0..=1),
        ("1e9", 0..=1),
        ("0x10", 0..=1),
        ("soon", 0..=1),
        ("", 0..=1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", HOUR..=HOUR),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0..=1),
        ("Fri, 31 Feb 2027 00:00:00 GMT", 0..=1),
    ];
    for endpoint in [Endpoint::Export, Endpoint::Job, Endpoint::Download] {
        for (text, seconds) in texts.clone() {
            let wait = wait(endpoint, |_| text.to_owned(), 0).await.as_secs();
            assert!(seconds.contains(&wait), "{endpoint:?} {text:?}: {wait} s");
        }
    }
}

/// The server's clock may be wrong by hours: the wish is a span of its own time.
#[tokio::test]
async fn a_date_is_measured_by_the_servers_own_clock() {
    for endpoint in [Endpoint::Export, Endpoint::Job, Endpoint::Download] {
        for hours_off in [-30, -5, 0, 5, 30] {
            let in_90_seconds = |server: Timestamp| http_date(server.plus(Duration::from_secs(90)));
            let wait = wait(endpoint, in_90_seconds, hours_off).await;
            assert_eq!(wait, Duration::from_secs(90), "{endpoint:?} {hours_off} h off");
        }
    }
}
