//! A source that cannot know whether its machine runs at the destination.

use std::os::unix::net::UnixStream;

use tempfile::TempDir;

use super::super::source::NotForced;
use super::super::wire::{FORMAT, Fate, Hello, Message, OLDEST_FORMAT, Reader, Writer};
use super::*;

/// Questions that are waited for: the answers to all but the last have been heard by then.
const QUESTIONS: usize = 4;

/// A move that has come to `Go`, whose connection is lost then.
struct Doubt {
    stage: Stage,
    /// Where the first process listens, and later the second.
    sockets: [PathBuf; 2],
    cancel: Cancel,
    /// Connections that were made.
    dials: AtomicUsize,
    /// Attempts that fail before one is made.
    holes: AtomicUsize,
    first: Mutex<Option<UnixStream>>,
    /// The first process is gone, and another one is at its place.
    restarted: AtomicBool,
    directory: TempDir,
}

impl Doubt {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            stage: Stage::set(directory.path(), PAGES),
            sockets: ["first", "second"].map(|name| directory.path().join(name)),
            cancel: Cancel::default(),
            dials: AtomicUsize::new(0),
            holes: AtomicUsize::new(0),
            first: Mutex::default(),
            restarted: AtomicBool::new(false),
            directory,
        }
    }

    /// The first process at the destination.
    fn reception(&self) -> Reception {
        reception(&self.sockets[0])
    }

    /// Moves the machine.
    fn depart(&self) -> Result<Moved, Stayed> {
        let stage = &self.stage;
        let mut guest = Guest {
            ram: stage.ours.clone(),
            world: Arc::clone(&stage.world),
            busy: 0,
            fails_to_record: false,
            seen: Arc::default(),
            disks: stage.here.clone(),
            left: LeftDisks::default(),
        };
        let options = MigrationOptions {
            connections: 1.try_into().unwrap(),
            copy_storage: true,
            ..MigrationOptions::default()
        };
        let dial = || self.dial();
        let departed = depart(&mut guest, &dial, Session::new([5; 16]), Facts::new(), &options, &self.cancel);
        if matches!(&departed, Err(stayed) if stayed.is_untold) {
            self.tell();
        }
        departed
    }

    fn dial(&self) -> std::io::Result<Stream> {
        if self.holes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(std::io::ErrorKind::HostUnreachable.into());
        }
        let number = usize::from(self.restarted.load(Ordering::SeqCst));
        let stream = socket::connect(&self.sockets[number])?;
        self.first.lock().unwrap().get_or_insert(stream.try_clone()?);
        self.dials.fetch_add(1, Ordering::SeqCst);
        Ok(Stream::Unix(stream))
    }

    /// Tells the destination that the machine has stayed.
    fn tell(&self) -> Option<Fate> {
        tell_stayed(&|| self.dial(), &Session::new([5; 16]), Duration::from_secs(60))
    }

    fn cut(&self) {
        self.first.lock().unwrap().as_ref().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
    }

    /// The destination's process dies, and another one is at its place, whom the source asks.
    fn destination_dies(&self, incoming: Incoming) -> Reception {
        let another = reception(&self.sockets[1]);
        self.restarted.store(true, Ordering::SeqCst);
        self.stage.world.destination_runs.store(false, Ordering::SeqCst);
        self.stage.away.iter().for_each(|disk| disk.let_go().unwrap());
        self.stage.world.unlock(DESTINATION);
        drop(incoming);
        self.cut();
        self.await_questions();
        another
    }

    /// Waits until the source has asked some more, and still waits for an answer.
    fn await_questions(&self) {
        let before = self.dials.load(Ordering::SeqCst);
        while self.dials.load(Ordering::SeqCst) < before + QUESTIONS {
            assert!(!self.stage.world.runs().0, "an old memory runs");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!self.stage.world.runs().0, "an old memory runs");
    }
}

/// Has a machine come as far as that it could be taken over.
fn receive(reception: &Reception, stage: &Stage) -> Incoming {
    let mut incoming = reception.greet(Duration::from_secs(30)).unwrap();
    agree(&mut incoming, &stage.away).unwrap();
    incoming.receive(&stage.theirs).unwrap();
    incoming
}

/// Has a machine come as far as `Go`, and does `take` then.
fn come(reception: &Reception, stage: &Stage, take: impl FnOnce()) -> Incoming {
    let mut incoming = receive(reception, stage);
    let take = || {
        take();
        stage.away.iter().try_for_each(|disk| disk.hold().map_err(|error| error.to_string()))?;
        stage.world.lock(DESTINATION)
    };
    incoming.take_over(take, || {}).unwrap();
    incoming
}

#[test]
fn a_process_that_has_not_heard_of_a_machine_does_not_say_that_it_never_ran() {
    let doubt = Doubt::new();
    let (stage, listening) = (&doubt.stage, doubt.reception());
    thread::scope(|scope| {
        let source = scope.spawn(|| doubt.depart());
        let incoming = come(&listening, stage, || {});
        // It runs, and dies before it can say so.
        stage.world.run(DESTINATION);
        let _restarted = doubt.destination_dies(incoming);
        // Who knows better may say so.
        doubt.cancel.force().unwrap();
        assert!(source.join().unwrap().is_err());
        assert_eq!(stage.world.runs(), (true, false));
        // It was another one that was asked. Once it is not, it is known that there are two.
        doubt.restarted.store(false, Ordering::SeqCst);
        assert_eq!(doubt.tell(), Some(Fate::Runs));
    });
}

/// An operator who does not know that it has.
#[test]
fn a_machine_that_has_written_to_its_disks_elsewhere_is_not_taken_back() {
    let doubt = Doubt::new();
    let (stage, listening) = (&doubt.stage, doubt.reception());
    thread::scope(|scope| {
        let source = scope.spawn(|| doubt.depart());
        let incoming = come(&listening, stage, || {});
        // As a guest would, and its process dies.
        let shared =
            std::fs::File::options().write(true).open(doubt.directory.path().join("shared")).unwrap();
        let before = shared.metadata().unwrap().modified().unwrap();
        shared.set_modified(before + Duration::from_secs(1)).unwrap();
        let _restarted = doubt.destination_dies(incoming);
        doubt.cancel.force().unwrap();
        doubt.await_questions();
        assert!(doubt.cancel.is_handed_over());
        // What keeps it is the disk.
        shared.set_modified(before).unwrap();
        assert!(source.join().unwrap().is_err());
        assert_eq!(stage.world.runs(), (true, false));
    });
}

#[test]
fn a_destination_that_answers_is_not_robbed_of_the_machine() {
    let doubt = Doubt::new();
    let (stage, listening) = (&doubt.stage, doubt.reception());
    thread::scope(|scope| {
        let source = scope.spawn(|| doubt.depart());
        // It takes its time, while nobody has the disks.
        let incoming = come(&listening, stage, || {
            assert_eq!(doubt.cancel.force(), Err(NotForced::NoDoubt));
            doubt.cut();
            doubt.await_questions();
            assert_eq!(doubt.cancel.force(), Err(NotForced::Open));
            doubt.await_questions();
        });
        stage.world.run(DESTINATION);
        incoming.say_running(|| ());
        assert!(source.join().unwrap().is_ok());
        assert_eq!(stage.world.runs(), (false, true));
    });
}

#[test]
fn a_destination_is_not_told_to_go_when_the_machine_has_ended() {
    let doubt = Doubt::new();
    let (stage, listening) = (&doubt.stage, doubt.reception());
    *stage.world.ends.lock().unwrap() = Some(doubt.cancel.clone());
    thread::scope(|scope| {
        let source = scope.spawn(|| doubt.depart());
        let mut incoming = receive(&listening, stage);
        assert!(
            incoming.take_over(|| Err("it was told to go".into()), || panic!("it was told to go")).is_err()
        );
        assert!(source.join().unwrap().is_err());
        assert!(!doubt.cancel.is_handed_over());
        assert_eq!(stage.world.runs(), (true, false));
    });
}

/// The destination says that it gives up, and then hears no answer on that connection, and nobody reaches it for a moment.
#[test]
fn a_destination_that_hears_nothing_on_the_first_connection_is_told_on_another() {
    let doubt = Doubt::new();
    let (stage, listening) = (&doubt.stage, doubt.reception());
    thread::scope(|scope| {
        let source = scope.spawn(|| doubt.depart());
        let mut incoming = receive(&listening, stage);
        let Stream::Unix(deaf) = incoming.stream() else { panic!("it is another socket") };
        let take = || {
            deaf.shutdown(std::net::Shutdown::Read).unwrap();
            doubt.holes.store(3, Ordering::SeqCst);
            Err("the record cannot be written".into())
        };
        assert!(incoming.take_over(take, || {}).is_err());
        drop(incoming);
        let begun = std::time::Instant::now();
        listening.linger(|| begun.elapsed() > Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not told");
        assert!(source.join().unwrap().unwrap_err().message.contains("record"));
        assert_eq!(stage.world.runs(), (true, false));
    });
}

/// Asks at `path` what became of a session, and says that it is known.
fn ask(path: &Path, session: u8) -> Message {
    let stream = socket::connect(path).unwrap();
    let mut reader = Reader::new(stream.try_clone().unwrap());
    let mut writer = Writer::new(stream);
    writer.write(&Message::Ask(Session::new([session; 16]))).unwrap();
    let answer = reader.read().unwrap();
    // Who does not want to know is gone already.
    let _ = writer.write(&Message::Settled);
    while reader.read().is_ok() {}
    answer
}

#[test]
fn what_is_said_of_another_session_settles_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let reception = reception(&path);
    let stream = socket::connect(&path).unwrap();
    let mut writer = Writer::new(stream.try_clone().unwrap());
    let hello = Hello {
        format: FORMAT,
        oldest: OLDEST_FORMAT,
        session: Session::new([5; 16]),
        connections: 1,
        facts: Facts::new(),
    };
    writer.write(&Message::Hello(hello)).unwrap();
    let mut incoming = reception.greet(Duration::from_secs(30)).unwrap();
    // The source goes where it cannot know any more that its machine will not run.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(incoming.take_over(|| Ok(()), || {}).is_err());
    drop(incoming);
    let stays = || {
        let waits = AtomicBool::new(false);
        reception.linger(|| {
            waits.store(true, Ordering::SeqCst);
            true
        });
        waits.into_inner()
    };
    assert!(matches!(ask(&path, 6), Message::Failed(_)));
    assert!(stays(), "somebody else has settled it");
    assert!(matches!(ask(&path, 5), Message::Fate(Fate::Never)));
    assert!(!stays(), "it is known");
}

/// Whoever waits for a machine hears that its source went before it was let in; else nobody else could come, either.
#[test]
fn a_source_that_goes_before_it_is_let_in_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let gate = Gate::new(Address::Unix(path.clone()), &Protection::default()).unwrap();
    let listener = gate.listen().unwrap();
    let hello = Hello {
        format: FORMAT,
        oldest: OLDEST_FORMAT,
        session: Session::new([6; 16]),
        facts: Facts::new(),
        connections: 1,
    };
    let stream = socket::connect(&path).unwrap();
    Writer::new(&stream).write(&Message::Hello(hello)).unwrap();
    drop(stream);
    let reception = Reception::open(listener, Facts::new(), folder.path()).unwrap();
    let mut incoming = reception.greet(Duration::from_secs(30)).unwrap();
    assert!(incoming.devices().is_err());
}
