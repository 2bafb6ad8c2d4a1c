//! Secrets that the hub keeps in AWS: Systems Manager's Parameter Store, and Secrets Manager.

use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls on a parameter, `{parameter}` without its first slash.
pub const READS_PARAMETER: &[Permission] =
    &[Permission::new("ssm:GetParameter", "arn:{partition}:ssm:{region}:{account}:parameter/{parameter}")];
/// What this port calls on a secret, `{secret}`; AWS ends its ARN with a dash and six characters.
pub const READS_SECRET: &[Permission] =
    &[Permission::new("secretsmanager:GetSecretValue", "arn:{partition}:secretsmanager:{region}:{account}:secret:{secret}-??????")];

/// A parameter's value, decrypted.
///
/// # Errors
/// Those of the call; `None`: it has no value.
pub async fn parameter(clients: &Clients, name: &str) -> Result<Option<String>, ActionError> {
    let answer = clients.ssm().get_parameter().name(name).with_decryption(true).send().await;
    let answer = answer.map_err(|error| classify("ssm:GetParameter", error))?;
    Ok(answer.parameter().and_then(|parameter| parameter.value()).map(str::to_owned))
}

/// A secret's current text.
///
/// # Errors
/// Those of the call; `None`: it is no text.
pub async fn secret(clients: &Clients, id: &str) -> Result<Option<String>, ActionError> {
    let answer = clients.secrets_manager().get_secret_value().secret_id(id).send().await;
    let answer = answer.map_err(|error| classify("secretsmanager:GetSecretValue", error))?;
    Ok(answer.secret_string().map(str::to_owned))
}
