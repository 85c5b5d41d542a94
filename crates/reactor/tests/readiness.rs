//! What is reported of a registered descriptor, and for how long.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod common;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use common::{look, poll, tokens};
use reactor::{Event, Events, Interest, Reactor, Token};

fn pair() -> (UnixStream, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    (here, there)
}

fn fill(stream: &mut UnixStream) {
    while stream.write(&[0; 4096]).is_ok() {}
}

fn drain(stream: &mut UnixStream) {
    while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
}

#[test]
fn data_makes_readable_and_only_that() {
    let reactor = Reactor::new().unwrap();
    let (here, mut there) = pair();
    reactor
        .register(here.as_raw_fd(), Token(3), Interest::READABLE)
        .unwrap();
    assert!(look(&reactor).is_empty());

    there.write_all(b"x").unwrap();
    let events = poll(&reactor);
    assert_eq!(tokens(&events), [3]);
    assert!(events[0].readable() && !events[0].writable());
    assert!(!events[0].error() && !events[0].hangup());
}

#[test]
fn room_makes_writable_and_only_that() {
    let reactor = Reactor::new().unwrap();
    let (mut here, mut there) = pair();
    fill(&mut here);
    reactor
        .register(here.as_raw_fd(), Token(4), Interest::WRITABLE)
        .unwrap();
    assert!(look(&reactor).is_empty());

    drain(&mut there);
    let events = poll(&reactor);
    assert_eq!(tokens(&events), [4]);
    assert!(events[0].writable() && !events[0].readable());
}

#[test]
fn both_directions_are_reported_together() {
    let reactor = Reactor::new().unwrap();
    let (here, mut there) = pair();
    reactor
        .register(
            here.as_raw_fd(),
            Token(5),
            Interest::READABLE | Interest::WRITABLE,
        )
        .unwrap();
    there.write_all(b"x").unwrap();
    let events = poll(&reactor);
    assert!(events.iter().any(Event::readable) && events.iter().any(Event::writable));
}

#[test]
fn readiness_is_reported_until_it_is_used_up() {
    let reactor = Reactor::new().unwrap();
    let (mut here, mut there) = pair();
    reactor
        .register(here.as_raw_fd(), Token(6), Interest::READABLE)
        .unwrap();
    there.write_all(b"ab").unwrap();
    for _ in 0..3 {
        assert_eq!(tokens(&look(&reactor)), [6]);
    }
    here.read_exact(&mut [0]).unwrap();
    assert_eq!(tokens(&look(&reactor)), [6], "one byte is left");
    here.read_exact(&mut [0]).unwrap();
    assert!(look(&reactor).is_empty());
}

#[test]
fn vanished_peer_makes_both_directions_ready_whatever_the_interest() {
    for interest in [Interest::READABLE, Interest::WRITABLE] {
        let reactor = Reactor::new().unwrap();
        let (mut here, there) = pair();
        fill(&mut here);
        reactor
            .register(here.as_raw_fd(), Token(7), interest)
            .unwrap();
        drop(there);
        let events = poll(&reactor);
        assert!(events.iter().any(Event::hangup));
        if cfg!(target_os = "linux") {
            assert!(events[0].readable() && events[0].writable());
        }
    }
}

#[test]
fn half_closed_peer_makes_readable_without_hang_up() {
    let reactor = Reactor::new().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    reactor
        .register(client.as_raw_fd(), Token(8), Interest::READABLE)
        .unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    let events = poll(&reactor);
    assert!(events[0].readable() && !events[0].writable());
    if cfg!(target_os = "linux") {
        assert!(!events[0].hangup(), "a hang-up is of both directions");
    }
}

#[test]
fn refused_connection_is_an_error_of_both_directions() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let reactor = Reactor::new().unwrap();
    // Bound but not listening, and held meanwhile: nobody else can answer there.
    let occupied = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    rustix::net::bind(&occupied, &any_port).unwrap();
    let address = rustix::net::getsockname(&occupied).unwrap();

    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    assert_eq!(
        connect(&client, &address),
        Err(rustix::io::Errno::INPROGRESS)
    );
    reactor
        .register(client.as_raw_fd(), Token(9), Interest::WRITABLE)
        .unwrap();
    let events = poll(&reactor);
    assert!(events[0].error() && events[0].writable() && events[0].readable());
}

#[test]
fn pipe_without_reader_is_an_error_for_its_writer() {
    let reactor = Reactor::new().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
    reactor
        .register(writer.as_raw_fd(), Token(10), Interest::WRITABLE)
        .unwrap();
    assert!(look(&reactor).is_empty());
    drop(reader);
    let events = poll(&reactor);
    assert!(events[0].writable() && (events[0].error() || events[0].hangup()));
}

#[test]
fn buffer_reports_no_more_than_its_capacity_and_empties_at_each_poll() {
    let reactor = Reactor::new().unwrap();
    let streams: Vec<_> = (0..5).map(|_| pair()).collect();
    for (index, (here, _)) in streams.iter().enumerate() {
        reactor
            .register(here.as_raw_fd(), Token(index as u64), Interest::WRITABLE)
            .unwrap();
    }
    let mut events = Events::with_capacity(3);
    reactor.poll(&mut events, Some(common::BOUND)).unwrap();
    assert_eq!(
        (events.len(), events.iter().len(), events.capacity()),
        (3, 3, 3)
    );
    assert!(events.get(2).is_some() && events.get(3).is_none());

    for (here, _) in &streams {
        reactor.deregister(here.as_raw_fd()).unwrap();
    }
    reactor
        .poll(&mut events, Some(std::time::Duration::ZERO))
        .unwrap();
    assert!(events.is_empty() && events.get(0).is_none());
}

#[test]
fn reactor_is_itself_readable_exactly_while_it_has_news() {
    let outer = Reactor::new().unwrap();
    let inner = Reactor::new().unwrap();
    outer
        .register(inner.as_raw_fd(), Token(1), Interest::READABLE)
        .unwrap();
    assert!(look(&outer).is_empty());

    inner.waker().wake().unwrap();
    assert_eq!(tokens(&poll(&outer)), [1]);
    assert!(
        look(&inner).is_empty(),
        "the wake-up is consumed, not reported"
    );
    assert!(look(&outer).is_empty());

    let (here, _there) = pair();
    inner
        .register(here.as_raw_fd(), Token(2), Interest::WRITABLE)
        .unwrap();
    assert_eq!(tokens(&poll(&outer)), [1]);
}
