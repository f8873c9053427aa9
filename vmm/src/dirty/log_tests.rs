use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ram::Ram;
use vm_memory::GuestAddress;

use super::*;

/// Pages that were written, as bits, and whether anybody wants to know.
#[derive(Clone, Debug)]
struct Fake {
    ram: GuestRam,
    on: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
}

impl Fake {
    fn write(&self, pages: u64) {
        self.written.fetch_or(pages, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }
}

impl Source for Fake {
    fn log(&mut self, on: bool) -> Result<(), DirtyError> {
        self.on.store(on, Ordering::SeqCst);
        Ok(())
    }

    fn take(&mut self) -> Result<PageSet, DirtyError> {
        let mut pages = PageSet::none(&self.ram);
        pages.add_words(0, &[self.written.swap(0, Ordering::SeqCst)]);
        if self.fails.load(Ordering::SeqCst) {
            return Err(DirtyError::Barrier(io::ErrorKind::Other.into()));
        }
        Ok(pages)
    }
}

/// The kernel: what it notes becomes a mark when it is collected.
#[derive(Clone, Debug)]
struct Kernel {
    noted: Fake,
    marks: Fake,
    refuses: bool,
    over: Arc<AtomicBool>,
}

impl Noting for Kernel {
    fn begin(&self, _ram: &GuestRam) -> io::Result<()> {
        self.noted.on.store(!self.refuses, Ordering::SeqCst);
        if self.refuses { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    }

    fn end(&self) -> io::Result<()> {
        self.noted.on.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn collect(&self) {
        self.marks.write(self.noted.written.swap(0, Ordering::SeqCst));
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

fn fake() -> Fake {
    let ram = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
    Fake { ram, on: Arc::default(), written: Arc::default(), fails: Arc::default() }
}

fn kernel(marks: &Fake, refuses: bool) -> Kernel {
    Kernel { noted: fake(), marks: marks.clone(), refuses, over: Arc::default() }
}

fn set(ram: &GuestRam, word: u64) -> PageSet {
    let mut pages = PageSet::none(ram);
    pages.add_words(0, &[word]);
    pages
}

#[test]
fn each_reader_gets_all_pages_written_since_it_last_asked() {
    let fake = fake();
    let log = DirtyLog::of(Box::new(fake.clone()), &fake.ram);
    fake.write(0b1);
    let mut one = log.reader().unwrap();
    assert!(fake.is_on());
    fake.write(0b10);
    let mut other = log.reader().unwrap();
    fake.write(0b100);
    assert_eq!(other.take().unwrap(), set(&fake.ram, 0b100));
    fake.write(0b1000);
    assert_eq!(one.take().unwrap(), set(&fake.ram, 0b1110));
    assert!(one.take().unwrap().is_empty());
    drop(one);
    assert!(fake.is_on());
    assert_eq!(other.take().unwrap(), set(&fake.ram, 0b1000));
    drop(other);
    assert!(!fake.is_on());
}

#[test]
fn when_marks_may_be_lost_all_pages_count_as_written() {
    let fake = fake();
    let log = DirtyLog::of(Box::new(fake.clone()), &fake.ram);
    let (mut one, mut other) = (log.reader().unwrap(), log.reader().unwrap());
    fake.write(0b1);
    fake.fails.store(true, Ordering::SeqCst);
    assert!(one.take().is_err());
    fake.fails.store(false, Ordering::SeqCst);
    assert_eq!(other.take().unwrap(), PageSet::all(&fake.ram));
    assert_eq!(one.take().unwrap(), PageSet::all(&fake.ram));
    assert!(other.take().unwrap().is_empty());
}

#[test]
fn what_the_kernel_writes_is_noted_while_somebody_reads() {
    let fake = fake();
    let log = DirtyLog::of(Box::new(fake.clone()), &fake.ram);
    let (early, late) = (kernel(&fake, false), kernel(&fake, false));
    log.add("early", early.clone()).unwrap();
    assert!(!early.noted.is_on());
    early.noted.write(0b1);
    let mut reader = log.reader().unwrap();
    assert!(early.noted.is_on());
    log.add("late", late.clone()).unwrap();
    assert!(late.noted.is_on(), "a card that is plugged in meanwhile is noted, too");
    early.noted.write(0b10);
    late.noted.write(0b100);
    fake.write(0b1000);
    assert_eq!(reader.take().unwrap(), set(&fake.ram, 0b1110));
    drop(reader);
    assert!(!early.noted.is_on() && !late.noted.is_on());
}

#[test]
fn nobody_reads_while_something_is_written_unseen() {
    let fake = fake();
    let log = DirtyLog::of(Box::new(fake.clone()), &fake.ram);
    let (good, bad) = (kernel(&fake, false), kernel(&fake, true));
    log.add("good", good.clone()).unwrap();
    log.add("nic-lan", bad.clone()).unwrap();
    let error = log.reader().unwrap_err();
    assert!(error.to_string().contains("nic-lan"), "{error}");
    assert!(!fake.is_on() && !good.noted.is_on(), "all is as it was");
    bad.over.store(true, Ordering::SeqCst);
    log.add("other", kernel(&fake, false)).unwrap();
    let _reader = log.reader().unwrap();
    assert!(log.add("nic-lan", kernel(&fake, true)).is_err(), "it cannot be plugged in while somebody reads");
}
