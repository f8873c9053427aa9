//! Several connections, and many who call.

use super::super::wire::{
    FORMAT, Fate, Hello, Key, Message, OLDEST_FORMAT, Reader, Round, WireError, Writer,
};
use super::*;
use crate::turns::in_turns;

/// Pages of which each of some connections gets some.
const MANY: usize = 3000;

#[test]
fn several_connections_carry_one_machine() {
    for connections in [2, 5, 16] {
        let trial = trial_over((MANY, connections), (0, None, None), Faults::default(), false);
        check(&trial, &format!("{connections} connections"));
        let moved = trial.result.unwrap();
        assert_eq!(moved.progress.rounds, 4, "{:?}", trial.seen);
    }
    let trial =
        trial_over((MANY, 3), (0, None, None), Faults { cannot_load: true, ..Faults::default() }, false);
    check(&trial, "cannot be loaded");
}

#[test]
fn wherever_one_of_several_connections_breaks_one_side_has_the_machine() {
    let mut stayed = 0;
    for which in 0..3 {
        // Joining, memory of the first round, and what comes after it.
        for forward in [0, 10, 50, 60, 3000, 100_000, 700_000, 1_100_000, 1_500_000] {
            let trial = trial_over((MANY, 3), (which, Some(forward), None), Faults::default(), false);
            check(&trial, &format!("{forward} bytes went on connection {which}"));
            stayed += u32::from(trial.result.is_err());
        }
        for backward in [0, 10, 24, 100] {
            let trial = trial_over((MANY, 3), (which, None, Some(backward)), Faults::default(), false);
            check(&trial, &format!("{backward} bytes came back on connection {which}"));
        }
    }
    assert!(stayed >= 20, "{stayed}");
}

#[test]
fn nobody_joins_without_the_key_and_no_more_than_were_agreed_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let gate = Gate::new(Address::Unix(path.clone()), &Protection::default()).unwrap();
    let reception = Reception::open(gate.listen().unwrap(), Facts::new(), directory.path()).unwrap();
    let say = |message: &Message| {
        let stream = socket::connect(&path).unwrap();
        let mut reader = Reader::new(stream.try_clone().unwrap());
        let mut writer = Writer::new(stream);
        writer.write(message).unwrap();
        let answer = reader.read();
        (answer, reader, writer)
    };
    // Before there is a session.
    assert!(say(&Message::Join(Key::new([0; 16]))).0.is_err());
    let hello = Hello {
        format: FORMAT,
        oldest: OLDEST_FORMAT,
        session: Session::new([1; 16]),
        connections: 200,
        facts: Facts::new(),
    };
    let (answer, _reader, mut writer) = say(&Message::Hello(hello));
    let Ok(Message::Welcome(welcome)) = answer else { panic!("{answer:?}") };
    assert_eq!(welcome.connections, 16);
    let mut incoming = reception.greet(Duration::from_secs(60)).unwrap();
    assert!(say(&Message::Join(Key::new([0; 16]))).0.is_err());
    let mut joined: Vec<_> = (2..=16).map(|_| say(&Message::Join(welcome.key.clone()))).collect();
    assert!(joined.iter().all(|(answer, ..)| matches!(answer, Ok(Message::Joined))));
    assert!(say(&Message::Join(welcome.key.clone())).0.is_err());
    // What only the first connection may say ends all.
    let ram = memory(1);
    writer.write(&Message::Round(Round { number: 1 })).unwrap();
    let receiving = thread::spawn(move || incoming.receive(&ram));
    let (_, mut last_words, mut wrong) = joined.pop().unwrap();
    wrong.write(&Message::Go).unwrap();
    assert!(matches!(last_words.read(), Ok(Message::Failed(_))));
    assert!(receiving.join().unwrap().unwrap_err().to_string().contains("no sense"));
}

#[test]
fn those_who_say_nothing_do_not_keep_a_source_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let gate = Gate::new(Address::Unix(path.clone()), &Protection::default()).unwrap();
    let reception = Reception::open(gate.listen().unwrap(), Facts::new(), directory.path()).unwrap();
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = socket::connect(&path).unwrap();
        // The beginning of a frame; whoever is sent away at once may not be able to say even that.
        let _ = stream.write_all(b"KVMM");
        silent.push(stream);
        thread::sleep(Duration::from_millis(5));
    }
    let mut writer = Writer::new(socket::connect(&path).unwrap());
    let hello = Hello {
        format: FORMAT,
        oldest: OLDEST_FORMAT,
        session: Session::new([1; 16]),
        connections: 1,
        facts: Facts::new(),
    };
    writer.write(&Message::Hello(hello)).unwrap();
    // Less than a caller may be silent.
    assert!(in_turns(Duration::from_secs(5), |turn| reception.greet(turn)).is_some());
    let gone = silent.into_iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        // Whoever is still heard would have to wait.
        !matches!((&*stream).read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    });
    assert!(gone.count() >= 30);
}

#[test]
fn whoever_has_said_what_it_wants_is_not_cut_for_those_who_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _reception = reception(&path);
    let call = |message| {
        let stream = socket::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (mut reader, mut writer) =
            (Reader::new(stream.try_clone().unwrap()), Writer::new(stream.try_clone().unwrap()));
        writer.write(&message).unwrap();
        (reader.read().unwrap(), reader, stream)
    };
    let session = Session::new([1; 16]);
    let hello = Hello {
        format: FORMAT,
        oldest: OLDEST_FORMAT,
        session: session.clone(),
        connections: 1,
        facts: Facts::new(),
    };
    let _source = call(Message::Hello(hello));
    // The thread that hears it waits for one word more.
    let (fate, mut asking, stream) = call(Message::Ask(session));
    assert_eq!(fate, Message::Fate(Fate::Never));
    let _silent: Vec<_> = (0..20)
        .map(|_| {
            thread::sleep(Duration::from_millis(5));
            socket::connect(&path).unwrap()
        })
        .collect();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let said = asking.read();
    assert!(matches!(said, Err(WireError::Silent)), "{said:?}");
}
