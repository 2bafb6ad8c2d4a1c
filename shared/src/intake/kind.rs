//! GuardDuty's own name for a finding type, from the one that Security Hub gives it.
//!
//! Security Hub writes `TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce` for
//! `UnauthorizedAccess:EC2/SSHBruteForce`. Its table ("Types for GuardDuty in ASFF", GuardDuty user guide) has four more
//! shapes, all known here: no category, the slash kept, the purpose only in the category
//! (`TTPs/Credential Access/IAMUser-AnomalousBehavior`), and the anomaly in it
//! (`TTPs/AnomalousBehavior/Execution:Kubernetes-ExecInPod`).

/// What GuardDuty's types are about; the part between `:` and `/`.
const ABOUT: &[&str] = &["EC2", "IAMUser", "IAM", "S3", "Kubernetes", "Runtime", "Lambda", "RDS", "EKS", "ECS", "Container", "Object"];

/// Whether a text has the shape of GuardDuty's own types, `ThreatPurpose:ResourceTypeAffected/ThreatFamilyName`.
pub(super) fn is_native(text: &str) -> bool {
    let Some((purpose, (about, family))) = text.split_once(':').and_then(|(purpose, rest)| Some((purpose, rest.split_once('/')?))) else {
        return false;
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    word(purpose) && word(about) && !family.is_empty() && !text.contains(char::is_whitespace)
}

/// GuardDuty's type for Security Hub's; `None` where it is none of GuardDuty's.
#[must_use]
pub fn native(asff: &str) -> Option<String> {
    let asff = asff.trim();
    if is_native(asff) {
        return Some(asff.to_owned());
    }
    let segments: Vec<&str> = asff.split('/').collect();
    let place = segments.iter().position(|segment| segment.contains(':'));
    let category = |index: usize| index.checked_sub(1).and_then(|above| segments.get(above)).map(|text| text.replace(' ', ""));
    let Some(place) = place else {
        // The purpose is only in the category: TTPs/Credential Access/IAMUser-AnomalousBehavior
        let last = segments.last()?;
        let (about, family) = last.split_once('-').filter(|(about, _)| ABOUT.contains(about))?;
        return Some(format!("{}:{about}/{family}", category(segments.len() - 1)?));
    };
    let rest = segments.get(place..)?.join("/");
    let (purpose, family) = rest.split_once(':')?;
    if ABOUT.contains(&purpose) {
        // TTPs/DefenseEvasion/EC2:Unusual-DNS-Resolver
        return Some(format!("{}:{purpose}/{}", category(place)?, family.replace('-', "")));
    }
    let cut = family.find(|letter: char| !letter.is_ascii_alphanumeric())?;
    let (about, family) = (family.get(..cut)?, family.get(cut..)?.trim_start_matches(['-', '.', '/']));
    let anomaly = category(place).as_deref() == Some("AnomalousBehavior") && !family.starts_with("AnomalousBehavior");
    let family = if anomaly { format!("AnomalousBehavior.{family}") } else { family.to_owned() };
    Some(format!("{purpose}:{about}/{family}")).filter(|kind| is_native(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_security_hubs_types_becomes_guarddutys_own() {
        for (asff, expected) in [
            ("TTPs/Initial Access/UnauthorizedAccess:EC2-SSHBruteForce", "UnauthorizedAccess:EC2/SSHBruteForce"),
            ("TTPs/Command and Control/Backdoor:EC2-C&CActivity.B!DNS", "Backdoor:EC2/C&CActivity.B!DNS"),
            (
                "Effects/Data Exfiltration/UnauthorizedAccess:IAMUser-InstanceCredentialExfiltration.OutsideAWS",
                "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
            ),
            ("TTPs/Discovery:S3-TorIPCaller", "Discovery:S3/TorIPCaller"),
            ("TTPs/AttackSequence:EKS/CompromisedCluster", "AttackSequence:EKS/CompromisedCluster"),
            ("TTPs/Credential Access/IAMUser-AnomalousBehavior", "CredentialAccess:IAMUser/AnomalousBehavior"),
            ("TTPs/DefenseEvasion/EC2:Unusual-DNS-Resolver", "DefenseEvasion:EC2/UnusualDNSResolver"),
            ("TTPs/AnomalousBehavior/Execution:Kubernetes-ExecInPod", "Execution:Kubernetes/AnomalousBehavior.ExecInPod"),
            ("Software and Configuration Checks/Policy:S3.BucketBlockPublicAccessDisabled", "Policy:S3/BucketBlockPublicAccessDisabled"),
            ("UnauthorizedAccess:EC2/SSHBruteForce", "UnauthorizedAccess:EC2/SSHBruteForce"),
        ] {
            assert_eq!(native(asff).as_deref(), Some(expected), "{asff}");
        }
    }

    #[test]
    fn what_is_no_type_of_guarddutys_gives_none() {
        for asff in ["", "TTPs", "Software and Configuration Checks", "Threats", "a:b", "Unusual Behaviors/User", "x:-y", "a b:EC2-c"] {
            assert_eq!(native(asff), None, "{asff}");
        }
    }
}
