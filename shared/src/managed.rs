//! Who manages a resource, as far as its tags say.
//!
//! AWS sets the tags of its own services, under a prefix that nobody else may use (`aws:`,
//! <https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html>). For everything else there is no standard: Terraform, OpenTofu and
//! Pulumi set no tag by themselves. What is read here are the conventions that are common; anybody who may tag may write them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The stack's name (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html>).
const STACK_NAME: &str = "aws:cloudformation:stack-name";
/// The stack's ARN.
const STACK_ID: &str = "aws:cloudformation:stack-id";
/// What Service Catalog sets (<https://docs.aws.amazon.com/servicecatalog/latest/adminguide/autotags.html>).
const SERVICE_CATALOG: &str = "aws:servicecatalog:";
/// The provisioned product's ARN.
const PRODUCT: &str = "aws:servicecatalog:provisionedProductArn";

/// Who manages a resource, and which tag says so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Manager {
    /// The resource's ARN.
    pub resource: String,
    /// Who, for people: `the CloudFormation stack web`, `Terraform`.
    pub by: String,
    /// The tag's key.
    pub tag: String,
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is managed by {} (tag `{}`)", self.resource, self.by, self.tag)
    }
}

/// Who manages a resource that carries these tags: CloudFormation, Service Catalog, then what `Terraform` and `managed-by` say. Empty: no tag
/// says.
#[must_use]
pub fn managers(resource: &str, tags: &BTreeMap<String, String>) -> Vec<Manager> {
    let one = |by: String, tag: &str| Manager { resource: resource.to_owned(), by, tag: tag.to_owned() };
    let mut out = Vec::new();
    match (tags.get(STACK_NAME), tags.get(STACK_ID)) {
        (Some(name), Some(id)) => out.push(one(format!("the CloudFormation stack {name} ({id})"), STACK_NAME)),
        (Some(name), None) => out.push(one(format!("the CloudFormation stack {name}"), STACK_NAME)),
        (None, Some(id)) => out.push(one(format!("the CloudFormation stack {id}"), STACK_ID)),
        (None, None) => {}
    }
    if let Some(product) = tags.get(PRODUCT) {
        out.push(one(format!("the Service Catalog product {product}"), PRODUCT));
    } else if let Some((key, value)) = tags.iter().find(|(key, _)| key.starts_with(SERVICE_CATALOG)) {
        out.push(one(format!("a Service Catalog product ({value})"), key));
    }
    for (key, value) in tags {
        match plain(key).as_str() {
            "terraform" if ["true", "yes", "1"].contains(&value.trim().to_ascii_lowercase().as_str()) => {
                out.push(one("Terraform".to_owned(), key));
            }
            "managedby" if !value.trim().is_empty() => out.push(one(name(value), key)),
            _ => {}
        }
    }
    out
}

/// A key without what people write it with: `managed-by`, `ManagedBy` and `managed_by` are one.
fn plain(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

fn name(value: &str) -> String {
    match value.trim().to_ascii_lowercase().as_str() {
        "terraform" => "Terraform".to_owned(),
        "tofu" | "opentofu" => "OpenTofu".to_owned(),
        "pulumi" => "Pulumi".to_owned(),
        "cloudformation" => "CloudFormation".to_owned(),
        _ => format!("`{}`", value.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(tags: &[(&str, &str)]) -> Vec<String> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        managers("arn:x", &tags).into_iter().map(|manager| manager.by).collect()
    }

    #[test]
    fn who_manages_a_resource_is_read_from_the_tags_that_say_so_and_from_no_others() {
        assert_eq!(by(&[("aws:cloudformation:stack-name", "web"), ("Name", "x")]), ["the CloudFormation stack web"]);
        let stack = [("aws:cloudformation:stack-name", "web"), ("aws:cloudformation:stack-id", "arn:s")];
        assert_eq!(by(&stack), ["the CloudFormation stack web (arn:s)"]);
        assert_eq!(by(&[("aws:servicecatalog:provisionedProductArn", "arn:p")]), ["the Service Catalog product arn:p"]);
        assert_eq!(by(&[("aws:servicecatalog:productArn", "arn:q")]), ["a Service Catalog product (arn:q)"]);
        for (key, value) in [("terraform", "true"), ("Terraform", "TRUE"), ("managed-by", "terraform"), ("ManagedBy", "Terraform")] {
            assert_eq!(by(&[(key, value)]), ["Terraform"], "{key}={value}");
        }
        assert_eq!(by(&[("managed_by", "tofu")]), ["OpenTofu"]);
        assert_eq!(by(&[("Managed-By", "pulumi")]), ["Pulumi"]);
        assert_eq!(by(&[("managed-by", "team-red's scripts")]), ["`team-red's scripts`"]);
        // What says something else, or nothing.
        for (key, value) in [("terraform", "false"), ("terraform-state", "true"), ("managed-by", " "), ("Name", "terraform")] {
            assert_eq!(by(&[(key, value)]), Vec::<String>::new(), "{key}={value}");
        }
    }
}
