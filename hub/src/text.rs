//! Text that others wrote, made safe to show.
//!
//! Titles of findings, log lines, user names and tags can hold whatever an attacker put there: escape sequences that rewrite a
//! terminal, bidirectional controls that turn a line around, Markdown that hides a row or links elsewhere. Nothing of that kind
//! reaches a reader: what cannot be shown is written out, `\u{202e}`.

use std::fmt::Write as _;

/// Characters of one text that are shown; the rest is counted.
pub const MOST: usize = 2_048;

/// One line without control characters, bidirectional controls and invisible characters, for terminals and plain text.
#[must_use]
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().take(MOST) {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push(' '),
            c if is_hidden(c) => out.push_str(&c.escape_unicode().to_string()),
            c => out.push(c),
        }
    }
    let more = text.chars().skip(MOST).count();
    if more > 0 {
        // Writing to a string cannot fail.
        write!(out, "… ({more} more characters)").unwrap_or_default();
    }
    out
}

/// As [`safe`], for text of several lines that is shown whole: line breaks and tabs stay.
#[must_use]
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !matches!(c, '\n' | '\t') {
            out.push_str(&c.escape_unicode().to_string());
        } else {
            out.push(c);
        }
    }
    out
}

/// One line of what somebody typed, for keeping: line breaks, control characters and what cannot be seen are spaces, and several spaces one.
#[must_use]
pub fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if is_hidden(c) { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a character would not be seen, or changes how others are seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// As [`safe`], and no character of it means anything in Markdown, in a table's cell neither; nothing becomes a link, a mention or HTML.
#[must_use]
pub fn markdown(text: &str) -> String {
    let safe = safe(text);
    let mut out = String::with_capacity(safe.len());
    let mut rest = safe.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // Mentions and bare links: an entity is text, and never part of either.
            '@' => out.push_str("&#64;"),
            ':' if rest.peek() == Some(&'/') || ends_with(&out, "mailto") || ends_with(&out, "xmpp") => out.push_str("&#58;"),
            '.' if ends_with(&out, "www") => out.push_str("&#46;"),
            c => out.push(c),
        }
    }
    out
}

/// As [`safe`], and no character of it means anything in HTML, in an attribute in quotes neither.
#[must_use]
pub fn html(text: &str) -> String {
    safe(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn ends_with(text: &str, word: &str) -> bool {
    text.len().checked_sub(word.len()).and_then(|at| text.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(word))
}

/// As [`safe`], as a code span: shown letter for letter. Not for a table's cell.
#[must_use]
pub fn code(text: &str) -> String {
    span(&safe(text))
}

/// As [`code`], for a table's cell. A pipe would end the cell even inside a code span, and with a backslash before it, even behind a
/// backslash: it is written out.
#[must_use]
pub fn cell(text: &str) -> String {
    span(&safe(text).replace('|', "\\u{7c}"))
}

fn span(text: &str) -> String {
    if text.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let pad = if longest > 0 || text.starts_with(' ') || text.ends_with(' ') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// JSON text with control and invisible characters inside its strings escaped: the same value, safe on a terminal.
#[must_use]
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                write!(out, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// `text` with at most `most` characters.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_line_breaks_do_not_reach_a_terminal() {
        assert_eq!(safe("a\u{1b}[2Jb\u{9b}31m\nc\r\td\u{7}"), "a\\u{1b}[2Jb\\u{9b}31m\\nc\\r d\\u{7}");
        assert_eq!(safe("Zürich 東京 🙂"), "Zürich 東京 🙂");
        assert_eq!(lines("error: a\u{1b}[2J\n\tb\r\u{9b}c\u{202e}"), "error: a\\u{1b}[2J\n\tb\\u{d}\\u{9b}c\\u{202e}");
    }

    #[test]
    fn what_somebody_typed_is_kept_as_one_line_that_can_be_seen() {
        assert_eq!(one_line(" a\u{1b}[2J\r\nfrozen: \u{202e}b\u{9b}\t c\u{200b} "), "a [2J frozen: b c");
        assert_eq!(one_line("\u{200b}\n\u{7}"), "");
        assert_eq!(one_line("Zürich 東京 🙂"), "Zürich 東京 🙂");
    }

    #[test]
    fn bidirectional_and_invisible_characters_are_written_out() {
        for hidden in
            ['\u{202e}', '\u{2066}', '\u{200f}', '\u{200b}', '\u{feff}', '\u{e0041}', '\u{2028}', '\u{061c}', '\u{ad}', '\u{3164}']
        {
            let shown = safe(&format!("root{hidden}txt"));
            assert!(!shown.contains(hidden) && shown.contains("\\u{"), "{shown:?}");
        }
    }

    #[test]
    fn a_long_text_says_how_much_is_missing() {
        let shown = safe(&"x".repeat(MOST + 7));
        assert!(shown.ends_with("… (7 more characters)"));
    }

    #[test]
    fn nothing_of_a_text_is_markdown() {
        assert_eq!(markdown("a | b"), "a \\| b");
        assert_eq!(markdown("`x` <b> [l](u)"), "\\`x\\` \\<b\\> \\[l\\](u)");
        assert_eq!(markdown("one\n# two"), "one\\\\n\\# two");
        assert_eq!(markdown("arn:aws:ec2 at 12:00, mailto:a"), "arn:aws:ec2 at 12:00, mailto&#58;a");
        assert_eq!(markdown("see https://evil.example @team www.evil"), "see https&#58;//evil.example &#64;team www&#46;evil");
    }

    #[test]
    fn a_code_span_cannot_be_left() {
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        assert_eq!((code("a|b"), cell("a\\|b")), ("`a|b`".to_owned(), "`a\\\\u{7c}b`".to_owned()));
        assert_eq!(code(" "), "(empty)");
        assert_eq!(code("x\ny"), "`x\\ny`");
    }

    #[test]
    fn escaped_json_is_the_same_value() {
        let value = serde_json::json!({ "title": "a\u{202e}b\u{9b}c\u{e0041}\u{1b}" });
        let text = json(&value.to_string());
        assert!(text.is_ascii(), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_cut_text_is_no_longer_than_asked() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
