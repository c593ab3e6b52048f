//! A fake of Redis 7.2: a proxy before a real, older Redis that says version 7.2 and answers `WAITAOF` itself, as the test
//! wants it. Everything else goes through, so it shows what this program does with the answers, not that Redis gives
//! them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What `WAITAOF` answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    NotYet,
    /// The write is on this server's disk.
    Synced,
    /// It was not in time.
    TimedOut,
}

/// The proxy; it ends with the test's runtime.
pub struct Waitaof {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    answer: watch::Sender<Answer>,
}

impl Waitaof {
    /// Stands before the server at `host`, and answers nothing yet.
    pub async fn before(host: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, answers) = watch::channel(Answer::NotYet);
        let asked = Arc::new(AtomicU64::new(0));
        let counter = asked.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = Proxy { asked: counter.clone(), answers: answers.clone() };
                let host = host.clone();
                // A connection ends when either side does.
                tokio::spawn(async move { proxy.run(client, &host).await });
            }
        });
        Self { address, asked, answer }
    }

    /// `host:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// How often it was asked for `WAITAOF`.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Answers so from now on, also what was asked already.
    pub fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }
}

struct Proxy {
    asked: Arc<AtomicU64>,
    answers: watch::Receiver<Answer>,
}

impl Proxy {
    /// One command after the other, so that the answers keep their order.
    async fn run(mut self, client: TcpStream, host: &str) -> std::io::Result<()> {
        let server = TcpStream::connect(host).await?;
        let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
        loop {
            let (command, words) = frame(&mut client).await?;
            let first = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
            let reply = match first.as_slice() {
                b"WAITAOF" => {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                    let answer = tokio::select! {
                        answer = self.answers.wait_for(|answer| *answer != Answer::NotYet) => answer.map(|a| *a),
                        // As the real one, it breaks off where the server does.
                        _ = server.read_u8() => return Ok(()),
                    };
                    let synced = u8::from(answer.is_ok_and(|answer| answer == Answer::Synced));
                    format!("*2\r\n:{synced}\r\n:0\r\n").into_bytes()
                }
                b"COMMAND" if words.last().is_some_and(|word| word.eq_ignore_ascii_case(b"WAITAOF")) => {
                    b"*1\r\n*1\r\n$7\r\nwaitaof\r\n".to_vec()
                }
                _ => {
                    server.write_all(&command).await?;
                    let (mut reply, _) = frame(&mut server).await?;
                    if first == b"INFO" {
                        let version = b"redis_version:7.0";
                        if let Some(at) = reply.windows(version.len()).position(|bytes| bytes == version) {
                            reply[at + version.len() - 1] = b'2';
                        }
                    }
                    reply
                }
            };
            client.write_all(&reply).await?;
        }
    }
}

/// One command or reply of Redis' protocol: its bytes, and the strings in it.
async fn frame(stream: &mut BufReader<TcpStream>) -> std::io::Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let (mut bytes, mut strings, mut missing) = (Vec::new(), Vec::new(), 1);
    while missing > 0 {
        missing -= 1;
        let start = bytes.len();
        if stream.read_until(b'\n', &mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = std::str::from_utf8(&bytes[start + 1..]).unwrap_or_default().trim_end();
        let count = line.parse::<usize>().unwrap_or(0);
        match bytes[start] {
            b'$' | b'=' if line != "-1" => {
                let start = bytes.len();
                bytes.resize(start + count + 2, 0);
                stream.read_exact(&mut bytes[start..]).await?;
                strings.push(bytes[start..start + count].to_vec());
            }
            b'*' | b'~' | b'>' => missing += count,
            b'%' => missing += 2 * count,
            _ => {}
        }
    }
    Ok((bytes, strings))
}
