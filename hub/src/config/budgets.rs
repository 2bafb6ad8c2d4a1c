//! `[[budgets]]`: how much may be changed in a window before a person is asked.

use cordon_shared::{
    gate::budget::{Budget, Scope},
    id::AccountId,
    plan::Counts,
    words::closest,
};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{check::duration, problem::Problems};

/// The shortest and the longest window.
const WINDOWS: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(30 * 24));

/// A budget: what is spent asks a person and is never dropped; `[caps]` stay beneath. At least one of the numbers is needed; zero: each such
/// step asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub struct Entry {
    /// Whose changes are counted together: `account` (each account by itself), `organization`, the id of one account, or that of an OU or the
    /// root (`ou-…`, `r-…`), with all below it.
    #[schemars(with = "String", length(min = 1))]
    pub scope: Spanned<String>,
    /// In how long a time, 1 min to 30 days (`720h`).
    #[schemars(with = "String")]
    pub window: Spanned<String>,
    /// Resources changed, at most.
    #[schemars(with = "Option<u32>")]
    pub resources: Option<Spanned<i64>>,
    /// Instances isolated or stopped, at most.
    #[schemars(with = "Option<u32>")]
    pub instances: Option<Spanned<i64>>,
    /// Credentials revoked, at most: keys deactivated, users contained, roles whose sessions are denied.
    #[schemars(with = "Option<u32>")]
    pub credentials: Option<Spanned<i64>>,
    /// Percent of the members in service that are taken out of one Auto Scaling group, target group or balancer, at most.
    #[schemars(with = "Option<u32>", range(max = 100))]
    pub in_service_percent: Option<Spanned<i64>>,
}

pub(super) fn check(p: &mut Problems, entries: &[Entry]) -> Option<Vec<Budget>> {
    let all: Vec<Option<Vec<Budget>>> = entries.iter().map(|entry| one(p, entry)).collect();
    all.into_iter().collect::<Option<Vec<_>>>().map(|all| all.concat())
}

fn one(p: &mut Problems, entry: &Entry) -> Option<Vec<Budget>> {
    let scope = scope(p, &entry.scope);
    let window = duration(p, &entry.window, WINDOWS);
    let numbers = [
        (Counts::Resources, &entry.resources, 1_000_000),
        (Counts::Instances, &entry.instances, 1_000_000),
        (Counts::Credentials, &entry.credentials, 1_000_000),
        (Counts::InService, &entry.in_service_percent, 100),
    ];
    let given: Vec<(Counts, Option<u32>)> =
        numbers.into_iter().filter_map(|(counts, number, most)| number.as_ref().map(|number| (counts, amount(p, number, most)))).collect();
    if given.is_empty() {
        let help = "name at least one of `resources`, `instances`, `credentials`, `in_service_percent`".to_owned();
        p.error(entry.scope.span(), "this budget limits nothing", Some(help));
    }
    let (scope, window) = (scope?, window?);
    given.into_iter().map(|(counts, most)| Some(Budget { scope: scope.clone(), window, counts, most: most? })).collect()
}

fn amount(p: &mut Problems, spot: &Spanned<i64>, most: u32) -> Option<u32> {
    let value = u32::try_from(*spot.get_ref()).ok().filter(|value| *value <= most);
    if value.is_none() {
        p.error(spot.span(), format!("{} is out of range", spot.get_ref()), Some(format!("from 0 (each such step asks) to {most}")));
    }
    value
}

/// Ids of OUs and roots (<https://docs.aws.amazon.com/organizations/latest/APIReference/API_OrganizationalUnit.html>, `Id`).
fn scope(p: &mut Problems, spot: &Spanned<String>) -> Option<Scope> {
    let text = spot.get_ref().as_str();
    let word =
        |part: &str, least: usize| (least..=32).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_unit = |rest: &str| rest.split_once('-').is_some_and(|(root, id)| word(root, 4) && word(id, 8));
    match text {
        "organization" => return Some(Scope::Organization),
        "account" => return Some(Scope::EachAccount),
        _ => {}
    }
    if let Ok(account) = text.parse::<AccountId>() {
        return Some(Scope::Account(account));
    }
    if text.strip_prefix("ou-").is_some_and(is_unit) || text.strip_prefix("r-").is_some_and(|root| word(root, 4)) {
        return Some(Scope::Unit(text.to_owned()));
    }
    let (why, help) = if text.starts_with("ou-") || text.starts_with("r-") {
        (
            format!("`{text}` is not the id of an OU or a root"),
            "`ou-ab12-34cd56ef` or `r-ab12`, as `cordon account list` shows them".to_owned(),
        )
    } else {
        let near = closest(text, ["organization", "account"]).map(|near| format!("did you mean `{near}`?"));
        let all = || "it is `account`, `organization`, an account's id in quotes, or an OU's (`ou-ab12-34cd56ef`)".to_owned();
        (format!("`{text}` is no scope of a budget"), near.unwrap_or_else(all))
    };
    p.error(spot.span(), why, Some(help));
    None
}
