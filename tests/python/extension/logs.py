"""CloudWatch Logs: FilterLogEvents as AWS answers it.

- Patterns: terms (of letters, digits and underscores; anything else needs quotes), "phrases", -excluded, ?any and %regular expressions%; JSON
  patterns with =, !=, NOT EXISTS, IS, && before ||, and * in texts. What this file does not understand (space-delimited patterns, comparisons
  of numbers) is refused, where moto would give every event. A pattern is at most 1,024 characters long.
- Events of several streams come in the order of time; logStreamNamePrefix and logGroupIdentifier are heeded; an unknown stream is an error.
- A page holds at most 10,000 events or 1 MB, and when several streams are searched the first page is empty but for its token, as may happen in
  AWS: whoever stops at an empty page has not read the log.
"""

import functools
import json
import re

TERM = re.compile(r'\s*([-?]?)(?:"((?:[^"\\]|\\.)*)"|%([^%]*)%|([^\s"]+))')
BYTES = 1_048_576


def mend() -> None:
    from moto.logs import responses
    from moto.logs.exceptions import InvalidParameterException, ResourceNotFoundException

    def filter_log_events(self):
        name = self._get_param("logGroupName")
        if not name:
            name = (self._get_param("logGroupIdentifier") or "").split(":log-group:")[-1].removesuffix(":*")
        group = self.logs_backend.groups.get(name)
        if group is None:
            raise ResourceNotFoundException()
        names, prefix = self._get_param("logStreamNames", []), self._get_param("logStreamNamePrefix")
        if any(stream not in group.streams for stream in names):
            raise ResourceNotFoundException("The specified log stream does not exist.")
        limit = self._get_param("limit") or 10000
        if limit > 10000:
            raise InvalidParameterException(constraint="Member must have value less than or equal to 10000", parameter="limit", value=limit)
        if len(self._get_param("filterPattern") or "") > 1024:
            raise InvalidParameterException(constraint="Member must have length less than or equal to 1024", parameter="filterPattern", value="")
        try:
            accepts = compile_pattern(self._get_param("filterPattern") or "")
        except ValueError as reason:
            raise InvalidParameterException(msg=f"Invalid filter pattern: {reason}") from None
        streams = [
            stream for key, stream in group.streams.items() if (not names or key in names) and (not prefix or key.startswith(prefix))
        ]
        start, end = self._get_param("startTime"), self._get_param("endTime")
        events = [
            {**event.to_filter_dict(), "logStreamName": stream.log_stream_name}
            for stream in streams
            for event in stream.events
            if (start is None or event.timestamp >= start) and (end is None or event.timestamp <= end) and accepts(event.message)
        ]
        events.sort(key=lambda event: event["timestamp"])

        token = self._get_param("nextToken")
        if token is None and len(streams) > 1:
            return json.dumps({"events": [], "searchedLogStreams": [], "nextToken": "Bxkq6kVGFtq2y_0"})
        try:
            first = int(token.split("_")[1]) if token else 0
        except (IndexError, ValueError):
            raise InvalidParameterException(msg="The specified nextToken is invalid.") from None
        page, size = [], 0
        for event in events[first : first + limit]:
            size += len(event["message"].encode()) + 26
            if page and size > BYTES:
                break
            page.append(event)
        answer = {"events": page, "searchedLogStreams": []}
        if first + len(page) < len(events):
            answer["nextToken"] = f"Bxkq6kVGFtq2y_{first + len(page)}"
        return json.dumps(answer)

    responses.LogsResponse.filter_log_events = filter_log_events


def contains(text: str, message: str) -> bool:
    return text in message


def compile_pattern(pattern: str):
    """A function that says whether a message matches; ValueError for a pattern of a kind that is not done here."""
    pattern = pattern.strip()
    if pattern[:1] == "{" and pattern[-1:] == "}":
        return JsonPattern(pattern[1:-1]).compile()
    if pattern[:1] in ("{", "["):
        raise ValueError(pattern)
    required, excluded, optional = [], [], []
    place = 0
    while place < len(pattern):
        found = TERM.match(pattern, place)
        if not found or found.end() == place:
            raise ValueError(pattern)
        sign, phrase, expression, word = found.groups()
        if expression is not None:
            test = re.compile(expression).search
        else:
            if word is not None and not re.fullmatch(r"\w+", word):
                raise ValueError(f"Invalid character(s) in term '{word}'")
            text = re.sub(r"\\(.)", r"\1", phrase) if phrase is not None else word
            test = functools.partial(contains, text)
        {"-": excluded, "?": optional, "": required}[sign].append(test)
        place = found.end()
    # With required terms beside them, optional ones are passed over by AWS.
    return lambda message: (
        all(test(message) for test in required)
        and not any(test(message) for test in excluded)
        and (bool(required) or not optional or any(test(message) for test in optional))
    )


class JsonPattern:
    """Reads a JSON pattern into a function of a message."""

    TOKEN = re.compile(r'\s*(\|\||&&|!=|=|[()]|"(?:[^"\\]|\\.)*"|\$(?:\.[\w-]+|\[\d+\])+|[^\s()=!&|"]+)')

    def __init__(self, text: str):
        self.tokens, place, text = [], 0, text.strip()
        while place < len(text):
            found = self.TOKEN.match(text, place)
            if not found:
                raise ValueError(text[place:])
            self.tokens.append(found.group(1))
            place = found.end()

    def compile(self):
        test = self.any()
        if self.tokens:
            raise ValueError(self.tokens[0])

        def accepts(message: str) -> bool:
            try:
                document = json.loads(message)
            except ValueError:
                return False
            return isinstance(document, dict) and test(document)

        return accepts

    def next(self, wanted=None) -> str:
        if not self.tokens or (wanted and self.tokens[0] != wanted):
            raise ValueError(self.tokens[0] if self.tokens else "it ends too early")
        return self.tokens.pop(0)

    def several(self, one, sign: str, join):
        tests = [one()]
        while self.tokens and self.tokens[0] == sign:
            self.next()
            tests.append(one())
        return lambda document: join(test(document) for test in tests)

    def any(self):
        return self.several(self.all, "||", any)

    def all(self):
        return self.several(self.one, "&&", all)

    def one(self):
        if self.tokens and self.tokens[0] == "(":
            self.next()
            test = self.any()
            self.next(")")
            return test
        selector = self.next()
        if not selector.startswith("$."):
            raise ValueError(selector)
        path = re.findall(r"[\w-]+", selector)
        sign = self.next()
        if sign == "NOT":
            self.next("EXISTS")
            return lambda document: look(document, path) is MISSING
        if sign == "IS":
            wanted = {"TRUE": True, "FALSE": False, "NULL": None}[self.next()]
            return lambda document: look(document, path) is wanted
        if sign not in ("=", "!="):
            raise ValueError(sign)
        value = self.next()
        text = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        expression = re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)

        def equals(document) -> bool:
            found = look(document, path)
            found = str(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else found
            return isinstance(found, str) and bool(expression.fullmatch(found))

        # What is not there is not unequal either.
        return equals if sign == "=" else lambda document: look(document, path) is not MISSING and not equals(document)


MISSING = object()


def look(node, path: list):
    """What stands at a path; MISSING where nothing does."""
    for key in path:
        if isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, dict) and key in node:
            node = node[key]
        else:
            return MISSING
    return node
