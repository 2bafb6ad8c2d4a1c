//! Whether the organization has an OU, by what people call it.

use super::{Clients, OrganizationError, ask, next, read_name};

/// Whether there is an OU, or a root, of this id, or of this path of names: from the root down, with or without `Root/`.
///
/// # Errors
/// [`OrganizationError`].
pub async fn has_unit(clients: &Clients, called: &str) -> Result<bool, OrganizationError> {
    find(&clients.organizations(), called).await
}

pub(super) async fn find(client: &aws_sdk_organizations::Client, called: &str) -> Result<bool, OrganizationError> {
    if is_id(called) {
        return match read_name(client, called).await {
            Ok(_) => Ok(true),
            Err(OrganizationError::Outside(_)) => Ok(false),
            Err(error) => Err(error),
        };
    }
    let roots = roots(client).await?;
    if called == "Root" || roots.iter().any(|root| root == called) {
        return Ok(true);
    }
    // What is left of the path below an OU. A name may hold a slash, so a path may be cut in more than one way.
    let paths = [Some(called), called.strip_prefix("Root/")];
    let mut open: Vec<(String, &str)> =
        roots.iter().flat_map(|root| paths.into_iter().flatten().map(|path| (root.clone(), path))).collect();
    while let Some((parent, path)) = open.pop() {
        for (id, name) in children(client, &parent).await? {
            if name == path {
                return Ok(true);
            }
            open.extend(path.strip_prefix(&name).and_then(|rest| rest.strip_prefix('/')).map(|rest| (id, rest)));
        }
    }
    Ok(false)
}

/// Whether it has the form of an OU's id
/// (<https://docs.aws.amazon.com/organizations/latest/APIReference/API_OrganizationalUnit.html>, `Id`).
fn is_id(text: &str) -> bool {
    let plain = |part: &str, least: usize| {
        (least..=32).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
    };
    text.strip_prefix("ou-").and_then(|rest| rest.split_once('-')).is_some_and(|(root, unit)| plain(root, 4) && plain(unit, 8))
}

async fn roots(client: &aws_sdk_organizations::Client) -> Result<Vec<String>, OrganizationError> {
    const CALL: &str = "organizations:ListRoots";
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let answer = ask(CALL, "", || client.list_roots().set_next_token(token.clone()).send()).await?;
        found.extend(answer.roots().iter().filter_map(|root| root.id()).map(str::to_owned));
        token = next(CALL, token.as_ref(), answer.next_token())?;
        if token.is_none() {
            return if found.is_empty() { Err(OrganizationError::Blind { call: CALL }) } else { Ok(found) };
        }
    }
}

/// Ids and names of the OUs right below.
async fn children(client: &aws_sdk_organizations::Client, parent: &str) -> Result<Vec<(String, String)>, OrganizationError> {
    const CALL: &str = "organizations:ListOrganizationalUnitsForParent";
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let request = || client.list_organizational_units_for_parent().parent_id(parent).set_next_token(token.clone()).send();
        let answer = ask(CALL, parent, request).await?;
        let named = answer.organizational_units().iter().filter_map(|unit| unit.id().zip(unit.name()));
        found.extend(named.map(|(id, name)| (id.to_owned(), name.to_owned())));
        token = next(CALL, token.as_ref(), answer.next_token())?;
        if token.is_none() {
            return Ok(found);
        }
    }
}
