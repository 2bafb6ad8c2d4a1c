//! Reading policies: files, their errors at their place, and strict validation against the schema.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
};

use cedar_policy::{Effect, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use cordon_shared::{plan::Risk, playbook::PlaybookError, words::closest};
use cordon_spoke::action::Registry;
use miette::Diagnostic;
use sha2::{Digest as _, Sha256};

use super::{Known, Policies, told};

/// What policies can speak of, without the actions.
pub const SCHEMA: &str = include_str!("../../policies/cordon.cedarschema");

/// The policies that come with Cordon.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("destructive.cedar", include_str!("../../policies/destructive.cedar")),
    ("disruptive.cedar", include_str!("../../policies/disruptive.cedar")),
    ("opt-out.cedar", include_str!("../../policies/opt-out.cedar")),
    ("people.cedar", include_str!("../../policies/people.cedar")),
    ("probes.cedar", include_str!("../../policies/probes.cedar")),
    ("reversible.cedar", include_str!("../../policies/reversible.cedar")),
];

/// The annotations that mean something.
const ANNOTATIONS: [&str; 2] = ["id", "why"];

/// Names and texts of policy files.
pub type Texts = BTreeMap<String, String>;

/// Policies that cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// The folder cannot be read.
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system says.
        why: String,
    },
    /// Everything that is wrong with them, file by file. Each is a picture of its place.
    Invalid(Vec<PlaybookError>),
    /// Cordon's own schema is broken.
    Schema(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder { path, why } => write!(f, "error: policies cannot be read from {}: {why}", path.display()),
            Self::Invalid(errors) => f.write_str(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")),
            Self::Schema(why) => write!(f, "error: the schema of policies cannot be used: {why}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// The texts in use: those built in, each replaced by a file of the same name in the folder, and the folder's others.
///
/// # Errors
/// When the folder or a file in it cannot be read.
pub fn texts(folder: Option<&Path>) -> Result<Texts, LoadError> {
    let mut texts: Texts = BUILT_IN.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    if let Some(folder) = folder {
        let wrong = |error: &std::io::Error, path: &Path| LoadError::Folder { path: path.to_owned(), why: error.to_string() };
        let entries: Vec<PathBuf> = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(|error| wrong(&error, folder))?;
        for file in entries.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "cedar")) {
            let text = std::fs::read_to_string(&file).map_err(|error| wrong(&error, &file))?;
            texts.insert(file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(), text);
        }
    }
    Ok(texts)
}

/// The whole schema: what policies can speak of, and every action in the group of its risk.
#[must_use]
pub fn schema_text(registry: &Registry) -> String {
    let mut text = SCHEMA.to_owned();
    for action in registry.iter() {
        let group = group(action.risk);
        text.push_str(&format!(
            "\naction \"{}\" in [{group}] appliesTo {{ principal: Playbook, resource: Resource, context: Circumstances }};",
            action.name
        ));
    }
    text.push('\n');
    text
}

/// The group that the actions of a risk are in.
pub(super) fn group(risk: Risk) -> &'static str {
    match risk {
        Risk::ReadOnly => "probe",
        Risk::Reversible => "reversible",
        Risk::Disruptive => "disruptive",
        Risk::Destructive => "destructive",
    }
}

/// The schema.
///
/// # Errors
/// [`LoadError::Schema`].
pub(super) fn schema(registry: &Registry) -> Result<Arc<Schema>, LoadError> {
    let (schema, _) = Schema::from_cedarschema_str(&schema_text(registry)).map_err(|error| LoadError::Schema(told(&error)))?;
    Ok(Arc::new(schema))
}

/// SHA-256 of the files' names and texts.
#[must_use]
pub(super) fn digest(texts: &Texts) -> String {
    let mut sha = Sha256::new();
    for part in texts.iter().flat_map(|(file, text)| [file, text]) {
        sha.update(part.len().to_string().as_bytes());
        sha.update(b":");
        sha.update(part.as_bytes());
    }
    hex::encode(sha.finalize())
}

/// Reads and validates policies.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn read(texts: &Texts, schema: &Arc<Schema>) -> Result<Policies, LoadError> {
    let mut reading = Reading { set: PolicySet::new(), known: BTreeMap::new(), errors: Vec::new() };
    for (file, text) in texts {
        reading.file(file, text);
    }
    let Reading { set, known, mut errors } = reading;
    let mut warnings = Vec::new();
    if errors.is_empty() {
        let validated = Validator::new((**schema).clone()).validate(&set, ValidationMode::Strict);
        let place = |id: &PolicyId, diagnostic: &dyn Diagnostic| {
            let file = known.get::<str>(id.as_ref()).map_or("", |known: &Known| known.file.as_str());
            picture(file, texts.get(file).map_or("", String::as_str), diagnostic)
        };
        errors.extend(validated.validation_errors().map(|error| place(error.policy_id(), error)));
        warnings.extend(validated.validation_warnings().map(|warning| place(warning.policy_id(), warning)));
        // What comes with Cordon speaks of every risk, also where no action has it yet: nobody has to hear of that.
        warnings.retain(|warning| !BUILT_IN.contains(&(warning.file.as_str(), warning.source.as_ref())));
    }
    if !errors.is_empty() {
        errors.sort_by(|a, b| (&a.file, a.at.start, &a.why).cmp(&(&b.file, b.at.start, &b.why)));
        return Err(LoadError::Invalid(once(errors)));
    }
    Ok(Policies { set, schema: Arc::clone(schema), known, digest: digest(texts), warnings })
}

/// One policy is validated once for each kind of request that it can meet: what is wrong with it is said once, with the first of them.
fn once(errors: Vec<PlaybookError>) -> Vec<PlaybookError> {
    const NAMED: &str = "Action::\"";
    // What is said, without the name of the action.
    let apart = |why: &str| -> Option<(String, String)> {
        let (before, named) = why.split_once(NAMED)?;
        let (_, after) = named.split_once('"')?;
        Some((before.to_owned(), after.to_owned()))
    };
    let mut said: Vec<(PlaybookError, usize)> = Vec::new();
    for error in errors {
        let same = said.iter_mut().find(|(first, _)| {
            let shape = apart(&error.why).is_some_and(|shape| apart(&first.why) == Some(shape));
            (&first.file, &first.at) == (&error.file, &error.at) && (shape || first.why == error.why)
        });
        match same {
            Some((first, others)) if first.why != error.why => *others = others.saturating_add(1),
            Some(_) => {}
            None => said.push((error, 0)),
        }
    }
    let with = |(mut error, others): (PlaybookError, usize)| {
        if let Some((before, after)) = apart(&error.why).filter(|_| others > 0) {
            let action = error.why.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&after)).unwrap_or_default().to_owned();
            error.why = format!("{before}{action} and {others} more kinds of request{after}");
        }
        error
    };
    said.into_iter().map(with).collect()
}

struct Reading {
    set: PolicySet,
    known: BTreeMap<String, Known>,
    errors: Vec<PlaybookError>,
}

impl Reading {
    fn file(&mut self, file: &str, text: &str) {
        let parsed = match PolicySet::from_str(text) {
            Ok(parsed) => parsed,
            Err(errors) => {
                self.errors.push(picture(file, text, &errors));
                let others = errors.related().into_iter().flatten();
                self.errors.extend(others.map(|error| picture(file, text, error)));
                return;
            }
        };
        if parsed.templates().next().is_some() {
            let at = text.find('?').map_or(0..0, |at| at..at.saturating_add(1));
            self.wrong(
                file,
                text,
                at,
                "a template is no policy: nothing fills its slot",
                Some("name the entity in place of the `?`".to_owned()),
            );
        }
        // Cedar numbers the policies of a text: policy0, policy1, …
        let number = |policy: &cedar_policy::Policy| policy.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(0);
        let mut policies: Vec<&cedar_policy::Policy> = parsed.policies().collect();
        policies.sort_by_key(|policy| number(policy));
        let stem = file.strip_suffix(".cedar").unwrap_or(file);
        let alone = policies.len() == 1;
        for policy in policies {
            for (key, _) in policy.annotations().filter(|(key, _)| !ANNOTATIONS.contains(key)) {
                let at = text.find(&format!("@{key}")).map_or(0..0, |at| at..at.saturating_add(key.len()).saturating_add(1));
                let near = closest(key, ANNOTATIONS).map(|near| format!("did you mean `@{near}`?"));
                let help = near.unwrap_or_else(|| "the annotations are `@id(\"name\")` and `@why(\"reason\")`".to_owned());
                self.wrong(file, text, at, &format!("there is no annotation `@{key}`"), Some(help));
            }
            let unnamed = || if alone { stem.to_owned() } else { format!("{stem}-{}", number(policy).saturating_add(1)) };
            let name = policy.annotation("id").map_or_else(unnamed, str::to_owned);
            if let Some(first) = self.known.get(&name) {
                let (why, quoted) = (format!("there is a policy `{name}` already, in {}", first.file), format!("\"{name}\""));
                let at = text.rfind(&quoted).map_or(0..0, |at| at..at.saturating_add(quoted.len()));
                self.wrong(file, text, at, &why, Some("give it another `@id`".to_owned()));
                continue;
            }
            let known = Known {
                name: name.clone(),
                file: file.to_owned(),
                effect: if policy.effect() == Effect::Permit { "permit" } else { "forbid" },
                why: policy.annotation("why").unwrap_or_default().to_owned(),
                text: policy.to_string(),
            };
            if let Err(error) = self.set.add(policy.new_id(PolicyId::new(&name))) {
                self.wrong(file, text, 0..0, &told(&error), None);
                continue;
            }
            self.known.insert(name, known);
        }
    }

    fn wrong(&mut self, file: &str, text: &str, at: Range<usize>, why: &str, help: Option<String>) {
        self.errors.push(PlaybookError { file: file.to_owned(), source: text.into(), at, why: why.to_owned(), help });
    }
}

/// What Cedar found, at its place in the file.
fn picture(file: &str, text: &str, diagnostic: &dyn Diagnostic) -> PlaybookError {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let at = label.as_ref().map_or(0..0, |label| label.offset()..label.offset().saturating_add(label.len()));
    let mut why = diagnostic.to_string();
    if let Some(more) = label.as_ref().and_then(|label| label.label()).filter(|more| !more.is_empty()) {
        why = format!("{why}: {more}");
    }
    PlaybookError { file: file.to_owned(), source: text.into(), at, why, help: diagnostic.help().map(|help| help.to_string()) }
}
