//! A playbook held against the actions there are.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{OnExpiry, Playbook, PlaybookError, Step, Work, reader::Reader};
use crate::words::closest;

/// The actions there are.
pub trait Catalogue {
    /// What the action of this name takes and whether it changes anything; nothing if there is none.
    fn action(&self, name: &str) -> Option<ActionInfo>;

    /// The names of all actions.
    fn names(&self) -> Vec<String>;
}

/// What a playbook has to know of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionInfo {
    /// Each parameter's name, and whether it must be given.
    pub parameters: Vec<(String, bool)>,
    /// Whether it changes anything; a probe does not.
    pub is_change: bool,
}

pub(super) fn check(playbook: &Playbook, catalogue: &dyn Catalogue) -> Vec<PlaybookError> {
    let mut reader = Reader::new(&playbook.source, &playbook.file);
    let (root, _) = DeTable::parse_recoverable(&playbook.source);
    let steps = root.get_ref().iter().find(|(key, _)| key.get_ref() == "steps").and_then(|(_, steps)| steps.get_ref().as_array());
    for (index, step) in playbook.steps.iter().enumerate() {
        let spot = steps.and_then(|steps| steps.get(index));
        let places =
            Places { at: spot.map(toml::Spanned::span).unwrap_or_default(), table: spot.and_then(|spot| spot.get_ref().as_table()) };
        check_step(&mut reader, step, &places, catalogue);
    }
    reader.into_errors()
}

/// Where the parts of a step stand.
struct Places<'t> {
    at: Range<usize>,
    table: Option<&'t DeTable<'t>>,
}

impl Places<'_> {
    fn value(&self, key: &str) -> Range<usize> {
        let found = self.table.into_iter().flatten().find(|(name, _)| name.get_ref() == key);
        found.map_or_else(|| self.at.clone(), |(_, value)| value.span())
    }

    fn parameter(&self, name: &str) -> Range<usize> {
        let with = self.table.into_iter().flatten().find(|(key, _)| key.get_ref() == "with").map(|(_, value)| value.get_ref());
        let entries = if let Some(DeValue::Table(entries)) = with { Some(entries) } else { None };
        let found = entries.into_iter().flatten().find(|(key, _)| key.get_ref() == name);
        found.map_or_else(|| self.value("with"), |(key, _)| key.span())
    }
}

fn check_step(reader: &mut Reader<'_>, step: &Step, places: &Places<'_>, catalogue: &dyn Catalogue) {
    let Work::Action(name) = &step.work else { return };
    let Some(action) = catalogue.action(name) else {
        let names = catalogue.names();
        let near = closest(name, &names).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| "`cordon action list` shows those there are".to_owned());
        return reader.error(places.value("action"), format!("there is no action `{name}`"), Some(help));
    };
    let known: Vec<&str> = action.parameters.iter().map(|(name, _)| name.as_str()).collect();
    for given in step.with.keys().filter(|given| !known.contains(given)) {
        let near = closest(given, &known).map(|near| format!("did you mean `{near}`?"));
        let help =
            near.unwrap_or_else(|| if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) });
        reader.error(places.parameter(given), format!("`{name}` has no parameter `{given}`"), Some(help));
    }
    let given: Vec<&str> = step.with.keys().collect();
    let missing: Vec<&str> = action
        .parameters
        .iter()
        .filter(|(name, required)| *required && !given.contains(&name.as_str()))
        .map(|(name, _)| name.as_str())
        .collect();
    if !missing.is_empty() {
        let at = if given.is_empty() { places.value("action") } else { places.value("with") };
        reader.error(at, format!("`{name}` needs {}", missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")), None);
    }
    if step.ttl.is_some() && !action.is_change {
        let why = format!("`{name}` changes nothing, so there is nothing to undo after a `ttl`");
        reader.error(places.value("ttl"), why, Some("remove `ttl`".to_owned()));
    }
    if step.ask && !action.is_change {
        let why = format!("`{name}` changes nothing: there is no plan that a person could say yes to");
        let help = "remove `ask`; a step that is to wait for a person before it looks is a `hold` before it".to_owned();
        reader.error(places.value("ask"), why, Some(help));
    }
    if step.on_expiry == OnExpiry::Escalate && !action.is_change {
        let why = format!("`{name}` changes nothing, so nobody is asked about it and no question expires");
        reader.error(places.value("on_expiry"), why, Some("remove `on_expiry`".to_owned()));
    }
}
