//! The one connection: bytes from and to gdb.

use gdbstub::conn::{Connection, ConnectionExt};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// Answers are gathered up to so many bytes.
const GATHERED_MAX: usize = 1 << 16;

/// A connected client. Answers are sent when the stub says that they are whole.
pub struct Link {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Link {
    /// Takes over a connection.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, answer: Vec::new() }
    }
}

impl Connection for Link {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        self.answer.push(byte);
        if self.answer.len() >= GATHERED_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(false)?;
        Write::write_all(&mut self.stream, &self.answer)?;
        self.answer.clear();
        Write::flush(&mut self.stream)
    }

    fn on_session_start(&mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }
}

impl ConnectionExt for Link {
    fn read(&mut self) -> io::Result<u8> {
        self.stream.set_nonblocking(false)?;
        let mut byte = [0];
        Read::read_exact(&mut self.stream, &mut byte).map(|()| byte[0])
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        self.stream.set_nonblocking(true)?;
        let mut byte = [0];
        match TcpStream::peek(&self.stream, &mut byte) {
            // The other end is gone: reading says so.
            Ok(_) => Ok(Some(byte[0])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
