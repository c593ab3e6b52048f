//! The built program on a file system of its own that is really full: it says so, loses and doubles nothing, and goes on by
//! itself.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::known_answers::recount;
use crate::process::{self, Process, command, get, run, stderr, stdout};
use crate::support::{eventually, text};

const EVENTS: u64 = 40_000;
/// MiB of the file system, and of it what is to be left free.
const DISK: u64 = 160;
const RESERVE: u64 = 24;

/// A file system in memory, in a mount namespace of its own, so that nothing is left of it.
struct Disk {
    holder: Child,
    place: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mount =
            format!("mount -t tmpfs -o size={DISK}m pulsehub-test \"$0\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", &mount])
            .arg(place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, of util-linux");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "this machine must let a test mount a tmpfs in a namespace of its own");
        Self { holder, place }
    }

    /// The program's command, run where the disk is.
    fn command(&self, args: &[&str]) -> Command {
        let plain = command(self.place.path(), args);
        let mut inside = Command::new("nsenter");
        let target = self.holder.id().to_string();
        inside.args(["--target", &target, "--user", "--preserve-credentials", "--mount"]);
        inside.args(["sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(self.place.path());
        inside.arg(plain.get_program()).args(args).env_clear();
        inside.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
        inside.env("PATH", std::env::var_os("PATH").unwrap());
        inside.env("PULSEHUB__STORAGE__RESERVE", RESERVE.to_string());
        inside
    }

    /// The disk's root, seen from here.
    fn root(&self) -> PathBuf {
        let inside = self.place.path().strip_prefix("/").unwrap();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    fn filler(&self) -> PathBuf {
        self.root().join("somebody-elses-file")
    }

    /// Bytes that are free.
    fn free(&self) -> u64 {
        // Not `df`, which looks for the mount among those of this process.
        let output = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(self.root()).output().unwrap();
        let text = stdout(&output);
        let (blocks, size) = text.trim().split_once(' ').unwrap();
        blocks.parse::<u64>().unwrap() * size.parse::<u64>().unwrap()
    }

    /// Somebody else writes until `bytes` are left, or not one.
    fn fill(&self, bytes: u64) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.filler()).unwrap();
        loop {
            let missing = self.free().saturating_sub(bytes);
            // What does not fit was written as far as it does.
            if missing == 0 || file.write_all(&vec![7; usize::try_from(missing).unwrap()]).is_err() {
                return;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its input ends with this, and it with that; an error means that it has ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

async fn applied(admin: &str) -> u64 {
    let metrics = get(&format!("http://{admin}/metrics")).await.text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("pulsehub_events_applied_total "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Waits until nothing is applied any more.
async fn stands_still(admin: &str) {
    let mut before = u64::MAX;
    eventually("nothing is applied any more", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = applied(admin).await;
        std::mem::replace(&mut before, now) == now
    })
    .await;
}

/// An archive that is not on the disk.
fn archive(directory: &Path) -> String {
    let events = EVENTS.to_string();
    let output = run(directory, &["generate", "--events", &events, "--start", "2026-03-01T00:00:00Z"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = directory.join("archive.json");
    std::fs::write(&path, output.stdout).unwrap();
    text(&path)
}

async fn assert_counted_once(disk: &Disk, archive: String) {
    let output = disk.command(&["stats", "--year", "2026"]).output().unwrap();
    let stats: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let recount = recount(2026, [archive]).await;
    assert_eq!(stats["sum"], recount["sum"]);
    assert_eq!(stats["daily"], recount["daily"]);
}

const SAID: &str = "no space left on device";

/// Lines of a log that say that the disk is full, each kind once: both levels of the reserve, the topic, the state, and the last
/// 24 hours, as far as they were asked for room meanwhile.
fn assert_said_once(log: &str) {
    let mut said: Vec<_> = log.lines().filter(|line| line.contains(SAID)).collect();
    let kind = |line: &str| line.split_once(": ").map(|(_, text)| text.to_owned());
    let lines = said.len();
    said.sort_unstable_by_key(|line| kind(line));
    said.dedup_by_key(|line| kind(line));
    assert!((1..=5).contains(&lines) && said.len() == lines, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_served_from_and_work_goes_on_when_there_is_space_again() {
    let (disk, outside) = (Disk::new(), tempfile::tempdir().unwrap());
    let archive = archive(outside.path());
    let replay = ["replay", "--exit", archive.as_str()];
    // The topic takes nothing below twice the reserve.
    disk.fill((2 * RESERVE + 8) << 20);
    let mut process = Process::start(disk.command(&replay));
    let admin = process.admin().await;
    eventually("a part is counted", async || applied(&admin).await > 1_000).await;
    disk.fill((RESERVE - 4) << 20);
    eventually("it is said", async || process.log().contains(SAID)).await;
    stands_still(&admin).await;
    disk.fill(0);
    assert!(disk.free() < 1 << 16, "{}", disk.free());
    let stopped_at = applied(&admin).await;
    assert!((1_000..EVENTS).contains(&stopped_at), "{stopped_at}");
    assert_served(&mut process, stopped_at).await;
    assert_said_once(&process.log());

    // Killed while it is full, and started again.
    process.signal("KILL");
    process.ended().await;
    let mut process = Process::start(disk.command(&replay));
    let admin = process.admin().await;
    eventually("it is said again", async || process.log().contains(SAID)).await;
    assert_served(&mut process, stopped_at).await;
    assert_eq!(applied(&admin).await, 0);

    disk.empty();
    assert!(process.ended().await.success(), "{}", process.log());
    let log = process.log();
    assert!(log.contains("there is space on the disk again"), "{log}");
    assert_said_once(&log);
    assert_counted_once(&disk, archive).await;
}

/// Readers get what was counted.
async fn assert_served(process: &mut Process, events: u64) {
    let public = process.public().await;
    assert_eq!(get(&format!("http://{public}/health")).await.text().await.unwrap(), "OK");
    assert!(get(&format!("http://{public}/api/v1/status")).await.status().is_success());
    let first = process.client("/sampling").await.json().await;
    let opened: u64 = first["openMap"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert!(opened > 0 && opened < events, "{first}");
}

/// Filled at once, without the moment in which the reserve helps: a write may fail in the middle of the database. Then the
/// process says why and ends, and the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_at_once_ends_the_process_at_worst_and_the_next_one_goes_on() {
    let outside = tempfile::tempdir().unwrap();
    let archive = archive(outside.path());
    let disk = Disk::new();
    disk.fill(8 << 20);
    let mut no_reserve = disk.command(&["replay", "--exit", archive.as_str()]);
    let mut process = Process::start({
        no_reserve.env("PULSEHUB__STORAGE__RESERVE", "0");
        no_reserve
    });
    let admin = process.admin().await;
    eventually("a part is counted", async || applied(&admin).await > 1_000).await;
    disk.fill(0);
    eventually("it is said", async || process.log().to_lowercase().contains(SAID)).await;
    disk.empty();
    // Where the log alone met the end of the disk, it goes on.
    let status = process.ended().await;
    assert!(matches!(status.code(), Some(0 | 1)), "{}", process.log());
    let output = disk.command(&["replay", "--exit", archive.as_str()]).output().unwrap();
    assert!(output.status.success(), "{}", process::stderr(&output));
    assert_counted_once(&disk, archive).await;
}
