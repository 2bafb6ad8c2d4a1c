//! Pages: what everybody is told at once that belongs to no incident's thread: an alarm, a freeze, a thaw, a question that nobody answered, a
//! clock that went back, and an incident that cannot be read.
//!
//! A page is written in the transaction of what it tells of, under a key that the same line or entry always gives, as a notice is
//! ([`crate::notice`]). Any process may write one, also without the lease; whoever holds the lease sends it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    engine::Person,
    freeze::{Freeze, Level, Scope, thaw_command},
    journal::RunRow,
    notice::{Notice, NoticeKind},
};

/// What a page tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageKind {
    /// Cordon froze the organization by itself.
    Alarm,
    /// Somebody froze.
    Frozen,
    /// Somebody thawed.
    Thawed,
    /// A question that not enough people answered in time is asked once more.
    Escalated,
    /// The clock of the computer that Cordon runs on went back.
    ClockBack,
    /// The entries of an incident cannot be read: nothing happens in it any more.
    Unreadable,
}

impl PageKind {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Escalated => "escalated",
            Self::ClockBack => "clock-back",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether somebody has to look at once.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        matches!(self, Self::Alarm | Self::Escalated | Self::Unreadable)
    }
}

/// One page. Texts of others stand in it as they came: it is data, not markup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// What makes it one: the same line or entry gives the same key.
    pub key: String,
    /// What it tells.
    pub kind: PageKind,
    /// When that happened.
    pub at: Timestamp,
    /// Who froze or thawed; `None`: nobody did anything, which is the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// Why, in that person's words or the alarm's; for a question, why a person must answer it.
    pub why: String,
    /// What was frozen or thawed.
    #[serde(flatten)]
    pub scope: Option<Scope>,
    /// How far the freeze goes; off: thawed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Whether the hub's role was to be locked out, or let in again, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hard: bool,
    /// The id of the finding or event that raised the alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// The question that nobody answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Box<Notice>>,
    /// The command that answers it.
    pub answer: String,
}

impl Page {
    /// What is told of a line of the freezes, which has its number.
    #[must_use]
    pub fn of_freeze(line: &Freeze) -> Self {
        let kind = match (line.level, &line.alarm) {
            (Level::Off, _) => PageKind::Thawed,
            (_, Some(_)) => PageKind::Alarm,
            (_, None) => PageKind::Frozen,
        };
        let answer = if kind == PageKind::Thawed { "cordon freeze list --all".to_owned() } else { thaw_command(&line.scope) };
        Self {
            key: freeze_key(line.number),
            kind,
            at: line.at,
            by: Some(line.by.clone()),
            why: line.why.clone(),
            scope: Some(line.scope.clone()),
            level: Some(line.level),
            hard: line.hard,
            alarm: line.alarm.clone(),
            question: None,
            answer,
        }
    }

    /// A page that is of no freeze and of no question.
    fn plain(key: String, kind: PageKind, at: Timestamp, why: String, answer: &str) -> Self {
        let answer = answer.to_owned();
        Self { key, kind, at, by: None, why, scope: None, level: None, hard: false, alarm: None, question: None, answer }
    }

    /// What is told of a clock that went back.
    #[must_use]
    pub fn of_setback(from: Timestamp, to: Timestamp) -> Self {
        let by = SignedDuration::from_secs(from.duration_since(to).as_secs());
        let why = format!(
            "the clock of the computer that Cordon runs on went from {from:.0} back to {to:.0}, by {by:#}. Nothing is taken back by it: what \
             was due, void or spent before stays so. What is due later comes later by as much, and AWS refuses what is signed with a wrong time"
        );
        Self::plain(format!("clock-back/{}", from.as_second()), PageKind::ClockBack, to, why, "timedatectl status")
    }

    /// What is told of an incident that cannot be read.
    #[must_use]
    pub fn of_unreadable(row: &RunRow, why: &str, now: Timestamp) -> Self {
        let RunRow { run, playbook, account, subject, .. } = row;
        let why = format!("{run} ({playbook}, {subject} in {account}) cannot be read, and nothing happens in it any more: {why}");
        Self::plain(format!("unreadable/{run}"), PageKind::Unreadable, now, why, "cordon audit verify")
    }

    /// What is told of a notice besides: a question that is asked a second time.
    #[must_use]
    pub fn of_notice(notice: &Notice) -> Option<Self> {
        let (NoticeKind::Asks, true, Some(step)) = (notice.kind, notice.escalated, &notice.step) else { return None };
        let digest: String = notice.digest.iter().flat_map(|digest| digest.chars()).take(12).collect();
        Some(Self {
            key: format!("escalated/{}/{}", notice.run, notice.key),
            kind: PageKind::Escalated,
            at: notice.at,
            by: None,
            why: notice.why.clone(),
            scope: None,
            level: None,
            hard: false,
            alarm: None,
            answer: format!("cordon approval grant {} --step {step} --digest {digest}", notice.run),
            question: Some(Box::new(notice.clone())),
        })
    }
}

/// The key of the page of a freeze or thaw of this number.
#[must_use]
pub fn freeze_key(number: u64) -> String {
    format!("freeze/{number}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::freeze::SELF_ALARM;

    fn line(level: Level, scope: Scope, alarm: Option<&str>) -> Freeze {
        let by = Person(if alarm.is_some() { SELF_ALARM.to_owned() } else { "ann@desk".to_owned() });
        let at = "2026-11-24T00:00:00Z".parse().unwrap();
        Freeze { number: 7, at, by, why: "a drill".into(), scope, level, hard: false, alarm: alarm.map(str::to_owned) }
    }

    #[test]
    fn a_line_is_told_as_what_it_is_with_the_command_that_answers_it() {
        let account = || Scope::Account("111122223333".parse().unwrap());
        let cases = [
            (line(Level::Limited, Scope::Organization, Some("f-1")), PageKind::Alarm, "cordon thaw"),
            (line(Level::Full, account(), None), PageKind::Frozen, "cordon thaw --account 111122223333"),
            (line(Level::Off, account(), None), PageKind::Thawed, "cordon freeze list --all"),
        ];
        for (line, kind, answer) in cases {
            let page = Page::of_freeze(&line);
            assert_eq!((page.kind, page.answer.as_str(), page.key.as_str()), (kind, answer, "freeze/7"));
            assert_eq!((page.by.as_ref(), page.level, page.alarm.as_ref()), (Some(&line.by), Some(line.level), line.alarm.as_ref()));
            let text = serde_json::to_string(&page).unwrap();
            assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page, "{text}");
        }
        let value: Value = json!(Page::of_freeze(&line(Level::Full, account(), None)));
        assert_eq!((&value["scope"], &value["of"]), (&json!("account"), &json!("111122223333")), "{value}");
    }

    #[test]
    fn only_a_question_that_is_asked_a_second_time_is_a_page() {
        let mut notice = crate::notice::tests::asking();
        assert_eq!(Page::of_notice(&notice), None);
        notice.escalated = true;
        let page = Page::of_notice(&notice).unwrap();
        assert_eq!((page.kind, page.by.clone()), (PageKind::Escalated, None));
        assert!(page.answer.starts_with(&format!("cordon approval grant {} --step ", notice.run)), "{}", page.answer);
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page, "{text}");
        notice.kind = NoticeKind::Answered;
        assert_eq!(Page::of_notice(&notice), None);
    }
}
