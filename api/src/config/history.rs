//! Options of the tools that take a ledger's history somewhere: `import` and `replay`.
//! Read by `config`, like all others.

use std::path::PathBuf;

use clap::Args;
use formledger_domain::{FormId, Position, TenantId};

use super::{StorageArgs, position};
use crate::event_types;
use crate::limits::{REPLAY_SPEED_MAX, REPLAY_SPEED_MIN};
use crate::replays::Speed;

/// What to import, and where to.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Where the ledger is.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// A file that `export` wrote; it names its tenant
    pub file: PathBuf,
    /// The root hash that the ledger had where it was exported, 64 hexadecimal digits; any other is refused
    #[arg(long, env = "FORMLEDGER_ROOT", value_parser = root)]
    pub root: Option<String>,
}

/// What to replay, and how.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Where the ledger is.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// The tenant
    #[arg(long, env = "FORMLEDGER_TENANT")]
    pub tenant: TenantId,
    /// First position of the range; the ledger's first when missing
    #[arg(long, env = "FORMLEDGER_FROM", value_parser = position, conflicts_with = "shadow")]
    pub from: Option<Position>,
    /// Last position of the range; the ledger's end when missing
    #[arg(long, env = "FORMLEDGER_TO", value_parser = position)]
    pub to: Option<Position>,
    /// How many times faster than recorded, 0.001 to 1000000, or `max`
    #[arg(long, env = "FORMLEDGER_SPEED", default_value = "1", value_parser = speed)]
    pub speed: Speed,
    /// Only events about this form
    #[arg(long, env = "FORMLEDGER_FORM", conflicts_with = "shadow")]
    pub form: Option<FormId>,
    /// Only events of these types, separated by commas
    #[arg(long, env = "FORMLEDGER_TYPES", value_delimiter = ',', value_parser = event_type, conflicts_with = "shadow")]
    pub types: Vec<String>,
    /// Build read models again beside the live ones and compare the two: exit 1 when something differs, 3 when nothing does but a database could not be compared
    #[arg(long, env = "FORMLEDGER_SHADOW")]
    pub shadow: bool,
    /// Compare this read model only: `forms`, `submissions`, `statistics` or `tasks`
    #[arg(long, env = "FORMLEDGER_PROJECTION", requires = "shadow")]
    pub projection: Option<String>,
}

fn speed(text: &str) -> Result<Speed, String> {
    let times = || text.parse().ok().filter(|times| (REPLAY_SPEED_MIN..=REPLAY_SPEED_MAX).contains(times));
    match text {
        "max" => Ok(Speed::Max),
        _ => times().map(Speed::Times).ok_or_else(|| {
            format!("a speed is a number from {REPLAY_SPEED_MIN} to {REPLAY_SPEED_MAX}, or `max`")
        }),
    }
}

fn event_type(text: &str) -> Result<String, String> {
    event_types::check(text).map(|()| text.to_owned())
}

fn root(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_owned()) } else { Err("a root hash has 64 hexadecimal digits".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_within_bounds_or_max() {
        assert_eq!(speed("10"), Ok(Speed::Times(10.0)));
        assert_eq!(speed("0.5"), Ok(Speed::Times(0.5)));
        assert_eq!(speed("max"), Ok(Speed::Max));
        for bad in ["", "fast", "0", "-1", "1e7", "NaN", "inf"] {
            assert!(speed(bad).is_err(), "{bad}");
        }
    }
}
