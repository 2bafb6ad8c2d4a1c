//! `cordon freeze` and `cordon thaw`: the kill switch. It is written straight into the journal, whoever drives and whether anybody does.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use cordon_shared::{
    arn::Arn,
    clock::{Clock as _, SystemClock},
    freeze::{Freeze as Line, Level, Scope, thaw_command},
    id::AccountId,
    journal::Store as _,
};
use cordon_spoke::{
    aws::lockout::{self, Lockout},
    limits::{Limits, Rates},
    session::Sessions,
};

use super::{Common, Exit, Failure, Format, door::Door, output, person};
use crate::{
    config::Config,
    desk::{Frozen, Listed, frozen},
    journal::{
        pages::Told,
        sqlite::{FILE, SqliteStore},
    },
    setup,
    text::safe,
};

/// Stop changes at once.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Freeze {
    #[command(subcommand)]
    command: Option<FreezeCommand>,
    /// `full`: only what reads goes on. `limited`: reversible containment and undo by a person go on too
    #[arg(value_enum, default_value_t = Freezing::Full)]
    level: Freezing,
    #[command(flatten)]
    of: Of,
    /// Why; everybody who meets the freeze reads it
    #[arg(long, required = true)]
    why: Option<String>,
    /// Also deny sts:AssumeRole to the hub's own role, with the AWS credentials of this command line: holds when no Cordon answers
    #[arg(long, conflicts_with_all = ["account", "ou", "playbook"])]
    hard: bool,
}

/// How far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Freezing {
    Limited,
    Full,
}

#[derive(Debug, Subcommand)]
enum FreezeCommand {
    /// What is frozen now, by whom and why
    List {
        /// All freezes and thaws that ever were
        #[arg(long)]
        all: bool,
    },
}

/// Of what; without any of them, of the whole organization.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Of {
    /// Only work for this account
    #[arg(long)]
    account: Option<AccountId>,
    /// Only work for accounts below this OU: its id, or its path such as Workloads/Production
    #[arg(long)]
    ou: Option<String>,
    /// Only work under this playbook
    #[arg(long)]
    playbook: Option<String>,
}

/// Lift a freeze.
#[derive(Debug, Args)]
pub(super) struct Thaw {
    #[command(flatten)]
    of: Of,
    /// Why
    #[arg(long, default_value = "")]
    why: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Also let the hub's own role assume roles again, with the AWS credentials of this command line
    #[arg(long, conflicts_with_all = ["account", "ou", "playbook"])]
    hard: bool,
}

impl Of {
    /// As it was said: what of it can be frozen is the desk's to say.
    fn scope(self) -> Scope {
        let account = self.account.map(Scope::Account);
        let other = || self.ou.map(Scope::Ou).or_else(|| self.playbook.map(Scope::Playbook));
        account.or_else(other).unwrap_or(Scope::Organization)
    }
}

fn line(scope: Scope, level: Level, why: String, hard: bool) -> Line {
    Line { number: 0, at: SystemClock.now(), by: person(), why, scope, level, hard, alarm: None }
}

/// The hub's own role, by the credentials of this command line; or why it is not known.
async fn lockout_of(config: &Config) -> Result<Lockout, String> {
    let Some(role) = &config.hub.role else {
        return Err("which role the hub runs as is not known: set `[hub] role` to its ARN".to_owned());
    };
    let sessions = Sessions::new(setup::session_settings(config), Limits::new(Rates::default()), Arc::new(SystemClock)).await;
    Ok(Lockout::new(sessions.map_err(|error| error.to_string())?, role.clone()))
}

/// Obeys `cordon freeze`.
pub(super) async fn freeze(common: &Common, args: Freeze) -> Result<Exit, Failure> {
    let config = match common.load() {
        Err(failure) if args.hard => return Err(by_hand(common, failure)),
        loaded => loaded?,
    };
    if let Some(FreezeCommand::List { all }) = args.command {
        return list(common.format, &Door::of(common, config).await?, all).await;
    }
    let level = if args.level == Freezing::Full { Level::Full } else { Level::Limited };
    // Before anything is done. Which playbooks there are is where the line is written to say.
    let line = frozen::sound(line(args.of.scope(), level, args.why.unwrap_or_default(), args.hard), &[])?;
    // A journal that cannot be written is no reason to leave the role as it is.
    let locked = if args.hard { lockout_of(&config).await.map(Some) } else { Ok(None) };
    // Nor is one that answers late: the role first.
    let denied = match &locked {
        Ok(Some(lockout)) => Some((lockout.role(), lockout.deny().await)),
        _ => None,
    };
    if let Some((role, Ok(()))) = &denied {
        output::tell(&format!("{role} may assume no role any more; `cordon thaw --hard` gives that back"));
    }
    let written = write(common, &config, line).await;
    if let Some((_, Err(error))) = denied {
        return Err(both(written.as_ref().err(), &error.to_string()));
    }
    let Frozen { line, warning } = written.map_err(|failure| match &locked {
        Ok(Some(lockout)) => {
            Failure { text: format!("{} is locked out, but no freeze is written: {}", lockout.role(), failure.text), ..failure }
        }
        Ok(None) => failure,
        Err(error) => Failure { text: format!("nothing is frozen: {}; and {error}", failure.text), ..failure },
    })?;
    show(common.format, &line)?;
    if let Some(warning) = warning {
        output::tell(&format!("warning: {}", safe(&warning)));
    }
    locked.map_err(|error| Failure::usage(format!("the journal says so, but the hub's role is not locked out: {error}")))?;
    Ok(Exit::Well)
}

/// Without a configuration it is not known which role to lock out: what the one who freezes does instead.
fn by_hand(common: &Common, failure: Failure) -> Failure {
    let said = std::fs::read_to_string(&common.config).ok().and_then(|text| role_in(&text));
    let command = lockout::deny_by_hand(said.as_deref().unwrap_or("NAME"));
    let whose = if said.is_some() { String::new() } else { ", NAME being that of the hub's role".to_owned() };
    let text = format!("{}\nnothing is frozen, as the configuration cannot be read; by hand{whose}: {command}", failure.text);
    Failure { text, ..failure }
}

/// The name of `[hub] role` in a configuration that cannot be read as one.
fn role_in(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let arn: Arn = value.split('"').nth(1).filter(|_| key.trim() == "role")?.parse().ok()?;
        let name = arn.resource().strip_prefix("role/")?.rsplit('/').next()?;
        // What IAM lets a role be called, so that it may stand in a command: https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html
        let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c));
        fits.then(|| name.to_owned())
    })
}

fn both(journal: Option<&Failure>, hard: &str) -> Failure {
    Failure::other(match journal {
        Some(journal) => format!("nothing is frozen: {}; and {hard}", journal.text),
        None => format!("the journal says so, but {hard}"),
    })
}

async fn write(common: &Common, config: &Config, line: Line) -> Result<Frozen, Failure> {
    Door::of(common, config.clone()).await?.freeze(line).await
}

/// Obeys `cordon thaw`.
pub(super) async fn thaw(common: &Common, args: Thaw) -> Result<Exit, Failure> {
    let config = common.load()?;
    // Before anything is done, as in `freeze`. What stands is lifted as it stands: the desk says what its scope is.
    let line = frozen::reasoned(line(args.of.scope(), Level::Off, args.why, args.hard))?;
    let locked = if args.hard { Some(lockout_of(&config).await.map_err(Failure::usage)?) } else { None };
    output::confirmed(args.yes, &format!("Thaw {}? What was stopped goes on by itself.", safe(&line.scope.to_string())))?;
    let mut lifted_hard = false;
    if let Some(lockout) = &locked {
        lifted_hard = lockout.lift().await.map_err(|error| Failure::other(error.to_string()))?;
        let said = if lifted_hard { "may assume roles again" } else { "was not locked out" };
        output::tell(&format!("{} {said}", lockout.role()));
    }
    let door = Door::of(common, config).await?;
    let thawed = match door.thaw(line).await {
        Err(failure) if lifted_hard && failure.exit == Exit::Usage => {
            output::tell(&failure.text);
            return Ok(Exit::Well);
        }
        thawed => thawed?,
    };
    show(common.format, &thawed.line)?;
    if !args.hard && thawed.lifted.iter().any(|freeze| freeze.hard) {
        output::tell("the hub's role was locked out with it and still is: `cordon thaw --hard` lets it assume roles again");
    }
    if thawed.waiting > 0 && !door.is_there() {
        let text = "what was stopped goes on where Cordon runs; where it does not, `cordon serve` or the next `cordon respond` takes it up";
        output::tell(text);
    }
    standing(&thawed.stands);
    Ok(Exit::Well)
}

fn show(format: Format, line: &Line) -> Result<(), Failure> {
    match format {
        Format::Json => output::object(line),
        Format::Table if line.level == Level::Off => {
            output::line(&format!("{} is thawed", safe(&line.scope.to_string())));
            Ok(())
        }
        Format::Table => {
            output::line(&format!("{}; `{}` lifts it", safe(&line.to_string()), safe(&thaw_command(&line.scope))));
            Ok(())
        }
    }
}

fn told_word(told: &Told) -> String {
    match (&told.gave_up, told.at) {
        (Some(why), _) => format!("{} gave up ({why})", told.to),
        (None, Some(_)) => told.to.clone(),
        (None, None) => format!("{} not yet", told.to),
    }
}

async fn list(format: Format, door: &Door, all: bool) -> Result<Exit, Failure> {
    let lines = door.freezes(all).await?;
    if format == Format::Table && lines.is_empty() {
        output::tell("nothing is frozen");
        return Ok(Exit::Well);
    }
    output::rows(format, &lines, &["scope", "level", "by", "since", "why", "told", "thaw"], |Listed { line, told }| {
        let told = if told.is_empty() { "nobody".to_owned() } else { told.iter().map(told_word).collect::<Vec<_>>().join(", ") };
        let answer = if line.level == Level::Off { String::new() } else { thaw_command(&line.scope) };
        let since = format!("{:.0}", line.at);
        vec![safe(&line.scope.to_string()), line.level.to_string(), safe(&line.by.0), since, safe(&line.why), safe(&told), safe(&answer)]
    })?;
    Ok(Exit::Well)
}

/// Says on standard error what is frozen.
pub(super) async fn tell(door: &Door) -> Result<(), Failure> {
    let lines: Vec<Line> = door.freezes(false).await?.into_iter().map(|listed| listed.line).collect();
    standing(&lines);
    Ok(())
}

/// How long a command that needs no journal waits to hear what is frozen.
const BESIDE: Duration = Duration::from_secs(3);

/// The same for a command that needs no journal: none is made for it, and one that cannot be read, or not soon, stops nothing.
pub(super) async fn tell_beside(common: &Common, config: &Config) {
    let afar = config.api.url.is_some() && !common.here;
    if !afar && !config.hub.state_dir.join(FILE).exists() {
        return;
    }
    let told = async { tell(&Door::of(common, config.clone()).await?).await };
    match tokio::time::timeout(BESIDE, told).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => output::tell(&format!("what is frozen is not known: {}", failure.text)),
        Err(_) => output::tell(&format!("what is frozen is not known: no answer within {} s", BESIDE.as_secs())),
    }
}

/// The same of a journal.
pub(super) async fn tell_of(store: &SqliteStore) -> Result<(), Failure> {
    standing(&store.freezes().await?);
    Ok(())
}

fn standing(lines: &[Line]) {
    for line in lines {
        output::tell(&format!("frozen: {}; `{}` lifts it", safe(&line.to_string()), safe(&thaw_command(&line.scope))));
    }
}
