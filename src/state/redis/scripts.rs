//! The scripts of `lua/`: their text, and how one is called. What each does, takes and answers says its header.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, ToRedisArgs, Value};

/// A script of `lua/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Applies a batch.
    Apply,
    /// Closes a day.
    CloseDay,
    /// Adds members from history.
    SeedAdd,
    /// Claims a year's seed.
    SeedClaim,
    /// Deletes what an earlier seed left.
    SeedClear,
    /// Ends a seed.
    SeedFinish,
    /// Sets what history says.
    SetBase,
    /// Writes what [`redis`] can be asked to confirm.
    Settle,
    /// Reads a year.
    Snapshot,
    /// Gives the store its epoch.
    Start,
}

impl Script {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Apply,
        Self::CloseDay,
        Self::SeedAdd,
        Self::SeedClaim,
        Self::SeedClear,
        Self::SeedFinish,
        Self::SetBase,
        Self::Settle,
        Self::Snapshot,
        Self::Start,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Apply => include_str!("../../../lua/apply.lua"),
            Self::CloseDay => include_str!("../../../lua/close_day.lua"),
            Self::SeedAdd => include_str!("../../../lua/seed_add.lua"),
            Self::SeedClaim => include_str!("../../../lua/seed_claim.lua"),
            Self::SeedClear => include_str!("../../../lua/seed_clear.lua"),
            Self::SeedFinish => include_str!("../../../lua/seed_finish.lua"),
            Self::SetBase => include_str!("../../../lua/set_base.lua"),
            Self::Settle => include_str!("../../../lua/settle.lua"),
            Self::Snapshot => include_str!("../../../lua/snapshot.lua"),
            Self::Start => include_str!("../../../lua/start.lua"),
        }
    }
}

/// KEYS and ARGV of a call. The epoch, which every script takes first, is added when it is made.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Arguments {
    /// Names a key.
    pub fn key(&mut self, key: String) -> &mut Self {
        self.keys.push(key);
        self
    }

    /// Adds an argument, written as text.
    pub fn arg(&mut self, value: impl ToString) -> &mut Self {
        self.bytes(value.to_string().into_bytes())
    }

    /// Adds an argument as it is.
    pub fn bytes(&mut self, value: Vec<u8>) -> &mut Self {
        self.args.push(value);
        self
    }
}

/// The digests under which a server knows the scripts.
#[derive(Debug, Clone)]
pub struct Scripts {
    digests: [String; Script::ALL.len()],
}

impl Scripts {
    /// Loads all scripts. Only the guard may call this: see `guard.rs`.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses.
    pub async fn load(connection: &mut MultiplexedConnection) -> Result<Self, RedisError> {
        let mut load = redis::pipe();
        for script in Script::ALL {
            load.cmd("SCRIPT").arg("LOAD").arg(script.text());
        }
        let digests: [String; Script::ALL.len()] = load.query_async(connection).await?;
        Ok(Self { digests })
    }

    /// Calls a script; there is no reload where the server has forgotten it.
    ///
    /// # Errors
    /// When the server cannot be asked, refuses, or the script does.
    pub async fn call(
        &self,
        connection: &mut MultiplexedConnection,
        script: Script,
        epoch: &str,
        arguments: &Arguments,
    ) -> Result<Value, RedisError> {
        let mut command = Cmd::with_capacity(arguments.keys.len() + arguments.args.len() + 4, 0);
        command.arg("EVALSHA").arg(&self.digests[script as usize]).arg(arguments.keys.len());
        add_all(&mut command, &arguments.keys);
        command.arg(epoch);
        add_all(&mut command, &arguments.args);
        command.query_async(connection).await
    }
}

fn add_all(command: &mut Cmd, values: &[impl ToRedisArgs]) {
    for value in values {
        command.arg(value);
    }
}
