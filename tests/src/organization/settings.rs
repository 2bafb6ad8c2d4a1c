//! A `cordon.toml` for an organization of the lab.

use std::path::{Path, PathBuf};

use super::{OPT_OUT, Organization, SPOKE_ROLE};

/// The person of `[[people]]` that the hub's own credentials stand for in the lab.
pub const OPERATOR: &str = "Lab Operator";

/// What a test wants of the configuration; [`Organization::config_toml`] writes it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[hub] state_dir`.
    pub state_dir: PathBuf,
    /// `[hub] mode`.
    pub mode: String,
    /// `[hub] confirm_findings`.
    pub confirm_findings: bool,
    /// Read the organization through the role in the management account, as a plain moto needs it.
    pub read_role: bool,
    /// Receive from the organization's queue.
    pub queue: bool,
    /// `[poll] every`.
    pub poll_every: String,
    /// `[caps]`: of an account, and of the organization.
    pub caps: (u32, u32),
    /// `[policy] dir`; the lab's own let an instance in production be contained without a question. `None`: the shipped policies alone.
    pub policies: Option<PathBuf>,
    /// `[limits] attempt_timeout`.
    pub attempt_timeout: String,
    /// More text, for the end of the file.
    pub more: String,
}

impl Settings {
    /// Acts, with caps that are in nobody's way, without queue or poll; confirms findings and reads the organization in its own right.
    #[must_use]
    pub fn acting(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            mode: "act".to_owned(),
            confirm_findings: true,
            read_role: false,
            queue: false,
            poll_every: "0s".to_owned(),
            caps: (1_000, 10_000),
            policies: Some(crate::home().join("policies")),
            attempt_timeout: "10s".to_owned(),
            more: String::new(),
        }
    }

    /// The same, receiving from the queue: for `cordon serve`.
    #[must_use]
    pub fn serving(state_dir: &Path) -> Self {
        Self { queue: true, ..Self::acting(state_dir) }
    }

    /// The same for a moto without the extension: findings are not confirmed, the organization is read through the role.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { confirm_findings: false, read_role: true, ..self }
    }
}

impl Organization {
    /// The configuration as text.
    #[must_use]
    pub fn config_toml(&self, settings: &Settings) -> String {
        let regions = self.regions.iter().map(|region| format!("\"{region}\"")).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "[hub]\naccount = \"{}\"\nregions = [{regions}]\nhome_region = \"{}\"\nstate_dir = {}\nmode = \"{}\"\nconfirm_findings = {}\n\
             role = \"{}\"\n",
            self.security,
            self.home,
            quoted(&settings.state_dir.display().to_string()),
            settings.mode,
            settings.confirm_findings,
            self.hub_role(),
        );
        if settings.read_role {
            text.push_str(&format!("\n[org]\nread_role = \"{}\"\n", self.reader_role()));
        }
        text.push_str(&format!("\n[spoke]\nrole_name = \"{SPOKE_ROLE}\"\nexternal_id = \"{{account}}\"\n"));
        text.push_str(&format!("\n[opt_out]\ntag_key = \"{OPT_OUT}\"\n"));
        let (account, organization) = settings.caps;
        text.push_str(&format!("\n[caps]\nchanges_per_account_hour = {account}\nchanges_per_organization_hour = {organization}\n"));
        text.push_str(&format!("\n[limits]\nattempt_timeout = \"{}\"\n", settings.attempt_timeout));
        if let Some(dir) = &settings.policies {
            text.push_str(&format!("\n[policy]\ndir = {}\n", quoted(&dir.display().to_string())));
        }
        if let (true, Some(queue)) = (settings.queue, &self.queue) {
            text.push_str(&format!("\n[queue]\nurl = \"{}\"\ndead_letter_url = \"{}\"\n", queue.url, queue.dead_letter_url));
        }
        text.push_str(&format!("\n[poll]\nevery = \"{}\"\n", settings.poll_every));
        text.push_str("\n[[logs]]\nkind = \"auth\"\ngroup = \"/var/log/secure\"\nstream = \"{instance}\"\n");
        // Whoever runs Cordon in the lab has the hub's credentials, and is one person.
        text.push_str(&format!(
            "\n[[people]]\nname = \"{OPERATOR}\"\nroles = [\"approver\", \"operator\"]\naws = [\"{}\"]\n",
            self.hub_role()
        ));
        text.push_str(&settings.more);
        text
    }
}

/// A text in TOML's quotes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
