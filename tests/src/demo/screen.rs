//! What the demo prints: sections, steps with their times, and promises with whether they were kept.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Instant,
};

/// Where descriptions begin.
const NAME: usize = 14;
/// Where times begin.
const WIDTH: usize = 92;
/// How much is shown of a line of another program.
const LONGEST: usize = 180;

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    colour: bool,
    started: Instant,
    last: Instant,
    failed: Vec<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let plain = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = std::io::stdout().is_terminal() && !plain("NO_COLOR") && !dumb;
        Self { colour, started: Instant::now(), last: Instant::now(), failed: Vec::new() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Whoever reads may have gone away, which is not our failure.
    fn write(text: &str) {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    }

    pub(super) fn title(&self, text: &str) {
        Self::write(&format!("{}\n", self.paint("1", text)));
    }

    pub(super) fn section(&mut self, text: &str) {
        self.last = Instant::now();
        Self::write(&format!("\n{}\n", self.paint("1", text)));
    }

    pub(super) fn line(&self, text: &str) {
        let text = format!("  {text}");
        Self::write(&format!("{}\n", text.trim_end()));
    }

    /// Text of another program, indented, long lines cut.
    pub(super) fn pass(&self, text: &str) {
        for line in text.lines() {
            let cut: String = line.chars().take(LONGEST).collect();
            self.line(&if cut.len() < line.len() { format!("{cut}…") } else { cut });
        }
    }

    /// Something that was done, and how long it took.
    pub(super) fn step(&mut self, name: &str, text: &str) {
        let took = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        self.step_at(name, text, took);
    }

    /// Something with a time of its own.
    pub(super) fn step_at(&self, name: &str, text: &str, seconds: f64) {
        let left = format!("{name:<NAME$}{text}");
        self.line(&format!("{left:<WIDTH$}{}", self.paint("2", &format!("{seconds:>5.1} s"))));
    }

    /// Something that has not come yet, and so has no time.
    pub(super) fn no_time(&self, name: &str, text: &str) {
        let left = format!("{name:<NAME$}{text}");
        self.line(&format!("{left:<WIDTH$}{}", self.paint("2", "    -")));
    }

    /// A state, as wide as the widest.
    pub(super) fn state(&self, state: &str) -> String {
        let code = match state {
            "contained" | "closed" => "32",
            "held" | "waiting" => "33",
            "failed" | "stuck" => "31",
            _ => "34",
        };
        self.paint(code, &format!("{state:<9}"))
    }

    /// Something that was promised, and whether it is so.
    pub(super) fn promise(&mut self, kept: bool, text: &str) {
        let word = if kept { self.paint("32", "ok  ") } else { self.paint("1;31", "FAIL") };
        self.line(&format!("{word}  {text}"));
        self.note(kept, text);
    }

    /// A promise that is only worth a line when it was not kept.
    pub(super) fn promise_quietly(&mut self, kept: bool, text: &str) {
        if kept {
            self.note(kept, text);
        } else {
            self.promise(kept, text);
        }
    }

    fn note(&mut self, kept: bool, text: &str) {
        if !kept {
            self.failed.push(text.to_owned());
        }
    }

    pub(super) fn failures(&self) -> usize {
        self.failed.len()
    }

    /// The end of a demo that did not go as promised.
    pub(super) fn failed(&mut self, folder: &Path, log: &str) {
        self.section(&format!("{} of the demo's promises were not kept", self.failed.len()));
        for text in &self.failed {
            self.line(text);
        }
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
        self.section("The end of cordon serve's log");
        self.pass(&last.join("\n"));
        self.line("");
        self.line(&format!("all of it, the calls and the journal: {}", folder.display()));
    }

    /// The end of one that did.
    pub(super) fn end(&self) {
        Self::write(&format!(
            "\n{}\n",
            self.paint("2", &format!("{:.0} s in all; nothing of it runs any more", self.started.elapsed().as_secs_f64()))
        ));
    }
}
