//! A remembered reply: what an event changed when it was applied first.

use crate::mutation::Numbers;

/// What is kept of an applied event for 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The numbers that it got.
    pub numbers: Numbers,
    /// Whether its language is in the window.
    pub language_counted: bool,
    /// When it was applied first, in Unix seconds.
    pub applied_at: i64,
}

impl Reply {
    /// Flags in one byte, then the second.
    pub fn to_bytes(self) -> [u8; 9] {
        let numbers = self.numbers;
        let flags = [
            numbers.pr,
            numbers.open,
            numbers.merge,
            numbers.close,
            numbers.dev_day,
            numbers.dev_year,
            numbers.repo_year,
            u8::from(self.language_counted),
        ];
        let mut bytes = [0; 9];
        bytes[0] = flags.iter().enumerate().fold(0, |byte, (bit, flag)| byte | (flag & 1) << bit);
        bytes[1..].copy_from_slice(&self.applied_at.to_be_bytes());
        bytes
    }

    /// Reads what [`Reply::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&flags, second) = bytes.split_first()?;
        let bit = |index: u8| flags >> index & 1;
        Some(Self {
            numbers: Numbers {
                pr: bit(0),
                open: bit(1),
                merge: bit(2),
                close: bit(3),
                dev_day: bit(4),
                dev_year: bit(5),
                repo_year: bit(6),
            },
            language_counted: bit(7) == 1,
            applied_at: i64::from_be_bytes(second.try_into().ok()?),
        })
    }
}
