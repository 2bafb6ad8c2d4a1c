//! Subjects that Cordon never touches, by code and not by policy (the charter's invariant 12).

use cordon_shared::{
    arn::{Arn, same_principal},
    finding::{Subject, SubjectKind},
};

/// What the hub itself runs as, and who must never be locked out.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    /// Names of roles and users: the spoke role, the hub's own, those of the configuration (break-glass).
    pub names: Vec<String>,
}

impl Protected {
    /// Why this subject is never touched; `None`: it may be.
    #[must_use]
    pub fn refuses(&self, subject: &Subject) -> Option<String> {
        let named = |what: &str| Some(format!("{} is {what}: Cordon never changes it", subject.name()));
        match subject.kind {
            SubjectKind::User if subject.id == "root" || subject.arn.as_ref().is_some_and(|arn| arn.resource() == "root") => {
                named("the root user")
            }
            SubjectKind::User if self.names(&subject.id) => named("a principal of `[protected]`"),
            SubjectKind::AccessKey if subject.id.is_empty() => named("an access key without an id"),
            SubjectKind::Role => self
                .refuses_role(&subject.id)
                .or_else(|| subject.arn.as_ref().and_then(|arn| self.refuses_role(role_name(arn))))
                .map(|what| format!("{} is {what}: Cordon never changes it", subject.name())),
            _ => None,
        }
    }

    fn names(&self, principal: &str) -> bool {
        self.names.iter().any(|own| same_principal(own, principal))
    }

    fn refuses_role(&self, name: &str) -> Option<&'static str> {
        let name = name.rsplit('/').next().unwrap_or(name);
        if name.starts_with("AWSServiceRole") {
            Some("a service-linked role")
        } else if name.starts_with("AWSReservedSSO_") {
            Some("an IAM Identity Center role")
        } else if self.names(name) {
            Some("a principal of Cordon itself, or one of `[protected]`")
        } else {
            None
        }
    }
}

fn role_name(arn: &Arn) -> &str {
    // An assumed role's ARN is `assumed-role/NAME/SESSION`.
    match arn.resource().strip_prefix("assumed-role/") {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => arn.resource_id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cordon_shared::id::CellId;

    fn subject(kind: SubjectKind, id: &str, arn: Option<&str>) -> Subject {
        let cell = CellId::new("111122223333".parse().unwrap(), "global".parse().unwrap());
        Subject { cell, kind, id: id.to_owned(), arn: arn.map(|arn| arn.parse().unwrap()) }
    }

    #[test]
    fn cordons_own_roles_service_linked_and_identity_center_roles_and_root_are_refused() {
        let protected = Protected { names: vec!["CordonSpoke".to_owned(), "break-glass".to_owned()] };
        for (kind, id, arn) in [
            (SubjectKind::Role, "CordonSpoke", None),
            (SubjectKind::Role, "AWSServiceRoleForSupport", None),
            (SubjectKind::Role, "x", Some("arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_1")),
            (SubjectKind::Role, "x", Some("arn:aws:sts::111122223333:assumed-role/CordonSpoke/session")),
            (SubjectKind::User, "root", None),
            (SubjectKind::User, "break-glass", None),
        ] {
            assert!(protected.refuses(&subject(kind, id, arn)).is_some(), "{id} {arn:?}");
        }
        // IAM has no two names that differ by case alone.
        for (kind, id, arn) in [
            (SubjectKind::Role, "CORDONSPOKE", None),
            (SubjectKind::User, "Break-Glass", None),
            (SubjectKind::User, "ops/BREAK-GLASS", None),
            (SubjectKind::Role, "x", Some("arn:aws:iam::111122223333:role/ops/Break-Glass")),
        ] {
            assert!(protected.refuses(&subject(kind, id, arn)).is_some(), "{id} {arn:?}");
        }
        assert_eq!(protected.refuses(&subject(SubjectKind::Role, "app", None)), None);
        assert_eq!(protected.refuses(&subject(SubjectKind::Instance, "i-1", None)), None);
    }
}
