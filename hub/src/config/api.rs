//! The HTTP API: where the service listens (`[api] listen`), and where commands find it (`[hub] api`).

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{file::File, notify, problem::Problems};

type Text = Spanned<String>;

/// The HTTP API of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiFile {
    /// The address and port on which `cordon serve` takes signed requests of people, behind something that ends TLS: `127.0.0.1:8444`.
    /// Empty: none.
    #[serde(default = "nothing")]
    #[schemars(with = "String")]
    pub listen: Text,
}

fn nothing() -> Text {
    Spanned::new(0..0, String::new())
}

impl Default for ApiFile {
    fn default() -> Self {
        Self { listen: nothing() }
    }
}

/// The HTTP API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Api {
    /// Where the service listens.
    pub listen: Option<SocketAddr>,
    /// Where commands find the service, without a slash at its end; `None`: they work on the state folder.
    pub url: Option<String>,
}

/// Checks both; `None` after an error.
pub(super) fn check(p: &mut Problems, file: &File) -> Option<Api> {
    let spot = &file.hub.api;
    let url =
        if spot.get_ref().is_empty() { Some(None) } else { notify::url(p, spot).map(|url| Some(url.trim_end_matches('/').to_owned())) };
    let listen = if file.api.listen.get_ref().is_empty() { Some(None) } else { notify::address(p, &file.api.listen).map(Some) };
    Some(Api { listen: listen?, url: url? })
}
