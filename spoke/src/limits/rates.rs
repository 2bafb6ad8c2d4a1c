//! The classes of calls that share a quota, and how much of it is used by default: 50 % for reads, 25 % for writes, because the
//! account's own workloads draw on the same quotas.

use std::{collections::HashMap, fmt};

/// The AWS services that are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// AWS Account Management.
    Account,
    /// Amazon EC2 and VPC.
    Ec2,
    /// Amazon EC2 Auto Scaling.
    AutoScaling,
    /// Elastic Load Balancing: Classic Load Balancers.
    Elb,
    /// Elastic Load Balancing: Application, Network and Gateway Load Balancers.
    ElbV2,
    /// AWS CloudTrail.
    CloudTrail,
    /// AWS Lambda.
    Lambda,
    /// Amazon CloudWatch Logs.
    Logs,
    /// AWS Security Hub.
    SecurityHub,
    /// Amazon GuardDuty.
    GuardDuty,
    /// AWS Identity and Access Management.
    Iam,
    /// AWS Systems Manager.
    Ssm,
    /// Amazon Inspector.
    Inspector2,
    /// AWS Organizations.
    Organizations,
    /// AWS Secrets Manager.
    SecretsManager,
    /// Amazon Simple Email Service.
    Ses,
    /// Amazon Simple Notification Service.
    Sns,
    /// Amazon Simple Queue Service.
    Sqs,
    /// AWS Security Token Service.
    Sts,
}

impl Service {
    /// Its short name, as in endpoints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Ec2 => "ec2",
            Self::AutoScaling => "autoscaling",
            Self::Elb => "elasticloadbalancing (classic)",
            Self::ElbV2 => "elasticloadbalancing",
            Self::CloudTrail => "cloudtrail",
            Self::Lambda => "lambda",
            Self::Logs => "logs",
            Self::SecurityHub => "securityhub",
            Self::GuardDuty => "guardduty",
            Self::Iam => "iam",
            Self::Ssm => "ssm",
            Self::Inspector2 => "inspector2",
            Self::Organizations => "organizations",
            Self::SecretsManager => "secretsmanager",
            Self::Ses => "ses",
            Self::Sns => "sns",
            Self::Sqs => "sqs",
            Self::Sts => "sts",
        }
    }

    /// Whether its calls are counted against the hub's account whatever they are about: they are made with the hub's rights.
    #[must_use]
    pub fn paid_by_hub(self) -> bool {
        matches!(self, Self::Sts | Self::SecurityHub | Self::Organizations)
    }

    /// Whether it has one quota for all Regions.
    #[must_use]
    pub fn is_global(self) -> bool {
        matches!(self, Self::Account | Self::Iam | Self::Organizations)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Reading.
    Read,
    /// Changing, under a warrant.
    Write,
}

/// Calls that share a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Account Management's reads.
    Account,
    /// EC2's non-mutating actions.
    Ec2Read,
    /// EC2's mutating actions.
    Ec2Write,
    /// Auto Scaling's reads.
    ScalingRead,
    /// Auto Scaling's writes.
    ScalingWrite,
    /// Reads of load balancers of all kinds.
    BalancingRead,
    /// Writes to load balancers of all kinds.
    BalancingWrite,
    /// CloudTrail: `LookupEvents`.
    Trail,
    /// Lambda.
    Lambda,
    /// Searching logs: `FilterLogEvents`.
    LogsSearch,
    /// Everything else of CloudWatch Logs.
    Logs,
    /// Security Hub's `GetFindings`.
    FindingsRead,
    /// Security Hub's `BatchUpdateFindings`, and everything else of it.
    FindingsWrite,
    /// GuardDuty.
    GuardDuty,
    /// IAM's reads.
    IamRead,
    /// IAM's writes.
    IamWrite,
    /// Systems Manager's reads.
    SsmRead,
    /// Systems Manager's writes.
    SsmWrite,
    /// Inspector.
    Inspector,
    /// Organizations.
    Organizations,
    /// STS.
    Sts,
}

impl Class {
    /// The class of a call. `target` is its `X-Amz-Target` header, if any, `path` its URI's path. `None`: not limited (SQS has no quota on
    /// the calls of a standard queue, <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
    #[must_use]
    pub fn of(service: Service, access: Access, target: Option<&str>, path: &str) -> Option<Self> {
        let write = access == Access::Write;
        Some(match service {
            Service::Account => Self::Account,
            Service::Ec2 if write => Self::Ec2Write,
            Service::Ec2 => Self::Ec2Read,
            Service::AutoScaling if write => Self::ScalingWrite,
            Service::AutoScaling => Self::ScalingRead,
            Service::Elb | Service::ElbV2 if write => Self::BalancingWrite,
            Service::Elb | Service::ElbV2 => Self::BalancingRead,
            Service::CloudTrail => Self::Trail,
            Service::Lambda => Self::Lambda,
            Service::Logs if target.is_some_and(|target| target.ends_with(".FilterLogEvents")) => Self::LogsSearch,
            Service::Logs => Self::Logs,
            // GetFindings is `POST /findings` (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/API_GetFindings.html>),
            // GetFindingsV2 `POST /findingsv2`; BatchUpdateFindings is `PATCH /findings/batchupdate`.
            Service::SecurityHub if matches!(path.trim_end_matches('/'), "/findings" | "/findingsv2") => Self::FindingsRead,
            Service::SecurityHub => Self::FindingsWrite,
            Service::GuardDuty => Self::GuardDuty,
            Service::Iam if write => Self::IamWrite,
            Service::Iam => Self::IamRead,
            Service::Ssm if write => Self::SsmWrite,
            Service::Ssm => Self::SsmRead,
            Service::Inspector2 => Self::Inspector,
            Service::Organizations => Self::Organizations,
            Service::Sts => Self::Sts,
            // Few calls, all of the hub's own: a secret is read once, a notice is published or mailed once, one at a time.
            Service::Sqs | Service::Sns | Service::Ses | Service::SecretsManager => return None,
        })
    }

    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Account,
        Self::Ec2Read,
        Self::Ec2Write,
        Self::ScalingRead,
        Self::ScalingWrite,
        Self::BalancingRead,
        Self::BalancingWrite,
        Self::Trail,
        Self::Lambda,
        Self::LogsSearch,
        Self::Logs,
        Self::FindingsRead,
        Self::FindingsWrite,
        Self::GuardDuty,
        Self::IamRead,
        Self::IamWrite,
        Self::SsmRead,
        Self::SsmWrite,
        Self::Inspector,
        Self::Organizations,
        Self::Sts,
    ];

    /// AWS's quota: calls a second, and how many at once. Where AWS publishes none, a cautious assumption, and the bucket adapts.
    ///
    /// * EC2: non-mutating 100 at once and 20 a second; mutating, resource-intensive 50 and 5
    ///   (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>). AWS counts each action by itself; the class shares one.
    /// * CloudWatch Logs: `FilterLogEvents` 5 a second (<https://repost.aws/knowledge-center/cloudwatch-logs-throttling>), `DescribeLogStreams`
    ///   5 a second (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html>); some Regions allow more.
    /// * Security Hub: `GetFindings` 3 a second and 6 at once, others 10 and 30, `BatchUpdateFindings` among them
    ///   (<https://docs.aws.amazon.com/securityhub/1.0/APIReference/Welcome.html>).
    /// * CloudTrail: `LookupEvents` 2 a second in an account and Region
    ///   (<https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html>), all of which is taken: few others call it.
    /// * Account Management: `GetAlternateContact` 10 a second and 15 at once in an account, 3 and 5 in China, which is what is reckoned with
    ///   (<https://docs.aws.amazon.com/accounts/latest/reference/quotas.html>).
    /// * STS: 600 a second in an account and Region, counted against the caller
    ///   (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
    /// * Assumed: Organizations 10, GuardDuty 5, IAM 10 (writes 5), Systems Manager 10 (writes 5), Inspector 5, Auto Scaling and Elastic Load Balancing 10
    ///   (writes 5), Lambda 10 a second, twice that at once.
    #[must_use]
    pub fn quota(self) -> Rate {
        match self {
            Self::Account => Rate::new(3.0, 5),
            Self::Ec2Read => Rate::new(20.0, 100),
            Self::Ec2Write => Rate::new(5.0, 50),
            Self::LogsSearch | Self::Logs => Rate::new(5.0, 5),
            Self::FindingsRead => Rate::new(3.0, 6),
            Self::FindingsWrite => Rate::new(10.0, 30),
            Self::Sts => Rate::new(600.0, 600),
            Self::Trail => Rate::new(2.0, 2),
            Self::IamRead | Self::SsmRead | Self::Organizations | Self::ScalingRead | Self::BalancingRead | Self::Lambda => {
                Rate::new(10.0, 20)
            }
            Self::GuardDuty | Self::Inspector | Self::IamWrite | Self::SsmWrite | Self::ScalingWrite | Self::BalancingWrite => {
                Rate::new(5.0, 10)
            }
        }
    }

    /// How much of the quota is used by default.
    #[must_use]
    pub fn share(self) -> f64 {
        match self {
            Self::Trail => 1.0,
            Self::Ec2Write | Self::FindingsWrite | Self::IamWrite | Self::SsmWrite | Self::ScalingWrite | Self::BalancingWrite => 0.25,
            Self::Account
            | Self::Ec2Read
            | Self::ScalingRead
            | Self::BalancingRead
            | Self::Lambda
            | Self::LogsSearch
            | Self::Logs
            | Self::FindingsRead
            | Self::GuardDuty
            | Self::IamRead
            | Self::SsmRead
            | Self::Inspector
            | Self::Organizations
            | Self::Sts => 0.5,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account contacts",
            Self::Ec2Read => "EC2 reads",
            Self::Ec2Write => "EC2 writes",
            Self::ScalingRead => "Auto Scaling reads",
            Self::ScalingWrite => "Auto Scaling writes",
            Self::BalancingRead => "load balancer reads",
            Self::BalancingWrite => "load balancer writes",
            Self::Trail => "CloudTrail look-ups",
            Self::Lambda => "Lambda",
            Self::LogsSearch => "log searches",
            Self::Logs => "CloudWatch Logs",
            Self::FindingsRead => "Security Hub reads",
            Self::FindingsWrite => "Security Hub updates",
            Self::GuardDuty => "GuardDuty",
            Self::IamRead => "IAM reads",
            Self::IamWrite => "IAM writes",
            Self::SsmRead => "Systems Manager reads",
            Self::SsmWrite => "Systems Manager writes",
            Self::Inspector => "Inspector",
            Self::Organizations => "Organizations",
            Self::Sts => "STS",
        })
    }
}

/// Calls a second, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: u32,
}

impl Rate {
    /// This rate; at least one call in 1,000 seconds, at most a million a second, and at least one at once.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        let per_second = if per_second.is_nan() { 0.001 } else { per_second.clamp(0.001, 1e6) };
        Self { per_second, burst: burst.max(1) }
    }
    /// Calls a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.per_second
    }
    /// Calls at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }
    /// A part, or a multiple, of it.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of a u32 first")]
    pub fn times(self, factor: f64) -> Self {
        let burst = (f64::from(self.burst) * factor).clamp(1.0, 1e6) as u32;
        Self::new(self.per_second * factor, burst)
    }
}

/// The rate of each class.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    own: HashMap<Class, Rate>,
    factor: Option<f64>,
}

impl Rates {
    /// With another rate for a class.
    #[must_use]
    pub fn with(mut self, class: Class, rate: Rate) -> Self {
        self.own.insert(class, rate);
        self
    }
    /// All defaults times `factor`: for a stand-in of AWS that has no quotas.
    #[must_use]
    pub fn scaled(factor: f64) -> Self {
        Self { own: HashMap::new(), factor: Some(factor) }
    }
    /// The rate of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> Rate {
        match self.own.get(&class) {
            Some(rate) => *rate,
            None => class.quota().times(class.share() * self.factor.unwrap_or(1.0)),
        }
    }
}
