//! When the log's bytes go to the disk (`appendfsync`).

/// When a reply may leave that tells of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Policy {
    /// After its bytes are on the disk.
    Always,
    /// After its bytes are in the file; they are on the disk within a second.
    EverySecond,
    /// After its bytes are in the file; the system decides when they are on the disk.
    Never,
}

impl Policy {
    /// The policy that `appendfsync` names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "always" => Some(Self::Always),
            "everysec" => Some(Self::EverySecond),
            "no" => Some(Self::Never),
            _ => None,
        }
    }

    pub(super) const fn from(number: u8) -> Self {
        match number {
            0 => Self::Always,
            1 => Self::EverySecond,
            _ => Self::Never,
        }
    }
}
