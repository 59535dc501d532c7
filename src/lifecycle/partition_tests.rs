use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn ids(prefix: &str, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{prefix}{number:05}")).collect()
}

fn scope(apps: usize, tasks: usize) -> Scope {
    Scope { apps: ids("a", 0..apps), tasks: ids("t", 0..tasks), ..Scope::default() }
}

/// Each asset and the part that it is in.
fn places(parts: &[Scope]) -> BTreeMap<&str, usize> {
    let mut places = BTreeMap::new();
    for (place, part) in parts.iter().enumerate() {
        for id in part.apps.iter().chain(&part.tasks) {
            assert_eq!(places.insert(id.as_str(), place), None, "{id} is in two parts");
        }
    }
    places
}

fn all(scope: &Scope) -> BTreeSet<&str> {
    scope.apps.iter().chain(&scope.tasks).map(String::as_str).collect()
}

fn assert_good(parts: &[Scope], scope: &Scope) {
    let placed: BTreeSet<&str> = places(parts).into_keys().collect();
    assert_eq!(placed, all(scope), "every asset is in a part");
    assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= MOST_ASSETS));
    assert_eq!(parts.len(), placed.len().div_ceil(MOST_ASSETS), "as few jobs as can be");
    for part in parts {
        assert!(part.apps.is_sorted() && part.tasks.is_sorted());
        assert!(part.apps.iter().all(|id| id.starts_with('a')), "an application is none any more");
    }
}

#[test]
fn the_first_run_takes_applications_first_and_fills_each_job() {
    let parts = partition(scope(150, 1_000), &[]);
    assert_good(&parts, &scope(150, 1_000));
    let sizes: Vec<_> = parts.iter().map(|part| (part.apps.len(), part.tasks.len())).collect();
    assert_eq!(sizes[..3], [(100, 0), (50, 50), (0, 100)]);
    assert_eq!(sizes[11], (0, 50));
}

#[test]
fn a_new_asset_takes_the_place_of_one_that_is_gone() {
    let before = partition(scope(100, 200), &[]);
    let mut now = scope(100, 200);
    now.tasks.remove(150);
    now.apps.push("a99999".to_owned());
    let parts = partition(now.clone(), &before);
    assert_good(&parts, &now);
    assert_eq!(parts[..2], before[..2]);
    assert_eq!((parts[2].apps.len(), parts[2].tasks.len()), (1, 99));
}

#[test]
fn a_part_that_is_not_needed_gives_its_number_to_the_last() {
    let before = partition(scope(0, 400), &[]);
    let rest = Scope { tasks: ids("t", (0..90).chain(190..400)), ..Scope::default() };
    let parts = partition(rest.clone(), &before);
    assert_good(&parts, &rest);
    // 90, 10, 100, 100: the second is given up, and its ten go where there is room.
    assert_eq!(parts[1..], [before[3].clone(), before[2].clone()]);
    assert_eq!(parts[0].tasks, ids("t", (0..90).chain(190..200)));
}

#[test]
fn parts_from_another_time_may_be_too_large_or_say_the_same_twice() {
    let large = scope(0, 150);
    let parts = partition(scope(20, 150), &[large.clone(), large, scope(20, 0)]);
    assert_good(&parts, &scope(20, 150));
}

/// Assets that come and go: which ids there are in each of some nights.
fn nights() -> impl Strategy<Value = Vec<Scope>> {
    let night = (0_usize..130, 0_usize..450, any::<u64>());
    proptest::collection::vec(night, 2..6).prop_map(|nights| {
        nights
            .into_iter()
            .map(|(apps, tasks, dice)| {
                // One in sixteen is missing, another one each night.
                let there = |number: &usize| (dice >> (number % 61)) & 15 != 0;
                let apps = ids("a", (0..apps).filter(there));
                Scope { apps, tasks: ids("t", (0..tasks).filter(there)), ..Scope::default() }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn every_night_every_asset_is_in_one_job_and_moves_only_if_that_saves_one(nights in nights()) {
        let mut before: Vec<Scope> = Vec::new();
        for scope in nights {
            let parts = partition(scope.clone(), &before);
            assert_good(&parts, &scope);
            let (old, new) = (places(&before), places(&parts));
            let stayed = |place: usize| {
                old.iter().filter(|(id, at)| **at == place && new.get(*id) == Some(&place)).count()
            };
            let survivors = |place: usize| {
                old.iter().filter(|(id, at)| **at == place && new.contains_key(*id)).count()
            };
            if parts.len() >= before.len() {
                for place in 0..before.len() {
                    prop_assert_eq!(stayed(place), survivors(place), "something moved for nothing");
                }
            } else {
                // Those that move are together no more than the parts that are saved held.
                let mut sizes: Vec<usize> = (0..before.len()).map(survivors).collect();
                sizes.sort_unstable();
                let saved = before.len() - parts.len();
                let together = |id: &&str| {
                    let mates = old.iter().filter(|(_, at)| Some(*at) == old.get(*id));
                    let now = mates.filter_map(|(mate, _)| new.get(mate));
                    let mut counts = BTreeMap::new();
                    now.for_each(|place| *counts.entry(place).or_insert(0_usize) += 1);
                    let largest = counts.iter().max_by_key(|(_, count)| **count);
                    largest.map(|(place, _)| **place) == new.get(*id).copied()
                };
                let parted = old.keys().filter(|id| new.contains_key(*id) && !together(id)).count();
                prop_assert!(parted <= sizes[..saved].iter().sum(), "{parted} {sizes:?}");
            }
            prop_assert_eq!(&partition(scope, &parts), &parts, "nothing changed, nothing moves");
            before = parts;
        }
    }

    #[test]
    fn the_order_of_the_list_and_ids_that_come_twice_mean_nothing(
        nights in nights(),
        turn in 0_usize..500,
    ) {
        let before = partition(nights[0].clone(), &[]);
        let mut shuffled = nights[1].clone();
        for list in [&mut shuffled.apps, &mut shuffled.tasks] {
            let twice = list.first().cloned();
            list.reverse();
            let turn = turn % list.len().max(1);
            list.rotate_left(turn);
            list.extend(twice);
        }
        prop_assert_eq!(partition(shuffled, &before), partition(nights[1].clone(), &before));
    }
}
