//! One step, as far as it can be read by itself.

use std::ops::Range;

use jiff::SignedDuration;
use toml::de::DeValue;

use super::{
    DEFAULT_WITHIN, EvenIf, Of, OnExpiry, OnFailure, OnTimeout, Step, Work,
    load::{identifier, line},
    reader::{Keys, Reader, Spot},
};
use crate::expr::{Expr, Part, Template};

/// The longest deadline or lifetime: a year.
const MAX_DURATION: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A step that is being read.
#[derive(Debug)]
pub(super) struct Draft {
    /// Its id and where that stands.
    pub(super) id: Option<(String, Range<usize>)>,
    /// What it waits for, and where that is said.
    pub(super) needs: Vec<(String, Range<usize>)>,
    /// What its expressions read.
    pub(super) reads: Vec<Read>,
    pub(super) is_hold: bool,
    /// The step itself, if nothing is wrong with it.
    pub(super) step: Option<Step>,
}

/// A path that an expression reads.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) at: Range<usize>,
    pub(super) parts: Vec<Part>,
    /// Whether something is decided by it, as in `when`.
    pub(super) decides: bool,
}

impl Draft {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref().map(|(id, _)| id.as_str())
    }
}

/// Reads a step; `above` is the one before it in the text.
pub(super) fn draft<'t>(reader: &mut Reader<'_>, mut keys: Keys<'t>, above: Option<&Draft>) -> Draft {
    let mut reads = Vec::new();
    let id = keys.required(reader, "id", "a name within the playbook: `id = \"record\"`");
    let id = id.and_then(|spot| identifier(reader, spot, "a step's id").map(|id| (id, spot.span())));
    let work = work(reader, &mut keys);
    let needs = keys
        .take("needs")
        .map_or_else(|| above.and_then(|above| above.id.clone()).map(|(id, _)| vec![(id, keys.at())]), |spot| needs(reader, spot));
    let even_if: Option<EvenIf> = keys.take("even_if").map_or(Some(EvenIf::Never), |spot| reader.word(spot));
    let when = optional(keys.take("when"), |spot| condition(reader, spot, &mut reads));
    let of = keys.take("of").map_or_else(|| Some(Of::default()), |spot| reader.word(spot));
    let is_hold = matches!(work, Some(Work::Hold(_)));
    let with = keys.entry("with");
    let within = keys.entry("within");
    let on_timeout = keys.entry("on_timeout");
    let on_failure = keys.entry("on_failure");
    let ttl = keys.entry("ttl");
    let ask = keys.entry("ask");
    let on_expiry = keys.entry("on_expiry");
    let after = keys.entry("after");
    let region = keys.entry("region");
    let phase = keys.take("phase");
    if is_hold {
        let meaningless = [
            ("with", &with),
            ("within", &within),
            ("on_timeout", &on_timeout),
            ("on_failure", &on_failure),
            ("ttl", &ttl),
            ("ask", &ask),
            ("on_expiry", &on_expiry),
            ("region", &region),
        ];
        for (key, entry) in meaningless {
            if let Some((at, _)) = entry {
                reader.error(at.clone(), format!("a hold does nothing by itself, so `{key}` has no meaning here"), None);
            }
        }
    }
    let value = |entry: Option<(Range<usize>, &'t Spot<'t>)>| entry.map(|(_, spot)| spot);
    let with = value(with).map_or_else(|| Some(Template::empty()), |spot| parameters(reader, spot, &mut reads));
    let within = value(within).map_or(Some(DEFAULT_WITHIN), |spot| duration(reader, spot));
    let on_timeout = value(on_timeout).map_or_else(|| Some(OnTimeout::default()), |spot| reader.word(spot));
    let on_failure = value(on_failure).map_or_else(|| Some(OnFailure::default()), |spot| reader.word(spot));
    let ttl = optional(value(ttl), |spot| duration(reader, spot));
    let after = value(after).map_or(Some(SignedDuration::ZERO), |spot| duration(reader, spot));
    let region = optional(value(region), |spot| one_text(reader, spot, &mut reads));
    let phase = optional(phase, |spot| reader.word(spot));
    let ask = value(ask).map_or(Some(false), |spot| reader.boolean(spot));
    let on_expiry = value(on_expiry).map_or_else(|| Some(OnExpiry::default()), |spot| reader.word(spot));
    keys.finish(reader);
    let resolved: Vec<String> = needs.iter().flatten().map(|(need, _)| need.clone()).collect();
    let step = || {
        Some(Step {
            id: id.as_ref()?.0.clone(),
            work: work?,
            needs: resolved,
            even_if: even_if?,
            when: when?,
            of: of?,
            with: with?,
            within: within?,
            on_timeout: on_timeout?,
            on_failure: on_failure?,
            ttl: ttl?,
            ask: ask?,
            on_expiry: on_expiry?,
            after: after?,
            region: region?,
            phase: phase?,
        })
    };
    let step = step();
    Draft { id, needs: needs.unwrap_or_default(), reads, is_hold, step }
}

/// Nothing if it is there and wrong; `Some(None)` if it is not there.
fn optional<'t, T>(spot: Option<&'t Spot<'t>>, read: impl FnOnce(&'t Spot<'t>) -> Option<T>) -> Option<Option<T>> {
    spot.map_or(Some(None), |spot| read(spot).map(Some))
}

fn work(reader: &mut Reader<'_>, keys: &mut Keys<'_>) -> Option<Work> {
    match (keys.take("action"), keys.entry("hold")) {
        (Some(action), None) => line(reader, action).map(Work::Action),
        (None, Some((_, hold))) => line(reader, hold).map(Work::Hold),
        (Some(_), Some((at, _))) => {
            reader.error(at, "a step has an `action` or a `hold`, not both", Some("make the hold a step of its own".to_owned()));
            None
        }
        (None, None) => {
            let help = "write `action = \"…\"`, or `hold = \"…the reason…\"` to wait for a person";
            reader.error(keys.at(), "this step does nothing", Some(help.to_owned()));
            None
        }
    }
}

fn needs<'t>(reader: &mut Reader<'_>, spot: &'t Spot<'t>) -> Option<Vec<(String, Range<usize>)>> {
    let mut needs: Vec<(String, Range<usize>)> = Vec::new();
    for spot in reader.list(spot)? {
        let Some(need) = reader.string(spot) else { continue };
        if needs.iter().any(|(known, _)| known == need) {
            reader.error(spot.span(), format!("`{need}` is named twice"), None);
        } else {
            needs.push((need.to_owned(), spot.span()));
        }
    }
    Some(needs)
}

/// A condition, of a step or of a turn.
pub(super) fn condition(reader: &mut Reader<'_>, spot: &Spot<'_>, reads: &mut Vec<Read>) -> Option<Expr> {
    let text = reader.string(spot)?;
    match Expr::parse(text) {
        Ok(expr) => {
            remember(reader, spot, &expr, 0, true, reads);
            Some(expr)
        }
        Err(error) => {
            reader.error(reader.inside(spot, &error.at), error.why, None);
            None
        }
    }
}

/// A text with expressions in it.
fn one_text(reader: &mut Reader<'_>, spot: &Spot<'_>, reads: &mut Vec<Read>) -> Option<Template> {
    let text = reader.string(spot)?.to_owned();
    if !texts(reader, spot, reads) {
        return None;
    }
    Template::parse(&serde_json::Value::String(text)).ok()
}

fn remember(reader: &Reader<'_>, spot: &Spot<'_>, expr: &Expr, start: usize, decides: bool, reads: &mut Vec<Read>) {
    for (at, parts) in expr.located_paths() {
        reads.push(Read { at: reader.inside(spot, &(start + at.start..start + at.end)), parts, decides });
    }
}

fn parameters(reader: &mut Reader<'_>, spot: &Spot<'_>, reads: &mut Vec<Read>) -> Option<Template> {
    if !matches!(spot.get_ref(), DeValue::Table(_)) {
        reader.error(spot.span(), "the parameters stand in a table: `with = { instance = \"${subject.id}\" }`", None);
        return None;
    }
    let json = reader.json(spot)?;
    // Each text by itself first: so each is complained of at its own place.
    if !texts(reader, spot, reads) {
        return None;
    }
    match Template::parse(&json) {
        Ok(template) => Some(template),
        Err(error) => {
            reader.error(spot.span(), error.to_string(), None);
            None
        }
    }
}

/// Whether every text in it is a template; complains of each one that is not.
fn texts(reader: &mut Reader<'_>, spot: &Spot<'_>, reads: &mut Vec<Read>) -> bool {
    match spot.get_ref() {
        DeValue::String(text) => match Template::parse(&serde_json::Value::String(text.to_string())) {
            Ok(template) => {
                for (start, expr) in template.located_exprs() {
                    remember(reader, spot, expr, start, false, reads);
                }
                true
            }
            Err(error) => {
                reader.error(reader.inside(spot, &error.at), error.why, None);
                false
            }
        },
        DeValue::Array(list) => list.iter().filter(|spot| !texts(reader, spot, reads)).count() == 0,
        DeValue::Table(table) => table.iter().filter(|(_, spot)| !texts(reader, spot, reads)).count() == 0,
        _ => true,
    }
}

pub(super) fn duration(reader: &mut Reader<'_>, spot: &Spot<'_>) -> Option<SignedDuration> {
    let text = reader.string(spot)?;
    let help = "write hours, minutes and seconds: `24h`, `30m`, `1h 30m`";
    match text.parse::<SignedDuration>() {
        Ok(duration) if duration.is_positive() && duration <= MAX_DURATION => Some(duration),
        Ok(_) => {
            reader.error(spot.span(), format!("`{text}` is not between a moment and a year"), Some(help.to_owned()));
            None
        }
        Err(_) => {
            reader.error(spot.span(), format!("`{text}` is not a duration"), Some(help.to_owned()));
            None
        }
    }
}
