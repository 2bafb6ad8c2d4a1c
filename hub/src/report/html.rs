//! The report as one HTML page that needs nothing else: no script, no image, no font from elsewhere.

use pulldown_cmark::{Event, Options, Parser, html};

use super::Report;
use crate::text;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1,h2{line-height:1.2}h2{border-bottom:1px solid #d0d7de;padding-bottom:.3rem;margin-top:2.5rem}\
table{border-collapse:collapse;display:block;overflow-x:auto}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left;vertical-align:top}\
code{background:#f0f2f5;padding:.1rem .25rem;border-radius:3px;overflow-wrap:anywhere;white-space:pre-wrap}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}code{background:#21262d}th,td,h2{border-color:#30363d}a{color:#58a6ff}}\
@media print{body{max-width:none;margin:0}}";

/// The page. It is the Markdown report's, so that both say the same; markup that is in the text of others stays text.
pub(super) fn render(report: &Report) -> String {
    let markdown = report.markdown();
    let events = Parser::new_ext(&markdown, Options::ENABLE_TABLES).map(|event| match event {
        // The Markdown report writes none: what looks like it came from outside.
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        other => other,
    });
    let mut body = String::new();
    html::push_html(&mut body, events);
    let title = text::html(&format!("{}: {}", report.title, report.journal.incident));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}
