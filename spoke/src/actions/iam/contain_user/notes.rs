//! What a reader should know about the plan for a user.

use super::{Before, Deny, state::Denial};
use crate::actions::iam::look;

pub(super) fn notes(before: &Before, attached: usize) -> Vec<String> {
    let (user, since) = (&before.user, before.since);
    let mut notes = Vec::new();
    for held in before.held.iter().filter(|held| held.credential.is_since(since)) {
        let made = held.credential.made.unwrap_or(since);
        notes.push(format!("{} was made at {made}, in the window that began at {since}: it is taken for the attacker's", held.attribute()));
    }
    if let Some(login) = &before.login {
        let mut text = format!("{user} has a password for the console: it is deleted, and an undo cannot put it back");
        if let Some(made) = login.made.filter(|made| *made >= since) {
            text.push_str(&format!("; it was set at {made}, in the window"));
        }
        notes.push(text);
    }
    for device in &before.devices {
        let what = device.attribute();
        match device.enabled {
            Some(at) if at >= since => {
                notes.push(format!("{what} was added at {at}, in the window that began at {since}: it is deactivated"))
            }
            Some(at) => notes.push(format!("{what} was added at {at}, before the window: it stays")),
            None => notes.push(format!("{what} was added at a time that IAM does not say: it stays")),
        }
    }
    match before.denial {
        Deny::Planned(Denial::Inline) => notes.push(format!(
            "{user} has {attached} managed policies and takes no more: an inline policy {} denies everything instead of AWSDenyAll",
            super::state::INLINE
        )),
        Deny::NoRoom => notes.push(format!(
            "{user} has {attached} managed policies and no room for an inline one: nothing can deny it everything, its credentials are cut all the same. A console session that is open, and sessions of its keys, live on until they expire"
        )),
        Deny::Planned(Denial::Managed) | Deny::Already(_) => {}
    }
    notes.extend(look::quarantine_note(user, &before.quarantine));
    notes.push(format!("roles that {user} assumed live on in sessions of their own: iam.deny-older-sessions ends them"));
    notes
}
