//! Signed addresses, where a call needs one as a parameter.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use jiff::Timestamp;

use super::Clients;
use crate::action::ActionError;

/// How long a signed address is good: as long as a write session.
const GOOD: Duration = Duration::from_secs(900);

impl Clients {
    /// The address of a CopySnapshot at this cell's Region, signed by this session: what EC2 fetches an encrypted snapshot with. It must be
    /// in the call for a source that is encrypted, and the SDK for Rust, unlike others, does not make it
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CopySnapshot.html>, `PresignedUrl`). It holds a session token: it goes
    /// into the call and nowhere else.
    pub(crate) async fn copy_snapshot_address(&self, snapshot: &str, now: Timestamp) -> Result<String, ActionError> {
        let failed = |what: &str| ActionError::Bug(format!("CopySnapshot of {snapshot} could not be signed: {what}"));
        let config_provider = self.base.config.credentials_provider();
        let provider = self.session.site.credentials.clone().or(config_provider).ok_or_else(|| failed("there are no credentials"))?;
        let credentials = provider.provide_credentials().await.map_err(|_| failed("the session gives no credentials"))?;
        let identity = Identity::from(credentials);
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(GOOD);
        let region = self.cell().region.as_str();
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("ec2")
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .settings(settings)
            .build()
            .map_err(|_| failed("a parameter of the signature is missing"))?
            .into();
        let suffix = if self.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let address = format!(
            "https://ec2.{region}.{suffix}/?Action=CopySnapshot&Version=2016-11-15&SourceRegion={region}&SourceSnapshotId={snapshot}&DestinationRegion={region}"
        );
        let request = SignableRequest::new("GET", address.as_str(), std::iter::empty(), SignableBody::Bytes(&[]));
        let request = request.map_err(|_| failed("its address is none"))?;
        let (signed, _) = sign(request, &parameters).map_err(|_| failed("the signature failed"))?.into_parts();
        let (_, query) = signed.into_parts();
        let mut address = address;
        for (name, value) in query {
            address.push('&');
            address.push_str(name);
            address.push('=');
            address.push_str(&encoded(&value));
        }
        Ok(address)
    }
}

/// Percent-encoded as in a query of Signature Version 4.
fn encoded(text: &str) -> String {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(letter).collect()
}
