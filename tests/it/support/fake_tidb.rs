//! A fake of TiDB: speaks as much of MySQL's protocol as a history needs, holds nothing, and fails as it is told.
//!
//! TiDB itself is not to be had for tests, and MariaDB never answers with TiDB's own error codes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use pulsehub::config::Config;
use pulsehub::history::tidb::{STATEMENT_LIMIT, Settings, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const COLUMNS: &str = "id type created_at repo_id repo_name actor_id actor_login org_id org_login language additions \
                       deletions action number pr_or_issue_id pr_merged event_day event_month event_year";

/// The fake; it ends with its runtime.
pub struct FakeTidb {
    port: u16,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    /// Error codes of the next statements that matter.
    faults: VecDeque<u16>,
    /// How many of those were asked.
    asked: usize,
}

impl FakeTidb {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, script) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Script>>::default());
        let shared = script.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Its end is the client's.
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Self { port, script }
    }

    /// Answers the next writes, or counts of days, with these codes, and counts anew how many there are.
    pub fn fail_next(&self, codes: &[u16]) {
        *self.script.lock().unwrap() = Script { faults: codes.iter().copied().collect(), asked: 0 };
    }

    /// How often a write or a count of days was asked for.
    pub fn asked(&self) -> usize {
        self.script.lock().unwrap().asked
    }

    /// A written history that uses it.
    pub fn settings(&self) -> Settings {
        let config = Config::builtin().unwrap();
        Settings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "root".to_owned(),
            password: String::new(),
            db: "test".to_owned(),
            tls: Tls::Disabled,
            ca_file: None,
            events_daily: config.tidb.sql.events_daily,
            yearly: config.tidb.sql.yearly,
            write: true,
            statement_limit: STATEMENT_LIMIT,
        }
    }
}

/// One connection: packets with a number of their own, which begins anew with each command.
struct Wire {
    socket: TcpStream,
    sequence: u8,
}

impl Wire {
    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.socket.read_exact(&mut header).await?;
        self.sequence = header[3].wrapping_add(1);
        let mut body = vec![0; u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize];
        self.socket.read_exact(&mut body).await?;
        Ok(body)
    }

    async fn send(&mut self, body: &[u8]) -> std::io::Result<()> {
        let mut packet = (body.len() as u32).to_le_bytes();
        packet[3] = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.write_all(&[&packet, body].concat()).await
    }

    async fn ok(&mut self) -> std::io::Result<()> {
        self.send(&[0, 0, 0, 2, 0, 0, 0]).await
    }

    async fn error(&mut self, code: u16) -> std::io::Result<()> {
        let text = format!("#HY000as error {code} says");
        self.send(&[&[0xff], &code.to_le_bytes()[..], text.as_bytes()].concat()).await
    }

    async fn columns(&mut self, names: &[&str]) -> std::io::Result<()> {
        for name in names {
            let mut definition = Vec::new();
            for text in ["def", "", "", "", name, ""] {
                definition.extend(length_and(text));
            }
            // utf8, no length, VAR_STRING, no flags.
            definition.extend([0x0c, 33, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
            self.send(&definition).await?;
        }
        self.end().await
    }

    async fn end(&mut self) -> std::io::Result<()> {
        self.send(&[0xfe, 0, 0, 2, 0]).await
    }

    async fn table(&mut self, names: &[&str], rows: &[Vec<&str>]) -> std::io::Result<()> {
        self.send(&[names.len() as u8]).await?;
        self.columns(names).await?;
        for row in rows {
            let values: Vec<u8> = row.iter().flat_map(|value| length_and(value)).collect();
            self.send(&values).await?;
        }
        self.end().await
    }
}

fn length_and(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

async fn serve(socket: TcpStream, script: Arc<Mutex<Script>>) -> std::io::Result<()> {
    let mut wire = Wire { socket, sequence: 0 };
    wire.send(&greeting()).await?;
    wire.receive().await?;
    wire.ok().await?;
    loop {
        let command = wire.receive().await?;
        let text = String::from_utf8_lossy(&command[1..]).into_owned();
        let fault = |matters: bool| {
            let mut script = script.lock().unwrap();
            script.asked += usize::from(matters);
            if matters { script.faults.pop_front() } else { None }
        };
        match command[0] {
            1 => return Ok(()),
            // Closing a statement has no answer.
            0x19 => {}
            0x03 if text.starts_with("SELECT @@") => {
                let names: Vec<_> = text["SELECT ".len()..].split(',').collect();
                let values = vec!["67108864"; names.len()];
                wire.table(&names, &[values]).await?;
            }
            0x03 if text.contains("information_schema.columns") => {
                let rows: Vec<_> = COLUMNS.split_whitespace().map(|name| vec![name, "64", "1"]).collect();
                wire.table(&["name", "width", "nullable"], &rows).await?;
            }
            0x03 if text.contains("information_schema.statistics") => {
                let key = ["id", "created_at"].map(|column| vec!["PRIMARY", column]);
                wire.table(&["index_name", "column_name"], &key).await?;
            }
            0x03 if text.contains("AS opened_prs") => match fault(true) {
                Some(code) => wire.error(code).await?,
                None => {
                    let names = ["event_day", "developers", "opened_prs", "closed_prs", "merged_prs"];
                    wire.table(&names, &[vec!["2016-01-01", "5", "4", "3", "2"]]).await?;
                }
            },
            0x03 if text.contains("COUNT(DISTINCT repo_id)") => {
                wire.table(&["developers", "repos", "additions", "deletions"], &[vec!["5", "6", "7", "8"]])
                    .await?;
            }
            0x16 => {
                let params = text.matches('?').count();
                let count = (params as u16).to_le_bytes();
                wire.send(&[0, 1, 0, 0, 0, 0, 0, count[0], count[1], 0, 0, 0]).await?;
                wire.columns(&vec!["?"; params]).await?;
            }
            other => match fault(other == 0x17) {
                Some(code) => wire.error(code).await?,
                None => wire.ok().await?,
            },
        }
    }
}

/// Protocol 10 with the old authentication, which takes whatever comes.
fn greeting() -> Vec<u8> {
    // PROTOCOL_41, CONNECT_WITH_DB, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH and the long forms.
    let capabilities = 0x0008_a20f_u32.to_le_bytes();
    let mut greeting = vec![10];
    greeting.extend(b"8.0.11-TiDB-v8.5.0-fake\0");
    greeting.extend([1, 0, 0, 0]);
    greeting.extend(b"12345678\0");
    greeting.extend([capabilities[0], capabilities[1], 33, 2, 0, capabilities[2], capabilities[3], 21]);
    greeting.extend([0; 10]);
    greeting.extend(b"123456789012\0mysql_native_password\0");
    greeting
}
