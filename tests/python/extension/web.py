"""The WSGI layer before moto: operations that moto does not have, and the seeding of what AWS has no API for."""

import json
import re
from urllib.parse import parse_qs, unquote

CREDENTIAL = re.compile(r"Credential=([^/,]+)/\d+/([^/,]+)/([^/,]+)/aws4_request")


class Failure(Exception):
    """An error as AWS answers it over REST with JSON."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Call:
    """One call of one of our operations."""

    def __init__(self, account: str, region: str, path: dict, query: dict, body: dict):
        self.account, self.region, self.path, self.query, self.body = account, region, path, query, body


class Application:
    """Takes the calls of its own operations and gives the rest to moto."""

    def __init__(self, moto):
        self.moto = moto
        self.operations: dict[str, list] = {}
        self.targets: dict = {}
        self.seeds: dict = {}

    def add_operations(self, service: str, routes: list) -> None:
        """Routes are (method, path with {names}, function of a Call)."""
        for method, template, function in routes:
            pattern = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template) + "/?$")
            self.operations.setdefault(service, []).append((method, pattern, function))

    def add_targets(self, service: str, targets: dict) -> None:
        """Operations of a service that names them in `X-Amz-Target`: function of a Call by the operation's name."""
        self.targets.setdefault(service, {}).update(targets)

    def add_seed(self, kind: str, function) -> None:
        """What takes the items of a kind: function(account, region, items)."""
        self.seeds[kind] = function

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "")
        if path == "/cordon-lab/seed":
            return self.answer(start_response, lambda: self.seed(environ))
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if found:
            access_key, region, service = found.groups()
            operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
            function = self.targets.get(service.lower(), {}).get(operation)
            if function:
                return self.answer(start_response, lambda: self.perform(environ, access_key, region, {}, function))
            for method, pattern, function in self.operations.get(service.lower(), ()):
                match = pattern.match(path)
                if match and method == environ["REQUEST_METHOD"]:
                    return self.answer(start_response, lambda: self.perform(environ, access_key, region, match.groupdict(), function))
        return self.moto(environ, start_response)

    def perform(self, environ, access_key: str, region: str, names: dict, function) -> dict:
        from moto.iam import models

        account = environ.get("HTTP_X_MOTO_ACCOUNT_ID") or models.get_account_id_from(access_key)
        path = {name: unquote(value) for name, value in names.items()}
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        return function(Call(account, region, path, query, read_json(environ)))

    def seed(self, environ) -> dict:
        request = read_json(environ)
        kind = request.get("kind")
        if kind not in self.seeds:
            raise Failure("InvalidInputException", f"unknown kind {kind!r}; there are {', '.join(sorted(self.seeds))}")
        items = request.get("items") or []
        self.seeds[kind](request["account"], request["region"], items)
        return {"seeded": len(items)}

    @staticmethod
    def answer(start_response, function):
        headers = [("Content-Type", "application/json")]
        try:
            status, body = 200, function()
        except Failure as failure:
            status, body = failure.status, {"Message": failure.message, "message": failure.message, "Code": failure.code}
            headers.append(("X-Amzn-ErrorType", failure.code))
        except Exception as error:  # a defect of the lab must not look like AWS
            status, body = 500, {"message": f"{type(error).__name__}: {error}"}
        data = json.dumps(body).encode()
        headers.append(("Content-Length", str(len(data))))
        start_response(f"{status} .", headers)
        return [data]


def read_json(environ) -> dict:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    data = environ["wsgi.input"].read(length) if length else b""
    if not data:
        return {}
    try:
        return json.loads(data)
    except ValueError:
        raise Failure("InvalidInputException", "the body is not JSON") from None


class Pages:
    """Pages over a fixed list of keys: what is found at the first call is what the pages hold, whatever changes between them."""

    def __init__(self, error: str, kept: int = 256):
        self.error, self.kept, self.lists, self.next = error, kept, {}, 0

    def cut(self, keys, token, size: int):
        """The keys of one page and the token of the next, if there is one. `keys` is called at the first page only."""
        if token:
            try:
                name, offset = token.split(".")
                found, start = self.lists[name], int(offset)
            except (ValueError, KeyError):
                raise Failure(self.error, "The request was rejected because the NextToken is not valid.") from None
        else:
            found, start = keys(), 0
            self.next += 1
            name = f"{self.next:x}"
            if len(found) > size:
                self.lists[name] = found
                while len(self.lists) > self.kept:
                    self.lists.pop(next(iter(self.lists)))
        end = start + size
        return found[start:end], (f"{name}.{end}" if end < len(found) else None)
