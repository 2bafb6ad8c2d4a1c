use super::*;
use proptest::prelude::*;

fn cut(bytes: &[u8]) -> Vec<Found> {
    documents(bytes, "in", MAX_DOCUMENT_BYTES).collect()
}

/// `ok LINE TEXT` or `CODE LINE REASON` for each.
fn told(bytes: &[u8]) -> Vec<String> {
    let tell = |found: Found| match found {
        Ok(document) => format!("ok {} {}", document.origin.line, document.text),
        Err((origin, why)) => format!("{} {} {}", why.code, origin.line, why.reason),
    };
    cut(bytes).into_iter().map(tell).collect()
}

#[test]
fn documents_stand_alone_by_line_side_by_side_over_lines_and_in_lists() {
    let expected = ["{\"a\":1}", "{\"b\":[2]}"];
    for text in [
        "{\"a\":1}\n{\"b\":[2]}",
        "{\"a\":1}{\"b\":[2]}\n",
        "\u{feff}{\"a\":1}\r\n\r\n\t{\"b\":[2]}\r\n",
        "[{\"a\":1},{\"b\":[2]}]",
        "[\n  {\"a\":1},\n  {\"b\":[2]}\n]\n",
        "[{\"a\":1}]\n[{\"b\":[2]}]\n",
    ] {
        let texts: Vec<String> = cut(text.as_bytes()).into_iter().map(|found| found.unwrap().text).collect();
        assert_eq!(texts, expected, "{text:?}");
    }
    assert_eq!(told(b"{\n  \"a\": {\n    \"b\": 1\n  }\n}\n{}"), ["ok 1 {\n  \"a\": {\n    \"b\": 1\n  }\n}", "ok 6 {}"]);
    assert_eq!(told(b" \r\n\n"), [] as [String; 0]);
    assert_eq!(told(b"\n[ ]"), ["ok 2 []"]);
}

#[test]
fn a_broken_line_is_rejected_with_its_place_and_the_next_lines_are_read() {
    for broken in ["{\"x\":", "{\"x\":\"te", "{\"x\":[1,", "{\"x\":{\"y\":1}", "{\"x\":1,", "{", "{\"x\":[", "{\"x\":1]", "{\"x\":\"te\\"] {
        let text = format!("{{\"a\":1}}\n{broken}\n{{\"b\":2}}\n{{\"c\":3}}\n");
        let found = told(text.as_bytes());
        assert_eq!(found.len(), 4, "{broken}: {found:?}");
        assert_eq!(
            (found[0].as_str(), found[2].as_str(), found[3].as_str()),
            ("ok 1 {\"a\":1}", "ok 3 {\"b\":2}", "ok 4 {\"c\":3}"),
            "{broken}"
        );
        assert!(found[1].starts_with("CDN-100") && found[1].contains(" 2 line "), "{}", found[1]);
    }
    let found = told(b"{\"a\":1,}\n{\"b\":2}");
    assert_eq!(found, ["CDN-1001 1 line 1, column 8: not valid JSON: key must be a string", "ok 2 {\"b\":2}"]);
}

#[test]
fn a_broken_document_over_many_lines_is_one_rejection_with_the_place_of_the_mistake() {
    let pretty = "{\n  \"a\": {\n    \"b\": 1,\n  },\n  \"c\": []\n}\n{\"d\":4}\n";
    assert_eq!(told(pretty.as_bytes()), ["CDN-1001 1 line 4, column 3: not valid JSON: key must be a string", "ok 7 {\"d\":4}"]);
    let placeholder = "{\n  \"detail\": {\n    \"findings\": [{\n       <finding content>\n    }]\n  }\n}\n";
    let found = told(placeholder.as_bytes());
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("CDN-1001 1 line 4, column 8:"), "{found:?}");
    let text_over_lines = "[\n  {\n    \"a\": \"one\ntwo\"\n  },\n  {\n    \"b\": 2\n  }\n]\n";
    let found = told(text_over_lines.as_bytes());
    assert_eq!((found.len(), found[1].as_str()), (2, "ok 6 {\n    \"b\": 2\n  }"), "{found:?}");
}

#[test]
fn an_unclosed_list_gives_its_elements_and_a_rejection() {
    assert_eq!(told(b"[{\"a\":1},")[0], "ok 1 {\"a\":1}");
    assert!(told(b"[{\"a\":1},")[1].starts_with("CDN-1005"));
    let no_comma = told(b"[{\"a\":1}\n{\"b\":2}]");
    assert_eq!((no_comma[0].as_str(), no_comma[2].as_str()), ("ok 1 {\"a\":1}", "ok 2 {\"b\":2}"));
    assert!(no_comma[1].starts_with("CDN-1001"));
}

#[test]
fn what_is_no_object_is_rejected() {
    for (text, code) in [("42", "CDN-1006"), ("\"hello\"", "CDN-1006"), ("null", "CDN-1006"), ("hello", "CDN-1001"), ("}", "CDN-1001")] {
        let found = told(text.as_bytes());
        assert!(found.len() == 1 && found[0].starts_with(code), "{text}: {found:?}");
    }
    let mixed = told(b"[1, \"a,]\", {\"a\":1}]");
    assert_eq!((mixed.len(), mixed[2].as_str()), (3, "ok 1 {\"a\":1}"), "{mixed:?}");
    let log = told(b"{\"a\":1} and more\n{\"b\":2}");
    assert!(log.len() == 3 && log[1].starts_with("CDN-1001 1 line 1, column 9"), "{log:?}");
}

#[test]
fn bytes_that_are_not_utf8_are_rejected_with_their_place() {
    let found = told(b"{\"a\":1}\n{\"b\":\"\xff\"}\n{\"c\":3}");
    assert_eq!(found, ["ok 1 {\"a\":1}", "CDN-1002 2 line 2, column 7: the text is not UTF-8", "ok 3 {\"c\":3}"]);
}

#[test]
fn a_document_that_is_too_large_is_rejected_and_not_held() {
    let big = format!("{{\"a\":\"{}\"}}\n{{\"b\":2}}\n", "x".repeat(1_000_000));
    let mut cutter = documents(big.as_bytes(), "in", 1000);
    let (origin, why) = cutter.next().unwrap().unwrap_err();
    assert_eq!((origin.to_string().as_str(), why.code), ("in:1", codes::TOO_LARGE));
    assert!(cutter.buffer.capacity() < 400_000, "{}", cutter.buffer.capacity());
    assert_eq!(cutter.next().unwrap().unwrap().text, "{\"b\":2}");
    assert!(cutter.next().is_none());
    let ten = format!("{{\"a\":\"{}\"}}", "x".repeat(10_000_000));
    assert_eq!(cut(ten.as_bytes()).len(), 1);
    assert!(cut(ten.as_bytes())[0].is_ok());
}

#[test]
fn deep_nesting_is_rejected_not_followed() {
    let deep = format!("{}\n{{\"b\":2}}", "{\"a\":".repeat(100_000));
    let found = told(deep.as_bytes());
    assert!(found[0].starts_with(codes::TOO_DEEP), "{found:?}");
    assert_eq!(found[1..], ["ok 2 {\"b\":2}"]);
    assert!(told("[".repeat(100_000).as_bytes()).iter().any(|line| line.starts_with(codes::TOO_DEEP)));
}

#[test]
fn many_lines_are_not_held_together() {
    let lines = "{\"detail\":{\"a\":\"0123456789012345678901234567890123456789\"}}\n".repeat(100_000);
    let mut cutter = documents(lines.as_bytes(), "in", MAX_DOCUMENT_BYTES);
    let mut count = 0_u64;
    while let Some(found) = cutter.next() {
        count += 1;
        assert_eq!(found.unwrap().origin.line, count);
        assert!(cutter.buffer.capacity() < 1_000_000);
    }
    assert_eq!(count, 100_000);
}

#[test]
fn an_input_that_fails_midway_is_told() {
    #[derive(Debug)]
    struct Failing(usize);
    impl std::io::Read for Failing {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 {
                return Err(std::io::Error::other("pulled"));
            }
            let bytes = b"{\"a\":1}\n";
            into[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }
    let found: Vec<Found> = documents(std::io::BufReader::new(Failing(0)), "in", 1000).collect();
    assert!(found[0].is_ok());
    assert_eq!(found[1].as_ref().unwrap_err().1.code, codes::UNREADABLE);
}

proptest! {
    #[test]
    fn any_bytes_are_cut_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = cut(&bytes);
    }

    #[test]
    fn what_looks_like_json_is_never_lost_silently(text in "[\\[\\]{}:,\"\\\\ \na1]{1,60}") {
        let blank = text.bytes().all(|byte| byte.is_ascii_whitespace() || byte == b',');
        prop_assert_eq!(cut(text.as_bytes()).is_empty(), blank, "{:?}", text);
    }

    #[test]
    fn whole_lines_survive_any_broken_line(broken in "\\{[\\[\\]{}:,\"\\\\ a1]{0,20}") {
        let text = format!("{{\"a\":1}}\n{broken}\n{{\"b\":2}}\n{{\"c\":3}}\n");
        let texts: Vec<String> = cut(text.as_bytes()).into_iter().flatten().map(|document| document.text).collect();
        let (first, last) = ("{\"a\":1}".to_owned(), "{\"c\":3}".to_owned());
        prop_assert!(texts.contains(&first) && texts.contains(&last), "{:?} {:?}", text, texts);
    }
}
