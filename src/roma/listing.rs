//! What an instance holds: all pages of a list, read again when the list moved meanwhile (contract
//! 5). Offsets count places, so that whatever comes, goes or becomes a favourite between two pages
//! moves others across their border: one of them comes twice, and another not at all.

use std::collections::BTreeSet;

use url::Url;

use super::error::{Call, RomaError};
use super::{Roma, Target, answer, wire};
use crate::model::{Name, Timestamp};

/// Assets a page; the documents state a limit for tasks only (contract 5).
pub(super) const PAGE_SIZE: usize = 100;
/// Pages that are read at most: a hundred times an instance's quota (contract 1).
const MAX_PAGES: usize = 1_000;
/// Times that a list is read which does not keep still.
const MAX_PASSES: usize = 4;

/// The ids of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Each once.
    pub ids: BTreeSet<String>,
    /// How many ROMA said there are, if it was more than it showed.
    pub announced: Option<u64>,
}

/// One reading from the first page to the last.
#[derive(Debug, Default)]
struct Pass {
    ids: BTreeSet<String>,
    total: Option<u64>,
    /// The total changed, or an id came twice: others may have been passed over.
    moved: bool,
}

impl Pass {
    /// Takes a page in. `true`: there is no other.
    fn take(&mut self, page: wire::Page) -> bool {
        self.moved |= !self.ids.is_empty() && self.total != page.total;
        self.total = page.total;
        let (items, before) = (page.ids.len(), self.ids.len());
        self.ids.extend(page.ids);
        let fresh = self.ids.len() - before;
        self.moved |= fresh < items;
        // A page that brings nothing would be followed by others like it.
        fresh == 0 || self.announced().is_none() && self.total.is_some()
    }

    fn announced(&self) -> Option<u64> {
        self.total.filter(|total| *total > self.ids.len() as u64)
    }

    /// Whether the list stood still and was read to its end.
    fn is_whole(&self) -> bool {
        !self.moved && self.announced().is_none()
    }
}

impl Roma {
    /// All applications that the account may see.
    pub async fn list_apps(&self, instance: &Name, now: Timestamp) -> Result<Listing, RomaError> {
        let target = self.target(Call::List, instance)?;
        let url = target.url(Call::List, &["apps"])?;
        self.list(target, &url, ("apps", "id"), now).await
    }

    /// All FDI tasks.
    pub async fn list_tasks(&self, instance: &Name, now: Timestamp) -> Result<Listing, RomaError> {
        let target = self.target(Call::List, instance)?;
        let url = target.tasks_url()?;
        self.list(target, &url, ("entities", "task_id"), now).await
    }

    /// Reads the list until it kept still, or showed the same twice: a total that counts what the
    /// account may not see stays out of reach. One that never does so is taken with all that was
    /// seen: an id too many is found out by its job, one too few by nobody.
    async fn list(
        &self,
        target: &Target,
        url: &Url,
        keys: (&str, &str),
        now: Timestamp,
    ) -> Result<Listing, RomaError> {
        let mut seen = BTreeSet::new();
        let mut last = self.pass(target, url, keys, now).await?;
        for _ in 1..MAX_PASSES {
            if last.is_whole() {
                return Ok(Listing { ids: last.ids, announced: None });
            }
            let next = self.pass(target, url, keys, now).await?;
            if next.ids == last.ids && next.total == last.total {
                return Ok(Listing { announced: next.announced(), ids: next.ids });
            }
            seen.append(&mut last.ids);
            last = next;
        }
        if last.is_whole() {
            return Ok(Listing { ids: last.ids, announced: None });
        }
        seen.append(&mut last.ids);
        let announced = last.total.filter(|total| *total > seen.len() as u64);
        Ok(Listing { ids: seen, announced })
    }

    async fn pass(
        &self,
        target: &Target,
        url: &Url,
        (list, id): (&str, &str),
        now: Timestamp,
    ) -> Result<Pass, RomaError> {
        let (mut pass, mut offset) = (Pass::default(), 0);
        for _ in 0..MAX_PAGES {
            let request =
                self.api.get(url.clone()).query(&[("offset", offset), ("limit", PAGE_SIZE)]);
            let body = self.ask(Call::List, target, request, now).await?;
            let page = wire::page(&body, list, id).ok_or_else(|| {
                answer::unexpected(Call::List, &body, &format!("no list `{list}`"))
            })?;
            offset += page.items;
            if pass.take(page) {
                return Ok(pass);
            }
        }
        Err(answer::bad(Call::List, "more than a thousand pages"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(total: Option<u64>, ids: &[&str]) -> wire::Page {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        wire::Page { total, items: ids.len(), ids }
    }

    /// Takes in pages until one says that it is the last; the number of them, and what was read.
    fn read(pages: &[wire::Page]) -> (usize, Pass) {
        let mut pass = Pass::default();
        let last = pages.iter().position(|page| pass.take(page.clone())).unwrap();
        (last + 1, pass)
    }

    #[test]
    fn a_list_ends_with_its_total_or_with_a_page_that_brings_nothing() {
        let (pages, pass) = read(&[page(Some(3), &["a", "b"]), page(Some(3), &["c"])]);
        assert!(pages == 2 && pass.is_whole());
        let (pages, pass) = read(&[page(None, &["a", "b"]), page(None, &["c"]), page(None, &[])]);
        assert!(pages == 3 && pass.is_whole() && pass.ids.len() == 3);
        let (pages, pass) = read(&[page(Some(0), &[])]);
        assert!(pages == 1 && pass.is_whole());
        // The same page for ever, whatever the offset.
        let (pages, pass) = read(&[page(Some(9), &["a"]), page(Some(9), &["a"])]);
        assert!(pages == 2 && pass.moved && pass.announced() == Some(9));
    }

    #[test]
    fn a_list_that_moved_is_not_whole_although_the_count_is_right() {
        // `a` goes after the first page; `c` slips to a place that was read already.
        let (_, pass) = read(&[page(Some(4), &["a", "b"]), page(Some(3), &["d"])]);
        assert!(!pass.is_whole());
        // `d` becomes a favourite after the first page.
        let shifted = [page(Some(4), &["a", "b"]), page(Some(4), &["b", "c"]), page(Some(4), &[])];
        let (_, pass) = read(&shifted);
        assert!(!pass.is_whole() && pass.ids.len() == 3);
    }
}
