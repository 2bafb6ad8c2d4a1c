//! A run with a question, for tests.

use cordon_shared::{
    engine::{Entry, View},
    mode::Mode,
    notice::{Notice, NoticeKind, Standing, notices},
};
use jiff::{SignedDuration, Timestamp};

use crate::report::fixture::{Run, closing, step};

/// A run that has only opened.
pub(crate) fn view() -> View {
    Run::open(Mode::Ask).view()
}

/// A run that asks to close the port, and its question.
pub(crate) fn asking(title: &str) -> (Run, Notice) {
    let mut run = Run::open_titled(Mode::Ask, title);
    let digest = run.planned("close-ingress", closing());
    let before = Standing::of(&run.view());
    let expires = expires(&run);
    run.add(Entry::Asked { step: step("close-ingress"), digest, why: "mode ask".into(), expires, people: 1 });
    let notice = notices(&before, &run.view()).into_iter().find(|notice| notice.kind == NoticeKind::Asks);
    (run, notice.unwrap())
}

/// Four hours from now.
pub(crate) fn expires(run: &Run) -> Timestamp {
    run.now.checked_add(SignedDuration::from_hours(4)).unwrap()
}

/// A notice of some kind.
pub(crate) fn notice(kind: NoticeKind) -> Notice {
    Notice { kind, ..asking("t").1 }
}
