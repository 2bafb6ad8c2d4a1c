//! What a freeze and a thaw may say, the same at both doors. What would stop nothing is an error, or said: nobody is to think that
//! something is frozen that is not.

use std::{sync::Arc, time::Duration};

use cordon_shared::{
    freeze::{Freeze, Level, Scope, thaw_command},
    playbook::Playbook,
};

use super::DeskError;
use crate::{
    org::Org,
    text::{one_line, safe},
};

/// Characters of a reason, of an OU's name: a path of six names of 128 characters, as Organizations allows, is shorter.
pub const LONGEST: usize = 1_000;
/// How long the organization is asked whether it has an OU. The freeze is written by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line as it is written: one readable line of reason, and the scope as freezes are matched. No `playbooks`: not known which there are,
/// and any name is taken, so that a playbook that cannot be read keeps nobody from freezing.
///
/// # Errors
/// [`DeskError::Wrong`] with what to write.
pub fn sound(line: Freeze, playbooks: &[Arc<Playbook>]) -> Result<Freeze, DeskError> {
    let line = reasoned(line)?;
    let wrong = |text: String| Err(DeskError::Wrong(text));
    let scope = match line.scope {
        Scope::Ou(ou) => {
            let path = ou.trim().trim_matches('/');
            if path.is_empty() || path.split('/').any(|part| part.trim().is_empty()) || path.chars().count() > LONGEST {
                let shown = crate::text::cut(&safe(&ou), 100);
                return wrong(format!("an OU's id (ou-…) or its path is wanted, such as Workloads/Production, and not `{shown}`"));
            }
            Scope::Ou(path.to_owned())
        }
        Scope::Playbook(name) if !playbooks.is_empty() && playbooks.iter().all(|playbook| playbook.name != name) => {
            let names: Vec<&str> = playbooks.iter().map(|playbook| playbook.name.as_str()).collect();
            let shown = crate::text::cut(&safe(&name), 100);
            return wrong(format!("there is no playbook `{shown}`; there are {}", names.join(", ")));
        }
        scope => scope,
    };
    if line.hard && scope != Scope::Organization {
        return wrong("`hard` is for the whole organization: the hub's role is one".to_owned());
    }
    Ok(Freeze { scope, ..line })
}

/// The line with a reason that can be kept.
///
/// # Errors
/// [`DeskError::Wrong`] with what to write.
pub fn reasoned(line: Freeze) -> Result<Freeze, DeskError> {
    let why = one_line(&line.why);
    if why.is_empty() && line.level != Level::Off {
        return Err(DeskError::Wrong("`why` is empty: say why, whoever meets the freeze reads it".to_owned()));
    }
    let length = why.chars().count();
    if length > LONGEST {
        return Err(DeskError::Wrong(format!("`why` has {length} characters: say it in {LONGEST}, and where more is written")));
    }
    Ok(Freeze { why, ..line })
}

/// What is to be said of a scope that may stop nothing: an OU that the organization has not, or that could not be looked up.
pub async fn doubt(scope: &Scope, org: Result<&Org, String>) -> Option<String> {
    let Scope::Ou(ou) = scope else { return None };
    let found = match org {
        Ok(org) => match tokio::time::timeout(PATIENCE, org.has_ou(ou)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        },
        Err(why) => Err(why),
    };
    match found {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "there is no OU `{}`: as long as there is none this freeze stops nothing; `cordon account list` shows the paths, `{}` lifts it",
            safe(ou),
            safe(&thaw_command(scope))
        )),
        Err(why) => Some(format!(
            "whether there is an OU `{}` could not be looked up: `cordon account list` shows their paths ({})",
            safe(ou),
            safe(&why)
        )),
    }
}

#[cfg(test)]
mod tests {
    use cordon_shared::engine::Person;
    use jiff::Timestamp;

    use super::*;
    use crate::{desk::Desk, journal::sqlite::SqliteStore};

    fn line(scope: Scope, level: Level, why: &str) -> Freeze {
        let by = Person("ann".to_owned());
        Freeze { number: 0, at: Timestamp::UNIX_EPOCH, by, why: why.to_owned(), scope, level, hard: false, alarm: None }
    }

    fn ou(text: &str) -> Scope {
        Scope::Ou(text.to_owned())
    }

    fn known() -> Vec<Arc<Playbook>> {
        crate::setup::built_in(&crate::setup::registry().unwrap()).unwrap()
    }

    #[test]
    fn an_ou_is_frozen_as_it_is_matched_however_it_is_written() {
        for text in ["Workloads/Production", "/Workloads/Production/", " //Workloads/Production// ", "Workloads/Production\n"] {
            let sound = sound(line(ou(text), Level::Full, "x"), &[]).unwrap();
            assert_eq!(sound.scope, ou("Workloads/Production"), "{text:?}");
        }
        for text in ["", " ", "/", "//", "Workloads//Production", "a/ /b", &"x".repeat(LONGEST + 1)] {
            let error = sound(line(ou(text), Level::Full, "x"), &[]).unwrap_err();
            assert!(matches!(&error, DeskError::Wrong(said) if said.contains("an OU's id")), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_playbook_that_there_is_not_and_a_reason_that_nobody_can_read_are_errors_with_what_to_write() {
        let playbook = |name: &str| Scope::Playbook(name.to_owned());
        let known = known();
        for level in [Level::Full, Level::Off] {
            let error = sound(line(playbook("ec2-brute-farce"), level, "x"), &known).unwrap_err().to_string();
            assert!(error.contains("there is no playbook `ec2-brute-farce`; there are ") && error.contains("ec2-brute-force"), "{error}");
            assert!(sound(line(playbook("ec2-brute-force"), level, "x"), &known).is_ok());
            assert!(sound(line(playbook("ec2-brute-farce"), level, "x"), &[]).is_ok(), "playbooks that cannot be read are no reason");
            let error = sound(line(Scope::Organization, level, &"x".repeat(LONGEST + 1)), &known).unwrap_err().to_string();
            assert!(error.contains("1001 characters") && error.contains("1000"), "{error}");
        }
        for empty in ["", " ", "\u{200b}\n\u{1b}"] {
            let error = sound(line(Scope::Organization, Level::Limited, empty), &known).unwrap_err().to_string();
            assert!(error.contains("`why` is empty"), "{error}");
        }
        assert!(sound(line(Scope::Organization, Level::Off, ""), &known).is_ok());
        let hard = Freeze { hard: true, ..line(playbook("ec2-brute-force"), Level::Full, "x") };
        assert!(sound(hard, &known).is_err(), "a role is locked out as a whole");
    }

    #[test]
    fn a_reason_is_kept_as_one_line_that_means_nothing_to_a_terminal() {
        let said = sound(line(Scope::Organization, Level::Full, "a drill\u{1b}[2J\nfrozen: nothing \u{202e}x"), &[]).unwrap();
        assert_eq!(said.why, "a drill [2J frozen: nothing x");
    }

    #[tokio::test]
    async fn a_freeze_of_a_playbook_that_is_gone_and_one_written_otherwise_are_thawed_as_they_stand() {
        let store = SqliteStore::in_memory().unwrap();
        let (desk, known) = (Desk::new(Arc::clone(&store)), known());
        let (gone, odd) = (Scope::Playbook("gone".to_owned()), ou("/Workloads/"));
        for scope in [&gone, &odd] {
            // As an earlier version wrote it.
            let old = line(scope.clone(), Level::Full, "x");
            desk.journal().with(move |tx| cordon_shared::freeze::freeze(tx, &old)).await.unwrap();
            let thawed = desk.thaw(line(scope.clone(), Level::Off, "it\nis over"), &known).await.unwrap();
            assert_eq!((thawed.lifted.len(), thawed.stands.len(), thawed.line.why.as_str()), (1, 0, "it is over"), "{scope}");
        }
        let never = desk.thaw(line(gone, Level::Off, ""), &known).await;
        assert!(matches!(never, Err(DeskError::Wrong(_))), "{never:?}");
        desk.freeze(line(odd.clone(), Level::Full, "x"), &known).await.unwrap();
        assert_eq!(desk.thaw(line(odd, Level::Off, ""), &known).await.unwrap().line.scope, ou("Workloads"));
    }
}
