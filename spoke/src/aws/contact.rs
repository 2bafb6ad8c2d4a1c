//! AWS Account Management: whom an account names for questions of security.

use aws_sdk_account::types::AlternateContactType;

use crate::{
    action::{ActionError, classify},
    permission::Permission,
    session::Clients,
};

/// What this port calls in a member account: in the account itself, which needs no rights over others
/// (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsaccountmanagement.html>).
pub const READS: &[Permission] = &[Permission::new("account:GetAlternateContact", "arn:{partition}:account::{account}:account")];

/// The e-mail address of the SECURITY alternate contact of the session's own account; `None`: it names none. Anybody who may change the
/// account's contacts has written it: it is a text of others.
///
/// # Errors
/// Those of the call.
pub async fn security(clients: &Clients) -> Result<Option<String>, ActionError> {
    let asked = clients.account().get_alternate_contact().alternate_contact_type(AlternateContactType::Security).send().await;
    match asked.map_err(|error| classify("account:GetAlternateContact", error)) {
        Ok(answer) => Ok(answer.alternate_contact().and_then(|contact| contact.email_address()).map(str::to_owned)),
        // `ResourceNotFoundException`: the account has no contact of that type.
        Err(ActionError::Gone { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::fake::{Fake, World};

    async fn asked(status: u16, answer: serde_json::Value) -> (Result<Option<String>, ActionError>, Fake) {
        let world = World::new(move |_, _| (status, answer.clone())).await;
        (security(&world.clients).await, world.fake)
    }

    #[tokio::test]
    async fn the_security_contact_is_asked_for_in_the_account_itself() {
        let contact =
            json!({ "AlternateContact": { "AlternateContactType": "SECURITY", "EmailAddress": "sec@example.com", "Name": "Sec" } });
        let (found, fake) = asked(200, contact).await;
        assert_eq!(found.unwrap().as_deref(), Some("sec@example.com"));
        assert_eq!(fake.asked(), [("POST /getAlternateContact".to_owned(), json!({ "AlternateContactType": "SECURITY" }))]);
    }

    /// Wherever the hub is at home, without anything of ours: the SDK's rules know the one place.
    #[tokio::test]
    async fn the_endpoint_is_that_of_the_partitions_one_global_region() {
        use aws_sdk_account::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
        for (home, place) in [
            ("eu-west-1", "https://account.us-east-1.amazonaws.com"),
            ("us-gov-east-1", "https://account.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "https://account.cn-northwest-1.amazonaws.com.cn"),
        ] {
            let params = Params::builder().region(home.to_owned()).build().unwrap();
            let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.unwrap();
            assert_eq!(endpoint.url(), place, "{home}");
        }
    }

    #[tokio::test]
    async fn an_account_without_a_security_contact_names_nobody_and_a_refusal_is_told() {
        let (found, _) = asked(404, json!({ "__type": "ResourceNotFoundException", "message": "none" })).await;
        assert_eq!(found.unwrap(), None);
        let (found, _) = asked(403, json!({ "__type": "AccessDeniedException", "message": "no" })).await;
        assert!(matches!(found, Err(ActionError::Denied(_))), "{found:?}");
    }
}
