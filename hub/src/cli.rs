//! The command line: data to standard output, everything else to standard error.

mod account;
mod audit;
mod budget;
mod catalogue;
mod door;
mod exit;
mod freeze;
mod incident;
mod infra;
mod open;
pub(crate) mod output;
mod playbook_plan;
mod policy;
mod respond;
mod serve;
mod sweep;
mod undo;

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use cordon_shared::{clock::SystemClock, engine::Person};

use crate::config::Config;
pub use exit::{Exit, Failure};

/// Cordon answers security findings across a whole AWS organization: contains, investigates, reports, and can undo it.
#[derive(Debug, Parser)]
#[command(name = "cordon", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Common {
    /// The configuration
    #[arg(long, global = true, env = "CORDON_CONFIG", value_name = "FILE", default_value = "cordon.toml")]
    config: PathBuf,
    /// Tables for people, or JSON, one object a line
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Work on the state folder of this computer, also where `[hub] api` names a running service
    #[arg(long, global = true)]
    here: bool,
    /// Also exit 5 when an incident ends in one of these states, such as held,waiting
    #[arg(long, global = true, value_delimiter = ',', value_name = "STATES")]
    fail_on: Vec<String>,
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take findings and run each incident until it ends or waits
    Respond(respond::Intake),
    /// The same path, changing nothing: what would be changed, who would be asked, what would hold
    Plan(respond::Intake),
    /// Start an incident by hand, through the same gate
    Open(open::Open),
    /// One playbook over the open findings of the whole organization, in waves
    Sweep(sweep::Sweep),
    /// The service: takes findings from the queue and from Security Hub until it is stopped
    Serve(serve::Serve),
    /// Look at, answer and reverse what was done
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Answer what waits for a yes
    #[command(subcommand)]
    Approval(incident::Approval),
    /// What may still be changed before a person is asked
    #[command(subcommand)]
    Budget(budget::BudgetCommand),
    /// The kill switch: stop changes at once, in every process; never asks
    Freeze(freeze::Freeze),
    /// Lift a freeze: what it stopped goes on by itself
    Thaw(freeze::Thaw),
    /// The organization: accounts, OU paths, opt-outs, whether the spoke role lets Cordon in
    #[command(subcommand)]
    Account(account::Account),
    /// The catalogue of actions
    #[command(subcommand)]
    Action(catalogue::ActionCommand),
    /// The playbooks
    #[command(subcommand)]
    Playbook(catalogue::PlaybookCommand),
    /// What may be done, in Cedar
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// What a team deploys
    #[command(subcommand)]
    Infra(infra::Infra),
    /// The evidence that nothing was changed afterwards
    #[command(subcommand)]
    Audit(audit::Audit),
}

/// Runs the command line and gives back its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data; a wrong usage is exit 2.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    logging();
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(8 * 1024 * 1024).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(cli))),
        Err(error) => Err(Failure::other(format!("the runtime cannot be started: {error}"))),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            // What is drawn with its place says so itself.
            let drawn = failure.text.starts_with("error: ");
            output::tell(&if drawn { failure.text } else { format!("error: {}", failure.text) });
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let common = cli.common;
    match cli.command {
        Command::Respond(intake) => respond::respond(&common, intake, false).await,
        Command::Plan(intake) => respond::respond(&common, intake, true).await,
        Command::Open(open) => open::open(&common, open).await,
        Command::Sweep(sweep) => sweep::sweep(&common, sweep).await,
        Command::Serve(serve) => serve::serve(&common, serve).await,
        Command::Incident(command) => incident::incident(&common, command).await,
        Command::Approval(command) => incident::approval(&common, command).await,
        Command::Budget(command) => budget::budget(&common, command).await,
        Command::Freeze(command) => freeze::freeze(&common, command).await,
        Command::Thaw(command) => freeze::thaw(&common, command).await,
        Command::Account(command) => account::account(&common, command).await,
        Command::Action(command) => catalogue::action(&common, command),
        Command::Playbook(command) => catalogue::playbook(&common, command),
        Command::Policy(command) => policy::policy(&common, command).await,
        Command::Infra(command) => infra::infra(&common, command),
        Command::Audit(command) => audit::audit(&common, command).await,
    }
}

impl Common {
    /// Reads the configuration; what is only worth a warning goes to standard error.
    fn load(&self) -> Result<Config, Failure> {
        let (config, warnings) = Config::load(Some(&self.config), &SystemClock).map_err(|error| Failure::usage(error.to_string()))?;
        for warning in warnings {
            output::tell(&format!("warning: {warning}"));
        }
        Ok(config)
    }

    /// The same for a command that drives incidents, or reads the journal, on this computer.
    fn load_here(&self, what: &str) -> Result<Config, Failure> {
        let config = self.load()?;
        self.stays_here(&config, what)?;
        Ok(config)
    }

    /// Refuses what works on the state folder of this computer where `[hub] api` names a running service, unless `--here` says so: what is
    /// frozen, spent, asked and stood down there is not known here, and what would be done here is not known there.
    fn stays_here(&self, config: &Config, what: &str) -> Result<(), Failure> {
        match &config.api.url {
            Some(url) if !self.here => Err(Failure::usage(format!(
                "`cordon {what}` works on the journal of the computer it runs on, and `[hub] api` names the service at {url}: its freezes, \
                 budgets and incidents are not in {}; run it on the service's computer, or say `--here` to work on this one's folder all the same",
                config.hub.state_dir.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Checks `--fail-on` before anything is done.
    fn states(&self) -> Result<Vec<String>, Failure> {
        const STATES: [&str; 10] = ["planned", "running", "waiting", "held", "ignored", "contained", "closed", "undone", "failed", "stuck"];
        for state in &self.fail_on {
            if !STATES.contains(&state.as_str()) {
                return Err(Failure::usage(format!("`--fail-on {state}`: there is no such state; the states are {}", STATES.join(", "))));
            }
        }
        Ok(self.fail_on.clone())
    }
}

/// Who sits at this command line, as far as the computer says.
fn person() -> Person {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|host| host.trim().to_owned()).unwrap_or_default();
    Person(format!("{}@{host}", user.unwrap_or_else(|| "somebody".to_owned())))
}

/// Logs go to standard error: `CORDON_LOG` sets them, `warn` by default. The SDK's and hyper's are capped at `info` whatever it says:
/// below that they print requests.
fn logging() {
    use tracing_subscriber::{EnvFilter, Layer as _, filter, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let wanted = EnvFilter::try_from_env("CORDON_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let capped = filter::filter_fn(|metadata| {
        let quiet = ["aws_", "hyper", "rustls", "h2"].iter().any(|name| metadata.target().starts_with(name));
        !quiet || *metadata.level() <= tracing::Level::INFO
    });
    // Colours are for a terminal, and for whoever wants them (<https://no-color.org>); a journal or a file reads the line as it is.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let layer = layer.with_filter(wanted).with_filter(capped);
    // Somebody who embeds this may have set a subscriber already.
    drop(tracing_subscriber::registry().with(layer).try_init());
}
