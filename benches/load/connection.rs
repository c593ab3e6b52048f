//! One client of the load: a raw socket, and as much of the protocol as it takes to find the frames.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::Result;

/// Bytes of a message that are looked at: the event's id is among them.
const HEAD: usize = 48;

const PING: u8 = 9;
const CLOSE: u8 = 8;
/// An empty pong, masked with zeros.
const PONG: &[u8] = b"\x8a\x80\0\0\0\0";

/// Where it is in what it reads.
pub struct Connection {
    pub stream: TcpStream,
    /// The end of the answer to the upgrade was seen.
    pub open: bool,
    /// Text messages so far.
    pub messages: u64,
    /// Bytes of "\r\n\r\n" that were seen.
    ending: usize,
    header: [u8; 10],
    header_length: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
    head: [u8; HEAD],
    head_length: usize,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            open: false,
            messages: 0,
            ending: 0,
            header: [0; 10],
            header_length: 0,
            left: 0,
            head: [0; HEAD],
            head_length: 0,
        }
    }

    /// Reads all that is there; `message` gets the beginning of each text message. `false` at the end.
    pub fn read(&mut self, buffer: &mut [u8], mut message: impl FnMut(&[u8])) -> Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.take(&buffer[..length], &mut message)?;
                    // What comes now is another event of the poll.
                    if length < buffer.len() {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], message: &mut impl FnMut(&[u8])) -> Result<()> {
        if !self.open {
            bytes = self.handshake(bytes);
        }
        while !bytes.is_empty() {
            if self.left == 0 {
                bytes = self.read_header(bytes);
                if self.left == 0 && self.header_length == 0 {
                    self.finish(message)?;
                }
                continue;
            }
            let length = bytes.len().min(usize::try_from(self.left)?);
            let kept = length.min(HEAD - self.head_length);
            self.head[self.head_length..self.head_length + kept].copy_from_slice(&bytes[..kept]);
            self.head_length += kept;
            self.left -= length as u64;
            bytes = &bytes[length..];
            if self.left == 0 {
                self.finish(message)?;
            }
        }
        Ok(())
    }

    fn handshake<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        for (index, byte) in bytes.iter().enumerate() {
            self.ending = match (b"\r\n\r\n"[self.ending] == *byte, *byte == b'\r') {
                (true, _) => self.ending + 1,
                (false, true) => 1,
                (false, false) => 0,
            };
            if self.ending == 4 {
                self.open = true;
                return &bytes[index + 1..];
            }
        }
        &[]
    }

    /// Takes of `bytes` what belongs to a frame's header. At its end the header is empty again.
    fn read_header<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        for (index, byte) in bytes.iter().enumerate() {
            self.header[self.header_length] = *byte;
            self.header_length += 1;
            let wanted = match (self.header_length, self.header[1]) {
                (1, _) => continue,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if self.header_length == wanted {
                let length = &self.header[2..wanted];
                self.left = match length.len() {
                    0 => u64::from(self.header[1]),
                    _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
                };
                (self.header_length, self.head_length) = (0, 0);
                return &bytes[index + 1..];
            }
        }
        &[]
    }

    fn finish(&mut self, message: &mut impl FnMut(&[u8])) -> Result<()> {
        match self.header[0] & 0x0f {
            PING => self.stream.write_all(PONG)?,
            CLOSE => return Err("the server closed a client".into()),
            _ => {
                self.messages += 1;
                message(&self.head[..self.head_length]);
            }
        }
        self.head_length = 0;
        Ok(())
    }
}

/// A text message as clients send it, masked with zeros.
pub fn masked(text: &str) -> Result<Vec<u8>> {
    let length = u16::try_from(text.len())?;
    let mut frame = vec![0x81];
    match u8::try_from(length) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    Ok(frame)
}
