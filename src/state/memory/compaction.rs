//! Which pages of the log to rewrite, so that small and sparse pages do not pile up.
//!
//! Pages of about the same size are merged eight at a time, as in a log-structured merge tree, and pages that are less than half
//! alive, by rows or by bytes, are rewritten. Every row put earns credit and every row rewritten spends it, so a batch's share of this work is in
//! proportion to what it changed.

use super::log::LogPage as Page;

/// Pages above this many rows are not merged with others.
pub(super) const PAGE_ROWS_MAX: usize = 1 << 16;
/// Nor are pages above this many bytes.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Pages of one size class that are merged together.
const FAN_IN: usize = 8;
/// Size classes: fewer than 8 rows, 64, 512, 4096, 32768.
const CLASSES: usize = 5;
/// A row is rewritten at most once per size class and once more when its page has become sparse.
const CREDIT_PER_ROW: usize = 8;
const CREDIT_PER_BATCH: usize = 256;
const CREDIT_MAX: usize = 16 * PAGE_ROWS_MAX;

/// A page by slot and serial number: stale once the slot holds another.
type PageRef = (u32, u64);

#[derive(Debug, Default)]
pub(super) struct Compactor {
    classes: [Vec<PageRef>; CLASSES],
    sparse: Vec<PageRef>,
    credit: usize,
}

impl Compactor {
    /// A batch that touched `rows` rows is over.
    pub(super) fn earn(&mut self, rows: usize) {
        self.credit = (self.credit + CREDIT_PER_BATCH + CREDIT_PER_ROW * rows).min(CREDIT_MAX);
    }

    /// A page has come to stay.
    pub(super) fn added(&mut self, slot: u32, page: &Page) {
        let class = (page.live.max(1).ilog2() / 3) as usize;
        if class < CLASSES && page.bytes < PAGE_BYTES_MAX {
            self.classes[class].push((slot, page.serial));
        }
    }

    /// Rows of a page have died.
    pub(super) fn thinned(&mut self, slot: u32, page: &mut Page) {
        if !page.in_sparse && page.is_sparse() {
            page.in_sparse = true;
            self.sparse.push((slot, page.serial));
        }
    }

    /// The next pages to rewrite as one, if there are any and the credit suffices.
    pub(super) fn next(&mut self, pages: &[Option<Page>]) -> Option<Vec<u32>> {
        let current = |(slot, serial): &PageRef| pages[*slot as usize].as_ref().filter(|page| page.serial == *serial);
        self.sparse.retain(|page| current(page).is_some());
        let mut chosen = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(page) = self.sparse.last().and_then(&current) {
            let full = rows + page.live > PAGE_ROWS_MAX || bytes + page.bytes > PAGE_BYTES_MAX;
            if page.live > self.credit || (full && !chosen.is_empty()) {
                break;
            }
            self.credit -= page.live;
            rows += page.live;
            bytes += page.bytes;
            chosen.extend(self.sparse.pop().map(|(slot, _)| slot));
        }
        if !chosen.is_empty() {
            return Some(chosen);
        }
        for class in &mut self.classes {
            if class.len() < FAN_IN {
                continue;
            }
            // A sparse page is in the other list too; it is rewritten from there.
            class.retain(|page| current(page).is_some_and(|page| !page.in_sparse));
            if class.len() < FAN_IN {
                continue;
            }
            let oldest = &class[..FAN_IN];
            let rows: usize = oldest.iter().filter_map(current).map(|page| page.live).sum();
            if rows <= self.credit {
                self.credit -= rows;
                return Some(class.drain(..FAN_IN).map(|(slot, _)| slot).collect());
            }
        }
        None
    }
}
