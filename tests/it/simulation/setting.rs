//! How one simulated world is: which of the possible servers it meets, what is configured, and
//! what can go wrong on the wire. All of it is thrown, nothing is decided here.

use std::time::Duration;

use roma_archived::clock::ManualClock;
use roma_archived::model::Timestamp;
use roma_archived::retention::{Count, CountRule, Policy};
use roma_sim::knobs::{
    ArchiveIdPlace, ConsumePoint, DownloadFraming, SecondGet, SpentJob, Vintage,
};
use roma_sim::{ContentSpec, Effect, Endpoint, Fault, Knobs, UnauthorizedKind};

use super::dice::Dice;
use crate::support::world::{START, Setup};

const SPENT: [Option<SpentJob>; 6] = [
    None,
    Some(SpentJob::KeepsId),
    Some(SpentJob::FinishedWithoutId),
    Some(SpentJob::SuccessWithoutId),
    Some(SpentJob::NotFound),
    Some(SpentJob::Failed),
];

/// A server of some vintage with some habits.
fn knobs(dice: &mut Dice) -> Knobs {
    Knobs {
        vintage: dice.pick(&[Vintage::V2022, Vintage::V2025, Vintage::ExampleCasing]),
        archive_id_place: dice.pick(&[
            ArchiveIdPlace::Top,
            ArchiveIdPlace::Entities,
            ArchiveIdPlace::Both,
        ]),
        id_while_running: dice.one_in(3),
        consume_point: dice.pick(&[
            ConsumePoint::Request,
            ConsumePoint::FirstByte,
            ConsumePoint::LastByte,
            ConsumePoint::LastByte,
            ConsumePoint::Never,
        ]),
        second_get: dice.pick(&[
            None,
            Some(SecondGet::Forbidden403),
            Some(SecondGet::NotFound404),
            Some(SecondGet::NotFound404Bare),
            Some(SecondGet::BadRequest400),
            Some(SecondGet::Ok200Empty),
            Some(SecondGet::Ok200Json),
            Some(SecondGet::Gone410),
        ]),
        consumed_job: dice.pick(&SPENT),
        expired_job: dice.pick(&SPENT),
        validity_ms: dice.pick(&[None, None, None, Some(600_000), Some(86_400_000)]),
        export_replaces_package: dice.one_in(4),
        download_framing: dice.pick(&[
            DownloadFraming::Length,
            DownloadFraming::Length,
            DownloadFraming::Chunked,
            DownloadFraming::UntilClose,
        ]),
        job_duration_ms: dice.pick(&[0, 3_000, 60_000]),
        polls_until_done: dice.pick(&[0, 0, 2]),
        ..Knobs::default()
    }
}

/// A server that tells no end and gives the package again for ever is asked for it many times,
/// unless the content is proof; that is right, and would go on for weeks.
pub(super) fn needs_proof(knobs: &Knobs) -> bool {
    knobs.download_framing == DownloadFraming::UntilClose
        && knobs.consume_point == ConsumePoint::Never
}

/// A package that fits into one write: how the network divides it then makes no difference. With
/// `proven` its content tells whether it is whole.
pub(super) fn content(dice: &mut Dice, proven: bool) -> ContentSpec {
    match dice.between(0, 6) {
        2 | 3 if proven => ContentSpec::Assets,
        0 => ContentSpec::Json { bytes: dice.between(2, 30_000) },
        1 => ContentSpec::Zip { bytes: dice.between(0, 30_000) },
        2 => ContentSpec::Random { bytes: dice.between(1, 30_000) },
        3 => ContentSpec::Raw(b"what nobody expected".to_vec()),
        4 | 5 => ContentSpec::Steady { changes_every: dice.pick(&[0, 0, 3]) },
        _ => ContentSpec::Assets,
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let last = |count| vec![CountRule { period: None, count: Count::Limited(count) }];
    let base = Policy {
        trash: dice.pick(&[Duration::ZERO, Duration::from_mins(30), Duration::from_hours(48)]),
        policy_grace: dice.pick(&[Duration::ZERO, Duration::from_hours(24)]),
        ..Policy::default()
    };
    match dice.between(0, 3) {
        0 => Policy { counts: last(1), ..base },
        1 => Policy { counts: last(2), max_count: Some(3), ..base },
        2 => Policy { max_age: Some("2d".parse().unwrap()), ..base },
        _ => base,
    }
}

pub(super) fn setup(dice: &mut Dice) -> Setup {
    let mut setup = Setup {
        knobs: knobs(dice),
        policy: policy(dice),
        schedule: dice.pick(&[None, Some("0 */6 * * *")]),
        serial: true,
        truth: Some(ManualClock::new(START.parse::<Timestamp>().unwrap())),
        ..Setup::default()
    }
    .downloads(usize::try_from(dice.between(1, 4)).unwrap());
    // Without a length such a package is lost each time: once in a while is enough.
    let endless = setup.knobs.download_framing == DownloadFraming::UntilClose;
    setup.knobs.default_content = content(dice, endless);
    setup.limits.reexports = u32::try_from(dice.between(0, 3)).unwrap();
    setup
}

/// What may befall a request of any endpoint.
pub(super) fn menu(dice: &mut Dice) -> Vec<Fault> {
    let bytes = dice.between(0, 4_000);
    let effect = dice.pick(&[Effect::Before, Effect::After]);
    vec![
        Fault::status(500),
        Fault::status(503),
        Fault::Throttle { retry_after: Some("20".to_owned()) },
        Fault::BadGateway { code: 504, effect },
        Fault::CloseBeforeHead { effect },
        Fault::HtmlError200,
        Fault::ResetAfter { bytes },
        Fault::Unauthorized { kind: UnauthorizedKind::ExpiredToken },
    ]
}

/// What befalls one request, and which.
pub(super) fn wire_fault(dice: &mut Dice) -> (Endpoint, Fault) {
    let endpoint = dice.pick(&[
        Endpoint::Download,
        Endpoint::Download,
        Endpoint::Download,
        Endpoint::Job,
        Endpoint::Job,
        Endpoint::Export,
        Endpoint::Export,
        Endpoint::Apps,
    ]);
    let mut menu = menu(dice);
    let bytes = dice.between(0, 4_000);
    match endpoint {
        Endpoint::Download => menu.extend([
            Fault::CutBody { bytes },
            Fault::CutBody { bytes },
            Fault::CutChunked { bytes },
            Fault::LongerLength { extra: 1 + bytes },
            Fault::JsonError200,
            Fault::Empty200,
        ]),
        Endpoint::Job => menu.extend([
            Fault::MalformedJson,
            Fault::LoseJob,
            Fault::UnknownStatus { word: "QUEUED".to_owned() },
            Fault::SuccessWithoutId,
            Fault::FailedWithReasons { reasons: Vec::new() },
        ]),
        _ => menu.push(Fault::MalformedJson),
    }
    (endpoint, dice.pick(&menu))
}
