//! A preview of an undo for people.

use super::{AttributePreview, Fate, Preview, StepPreview};
use crate::text::{json, safe};

/// The preview as text, without a line break at the end.
#[must_use]
pub fn text(preview: &Preview) -> String {
    let whole = preview.step.is_none();
    let what = preview.step.as_ref().map_or_else(|| "what it changed".to_owned(), |step| format!("step `{step}`"));
    let mut lines = vec![format!("{}  an undo of {what}, as it would be at {:.0}, in this order:", preview.incident, preview.at)];
    let mut stopped = false;
    for step in &preview.steps {
        self::step(&mut lines, step);
        if whole && step.stops && !stopped {
            stopped = true;
            lines.push("  here the undo stops until a person has done that; the same command then goes on with what is below".to_owned());
        }
    }
    let down = &preview.stand_down;
    lines.push(format!(
        "  then {} about {} in account {}, {} is held instead of contained, until {:.0}",
        safe(&down.finding),
        safe(&down.subject),
        down.account,
        down.region,
        down.until
    ));
    if let Some(why) = &preview.frozen {
        lines.push(format!("  nothing of it is done now: {}", safe(why)));
    }
    lines.join("\n")
}

fn step(lines: &mut Vec<String>, step: &StepPreview) {
    lines.push(format!("  {}  {}", step.step, step.action));
    if step.attributes.is_empty() {
        lines.push("    nothing to do: it has no claim on anything".to_owned());
    }
    for attribute in &step.attributes {
        self::attribute(lines, attribute);
    }
}

fn attribute(lines: &mut Vec<String>, one: &AttributePreview) {
    lines.push(format!("    {:<13}{} {}", word(one.fate), safe(&one.resource), safe(&one.attribute)));
    if one.fate == Fate::Restores {
        lines.push(format!("                 - {}", json(&one.now.to_string())));
        lines.push(format!("                 + {}", json(&one.after.to_string())));
    }
    lines.extend(one.what.iter().map(|what| format!("                 {}", safe(what))));
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Restores => "restores",
        Fate::NothingToDo => "nothing to do",
        Fate::Stays => "stays",
        Fate::ByHand => "by hand",
        Fate::OnlyByName => "only by name",
        Fate::NotKnown => "not known",
    }
}
