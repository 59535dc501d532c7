//! Faults by chance, but the same for the same seed and the same order of requests. Must never
//! ask anything but the knobs.

use crate::fault::{Effect, Endpoint, Fault, UnauthorizedKind};
use crate::knobs::Chaos;
use crate::prng::{below, happens, hash, mix};

/// The fault that the `number`-th request of this endpoint meets, if any.
pub(crate) fn fault(chaos: &Chaos, endpoint: Endpoint, number: u64) -> Option<Fault> {
    let probability = *chaos.probability.get(&endpoint)?;
    let dice = hash(chaos.seed, word(endpoint), number);
    if !happens(dice, probability) {
        return None;
    }
    let choice = mix(dice);
    if chaos.menu.is_empty() {
        let menu = menu(endpoint, mix(choice) % 5_000);
        menu.get(below(choice, menu.len())).cloned()
    } else {
        chaos.menu.get(below(choice, chaos.menu.len())).cloned()
    }
}

/// The endpoint's name, as in JSON.
pub(crate) fn word(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Export => "export",
        Endpoint::Job => "job",
        Endpoint::Download => "download",
        Endpoint::Import => "import",
        Endpoint::Token => "token",
        Endpoint::Apps => "apps",
        Endpoint::Tasks => "tasks",
        Endpoint::Instances => "instances",
        Endpoint::Projects => "projects",
        Endpoint::MetadataToken => "metadata_token",
        Endpoint::SecurityKey => "security_key",
    }
}

/// What can befall an endpoint without any lasting harm beyond what a real service does.
fn menu(endpoint: Endpoint, bytes: u64) -> Vec<Fault> {
    let mut menu = vec![
        Fault::status(500),
        Fault::status(503),
        Fault::Throttle { retry_after: Some("2".to_owned()) },
        Fault::Throttle { retry_after: None },
        Fault::Unauthorized { kind: UnauthorizedKind::ExpiredToken },
        Fault::BadGateway { code: 502, effect: Effect::Before },
        Fault::BadGateway { code: 504, effect: Effect::After },
        Fault::CloseBeforeHead { effect: Effect::Before },
        Fault::CloseBeforeHead { effect: Effect::After },
        Fault::Informational { code: 103 },
        Fault::HtmlError200,
    ];
    match endpoint {
        Endpoint::Download => menu.extend([
            Fault::ResetAfter { bytes },
            Fault::CutBody { bytes },
            Fault::CutChunked { bytes },
            Fault::LongerLength { extra: 1 + bytes },
            Fault::Gzip,
        ]),
        Endpoint::Job => menu.extend([
            Fault::MalformedJson,
            Fault::LoseJob,
            Fault::UnknownStatus { word: "QUEUED".to_owned() },
            Fault::FailedWithReasons { reasons: Vec::new() },
        ]),
        Endpoint::Export
        | Endpoint::Import
        | Endpoint::Token
        | Endpoint::Apps
        | Endpoint::Tasks
        | Endpoint::Instances
        | Endpoint::Projects
        | Endpoint::MetadataToken
        | Endpoint::SecurityKey => {
            menu.extend([Fault::MalformedJson, Fault::ResetAfter { bytes: 3 }]);
        }
    }
    menu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults_at_about_the_asked_rate() {
        let chaos =
            Chaos { seed: 5, probability: [(Endpoint::Job, 0.25)].into(), menu: Vec::new() };
        let run = || -> Vec<_> { (0..1000).map(|n| fault(&chaos, Endpoint::Job, n)).collect() };
        let first = run();
        assert_eq!(first, run());
        let hits = first.iter().flatten().count();
        assert!((180..320).contains(&hits), "{hits}");
        assert_eq!(fault(&chaos, Endpoint::Export, 0), None);
    }
}
