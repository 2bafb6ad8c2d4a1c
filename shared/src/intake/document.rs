//! Cutting a stream into JSON documents.
//!
//! The stream may hold one document per line, documents over many lines, several on a line, and lists. A list's
//! elements are documents of their own, so that a long list needs no more memory than its longest element. A document
//! ends where its outermost bracket closes; where it never does (a truncated line), the next line that begins like a
//! document, no deeper indented, ends it: what follows a broken document is still read.

use std::io::{BufRead, ErrorKind};

use serde::de::IgnoredAny;

use super::{Origin, Rejection, codes};

/// The default for the largest document. Amazon's own limits are far below it: an EventBridge event has at most 1 MiB, a
/// Security Hub finding 240 KB, a page of one hundred of them 24 MB.
pub const MAX_DOCUMENT_BYTES: usize = 32 * 1024 * 1024;

/// How deep a document may be nested. Findings have some fifteen levels.
pub const MAX_DEPTH: usize = 100;

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// One JSON document: an object, or a list that stands inside a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Where it began.
    pub origin: Origin,
    /// The column it began in, from 1, counted in bytes.
    pub column: u64,
    /// Its text, byte for byte.
    pub text: String,
}

/// Cuts `reader` into documents; see [`Documents`]. `input` is the name to report (a file's, `-`, a queue's), and a
/// document of more than `max_bytes` is rejected without being held.
pub fn documents<R: BufRead>(reader: R, input: &str, max_bytes: usize) -> Documents<R> {
    Documents {
        reader,
        input: input.to_owned(),
        max: max_bytes,
        buffer: Vec::new(),
        at: 0,
        base: 0,
        place: Place { line: 1, line_start: 0 },
        list: None,
        resync: None,
        unreadable: None,
        ended: false,
        begun: false,
    }
}

/// The iterator of [`documents`]: each document, or why there is none where one should be.
#[derive(Debug)]
pub struct Documents<R> {
    reader: R,
    input: String,
    max: usize,
    /// What was read and is not yet handed on.
    buffer: Vec<u8>,
    /// The next byte to look at, in `buffer`.
    at: usize,
    /// How many bytes of the stream lie before `buffer`.
    base: u64,
    place: Place,
    list: Option<List>,
    /// After a broken document: skip to a line that begins one at no more than this column.
    resync: Option<u64>,
    unreadable: Option<std::io::Error>,
    ended: bool,
    begun: bool,
}

/// The current line and where in the stream it starts.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: u64,
    line_start: u64,
}

/// A list that was opened at the top level.
#[derive(Debug, Clone, Copy)]
struct List {
    line: u64,
    column: u64,
    empty: bool,
    comma: bool,
}

/// Why a document ended before its last bracket.
enum Broken {
    Ends,
    LineEndsInText,
    NextBegins,
    Mismatch { found: u8, expected: u8 },
    TooDeep,
    TooLarge,
}

type Found = Result<Document, (Origin, Rejection)>;

impl<R: BufRead> Iterator for Documents<R> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if !self.begun {
            self.begun = true;
            self.skip_byte_order_mark();
        }
        loop {
            self.drop_consumed();
            if let Some(column) = self.resync.take() {
                self.skip_to_document(column);
            }
            let Some(byte) = self.peek() else { return self.finish() };
            let here = self.column();
            match (byte, self.list) {
                (b' ' | b'\t' | b'\r' | b'\n', _) => self.advance(byte),
                (b',', list) => {
                    self.advance(byte);
                    self.list = list.map(|list| List { comma: true, ..list });
                }
                (b']', Some(list)) => {
                    self.advance(byte);
                    self.list = None;
                    if list.empty {
                        let origin = Origin { input: self.input.clone(), line: list.line };
                        return Some(Ok(Document { origin, column: list.column, text: "[]".to_owned() }));
                    }
                }
                (b'[', None) => {
                    self.list = Some(List { line: self.place.line, column: here, empty: true, comma: true });
                    self.advance(byte);
                }
                (_, Some(list)) if !list.comma => {
                    self.list = None;
                    let what = format!("the list that begins at line {}, column {} has no `,` or `]` here", list.line, list.column);
                    return Some(self.reject(self.place.line, here, codes::SYNTAX, &what));
                }
                (b'{' | b'[', list) => {
                    self.list = list.map(|list| List { empty: false, comma: false, ..list });
                    return Some(self.document(byte));
                }
                (_, list) => {
                    self.list = list.map(|list| List { empty: false, comma: false, ..list });
                    return Some(self.scalar(list.is_some()));
                }
            }
        }
    }
}

impl<R: BufRead> Documents<R> {
    /// Reads a bracketed document whose first byte is the next one.
    fn document(&mut self, first: u8) -> Found {
        let (start, begin, column) = (self.at, self.place, self.column());
        let indent = self.indent(start);
        let mut open = vec![closing(first)];
        let (mut text, mut escaped, mut line_head, mut before) = (false, false, false, first);
        let mut held = true;
        self.advance(first);
        let broken = loop {
            let Some(byte) = self.peek() else { break Some(Broken::Ends) };
            if text {
                match byte {
                    b'\n' => break Some(Broken::LineEndsInText),
                    b'"' if !escaped => text = false,
                    _ => {}
                }
                escaped = byte == b'\\' && !escaped;
            } else {
                match byte {
                    b'\n' => line_head = true,
                    b' ' | b'\t' | b'\r' => {}
                    b'{' | b'[' => {
                        let allowed = matches!(before, b':' | b'[') || (before == b',' && open.last() == Some(&b']'));
                        if line_head && !allowed && self.column() <= indent {
                            break Some(Broken::NextBegins);
                        }
                        if open.len() >= MAX_DEPTH {
                            break Some(Broken::TooDeep);
                        }
                        open.push(closing(byte));
                    }
                    b'}' | b']' => match open.pop() {
                        Some(expected) if expected == byte => {}
                        expected => break Some(Broken::Mismatch { found: byte, expected: expected.unwrap_or(byte) }),
                    },
                    b'"' => (text, escaped) = (true, false),
                    _ => {}
                }
                if !byte.is_ascii_whitespace() {
                    (line_head, before) = (false, byte);
                }
            }
            self.advance(byte);
            if open.is_empty() {
                break None;
            }
            if held && self.at.saturating_sub(start) > self.max {
                held = false;
            }
            if !held {
                self.drop_consumed();
            }
        };
        if broken.is_some() {
            // What is skipped may have had the comma.
            self.list = self.list.map(|list| List { comma: true, ..list });
        }
        if !held {
            if broken.is_some() {
                self.resync = Some(indent);
            }
            return self.broken(begin, column, &Broken::TooLarge);
        }
        if let Some(why) = broken {
            let rejected = self.broken(begin, column, &why);
            self.rewind(start, begin, indent);
            return rejected;
        }
        let bytes = self.buffer.get(start..self.at).unwrap_or_default().to_vec();
        self.check(bytes, begin.line, column)
    }

    /// A complete document: UTF-8 and valid JSON, or why not.
    fn check(&self, bytes: Vec<u8>, line: u64, column: u64) -> Found {
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let head = error.as_bytes().get(..valid).unwrap_or_default();
                let (at_line, at_column) = place_after(head, line, column);
                return self.reject_at(line, at_line, at_column, codes::NOT_UTF8, "the text is not UTF-8");
            }
        };
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(Document { origin: Origin { input: self.input.clone(), line }, column, text }),
            Err(error) => {
                let inner = u64::try_from(error.line()).unwrap_or(1).max(1);
                let inner_column = u64::try_from(error.column()).unwrap_or(1).max(1);
                let at_column = if inner == 1 { column + inner_column - 1 } else { inner_column };
                self.reject_at(line, line + inner - 1, at_column, codes::SYNTAX, &format!("not valid JSON: {}", message(&error)))
            }
        }
    }

    /// A value that is no object: to the end of the line, or of the element.
    fn scalar(&mut self, element: bool) -> Found {
        let (begin, column) = (self.place, self.column());
        let (mut bytes, mut text, mut escaped) = (Vec::new(), false, false);
        while let Some(byte) = self.peek() {
            if byte == b'\n' || (element && !text && matches!(byte, b',' | b']')) {
                break;
            }
            if byte == b'"' && !escaped {
                text = !text;
            }
            escaped = byte == b'\\' && !escaped;
            if bytes.len() < 4096 {
                bytes.push(byte);
            }
            self.advance(byte);
            self.drop_consumed();
        }
        self.check(bytes, begin.line, column).and_then(|document| {
            let shown: String = document.text.trim().chars().take(40).collect();
            let what = format!("`{shown}` is no event and no finding: those are JSON objects");
            self.reject(begin.line, column, codes::NOT_AN_OBJECT, &what)
        })
    }

    /// The end of the stream.
    fn finish(&mut self) -> Option<Found> {
        let (line, column) = (self.place.line, self.column());
        if let Some(error) = self.unreadable.take() {
            self.list = None;
            return Some(self.reject(line, column, codes::UNREADABLE, &format!("the input cannot be read any further: {error}")));
        }
        let list = self.list.take()?;
        let what = format!("the input ends inside the list that begins at line {}, column {}", list.line, list.column);
        Some(self.reject(line, column, codes::TRUNCATED, &what))
    }

    fn broken(&self, begin: Place, column: u64, why: &Broken) -> Found {
        let (code, what) = match why {
            Broken::Ends => (codes::TRUNCATED, "the input ends inside the document".to_owned()),
            Broken::LineEndsInText => (codes::TRUNCATED, "the line ends inside a text".to_owned()),
            Broken::NextBegins => (codes::TRUNCATED, "the next document begins before this one is complete".to_owned()),
            Broken::Mismatch { found, expected } => {
                (codes::SYNTAX, format!("not valid JSON: `{}` where `{}` must close", char::from(*found), char::from(*expected)))
            }
            Broken::TooDeep => (codes::TOO_DEEP, format!("nested more than {MAX_DEPTH} levels deep")),
            Broken::TooLarge => {
                let hint = "a list of findings can be given as one finding a line (jq -c '.Findings[]')";
                (codes::TOO_LARGE, format!("the document is larger than {} bytes; {hint}", self.max))
            }
        };
        let what = format!("{what} (it begins at line {}, column {column})", begin.line);
        self.reject_at(begin.line, self.place.line, self.column(), code, &what)
    }

    fn reject(&self, line: u64, column: u64, code: &'static str, what: &str) -> Found {
        self.reject_at(line, line, column, code, what)
    }

    fn reject_at(&self, begin: u64, line: u64, column: u64, code: &'static str, what: &str) -> Found {
        let origin = Origin { input: self.input.clone(), line: begin };
        Err((origin, Rejection::new(code, format!("line {line}, column {column}: {what}"))))
    }

    /// After a broken document: back to the first line inside it that begins a document itself, else forward to one.
    fn rewind(&mut self, start: usize, begin: Place, indent: u64) {
        let mut place = begin;
        let mut head = None;
        for (offset, byte) in self.buffer.get(start..self.at).unwrap_or_default().iter().enumerate() {
            match byte {
                b'\n' => {
                    place = Place { line: place.line + 1, line_start: self.base + widen(start + offset) + 1 };
                    head = Some(0);
                }
                b' ' | b'\t' | b'\r' => head = head.map(|column: u64| column + 1),
                b'{' | b'[' if head.is_some_and(|column| column < indent) => {
                    self.at = start + offset;
                    self.place = place;
                    return;
                }
                _ => head = None,
            }
        }
        self.resync = Some(indent);
    }

    /// Forward to a line that begins a document at no more than `indent`.
    fn skip_to_document(&mut self, indent: u64) {
        let mut head = self.column() == 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'{' | b'[' if head && self.column() <= indent => return,
                b'\n' => head = true,
                b' ' | b'\t' | b'\r' => {}
                _ => head = false,
            }
            self.advance(byte);
            self.drop_consumed();
        }
    }

    /// The column of the first character on the line that `start` is on, as far as the buffer still has it.
    fn indent(&self, start: usize) -> u64 {
        let line_start = usize::try_from(self.place.line_start.saturating_sub(self.base)).unwrap_or(start);
        let line = self.buffer.get(line_start..start).unwrap_or_default();
        if self.place.line_start < self.base {
            return 1;
        }
        widen(line.iter().take_while(|byte| byte.is_ascii_whitespace()).count()) + 1
    }

    fn skip_byte_order_mark(&mut self) {
        if self.peek() == Some(0xEF) {
            while self.buffer.len() < 3 && self.fill() {}
            if self.buffer.starts_with(b"\xEF\xBB\xBF") {
                self.at = 3;
                self.place.line_start = 3;
            }
        }
    }

    fn column(&self) -> u64 {
        (self.base + widen(self.at)).saturating_sub(self.place.line_start) + 1
    }

    fn peek(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = self.buffer.get(self.at) {
                return Some(*byte);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn advance(&mut self, byte: u8) {
        self.at += 1;
        if byte == b'\n' {
            self.place = Place { line: self.place.line + 1, line_start: self.base + widen(self.at) };
        }
    }

    fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        loop {
            match self.reader.fill_buf() {
                Ok([]) => self.ended = true,
                Ok(available) => {
                    let length = available.len().min(CHUNK);
                    self.buffer.extend(available.iter().take(length));
                    self.reader.consume(length);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => (self.ended, self.unreadable) = (true, Some(error)),
            }
            return !self.ended;
        }
    }

    /// Lets go of what was handed on.
    fn drop_consumed(&mut self) {
        if self.at >= CHUNK && self.at * 2 >= self.buffer.len() {
            self.buffer.drain(..self.at);
            self.base += widen(self.at);
            self.at = 0;
        }
    }
}

fn closing(open: u8) -> u8 {
    if open == b'{' { b'}' } else { b']' }
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Line and column of the byte after `head`, which begins at `line` and `column`.
fn place_after(head: &[u8], line: u64, column: u64) -> (u64, u64) {
    let lines = head.iter().filter(|byte| **byte == b'\n').count();
    let last = head.iter().rev().take_while(|byte| **byte != b'\n').count();
    if lines == 0 { (line, column + widen(last)) } else { (line + widen(lines), widen(last) + 1) }
}

/// serde_json's message without its own position.
pub(super) fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or_else(|| text.clone(), |(what, _)| what.to_owned())
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
