//! The lab: a whole AWS organization on this computer.
//!
//! - [`python`]: a virtual environment in the target folder, made once, every package pinned by its hash.
//! - [`moto`]: the stand-in for AWS, with an extension for what it lacks or does differently.
//! - [`hand`]: calls to AWS that are not ours (boto3), with which tests set up the world and read it back.
//! - [`organization`]: a whole organization, built with the hand, and read back with it.
//! - [`cordon`]: the real binary, run as a person or a service manager runs it.
//! - [`clock`]: a clock that can be set, for one program.
//! - [`demo`]: what `cargo demo` shows.
//! - [`slack`]: a stand-in for Slack, on good days and bad ones.
//! - [`secrets`]: those that were handed out, looked for in whatever Cordon leaves behind.
//! - [`gateway`]: stands between Cordon and moto: records every call, enforces what AWS's access control enforces, throttles and fails.
//!
//! Nothing here outlives the process: the Python programs end when their standard input closes, however the process ends.
//! Tests keep out of each other's way by account id ([`accounts::fresh`]), not by reset.

pub mod accounts;
pub mod clock;
pub mod cordon;
pub mod demo;
pub mod drill;
pub mod figures;
pub mod gateway;
pub mod hand;
pub mod moto;
pub mod organization;
pub mod python;
pub mod secrets;
pub mod slack;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

pub use clock::MovedClock;
pub use cordon::{Cordon, Running, cordon_binary};
pub use gateway::{Gateway, GatewayOptions};
pub use hand::{Hand, HandError};
pub use moto::{Moto, MotoOptions};
pub use organization::{Organization, Settings, Shape, Standing};
pub use python::Python;
pub use slack::Slack;

/// The folder of this crate in the checkout that runs it: cargo says which. What was built in may be of another checkout that shares the target
/// folder.
#[must_use]
pub fn home() -> PathBuf {
    let built = env!("CARGO_MANIFEST_DIR");
    std::env::var("CARGO_MANIFEST_DIR").ok().filter(|said| said.ends_with("tests")).unwrap_or_else(|| built.to_owned()).into()
}

/// Why the lab could not start.
#[derive(Debug, Clone)]
pub struct LabError(String);

impl LabError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for LabError {}

/// How a lab is to be.
#[derive(Debug, Clone, Default)]
pub struct LabOptions {
    /// moto as it is, without the extension.
    pub plain: bool,
    /// What the gateway does besides recording.
    pub gateway: GatewayOptions,
}

/// moto, a gateway before it, and a hand that goes to moto past the gateway. Dropping it ends them all.
#[derive(Debug)]
pub struct Lab {
    /// Calls that are not ours; straight to moto.
    pub hand: Hand,
    /// What Cordon talks to.
    pub gateway: Gateway,
    /// The stand-in for AWS; several labs may share one.
    pub moto: Arc<Moto>,
    /// The virtual environment.
    pub python: Python,
}

impl Lab {
    /// Starts everything. The first time on a computer this installs the Python packages, which takes about half a minute.
    ///
    /// # Errors
    /// When Python is missing, the packages cannot be installed, or a server does not start.
    pub fn start(options: LabOptions) -> Result<Self, LabError> {
        let python = Python::prepare()?;
        let moto = Arc::new(Moto::start(&python, &MotoOptions { plain: options.plain, ..MotoOptions::default() })?);
        let gateway = Gateway::start(&moto.endpoint(), options.gateway)?;
        let hand = Hand::start(&python, &moto.endpoint())?;
        Ok(Self { hand, gateway, moto, python })
    }

    /// A lab of its own ledger, faults and enforcement over the same moto and hand.
    ///
    /// # Errors
    /// When the gateway does not start.
    pub fn beside(&self, gateway: GatewayOptions) -> Result<Self, LabError> {
        Ok(Self {
            hand: self.hand.clone(),
            gateway: Gateway::start(&self.moto.endpoint(), gateway)?,
            moto: Arc::clone(&self.moto),
            python: self.python.clone(),
        })
    }

    /// The gateway's address: the `AWS_ENDPOINT_URL` of whatever is being tested.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.gateway.endpoint()
    }

    /// Puts items of a kind that no AWS API accepts into moto with the extension: `guardduty-findings`, `securityhub-findings`.
    ///
    /// # Errors
    /// When the extension is not there or refuses the items.
    pub async fn seed(&self, account: &str, region: &str, kind: &str, items: Vec<serde_json::Value>) -> Result<(), LabError> {
        self.moto.seed(account, region, kind, items).await
    }
}

/// The one lab of this process, started at first use: recording gateway, no enforcement, extension loaded.
///
/// # Errors
/// As [`Lab::start`]; the first failure is remembered.
pub fn shared() -> Result<&'static Lab, LabError> {
    static SHARED: OnceLock<Result<Lab, LabError>> = OnceLock::new();
    match SHARED.get_or_init(|| Lab::start(LabOptions::default())) {
        Ok(lab) => Ok(lab),
        Err(error) => Err(error.clone()),
    }
}
