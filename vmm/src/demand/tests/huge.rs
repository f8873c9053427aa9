//! Memory in huge pages.

use super::*;
use crate::sys::huge_pool::HugeMemory;

/// Huge pages of the memories below: the pages that are held reach into the second one.
const HUGE_PAGES: u64 = 3;

/// Memory with the same contents as [`full`], laid out as that of a [`HugeMemory`].
fn library() -> GuestRam {
    let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 3 << 21)]).unwrap());
    fill(&ram);
    ram
}

fn fill(ram: &GuestRam) {
    for page in (0..PAGES).filter(|page| !page.is_multiple_of(5)) {
        ram.write_slice(&[byte(page); PAGE], GuestAddress(page << 12)).unwrap();
    }
}

#[test]
fn huge_pages_come_when_they_are_touched_as_a_whole() {
    if !is_allowed() {
        return;
    }
    let Some(memory) = HugeMemory::new(HUGE_PAGES) else { return };
    let came = Came::from(memory.ram.clone(), library(), Before::Untouched, &[Mood::Sparing]).unwrap();
    assert_eq!(came.demand.lacking_bytes(), PAGES << 12);
    assert_eq!((came.page(1200), came.demand.faults()), (0, 0), "where nothing is to come");
    assert_eq!((came.page(7), came.page(511)), (byte(7), byte(511)));
    assert_eq!(came.demand.lacking_bytes(), (PAGES - 512) << 12);
    // Somebody who must not fault, where nothing is missing but around it.
    came.demand.fetch(GuestAddress(700 << 12), SOON).unwrap();
    assert_eq!((came.page(700), came.page(599)), (0, byte(599)));
    assert_eq!(came.news(), News::Complete);
    assert_eq!(came.served.recv_timeout(SOON).unwrap().ended, Ok(()));
}

#[test]
fn huge_pages_come_by_themselves_and_after_the_other_side_was_lost() {
    if !is_allowed() {
        return;
    }
    let Some(memory) = HugeMemory::new(HUGE_PAGES) else { return };
    // The first one ends in the midst of a huge page.
    let moods = [Mood::Torn(300), Mood::Away, Mood::Generous];
    let came = Came::from(memory.ram.clone(), library(), Before::Untouched, &moods).unwrap();
    let toucher = {
        let ram = came.ram.clone();
        thread::spawn(move || ram.read_obj::<u8>(GuestAddress(3 << 12)).unwrap())
    };
    assert_eq!(toucher.join().unwrap(), byte(3));
    for page in (0..PAGES).rev() {
        assert_eq!(came.page(page), byte(page), "page {page}");
    }
}

#[test]
fn what_was_in_huge_pages_before_is_not_seen_and_parts_of_them_are_refused() {
    if !is_allowed() {
        return;
    }
    let Some(theirs) = HugeMemory::new(HUGE_PAGES) else { return };
    fill(&theirs.ram);
    let Some(ours) = theirs.more() else { return };
    ours.write_slice(&vec![0xee; 3 << 21], GuestAddress(0)).unwrap();
    let uneven = Came::from(ours.clone(), library(), Before::Outdated, &[Mood::Generous]);
    assert!(matches!(uneven.map(drop), Err(DemandError::Uneven)));
    let came = Came::from(ours, theirs.ram.clone(), Before::Outdated, &[Mood::Generous]).unwrap();
    for page in (0..1024).rev() {
        assert_eq!(came.page(page), if page < PAGES { byte(page) } else { 0 }, "page {page}");
    }
    assert_eq!(came.page(1024), 0xee, "what did not follow is as it was");
}
