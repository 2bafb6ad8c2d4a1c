//! Controls of Security Hub: one id per control, whichever standard's id a finding came with.
//!
//! With consolidated findings the id is in `Compliance.SecurityControlId` and in the generator (`security-control/EC2.13`).
//! Without them each standard has its own: `cis-aws-foundations-benchmark/v/1.2.0/4.1`, `pci-dss/v/3.2.1/PCI.EC2.5`. The
//! tables are AWS's own ("Generator IDs before and after turning on consolidated control findings", Security Hub user
//! guide). PCI DSS 3.2.1 counts by itself (`PCI.IAM.7` is `IAM.8`), so an id of its that is not in the table is left as
//! it stands, never cut down to something that looks like a control.

/// CIS AWS Foundations Benchmark 1.2.0. (1.1 became both `CloudWatch.1` and `IAM.20`; the latter is retired.)
const CIS_1_2: &[(&str, &str)] = &[
    ("1.1", "CloudWatch.1"),
    ("1.2", "IAM.5"),
    ("1.3", "IAM.8"),
    ("1.4", "IAM.3"),
    ("1.5", "IAM.11"),
    ("1.6", "IAM.12"),
    ("1.7", "IAM.13"),
    ("1.8", "IAM.14"),
    ("1.9", "IAM.15"),
    ("1.10", "IAM.16"),
    ("1.11", "IAM.17"),
    ("1.12", "IAM.4"),
    ("1.13", "IAM.9"),
    ("1.14", "IAM.6"),
    ("1.16", "IAM.2"),
    ("1.20", "IAM.18"),
    ("1.22", "IAM.1"),
    ("2.1", "CloudTrail.1"),
    ("2.2", "CloudTrail.4"),
    ("2.3", "CloudTrail.6"),
    ("2.4", "CloudTrail.5"),
    ("2.5", "Config.1"),
    ("2.6", "CloudTrail.7"),
    ("2.7", "CloudTrail.2"),
    ("2.8", "KMS.4"),
    ("2.9", "EC2.6"),
    ("3.1", "CloudWatch.2"),
    ("3.2", "CloudWatch.3"),
    ("3.3", "CloudWatch.1"),
    ("3.4", "CloudWatch.4"),
    ("3.5", "CloudWatch.5"),
    ("3.6", "CloudWatch.6"),
    ("3.7", "CloudWatch.7"),
    ("3.8", "CloudWatch.8"),
    ("3.9", "CloudWatch.9"),
    ("3.10", "CloudWatch.10"),
    ("3.11", "CloudWatch.11"),
    ("3.12", "CloudWatch.12"),
    ("3.13", "CloudWatch.13"),
    ("3.14", "CloudWatch.14"),
    ("4.1", "EC2.13"),
    ("4.2", "EC2.14"),
    ("4.3", "EC2.2"),
];

/// CIS AWS Foundations Benchmark 1.4.0.
const CIS_1_4: &[(&str, &str)] = &[
    ("1.4", "IAM.4"),
    ("1.5", "IAM.9"),
    ("1.6", "IAM.6"),
    ("1.7", "CloudWatch.1"),
    ("1.8", "IAM.15"),
    ("1.9", "IAM.16"),
    ("1.10", "IAM.5"),
    ("1.14", "IAM.3"),
    ("1.16", "IAM.1"),
    ("1.17", "IAM.18"),
    ("2.1.1", "S3.4"),
    ("2.1.2", "S3.5"),
    ("2.1.5.1", "S3.1"),
    ("2.1.5.2", "S3.8"),
    ("2.2.1", "EC2.7"),
    ("2.3.1", "RDS.3"),
    ("3.1", "CloudTrail.1"),
    ("3.2", "CloudTrail.4"),
    ("3.4", "CloudTrail.5"),
    ("3.5", "Config.1"),
    ("3.6", "S3.9"),
    ("3.7", "CloudTrail.2"),
    ("3.8", "KMS.4"),
    ("3.9", "EC2.6"),
    ("4.3", "CloudWatch.1"),
    ("4.4", "CloudWatch.4"),
    ("4.5", "CloudWatch.5"),
    ("4.6", "CloudWatch.6"),
    ("4.7", "CloudWatch.7"),
    ("4.8", "CloudWatch.8"),
    ("4.9", "CloudWatch.9"),
    ("4.10", "CloudWatch.10"),
    ("4.11", "CloudWatch.11"),
    ("4.12", "CloudWatch.12"),
    ("4.13", "CloudWatch.13"),
    ("4.14", "CloudWatch.14"),
    ("5.1", "EC2.21"),
    ("5.3", "EC2.2"),
];

/// CIS AWS Foundations Benchmark 3.0.0, as far as it names controls on open ports ("CIS AWS Foundations Benchmark v3.0.0").
const CIS_3_0: &[(&str, &str)] = &[("5.1", "EC2.21"), ("5.2", "EC2.53"), ("5.3", "EC2.54"), ("5.4", "EC2.2")];

/// PCI DSS 3.2.1, without the `PCI.` before each.
const PCI_3_2_1: &[(&str, &str)] = &[
    ("AutoScaling.1", "AutoScaling.1"),
    ("CloudTrail.1", "CloudTrail.2"),
    ("CloudTrail.2", "CloudTrail.3"),
    ("CloudTrail.3", "CloudTrail.4"),
    ("CloudTrail.4", "CloudTrail.5"),
    ("CodeBuild.1", "CodeBuild.1"),
    ("CodeBuild.2", "CodeBuild.2"),
    ("Config.1", "Config.1"),
    ("CW.1", "CloudWatch.1"),
    ("DMS.1", "DMS.1"),
    ("EC2.1", "EC2.1"),
    ("EC2.2", "EC2.2"),
    ("EC2.4", "EC2.12"),
    ("EC2.5", "EC2.13"),
    ("EC2.6", "EC2.6"),
    ("ELBv2.1", "ELB.1"),
    ("ES.1", "ES.2"),
    ("ES.2", "ES.1"),
    ("GuardDuty.1", "GuardDuty.1"),
    ("IAM.1", "IAM.4"),
    ("IAM.2", "IAM.2"),
    ("IAM.3", "IAM.1"),
    ("IAM.4", "IAM.6"),
    ("IAM.5", "IAM.9"),
    ("IAM.6", "IAM.19"),
    ("IAM.7", "IAM.8"),
    ("IAM.8", "IAM.10"),
    ("KMS.1", "KMS.4"),
    ("Lambda.1", "Lambda.1"),
    ("Lambda.2", "Lambda.3"),
    ("Opensearch.1", "Opensearch.2"),
    ("Opensearch.2", "Opensearch.1"),
    ("RDS.1", "RDS.1"),
    ("RDS.2", "RDS.2"),
    ("Redshift.1", "Redshift.1"),
    ("S3.1", "S3.3"),
    ("S3.2", "S3.2"),
    ("S3.3", "S3.7"),
    ("S3.4", "S3.4"),
    ("S3.5", "S3.5"),
    ("S3.6", "S3.1"),
    ("SageMaker.1", "SageMaker.1"),
    ("SSM.1", "SSM.2"),
    ("SSM.2", "SSM.3"),
    ("SSM.3", "SSM.1"),
];

/// Where a finding may say which control it is of. All of it is written by Security Hub alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sources<'a> {
    /// `Compliance.SecurityControlId`, or `compliance.control` of OCSF.
    pub control: Option<&'a str>,
    /// `GeneratorId`.
    pub generator: Option<&'a str>,
    /// The finding's id, an ARN with `subscription/STANDARD/ID` or `security-control/ID` in it.
    pub id: Option<&'a str>,
    /// `ProductFields.StandardsControlArn`, with `control/STANDARD/ID` in it.
    pub standards_control: Option<&'a str>,
    /// The link to the remediation, `…/securityhub/EC2.13/remediation`.
    pub url: Option<&'a str>,
}

/// The consolidated id; where none is known the standard's own, with the standard's name unless it is part of it.
pub(super) fn id(sources: Sources<'_>) -> Option<String> {
    if let Some(control) = sources.control.filter(|text| is_consolidated(text)) {
        return Some(without_elb_version(control).to_owned());
    }
    let named = [sources.generator, sources.id, sources.standards_control];
    let places: Vec<(Standard, &str)> = named.iter().flatten().filter_map(|text| place(text)).collect();
    let known = places.iter().find_map(|(standard, number)| standard.consolidated(number));
    let linked = || sources.url.and_then(|url| url.strip_suffix("/remediation")?.rsplit('/').next()).filter(|text| is_consolidated(text));
    let left = || places.first().map(|(standard, number)| standard.unknown(number));
    known.or_else(|| linked().map(str::to_owned)).or_else(left)
}

/// A standard, as far as its ids differ from the consolidated ones.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standard {
    Consolidated,
    Cis(String),
    Pci321,
}

impl Standard {
    fn consolidated(&self, number: &str) -> Option<String> {
        let table = match self {
            Self::Consolidated => return is_consolidated(number).then(|| without_elb_version(number).to_owned()),
            Self::Pci321 => {
                let number = number.strip_prefix("PCI.").unwrap_or(number);
                return look_up(PCI_3_2_1, number);
            }
            Self::Cis(version) => match version.as_str() {
                "1.2.0" => CIS_1_2,
                "1.4.0" => CIS_1_4,
                "3.0.0" => CIS_3_0,
                _ => return None,
            },
        };
        look_up(table, number)
    }

    fn unknown(&self, number: &str) -> String {
        match self {
            Self::Cis(version) => format!("cis-aws-foundations-benchmark/v/{version}/{number}"),
            Self::Consolidated | Self::Pci321 => number.to_owned(),
        }
    }
}

fn look_up(table: &[(&str, &str)], number: &str) -> Option<String> {
    table.iter().find(|(own, _)| own.eq_ignore_ascii_case(number)).map(|(_, control)| (*control).to_owned())
}

/// Standard and number in a generator's id or an ARN.
fn place(text: &str) -> Option<(Standard, &str)> {
    let text = text.split("/finding/").next()?;
    if let Some((_, number)) = text.split_once("security-control/") {
        return Some((Standard::Consolidated, number));
    }
    let (standard, rest) = text.split_once("/v/")?;
    let standard = standard.rsplit(['/', ':']).next()?;
    let (version, number) = rest.split_once('/')?;
    let number = number.strip_prefix("rule/").unwrap_or(number);
    let number = number.strip_prefix("CT.").or_else(|| number.strip_prefix("SH.")).unwrap_or(number);
    let standard = match standard {
        "cis-aws-foundations-benchmark" => Standard::Cis(version.to_owned()),
        "pci-dss" if version.starts_with("3.") || number.starts_with("PCI.") => Standard::Pci321,
        _ => Standard::Consolidated,
    };
    (!number.is_empty()).then_some((standard, number))
}

/// `EC2.13`: a service's name, a point, a number.
fn is_consolidated(text: &str) -> bool {
    text.split_once('.').is_some_and(|(service, number)| {
        let named = service.bytes().all(|b| b.is_ascii_alphanumeric()) && service.bytes().any(|b| b.is_ascii_alphabetic());
        named && !number.is_empty() && number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// `ELBv2.1` is `ELB.1` since consolidation.
fn without_elb_version(control: &str) -> &str {
    if control == "ELBv2.1" { "ELB.1" } else { control }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_generator(generator: &str) -> Option<String> {
        id(Sources { generator: Some(generator), ..Sources::default() })
    }

    #[test]
    fn open_port_controls_have_one_id_in_every_standard() {
        for (expected, generators) in [
            (
                "EC2.13",
                &[
                    "security-control/EC2.13",
                    "arn:aws:securityhub:::ruleset/cis-aws-foundations-benchmark/v/1.2.0/rule/4.1",
                    "cis-aws-foundations-benchmark/v/1.2.0/4.1",
                    "pci-dss/v/3.2.1/PCI.EC2.5",
                    "pci-dss/v/4.0.1/EC2.13",
                    "nist-800-53/v/5.0.0/EC2.13",
                ][..],
            ),
            ("EC2.14", &["arn:aws-cn:securityhub:::ruleset/cis-aws-foundations-benchmark/v/1.2.0/rule/4.2", "security-control/EC2.14"]),
            ("EC2.18", &["aws-foundational-security-best-practices/v/1.0.0/EC2.18", "service-managed-aws-control-tower/v/1.0.0/CT.EC2.18"]),
            ("EC2.19", &["aws-foundational-security-best-practices/v/1.0.0/EC2.19", "service-managed-aws-control-tower/v/1.0.0/EC2.19"]),
            ("EC2.53", &["cis-aws-foundations-benchmark/v/3.0.0/5.2"]),
            ("ELB.1", &["aws-foundational-security-best-practices/v/1.0.0/ELBv2.1"]),
        ] {
            for generator in generators {
                assert_eq!(of_generator(generator).as_deref(), Some(expected), "{generator}");
            }
        }
    }

    #[test]
    fn the_control_is_found_in_whatever_is_left_of_a_finding() {
        let arn = "arn:aws:securityhub:us-east-1:111122223333";
        let of_id = |id_text: &str| id(Sources { id: Some(id_text), ..Sources::default() });
        assert_eq!(of_id(&format!("{arn}:subscription/cis-aws-foundations-benchmark/v/1.2.0/1.3/finding/x")).as_deref(), Some("IAM.8"));
        assert_eq!(of_id(&format!("{arn}:security-control/EC2.13/finding/x")).as_deref(), Some("EC2.13"));
        let control =
            id(Sources { control: Some("CloudTrail.2"), generator: Some("pci-dss/v/3.2.1/PCI.CloudTrail.1"), ..Sources::default() });
        assert_eq!(control.as_deref(), Some("CloudTrail.2"));
        let standards_control = format!("{arn}:control/pci-dss/v/3.2.1/PCI.IAM.7");
        assert_eq!(id(Sources { standards_control: Some(&standards_control), ..Sources::default() }).as_deref(), Some("IAM.8"));
        assert_eq!(id(Sources { id: Some("test"), ..Sources::default() }), None);
    }

    #[test]
    fn an_id_that_no_table_has_is_not_guessed() {
        assert_eq!(of_generator("pci-dss/v/3.2.1/PCI.EC2.3").as_deref(), Some("PCI.EC2.3"));
        let unknown = "arn:aws:securityhub:::ruleset/cis-aws-foundations-benchmark/v/1.7.0/rule/4.1";
        assert_eq!(of_generator(unknown).as_deref(), Some("cis-aws-foundations-benchmark/v/1.7.0/4.1"));
        let url = Some("https://docs.aws.amazon.com/console/securityhub/EC2.53/remediation");
        assert_eq!(
            id(Sources { generator: Some("cis-aws-foundations-benchmark/v/5.0.0/5.3"), url, ..Sources::default() }).as_deref(),
            Some("EC2.53")
        );
        let old = Some("https://docs.aws.amazon.com/console/securityhub/standards-cis-1.6/remediation");
        assert_eq!(
            id(Sources { generator: Some(unknown), url: old, ..Sources::default() }).as_deref(),
            Some("cis-aws-foundations-benchmark/v/1.7.0/4.1")
        );
    }
}
