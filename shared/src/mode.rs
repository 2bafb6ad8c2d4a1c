//! How far Cordon may go.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far Cordon may go. Configuration, playbook, policy and account each name one; the strictest of them counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Look, plan and report; change nothing.
    #[default]
    Observe,
    /// Change only what a person has said yes to.
    Ask,
    /// Change what the gate allows.
    Act,
}

impl Mode {
    /// Every mode, the strictest first.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Ask, Self::Act];

    /// The stricter of two: `observe` before `ask` before `act`.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        self.min(other)
    }

    /// The word that configuration and playbooks use for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Ask => "ask",
            Self::Act => "act",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_of_two_modes_wins_whichever_comes_first() {
        assert_eq!(Mode::Act.strictest(Mode::Ask), Mode::Ask);
        assert_eq!(Mode::Observe.strictest(Mode::Act), Mode::Observe);
        assert_eq!(Mode::ALL.into_iter().fold(Mode::Act, Mode::strictest), Mode::Observe);
    }

    #[test]
    fn a_mode_is_written_as_it_is_read() {
        for mode in Mode::ALL {
            let text = serde_json::to_string(&mode).unwrap();
            assert_eq!(text, format!("\"{mode}\""));
            assert_eq!(serde_json::from_str::<Mode>(&text).unwrap(), mode);
        }
    }
}
