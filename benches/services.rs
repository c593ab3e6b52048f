//! Redis, MariaDB and Pulsar for the bench: started by `scripts/services` in a directory of their own, stopped at the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use tempfile::TempDir;

use super::Result;
use super::process::cpu_seconds;

/// How long Pulsar's admin API may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The running services.
pub struct Services {
    directory: TempDir,
    redis: String,
    mysql: String,
    pulsar: String,
    admin: String,
}

impl Services {
    /// Starts all three. They are stopped with the value, and when a signal ends the bench.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        stop_on_signal(directory.path().to_owned())?;
        let mut services = Self {
            directory,
            redis: String::new(),
            mysql: String::new(),
            pulsar: String::new(),
            admin: String::new(),
        };
        let path = services.directory.path();
        // Others that run already are not for measurements: who knows what they do beside.
        let mut command = script("start", path);
        for name in ["REDIS", "MYSQL", "PULSAR"] {
            command.env_remove(format!("PULSEHUB_TEST_{name}"));
        }
        if !command.status()?.success() {
            return Err("the services cannot be started".into());
        }
        let text = std::fs::read_to_string(path.join("env"))?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(str::to_owned).ok_or_else(|| format!("the services did not say {name}"))
        };
        services.redis = value("PULSEHUB_TEST_REDIS")?;
        services.mysql = value("PULSEHUB_TEST_MYSQL")?;
        services.pulsar = value("PULSEHUB_TEST_PULSAR")?;
        services.admin = value("PULSEHUB_TEST_PULSAR_ADMIN")?;
        Ok(services)
    }

    /// The process of `redis`, `mariadb` or `pulsar`.
    pub fn pid(&self, name: &str) -> Result<u32> {
        let path = self.directory.path().join(name).join(format!("{name}.pid"));
        Ok(std::fs::read_to_string(path)?.trim().parse()?)
    }

    /// Processor time that each has used, in seconds: Pulsar, Redis, MariaDB.
    pub fn cpu_seconds(&self) -> Result<[f64; 3]> {
        let mut seconds = [0.0; 3];
        for (seconds, name) in seconds.iter_mut().zip(["pulsar", "redis", "mariadb"]) {
            *seconds = cpu_seconds(self.pid(name)?).ok_or_else(|| format!("{name} is gone"))?;
        }
        Ok(seconds)
    }

    /// Sends a signal such as `STOP` to one.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let sent =
            Command::new("kill").arg(format!("-{signal}")).arg(self.pid(name)?.to_string()).status()?;
        if sent.success() { Ok(()) } else { Err(format!("cannot send {signal} to {name}").into()) }
    }

    /// What Pulsar says of a topic.
    pub fn topic(&self, topic: &str) -> Result<serde_json::Value> {
        let (_, address) = self.admin.split_once("://").ok_or("no address of Pulsar's admin API")?;
        let body = get(address, &format!("/admin/v2/persistent/public/default/{topic}/stats"))?;
        Ok(serde_json::from_str(&body)?)
    }

    /// Makes an empty database.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = mysql_async::Conn::from_url(&self.mysql).await?;
            let statement = format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
            connection.query_drop(statement).await?;
            Ok(connection.disconnect().await?)
        })
    }

    /// Makes the program use Pulsar and Redis, apart from every other `round`.
    pub fn configure(&self, command: &mut Command, round: &str) {
        command
            .env("PULSEHUB__PULSAR__DEVHOST", &self.pulsar)
            .env("PULSEHUB__PULSAR__ADMINURL", &self.admin)
            .env("PULSEHUB__PULSAR__PRODUCER__TOPIC", round)
            .env("PULSEHUB__PULSAR__CONSUMER__TOPIC", round)
            .env("PULSEHUB__REDIS__HOST", &self.redis)
            .env("PULSEHUB__REDIS__PREFIX", format!("{round}:"));
    }

    /// Makes the program write history into the database `name`.
    pub fn configure_history(&self, command: &mut Command, name: &str) -> Result<()> {
        let parts = self.mysql.strip_prefix("mysql://").and_then(|rest| {
            let (login, place) = rest.split_once('@')?;
            let ((user, password), (host, port)) =
                (login.split_once(':')?, place.split_once('/')?.0.split_once(':')?);
            Some([("USER", user), ("PASSWORD", password), ("HOST", host), ("PORT", port)])
        });
        for (key, value) in parts.ok_or("no address of MariaDB")? {
            command.env(format!("PULSEHUB__TIDB__{key}"), value);
        }
        command.env("PULSEHUB__TIDB__DB", name).env("PULSEHUB__HISTORY__WRITE", "true");
        Ok(())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        stop(self.directory.path());
    }
}

/// The body of an answer to one GET request.
pub fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(format!("{path}: {}", head.lines().next().unwrap_or_default()).into());
    }
    Ok(body.to_owned())
}

fn script(action: &str, directory: &Path) -> Command {
    let mut command =
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/services").join("all"));
    command.arg(action).arg(directory).stdout(Stdio::null());
    command
}

fn stop(directory: &Path) {
    // One that a stage has stopped would not see that it is to end.
    for name in ["redis", "mariadb"] {
        if let Ok(pid) = std::fs::read_to_string(directory.join(name).join(format!("{name}.pid"))) {
            let _ = Command::new("kill").arg("-CONT").arg(pid.trim()).status();
        }
    }
    let _ = script("stop", directory).status();
}

/// The services have sessions of their own, so Ctrl-C does not reach them.
fn stop_on_signal(directory: PathBuf) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            stop(&directory);
            let _ = std::fs::remove_dir_all(&directory);
            std::process::exit(130);
        });
    });
    Ok(())
}
