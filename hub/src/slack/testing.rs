//! A run with a question, for tests.

use cordon_shared::{
    engine::{Entry, Person, View},
    freeze::{Freeze, Level, SELF_ALARM, Scope},
    mode::Mode,
    notice::{Notice, NoticeKind, Standing, notices},
    page::Page,
};
use jiff::{SignedDuration, Timestamp};

use crate::report::fixture::{Run, closing, step};

/// A run that has only opened.
pub(crate) fn view() -> View {
    Run::open(Mode::Ask).view()
}

/// A run that asks to close the port, and its question.
pub(crate) fn asking(title: &str) -> (Run, Notice) {
    asking_of(title, 1)
}

/// The same of so many persons.
pub(crate) fn asking_of(title: &str, people: u8) -> (Run, Notice) {
    let mut run = Run::open_titled(Mode::Ask, title);
    let digest = run.planned("close-ingress", closing());
    let before = Standing::of(&run.view());
    let expires = expires(&run);
    run.add(Entry::Asked { step: step("close-ingress"), digest, why: "mode ask".into(), expires, people });
    let notice = notices(&before, &run.view(), false).into_iter().find(|notice| notice.kind == NoticeKind::Asks);
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

/// The page of a self-alarm.
pub(crate) fn alarm(why: &str) -> Page {
    Page::of_freeze(&Freeze {
        number: 7,
        at: Timestamp::UNIX_EPOCH,
        by: Person(SELF_ALARM.to_owned()),
        why: why.to_owned(),
        scope: Scope::Organization,
        level: Level::Limited,
        hard: false,
        alarm: Some("f-1".to_owned()),
    })
}

/// The page of somebody's freeze, or thaw.
pub(crate) fn by_a_person(scope: Scope, level: Level, why: &str) -> Page {
    let (at, by) = (Timestamp::UNIX_EPOCH, Person("ann@desk".to_owned()));
    Page::of_freeze(&Freeze { number: 8, at, by, why: why.to_owned(), scope, level, hard: false, alarm: None })
}

/// The page of a question that nobody answered.
pub(crate) fn escalated(why: &str) -> Page {
    let notice = Notice { escalated: true, why: why.to_owned(), ..notice(NoticeKind::Asks) };
    Page::of_notice(&notice).unwrap()
}

/// The page of an incident that cannot be read.
pub(crate) fn unreadable(why: &str) -> Page {
    let run = asking("t").0;
    let pace = cordon_shared::engine::Pace { epoch: 1, since: run.now, attempt_timeout: SignedDuration::ZERO };
    Page::of_unreadable(&cordon_shared::journal::ops::row(&run.view(), run.now, pace, None), why, run.now)
}
