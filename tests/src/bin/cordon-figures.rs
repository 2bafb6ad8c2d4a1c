//! Figures for `docs/figures.md`: calls of an incident, counted in the lab's ledger, and findings a second through intake and decision.
//!
//! `cargo run --package cordon-lab --bin cordon-figures`

use std::{collections::BTreeMap, io::Write as _, process::ExitCode};

use cordon_lab::{
    Cordon, GatewayOptions, Lab, LabError, LabOptions, Organization, Settings, Shape,
    figures::{Pace, decisions},
    gateway::{Call, Enforcement},
    organization::{
        InstanceShape,
        finding::{Part, brute_force, event},
    },
};

/// Attacked instances in the measured run.
const INCIDENTS: usize = 12;
/// Findings through intake and decision.
const FINDINGS: usize = 2_000;

#[tokio::main]
async fn main() -> ExitCode {
    match figures().await {
        Ok(text) => {
            write!(std::io::stdout(), "{text}").ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            writeln!(std::io::stderr(), "cordon-figures: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn figures() -> Result<String, LabError> {
    let mut text = String::from("| figure | value |\n| --- | --- |\n");
    for (name, value) in calls().await? {
        text.push_str(&format!("| {name} | {value} |\n"));
    }
    let Pace { new, again, bytes } = decisions(FINDINGS).await?;
    text.push_str(&format!("| findings a second, new: read, matched, accepted, decided, all durable ({bytes} bytes each) | {new:.0} |\n"));
    text.push_str(&format!("| findings a second, repeated: read, matched, known again | {again:.0} |\n"));
    text.push_str(&format!("| a repeated finding costs, as a share of a new one | {:.0} % |\n", 100.0 * new / again));
    Ok(text)
}

/// Calls of Cordon for incidents of one kind, from the gateway's ledger.
async fn calls() -> Result<Vec<(String, String)>, LabError> {
    let lab =
        Lab::start(LabOptions { plain: false, gateway: GatewayOptions { enforcement: Enforcement::all(), ..GatewayOptions::default() } })?;
    let organization = Organization::build(&lab, &Shape::default()).await?;
    let folder = tempfile::tempdir().map_err(|error| LabError::new(error.to_string()))?;
    let settings = Settings { confirm_findings: false, ..Settings::acting(&folder.path().join("state")) };
    let cordon = Cordon::new(&lab, &organization, folder.path(), &settings).await?;
    let mut input = String::new();
    for number in 0..INCIDENTS {
        let member = organization.ordinary(number % 2)?.account.clone();
        let shape = InstanceShape::named(&format!("figure-{number}"));
        let instance = organization.instance(&member, "us-east-1", &shape).await?;
        organization.log_attack(&instance, "198.51.100.7", None).await?;
        let native = brute_force(&instance, "198.51.100.7", Part::Target);
        input.push_str(&format!("{}\n", event(&organization.security, &native)));
    }
    let mark = lab.gateway.ledger().mark();
    let output = cordon.run(&["respond", "-", "--format", "json"], &input).await?;
    let contained = output.objects().iter().filter(|incident| incident.get("state").is_some_and(|state| state == "contained")).count();
    if contained != INCIDENTS {
        return Err(LabError::new(format!("{contained} of {INCIDENTS} incidents were contained: {output:?}")));
    }
    Ok(shares(&lab.gateway.ledger().since(mark)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^52")]
fn shares(calls: &[Call]) -> Vec<(String, String)> {
    let each = |count: usize| format!("{:.1}", count as f64 / INCIDENTS as f64);
    let mut services: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        *services.entry(call.service.as_str()).or_default() += 1;
    }
    let writes = calls.iter().filter(|call| call.write).count();
    let mut rows = vec![
        (format!("calls of one SSH brute-force incident (TARGET), mean of {INCIDENTS} in 2 accounts"), each(calls.len())),
        ("of these, changes".to_owned(), each(writes)),
    ];
    rows.extend(services.into_iter().map(|(service, count)| (format!("of these, `{service}`"), each(count))));
    rows
}
