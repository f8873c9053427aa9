//! The thread that pages come to.

use std::sync::{Arc, MutexGuard};
use std::thread;
use std::time::Duration;

use devices::{chain, say};
use ram::PAGE;
use vm_memory::GuestAddress;

use super::connection::{Connection, Link, receive_holds, send};
use super::faults::finish_if_complete;
use super::parts::Parts;
use super::shared::{News, Pages, Shared};
use crate::dirty::{PageRun, PageSet};
use crate::migration::transport::Stream;
use crate::migration::wire::{Batch, Message, Reader};
use crate::pauses::Pauses;
use crate::sys::userfault::Placed;

/// Pages that are put into memory in one go: faults wait for so long.
const STEP: u64 = 64;

/// Connects for the first time: what the other side has.
pub(super) fn meet(link: &mut dyn Link, ram: &devices::GuestRam) -> Result<(Connection, PageSet), String> {
    let mut connection = link.connect()?;
    let holds = receive_holds(&mut connection.reader, ram)?;
    Ok((connection, holds))
}

/// Puts pages in place until all have come. Should the other side be lost, looks for it.
pub(super) fn run(shared: &Shared, link: &mut dyn Link, mut reader: Reader<Stream>) {
    let mut pauses = Pauses::CALLS;
    loop {
        let mut why = receive(shared, &mut reader);
        shared.cut();
        if shared.pages().lost.is_none() {
            pauses = Pauses::CALLS;
        }
        reader = loop {
            if shared.is_over_within(Duration::ZERO) {
                return;
            }
            lost(shared, &why);
            if shared.is_over_within(pauses.next()) {
                return;
            }
            match again(shared, link) {
                Ok(_) if shared.is_over_within(Duration::ZERO) => {
                    // It was over before that connection was there.
                    shared.say(&Message::Complete);
                    return shared.cut();
                }
                Ok(reader) => break reader,
                Err(error) => why = error,
            }
        };
    }
}

/// Notes that the other side is back, once nobody waits for a page any more: one that answers may still not have what is needed.
fn back(shared: &Shared, mut pages: MutexGuard<'_, Pages>) {
    if pages.lost.is_none() || pages.lacking.is_waited_for() {
        return;
    }
    pages.lost = None;
    drop(pages);
    shared.changed.notify_all();
    say!("kubevmm: the rest of the guest's memory can be had again");
    shared.report(News::Back);
}

/// Tells, once for each reason.
fn lost(shared: &Shared, why: &str) {
    let mut pages = shared.pages();
    if pages.lost.as_deref() == Some(why) {
        return;
    }
    pages.lost = Some(why.to_owned());
    drop(pages);
    shared.changed.notify_all();
    shared.report(News::Lost(why.to_owned()));
}

/// Connects again.
fn again(shared: &Shared, link: &mut dyn Link) -> Result<Reader<Stream>, String> {
    let (connection, holds) = meet(link, &shared.ram)?;
    let mut pages = shared.pages();
    let lacks = pages.lacking.pages().clone();
    // What is not in place comes again.
    pages.parts = Parts::default();
    drop(pages);
    if !holds.contains_all(&lacks) {
        return Err("who answers has not the pages that are missing".into());
    }
    let Connection { reader, mut writer, cut } = connection;
    send(&mut writer, &lacks, Message::Lacks).map_err(|error| chain(&error))?;
    shared.connected(writer, cut);
    // Only now: until there was this connection, what was touched was asked for where nobody hears.
    let waited = shared.pages().lacking.waited();
    shared.ask(waited);
    Ok(reader)
}

/// Puts pages in place as they come; why that ended.
fn receive(shared: &Shared, reader: &mut Reader<Stream>) -> String {
    loop {
        match reader.read() {
            Ok(Message::Pages(batch)) => {
                if let Err(why) = put(shared, &batch) {
                    return why;
                }
                reader.recycle(batch);
                let mut pages = shared.pages();
                finish_if_complete(&mut pages);
                if pages.end.is_some() {
                    drop(pages);
                    // The counter cannot overflow by ones.
                    let _ = shared.wake.write(1);
                    return hear_the_end(reader);
                }
                back(shared, pages);
            }
            Ok(Message::Alive) => back(shared, shared.pages()),
            Ok(Message::Failed(why)) => return why,
            Ok(_) => return "the other side says what makes no sense".into(),
            Err(error) => return chain(&error),
        }
    }
}

/// Reads on until the other side has heard that all has come, so that the connection does not end before it has.
fn hear_the_end(reader: &mut Reader<Stream>) -> String {
    while let Ok(Message::Pages(_) | Message::Alive) = reader.read() {}
    String::new()
}

fn put(shared: &Shared, batch: &Batch) -> Result<(), String> {
    for (run, bytes) in batch.runs() {
        let pages = PageRun { start: GuestAddress(run.start), pages: run.pages.into() };
        let bytes = (!run.zero).then_some(bytes);
        if shared.pages().lacking.unit(pages.start).pages == 1 {
            put_run(shared, pages, bytes)?;
        } else {
            gather(shared, pages, bytes)?;
        }
    }
    Ok(())
}

/// Puts those pages of a run in place that have not come. Others are not wanted: they were dropped, or never asked for.
fn put_run(shared: &Shared, run: PageRun, bytes: Option<&[u8]>) -> Result<(), String> {
    let end = run.start.0.saturating_add(run.bytes());
    let mut at = run.start.0;
    while at < end {
        let mut pages = shared.pages();
        let rest = PageRun { start: GuestAddress(at), pages: (end - at) / PAGE as u64 };
        let (Some(next), Some(faults)) = (pages.lacking.first_of(rest), pages.faults.clone()) else { break };
        let next = PageRun { pages: next.pages.min(STEP), ..next };
        let placed = match bytes {
            None => faults.zero(&shared.ram, next.start, next.bytes()),
            Some(bytes) => faults.copy(&shared.ram, next.start, bytes_of(bytes, run, next)),
        };
        let done = match placed {
            Ok(Placed::Bytes(done)) => done as u64 / PAGE as u64,
            // Nobody but this thread puts pages there that have not come.
            Ok(Placed::There) => return Err("a page is there that has not come".into()),
            Ok(Placed::NotNow) => 0,
            Err(error) => return Err(format!("memory of the guest could not be had: {error}")),
        };
        pages.lacking.take_out(PageRun { pages: done, ..next });
        drop(pages);
        shared.changed.notify_all();
        if done == 0 {
            // Somebody drops pages, and is to be heard first.
            thread::yield_now();
        }
        at = next.start.0.saturating_add(done * PAGE as u64);
    }
    Ok(())
}

/// The bytes of `part` out of those of `run`, which it is a part of.
fn bytes_of(bytes: &[u8], run: PageRun, part: PageRun) -> &[u8] {
    let from = usize::try_from(part.start.0.saturating_sub(run.start.0)).unwrap_or(usize::MAX);
    let to = from.saturating_add(usize::try_from(part.bytes()).unwrap_or(usize::MAX));
    bytes.get(from..to).unwrap_or_default()
}

/// Keeps those pages of a run that have not come until all of their huge page have.
fn gather(shared: &Shared, run: PageRun, bytes: Option<&[u8]>) -> Result<(), String> {
    let end = run.start.0.saturating_add(run.bytes());
    let mut at = run.start.0;
    while at < end {
        let mut pages = shared.pages();
        let rest = PageRun { start: GuestAddress(at), pages: (end - at) / PAGE as u64 };
        let Some(next) = pages.lacking.first_of(rest) else { break };
        let unit = pages.lacking.unit(next.start);
        let room = unit.start.0.saturating_add(unit.bytes()).saturating_sub(next.start.0);
        let next = PageRun { pages: next.pages.min(room / PAGE as u64), ..next };
        let gathered = pages.parts.put(unit, next, bytes.map(|bytes| bytes_of(bytes, run, next)));
        let gathered = gathered.map_err(|error| error.to_string())?;
        let is_whole = gathered.come == pages.lacking.left_in(unit);
        let mut wanted = Vec::new();
        if let Some(start) = gathered.overdue {
            pages.lacking.fault(start, &mut wanted);
        }
        drop(pages);
        if !wanted.is_empty() {
            shared.ask(wanted);
        }
        if is_whole {
            place(shared, unit)?;
        }
        at = next.start.0.saturating_add(next.bytes());
    }
    Ok(())
}

/// Puts a huge page in place, all of which has come.
fn place(shared: &Shared, unit: PageRun) -> Result<(), String> {
    loop {
        let mut pages = shared.pages();
        let (Some(bytes), Some(faults)) = (pages.parts.bytes(unit.start), pages.faults.clone()) else {
            // It was dropped, or it is over.
            return Ok(());
        };
        match faults.copy(&shared.ram, unit.start, bytes) {
            Ok(Placed::Bytes(_)) => {
                pages.lacking.take_out(unit);
                pages.parts.forget(unit);
                drop(pages);
                shared.changed.notify_all();
                return Ok(());
            }
            // Nobody but this thread puts pages there that have not come.
            Ok(Placed::There) => return Err("a page is there that has not come".into()),
            // Somebody drops pages, and is to be heard first.
            Ok(Placed::NotNow) => drop(pages),
            Err(error) => return Err(format!("memory of the guest could not be had: {error}")),
        }
        thread::yield_now();
    }
}

/// Starts the thread.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    mut link: Box<dyn Link>,
    reader: Reader<Stream>,
) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name("pages-come".into()).stack_size(256 << 10);
    let coming = move || {
        run(&shared, &mut *link, reader);
        shared.pages().parted = true;
        shared.changed.notify_all();
    };
    thread.spawn(coming).map(drop)
}
