//! Any frames of a guest behind whose card DHCP, routers and neighbours are answered: each goes on as it was or ends
//! there, and what comes back is one short frame at most.

#![no_main]
#![expect(unsafe_code, reason = "frames are handed over in raw buffers")]

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use net::dhcp::{Answers, Extras4, LEASE_SECONDS, Lease4, Lease6, PrivateOption, Route4, RouterAdvert};
use net::{Answered, FrameQueue, HEADER_LEN, IoBuf, Link, MacAddress, Offloads, gather};

const BRIDGE: MacAddress = MacAddress([2, 0, 0, 0, 0, 0]);
const GUEST: MacAddress = MacAddress([2, 0, 0, 0, 0, 7]);
/// What answers are never longer than, with their virtio headers.
const LONGEST: usize = 12 + 1514;

/// Keeps what passes.
#[derive(Clone, Debug)]
struct Kept(Arc<(File, Mutex<Vec<Vec<u8>>>)>);

impl Link for Kept {
    fn queue_pairs(&self) -> u16 {
        1
    }

    fn mtu(&self) -> Option<u16> {
        None
    }

    fn offloads(&self) -> Offloads {
        Offloads::CSUM
    }

    fn set_offloads(&self, _: Offloads) -> io::Result<()> {
        Ok(())
    }

    fn set_active_pairs(&self, _: u16) -> io::Result<()> {
        Ok(())
    }

    fn open_queue(&self, _: u16) -> io::Result<Box<dyn FrameQueue>> {
        Ok(Box::new(self.clone()))
    }
}

impl FrameQueue for Kept {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }

    fn receive(&mut self, _: &[IoBuf]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        let mut frame = vec![0; bufs.iter().map(IoBuf::len).sum()];
        gather(bufs, 0, &mut frame);
        self.0.1.lock().unwrap().push(frame);
        Ok(())
    }
}

fn answers() -> Answers {
    let lease4 = Lease4 {
        client: None,
        address: [10, 0, 2, 2].into(),
        prefix: 24,
        server: [10, 0, 2, 1].into(),
        router: Some([10, 0, 2, 1].into()),
        routes: vec![Route4 { destination: [172, 16, 0, 0].into(), prefix: 12, via: Some([10, 0, 2, 9].into()) }],
        dns: vec![[10, 96, 0, 10].into()],
        search: vec!["default.svc.cluster.local".to_owned(), "svc.cluster.local".to_owned()],
        hostname: Some("testvm".to_owned()),
        mtu: Some(1480),
        extras: Extras4 {
            private: vec![PrivateOption { code: 224, value: "x".repeat(200) }],
            ..Extras4::default()
        },
        seconds: LEASE_SECONDS,
    };
    let lease6 = Lease6 {
        client: Some(GUEST),
        address: "fd10:0:2::2".parse().unwrap(),
        dns: vec!["fd00::a".parse().unwrap()],
        search: vec!["cluster.local".to_owned()],
        seconds: LEASE_SECONDS,
    };
    let router = RouterAdvert::link_local(BRIDGE);
    let prefix = "fd10:0:2::".parse().unwrap();
    let advert = RouterAdvert { router, prefix, prefix_len: 120, mtu: Some(1480), dns: Vec::new() };
    let neighbours = vec![IpAddr::from([169, 254, 75, 10]), router.into()];
    Answers { server_mac: BRIDGE, lease4: Some(lease4), lease6: Some(lease6), advert: Some(advert), neighbours }
}

/// A message of DHCP as the guest sends it, with the checksum left to the card.
fn wrapped(v6: bool, message: &[u8]) -> Vec<u8> {
    let len = |more: usize| u16::try_from(message.len() + more).unwrap().to_be_bytes();
    let mut frame = vec![0; 12];
    frame[0] = 1;
    frame.extend([[0xff; 6], GUEST.0].concat());
    let ports = if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(len(8));
        frame.extend([17, 64]);
        frame.extend(RouterAdvert::link_local(GUEST).octets());
        frame.extend("ff02::1:2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        [2, 34, 2, 35]
    } else {
        let [high, low] = len(28);
        let header = [0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        let words = header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
        let sum = words.sum::<u32>();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        frame.extend([8, 0]);
        frame.extend(&header[..10]);
        frame.extend(sum.to_be_bytes());
        frame.extend(&header[12..]);
        [0, 68, 0, 67]
    };
    frame.extend(ports);
    frame.extend(len(8));
    frame.extend([0, 0]);
    frame.extend(message);
    frame
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    if rest.len() > 4000 {
        return;
    }
    let mut frame = match kind & 3 {
        0 => wrapped(false, rest),
        1 => wrapped(true, rest),
        _ => rest.to_vec(),
    };
    let sent = frame.clone();
    let kept = Kept(Arc::new((File::open("/dev/null").unwrap(), Mutex::default())));
    let link = Answered::new(Arc::new(kept.clone()), answers()).unwrap();
    let mut queue = link.open_queue(0).unwrap();
    // In two pieces, cut anywhere near the headers.
    let (first, second) = frame.split_at_mut(usize::from(kind >> 2).min(sent.len()));
    // SAFETY: the frame outlives the buffers, and is not looked at while they are used.
    let bufs = [first, second].map(|piece| unsafe { IoBuf::from_raw(piece.as_mut_ptr(), piece.len()) });
    queue.send(&bufs).unwrap();
    let passed = std::mem::take(&mut *kept.0.1.lock().unwrap());
    assert!(passed.iter().all(|frame| *frame == sent), "a frame was changed on its way");
    let mut answer = vec![0; 4096];
    // SAFETY: as above.
    let buf = unsafe { IoBuf::from_raw(answer.as_mut_ptr(), answer.len()) };
    let mut answered = 0;
    while let Ok(len) = queue.receive(&[buf]) {
        answered += 1;
        assert!((usize::try_from(HEADER_LEN).unwrap() + 60..=LONGEST).contains(&len), "an answer of {len} bytes");
    }
    let report = link.handle().report();
    let dropped = usize::try_from(report.malformed).unwrap();
    assert!(passed.len() + answered + dropped <= 1, "a frame went several ways");
});
