//! Holds a configuration's values against what they must be.

use std::{
    net::Ipv6Addr,
    ops::Range,
    path::{Path, PathBuf},
};

use cordon_shared::{
    arn::Arn,
    id::{AccountId, Region},
    mode::Mode,
    words::closest,
};
use ipnet::{IpNet, Ipv4Net};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use toml::Spanned;

use super::{
    Caps, Config, ConfigError, Hub, Known, Limits, LogKind, Logs, Policy, Queue, Spoke, Warning,
    file::{self, File},
    problem::Problems,
};

/// How far away the end of a known source may be.
const KNOWN_DAYS: i64 = 90;

type Text = Spanned<String>;

/// Checks everything and gives the configuration, if all is well.
pub(super) fn check(file: &File, mut problems: Problems, folder: &Path, now: Timestamp) -> Result<(Config, Vec<Warning>), ConfigError> {
    let p = &mut problems;
    let hub = hub(p, &file.hub, folder);
    let org_read_role = role_arn(p, &file.org.read_role);
    let spoke = spoke(p, &file.spoke);
    tag_key(p, &file.opt_out.tag_key);
    let findings = super::findings::check(p, &file.findings);
    let caps = caps(p, &file.caps);
    let budgets = super::budgets::check(p, &file.budgets);
    let limits = limits(p, &file.limits);
    let question_lasts = duration(p, &file.approval.question_lasts, (SignedDuration::from_mins(1), SignedDuration::from_hours(7 * 24)));
    let queue = queue(p, &file.queue);
    let every = if file.poll.every.get_ref().parse::<SignedDuration>().is_ok_and(|every| every.is_zero()) {
        Some(None)
    } else {
        duration(p, &file.poll.every, (SignedDuration::from_secs(30), SignedDuration::from_hours(24))).map(Some)
    };
    for spot in file.protected.principals.iter().filter(|spot| spot.get_ref().trim().is_empty()) {
        p.error(spot.span(), "an empty name protects nobody", Some("a role's or user's name, or its ARN".to_owned()));
    }
    let policy = policy(p, &file.policy, folder);
    let copy_key = copy_key(p, &file.snapshots.copy_key, hub.as_ref());
    let known: Vec<Option<Known>> = file.known.iter().map(|known| self::known(p, known, now)).collect();
    let logs: Vec<Option<Logs>> = file.logs.iter().map(|logs| self::logs(p, logs)).collect();
    let people = super::people::check(p, file);
    let (notify, api) = (super::notify::check(p, file, &people), super::api::check(p, file));
    let config = (|| {
        Some(Config {
            hub: hub?,
            org_read_role,
            spoke,
            opt_out_key: file.opt_out.tag_key.get_ref().clone(),
            findings: findings?,
            caps: caps?,
            budgets: budgets?.into(),
            limits: limits?,
            question_lasts: question_lasts?,
            queue: queue?,
            poll_every: every?,
            playbooks_dir: Some(file.playbooks.dir.get_ref()).filter(|dir| !dir.is_empty()).map(|dir| folder.join(dir)),
            policy: policy?,
            copy_key,
            protected: file.protected.principals.iter().map(|spot| spot.get_ref().trim().to_owned()).collect(),
            known: known.into_iter().flatten().collect(),
            logs: logs.into_iter().collect::<Option<_>>()?,
            notify: notify?,
            people,
            api: api?,
        })
    })();
    let warnings = problems.end()?;
    // A value that could not be made has left an error behind, so there is always one or the other.
    config.map(|config| (config, warnings)).ok_or_else(|| ConfigError::Invalid(Vec::new()))
}

fn hub(p: &mut Problems, hub: &file::Hub, folder: &Path) -> Option<Hub> {
    let account = hub.account.get_ref().parse::<AccountId>();
    if let Err(error) = &account {
        p.error(hub.account.span(), error.to_string(), Some("the id of the security account, in quotes, leading zeros kept".to_owned()));
    }
    let regions = regions(p, hub);
    let home_region = home_region(p, hub, &regions);
    if hub.state_dir.get_ref().trim().is_empty() {
        p.error(hub.state_dir.span(), "`state_dir` is empty", Some("name a folder: state_dir = \"cordon-state\"".to_owned()));
    }
    let mode = word(p, &hub.mode, "mode", Mode::ALL.map(|mode| (mode.as_str(), mode)));
    let action_role = role_arn(p, &hub.action_role);
    if let (Ok(account), Some(role)) = (&account, &action_role)
        && role.parse::<Arn>().ok().and_then(|arn| arn.account()).is_some_and(|other| other != *account)
    {
        let help = Some(format!("`action_role` is a role of the hub's own account, {account}"));
        p.error(hub.action_role.span(), format!("`{role}` is a role of another account"), help);
    }
    let role = role_arn(p, &hub.role).and_then(|role| role.parse::<Arn>().ok());
    if let (Ok(account), Some(role)) = (&account, &role)
        && role.account().is_some_and(|other| other != *account)
    {
        let help = Some(format!("`role` is the role of the hub, in its own account, {account}"));
        p.error(hub.role.span(), format!("`{role}` is a role of another account"), help);
    }
    let state_dir: PathBuf = folder.join(hub.state_dir.get_ref());
    Some(Hub {
        account: account.ok()?,
        regions,
        home_region: home_region?,
        state_dir,
        mode: mode?,
        confirm_findings: hub.confirm_findings,
        role,
        action_role,
    })
}

fn regions(p: &mut Problems, hub: &file::Hub) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for spot in hub.regions.get_ref() {
        match region(p, spot) {
            Some(region) if regions.contains(&region) => p.error(spot.span(), format!("`{region}` is named twice"), None),
            Some(region) => regions.push(region),
            None => {}
        }
    }
    if hub.regions.get_ref().is_empty() {
        p.error(hub.regions.span(), "no Region is named", Some("name the Regions to work in: regions = [\"us-east-1\"]".to_owned()));
    }
    if let Some(first) = regions.first()
        && let Some((_, spot)) = regions.iter().zip(hub.regions.get_ref()).find(|(region, _)| region.partition() != first.partition())
    {
        p.error(
            spot.span(),
            format!("`{}` is in another partition than `{first}`", spot.get_ref()),
            Some("run one hub in each partition".to_owned()),
        );
    }
    regions
}

fn home_region(p: &mut Problems, hub: &file::Hub, regions: &[Region]) -> Option<Region> {
    if hub.home_region.get_ref().is_empty() {
        if let [only] = regions {
            return Some(only.clone());
        }
        if regions.len() > 1 {
            let help = Some("name Security Hub's aggregation Region: home_region = \"us-east-1\"".to_owned());
            p.error(hub.regions.span(), "with several Regions, `home_region` must be named", help);
        }
        return None;
    }
    let home = region(p, &hub.home_region)?;
    if !regions.contains(&home) {
        let names: Vec<&str> = regions.iter().map(Region::as_str).collect();
        let help = Some(format!("it is one of {}, or add it to `regions`", names.join(", ")));
        p.error(hub.home_region.span(), format!("`{home}` is not among `regions`"), help);
    }
    Some(home)
}

fn region(p: &mut Problems, spot: &Text) -> Option<Region> {
    match spot.get_ref().parse::<Region>() {
        Ok(region) if region != Region::global() => Some(region),
        Ok(_) => {
            p.error(spot.span(), "`global` is no Region to work in", None);
            None
        }
        Err(error) => {
            let near = closest(spot.get_ref(), region_names()).map(|near| format!("did you mean `{near}`?"));
            p.error(spot.span(), error.to_string(), near);
            None
        }
    }
}

/// The Regions' names. [`Region`] knows them; here they are only put together.
fn region_names() -> impl Iterator<Item = String> {
    let areas = ["us", "eu", "ap", "ca", "sa", "af", "me", "il", "mx", "cn", "us-gov"];
    let sides = ["east", "west", "north", "south", "central", "northeast", "northwest", "southeast"];
    let places = areas.into_iter().flat_map(move |area| sides.map(|side| (area, side)));
    let names = places.flat_map(|(area, side)| (1..=9).map(move |number| format!("{area}-{side}-{number}")));
    names.filter(|name| name.parse::<Region>().is_ok())
}

/// One of a few words.
fn word<T, const N: usize>(p: &mut Problems, spot: &Text, what: &str, words: [(&str, T); N]) -> Option<T> {
    let text = spot.get_ref();
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let near = closest(text, &names).map(|near| format!("did you mean `{near}`?"));
    let help = near.unwrap_or_else(|| format!("it is one of {}", names.join(", ")));
    let found = words.into_iter().find(|(name, _)| name == text).map(|(_, value)| value);
    if found.is_none() {
        p.error(spot.span(), format!("`{text}` is no {what}"), Some(help));
    }
    found
}

/// The ARN of an IAM role; nothing where the text is empty.
fn role_arn(p: &mut Problems, spot: &Text) -> Option<String> {
    let text = spot.get_ref();
    if text.is_empty() {
        return None;
    }
    let help = || Some("write it like arn:aws:iam::111122223333:role/CordonReader".to_owned());
    match text.parse::<Arn>() {
        Err(error) => p.error(spot.span(), error.to_string(), help()),
        Ok(arn) => {
            let name = arn.resource().strip_prefix("role/").and_then(|path| path.rsplit('/').next());
            let is_role = arn.service() == "iam" && arn.region().is_none() && arn.account().is_some() && name.is_some_and(is_role_name);
            if !is_role {
                p.error(spot.span(), format!("`{text}` is not the ARN of an IAM role"), help());
            }
        }
    }
    Some(text.clone())
}

/// Characters and length of a role's name (<https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>).
fn is_role_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
}

fn spoke(p: &mut Problems, spoke: &file::Spoke) -> Spoke {
    let (name, id) = (spoke.role_name.get_ref(), spoke.external_id.get_ref());
    if !is_role_name(name) {
        let help = Some("a role's name is 1 to 64 letters, digits and _+=,.@- (no path)".to_owned());
        p.error(spoke.role_name.span(), format!("`{name}` is no name of an IAM role"), help);
    }
    // <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>, ExternalId.
    if placeholders(p, &spoke.external_id, &["account"]) {
        let bare = id.replace("{account}", "111122223333");
        if !(2..=1224).contains(&bare.len()) || !bare.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c)) {
            let help = Some("it is 2 to 1,224 letters, digits and _+=,.@:/- with `{account}` for the member's account".to_owned());
            p.error(spoke.external_id.span(), format!("`{id}` is no external id"), help);
        }
    }
    Spoke { role_name: name.clone(), external_id: id.clone() }
}

/// Whether the text holds no other `{word}` than these.
pub(super) fn placeholders(p: &mut Problems, spot: &Text, known: &[&str]) -> bool {
    let mut rest = spot.get_ref().as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let (word, tail) = after.split_once('}').unwrap_or((after, ""));
        if !known.contains(&word) {
            let all = || format!("known here: {}", known.iter().map(|word| format!("{{{word}}}")).collect::<Vec<_>>().join(", "));
            let help = closest(word, known).map_or_else(all, |near| format!("did you mean `{{{near}}}`?"));
            p.error(spot.span(), format!("nothing is known to put in place of `{{{word}}}`"), Some(help));
            return false;
        }
        rest = tail;
    }
    true
}

/// Key of a tag (<https://docs.aws.amazon.com/organizations/latest/APIReference/API_Tag.html>).
pub(super) fn tag_key(p: &mut Problems, spot: &Text) {
    let key = spot.get_ref();
    let fits = key.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)) && (1..=128).contains(&key.chars().count());
    if !fits || key.trim() != key {
        let help = Some("a tag's key is 1 to 128 letters, digits, spaces and _.:/=+-@".to_owned());
        p.error(spot.span(), format!("`{key}` is no tag key"), help);
    } else if key.to_lowercase().starts_with("aws:") {
        p.error(spot.span(), format!("`{key}` cannot be set by a team: `aws:` is AWS's own"), None);
    }
}

fn number(p: &mut Problems, spot: &Spanned<i64>, what: &str, most: u32) -> Option<u32> {
    let value = *spot.get_ref();
    let fits = u32::try_from(value).ok().filter(|value| (1..=most).contains(value));
    if fits.is_none() {
        let help = if value <= 0 { format!("{what} is at least 1") } else { format!("{what} is at most {most}") };
        let zero = if what.starts_with("changes") && value <= 0 { "; to change nothing, set mode = \"observe\"" } else { "" };
        p.error(spot.span(), format!("{value} is out of range"), Some(format!("{help}{zero}")));
    }
    fits
}

fn caps(p: &mut Problems, caps: &file::Caps) -> Option<Caps> {
    let account = number(p, &caps.changes_per_account_hour, "changes_per_account_hour", 1_000_000);
    let organization = number(p, &caps.changes_per_organization_hour, "changes_per_organization_hour", 1_000_000);
    if let (Some(account), Some(organization)) = (account, organization)
        && account > organization
    {
        let why =
            format!("the cap of one account ({account}) is above that of the whole organization ({organization}), which counts first");
        p.warning(written(&caps.changes_per_account_hour, &caps.changes_per_organization_hour), why, None);
    }
    Some(Caps { changes_per_account_hour: account?, changes_per_organization_hour: organization? })
}

/// The place of the first of the two that stands in the text.
fn written<A, B>(first: &Spanned<A>, second: &Spanned<B>) -> Range<usize> {
    if first.span().is_empty() { second.span() } else { first.span() }
}

fn limits(p: &mut Problems, limits: &file::Limits) -> Option<Limits> {
    let organization = number(p, &limits.organization_slots, "organization_slots", 4096);
    let account = number(p, &limits.account_slots, "account_slots", 4096);
    let cell = number(p, &limits.cell_slots, "cell_slots", 4096);
    for (inner, outer, names, at) in [
        (account, organization, ("account_slots", "organization_slots"), written(&limits.account_slots, &limits.organization_slots)),
        (cell, account, ("cell_slots", "account_slots"), written(&limits.cell_slots, &limits.account_slots)),
    ] {
        if let (Some(inner), Some(outer)) = (inner, outer)
            && inner > outer
        {
            let why = format!("`{}` ({inner}) is greater than `{}` ({outer})", names.0, names.1);
            p.error(at, why, Some(format!("set both; `{}` is the greater one", names.1)));
        }
    }
    let timeout = duration(p, &limits.attempt_timeout, (SignedDuration::from_secs(1), SignedDuration::from_mins(2)));
    Some(Limits { organization_slots: organization?, account_slots: account?, cell_slots: cell?, attempt_timeout: timeout? })
}

pub(super) fn duration(p: &mut Problems, spot: &Text, (least, most): (SignedDuration, SignedDuration)) -> Option<SignedDuration> {
    let text = spot.get_ref();
    match text.parse::<SignedDuration>() {
        Ok(duration) if (least..=most).contains(&duration) => Some(duration),
        Ok(_) => {
            p.error(spot.span(), format!("`{text}` is out of range"), Some(format!("from {least:#} to {most:#}")));
            None
        }
        Err(_) => {
            p.error(
                spot.span(),
                format!("`{text}` is not a duration"),
                Some("write hours, minutes and seconds: `4h`, `30m`, `10s`".to_owned()),
            );
            None
        }
    }
}

fn policy(p: &mut Problems, policy: &file::Policy, folder: &Path) -> Option<Policy> {
    let name = policy.time_zone.get_ref();
    let Ok(time_zone) = TimeZone::get(name) else {
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let near = closest(name, names).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| "a name of the IANA database: `UTC`, `Europe/Berlin`, `America/New_York`".to_owned());
        p.error(policy.time_zone.span(), format!("`{name}` is no time zone"), Some(help));
        return None;
    };
    Some(Policy { dir: Some(policy.dir.get_ref()).filter(|dir| !dir.is_empty()).map(|dir| folder.join(dir)), time_zone })
}

/// `Some(None)`: no queue is read.
fn queue(p: &mut Problems, queue: &file::Queue) -> Option<Option<Queue>> {
    let receivers = number(p, &queue.receivers, "receivers", 32);
    for spot in [&queue.url, &queue.dead_letter_url] {
        let url = spot.get_ref();
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if !url.is_empty() && !host.is_some_and(|host| host.contains('/') && !host.starts_with('/') && !host.contains(char::is_whitespace))
        {
            let help = Some("write it like https://sqs.us-east-1.amazonaws.com/222222222222/cordon-findings".to_owned());
            p.error(spot.span(), format!("`{url}` is not the URL of a queue"), help);
        }
    }
    let (url, dead) = (queue.url.get_ref(), queue.dead_letter_url.get_ref());
    if !dead.is_empty() && url == dead {
        p.error(queue.dead_letter_url.span(), "the dead-letter queue is the queue itself", None);
    }
    if !dead.is_empty() && url.is_empty() {
        p.warning(queue.dead_letter_url.span(), "a dead-letter queue without a queue: `url` is not set, nothing is read", None);
    }
    let queue = Queue { url: url.clone(), dead_letter_url: Some(dead.clone()).filter(|dead| !dead.is_empty()), receivers: receivers? };
    Some(Some(queue).filter(|queue| !queue.url.is_empty()))
}

/// A known source; nothing where it has expired (a warning) or is wrong (an error).
fn known(p: &mut Problems, known: &file::Known, now: Timestamp) -> Option<Known> {
    let net = net(p, &known.cidr);
    if known.why.get_ref().trim().is_empty() {
        p.error(known.why.span(), "`why` is empty", Some("say who this is; the report shows it".to_owned()));
    }
    let text = known.until.get_ref();
    let Ok(until) = text.parse::<Date>() else {
        p.error(known.until.span(), format!("`{text}` is not a date"), Some("write it like 2026-12-31".to_owned()));
        return None;
    };
    let today = TimeZone::UTC.to_datetime(now).date();
    let latest = today.checked_add(jiff::Span::new().days(KNOWN_DAYS)).unwrap_or(Date::MAX);
    if until > latest {
        let help = Some(format!("at most {KNOWN_DAYS} days away: today until {latest}"));
        p.error(known.until.span(), format!("`{until}` is too far away"), help);
        return None;
    }
    if until < today {
        let why = format!("the known source `{}` expired at the end of {until} (UTC): it is ignored", known.cidr.get_ref());
        p.warning(known.until.span(), why, Some("renew it or remove it".to_owned()));
        return None;
    }
    Some(Known { net: net?, until, why: known.why.get_ref().clone() })
}

fn net(p: &mut Problems, spot: &Text) -> Option<IpNet> {
    let text = spot.get_ref();
    let Ok(net) = text.parse::<IpNet>() else {
        let host = text.parse::<std::net::IpAddr>().ok().map(|address| format!("for one address write `{}`", IpNet::from(address)));
        let help = host.unwrap_or_else(|| "write it like 198.51.100.0/24 or 2001:db8::/32".to_owned());
        p.error(spot.span(), format!("`{text}` is not a network"), Some(help));
        return None;
    };
    if net.trunc() != net {
        let help = Some(format!("did you mean `{}`, or the one address `{}`?", net.trunc(), IpNet::from(net.addr())));
        p.error(spot.span(), format!("`{text}` has bits behind its prefix"), help);
        return None;
    }
    let net = canonical(net);
    let mapped = matches!(net, IpNet::V6(net) if net.contains(&Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)));
    let widest = if matches!(net, IpNet::V4(_)) { 8 } else { 16 };
    if net.prefix_len() < widest || mapped {
        let help = Some(format!("attackers in it would be left alone: name your own networks, /{widest} at the widest"));
        p.error(spot.span(), format!("`{text}` is too wide for a known source"), help);
        return None;
    }
    Some(net)
}

/// A network of IPv4 addresses mapped into IPv6 as the IPv4 network, as addresses are read.
fn canonical(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(net) => net.network().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(net, IpNet::V4)
}

/// The ARN of a KMS key of the hub's own account.
fn copy_key(p: &mut Problems, key: &Text, hub: Option<&Hub>) -> Option<String> {
    let text = key.get_ref();
    if text.is_empty() || !placeholders(p, key, &["region"]) {
        return None;
    }
    let sample = hub.map_or("us-east-1", |hub| hub.home_region.as_str());
    let arn = text.replace("{region}", sample).parse::<Arn>().ok();
    let Some(arn) = arn.filter(|arn| arn.service() == "kms" && arn.resource().starts_with("key/") && arn.account().is_some()) else {
        let help = Some("the key's own ARN, arn:aws:kms:{region}:222222222222:key/mrk-…, not an alias".to_owned());
        p.error(key.span(), format!("`{text}` is not the ARN of a KMS key"), help);
        return None;
    };
    if let Some(hub) = hub
        && arn.account().is_some_and(|account| account != hub.account)
    {
        let help = Some(format!(
            "`copy_key` is a key of the hub's own account, {}: a compromised account must not be able to use it",
            hub.account
        ));
        p.error(key.span(), format!("`{text}` is a key of another account"), help);
        return None;
    }
    if let Some(hub) = hub
        && !text.contains("{region}")
        && hub.regions.len() > 1
    {
        let help = Some("a multi-Region key, with `{region}` in place of the Region".to_owned());
        p.error(key.span(), "the key is of one Region, and `[hub] regions` names several", help);
        return None;
    }
    Some(text.clone())
}

fn logs(p: &mut Problems, logs: &file::Logs) -> Option<Logs> {
    let kind = word(p, &logs.kind, "kind of log", [LogKind::Auth, LogKind::Cloudtrail].map(|kind| (kind.as_str(), kind)));
    // <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html>
    let group = logs.group.get_ref();
    if placeholders(p, &logs.group, &["instance", "account"]) {
        let fits = group.chars().all(|c| c.is_ascii_alphanumeric() || "._-/#{}".contains(c)) && (1..=512).contains(&group.len());
        if !fits {
            let help = Some("a log group's name is 1 to 512 letters, digits and ._-/#".to_owned());
            p.error(logs.group.span(), format!("`{group}` is no name of a log group"), help);
        }
    }
    if let Some(stream) = &logs.stream
        && placeholders(p, stream, &["instance", "account"])
        && (stream.get_ref().contains([':', '*']) || stream.get_ref().len() > 512)
    {
        let help = Some("no `:` and no `*`; an empty text means all streams".to_owned());
        p.error(stream.span(), format!("`{}` is no name of a log stream", stream.get_ref()), help);
    }
    let account = logs.account.as_ref().map(|spot| {
        let account = spot.get_ref().parse::<AccountId>();
        account.map_err(|error| p.error(spot.span(), error.to_string(), Some("the id of the account that has the group".to_owned())))
    });
    let region = logs.region.as_ref().map(|spot| region(p, spot));
    let kind = kind?;
    let usual = || Some("{instance}".to_owned()).filter(|_| kind == LogKind::Auth);
    let stream = logs.stream.as_ref().map_or_else(usual, |stream| Some(stream.get_ref().clone()).filter(|stream| !stream.is_empty()));
    let (account, region) = (account.transpose().ok()?, region.map_or(Some(None), |region| region.map(Some))?);
    Some(Logs { kind, group: group.clone(), stream, account, region })
}
