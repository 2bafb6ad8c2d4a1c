//! The tests of the whole: the architecture and the documentation, the lab itself, and Cordon in the lab.

#[path = "lab/arch.rs"]
mod arch;
#[path = "lab/golden.rs"]
mod golden;

#[path = "lab/bad_input.rs"]
mod bad_input;
#[path = "lab/budget.rs"]
mod budget;
#[path = "lab/budget_window.rs"]
mod budget_window;
#[path = "lab/clock.rs"]
mod clock;
#[path = "lab/contain.rs"]
mod contain;
#[path = "lab/corpus.rs"]
mod corpus;
#[path = "lab/demo.rs"]
mod demo;
#[path = "lab/detach_from_service.rs"]
mod detach_from_service;
#[path = "lab/doors.rs"]
mod doors;
#[path = "lab/drills.rs"]
mod drills;
#[path = "lab/faults.rs"]
mod faults;
#[path = "lab/flows.rs"]
mod flows;
#[path = "lab/freeze.rs"]
mod freeze;
#[path = "lab/freeze_seen.rs"]
mod freeze_seen;
#[path = "lab/iam_user.rs"]
mod iam_user;
#[path = "lab/instance.rs"]
mod instance;
#[path = "lab/isolation.rs"]
mod isolation;
#[path = "lab/looks.rs"]
mod looks;
#[path = "lab/machinery.rs"]
mod machinery;
#[path = "lab/older_sessions.rs"]
mod older_sessions;
#[path = "lab/owner.rs"]
mod owner;
#[path = "lab/people.rs"]
mod people;
#[path = "lab/policy.rs"]
mod policy;
#[path = "lab/questions.rs"]
mod questions;
#[path = "lab/respond.rs"]
mod respond;
#[path = "lab/secrets.rs"]
mod secrets;
#[path = "lab/serve.rs"]
mod serve;
#[path = "lab/several.rs"]
mod several;
#[path = "lab/slack.rs"]
mod slack;
#[path = "lab/snapshots.rs"]
mod snapshots;
#[path = "lab/stage.rs"]
mod stage;
#[path = "lab/sweep.rs"]
mod sweep;
#[path = "lab/trail.rs"]
mod trail;
#[path = "lab/truth.rs"]
mod truth;
#[path = "lab/undo.rs"]
mod undo;
#[path = "lab/undo_preview.rs"]
mod undo_preview;
