//! Instances that another controller runs: what we change there, it may change back, or replace the instance.

use std::collections::BTreeMap;

/// Tags that a controller leaves on its instances: the whole key, or its beginning where it ends in `/`, `:` or `*`.
///
/// Amazon EKS <https://docs.aws.amazon.com/eks/latest/userguide/eks-using-tags.html>, Karpenter <https://karpenter.sh/docs/concepts/>,
/// Amazon ECS capacity providers <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/asg-capacity-providers.html>,
/// Elastic Beanstalk <https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/using-features.tagging.html>,
/// Amazon EMR <https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-plan-tags.html>.
/// `aws:autoscaling:groupName` is not among them: an Auto Scaling group leaves groups and ACLs of its instances alone.
const MARKS: &[(&str, &str)] = &[
    ("eks:cluster-name", "Amazon EKS"),
    ("eks:nodegroup-name", "Amazon EKS"),
    ("aws:eks:", "Amazon EKS"),
    ("kubernetes.io/cluster/", "Kubernetes"),
    ("karpenter.sh/", "Karpenter"),
    ("AmazonECSManaged", "Amazon ECS"),
    ("aws:ecs:", "Amazon ECS"),
    ("elasticbeanstalk:", "Elastic Beanstalk"),
    ("aws:elasticmapreduce:", "Amazon EMR"),
];

/// Who runs a resource with these tags and this operator (`Operator.Principal` where `Operator.Managed` is true), with the evidence.
pub(super) fn controller(tags: &BTreeMap<String, String>, operator: Option<&str>) -> Option<String> {
    if let Some(principal) = operator {
        return Some(format!("{principal} (the instance's operator)"));
    }
    tags.keys().find_map(|key| {
        let mark = |mark: &str| key == mark || (mark.ends_with(['/', ':']) && key.starts_with(mark));
        MARKS.iter().find(|(text, _)| mark(text)).map(|(_, who)| format!("{who} (tag `{key}`)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_by(key: &str) -> Option<String> {
        controller(&[(key.to_owned(), String::new())].into(), None)
    }

    #[test]
    fn controllers_leave_their_marks() {
        for key in [
            "eks:cluster-name",
            "kubernetes.io/cluster/prod",
            "aws:eks:cluster-name",
            "elasticbeanstalk:environment-id",
            "aws:elasticmapreduce:job-flow-id",
        ] {
            assert!(run_by(key).is_some(), "{key}");
        }
        for key in ["aws:autoscaling:groupName", "Name", "eks", "eks:cluster-name-of-my-friend", "kubernetes.io"] {
            assert!(run_by(key).is_none(), "{key}");
        }
        assert!(controller(&BTreeMap::new(), Some("workspaces.amazonaws.com")).is_some());
    }
}
