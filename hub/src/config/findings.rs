//! `[findings]`: which findings are believed.

use cordon_shared::{arn::Arn, intake::reserved};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{
    check::{duration, placeholders},
    problem::Problems,
};

type Text = Spanned<String>;

/// Which findings are believed, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Findings")]
pub struct File {
    /// A finding that its provider last updated longer ago than this is ignored, 1 h to 90 days (`2160h`); findings of a sweep are not.
    /// `0s`: none is too old.
    #[serde(default = "week")]
    #[schemars(with = "String")]
    pub stale_after: Text,
    /// ARNs of products that are none of AWS's own and whose findings are acted on; `{region}` is replaced. Findings of any other product
    /// that a customer or a partner imports are only observed.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub act_on_products: Vec<Text>,
}

fn week() -> Text {
    Spanned::new(0..0, "168h".to_owned())
}

impl Default for File {
    fn default() -> Self {
        Self { stale_after: week(), act_on_products: Vec::new() }
    }
}

/// Which findings are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Older ones are ignored; `None`: none is too old.
    pub stale_after: Option<SignedDuration>,
    /// ARNs of products besides AWS's own that are acted on, `{region}` not yet replaced.
    pub act_on_products: Vec<String>,
}

pub(super) fn check(p: &mut Problems, file: &File) -> Option<Findings> {
    let stale_after = if file.stale_after.get_ref().parse::<SignedDuration>().is_ok_and(|most| most.is_zero()) {
        Some(None)
    } else {
        duration(p, &file.stale_after, (SignedDuration::from_hours(1), SignedDuration::from_hours(90 * 24))).map(Some)
    };
    for spot in &file.act_on_products {
        product(p, spot);
    }
    Some(Findings {
        stale_after: stale_after?,
        act_on_products: file.act_on_products.iter().map(|spot| spot.get_ref().replace(":productv2/", ":product/")).collect(),
    })
}

fn product(p: &mut Problems, spot: &Text) {
    let text = spot.get_ref();
    if !placeholders(p, spot, &["region"]) {
        return;
    }
    let sample = text.replace("{region}", "us-east-1");
    if reserved(&sample).is_some() {
        let help = Some("leave it out: AWS's own products need not be named".to_owned());
        return p.error(spot.span(), format!("`{text}` is a product of AWS's own"), help);
    }
    let fits =
        |arn: &Arn| arn.service() == "securityhub" && (arn.resource().starts_with("product/") || arn.resource().starts_with("productv2/"));
    if !sample.parse::<Arn>().is_ok_and(|arn| fits(&arn)) {
        let help = Some("write it like arn:aws:securityhub:{region}:111122223333:product/111122223333/default".to_owned());
        p.error(spot.span(), format!("`{text}` is not the ARN of a Security Hub product"), help);
    }
}
