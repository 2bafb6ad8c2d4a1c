"""The hand: AWS calls over boto3 for the lab, one JSON object a line.

In, on standard input:
    {"id": 1, "account": "111122223333", "region": "us-east-1", "service": "ec2", "operation": "describe_instances", "params": {}}
Out, on standard output, in the order in which the calls end:
    {"id": 1, "ok": {...}}  or  {"id": 1, "error": {"code": "...", "message": "...", "status": 400}}

More fields a request may have: "endpoint" (else AWS_ENDPOINT_URL), "paginate" (true: all pages as one answer), "credentials"
({"access_key", "secret_key", "token"}: act with these instead of in "account"), "timeout" (seconds for an answer), "attempts".
The program ends when its standard input closes.
"""

import base64
import concurrent.futures
import datetime
import decimal
import json
import os
import signal
import sys
import threading
import time

import boto3
import botocore.config
import botocore.exceptions
import botocore.parsers

THREADS = 8
# How often a call is made whose answer nobody can read.
TRIES = 3
ROLE = "OrganizationAccountAccessRole"

output_lock = threading.Lock()
session = boto3.session.Session(aws_access_key_id="AKIACORDONHAND000000", aws_secret_access_key="hand")
session_lock = threading.Lock()
clients: dict = {}
credentials_of: dict = {}


def config(timeout: float, attempts: int) -> botocore.config.Config:
    return botocore.config.Config(
        retries={"total_max_attempts": attempts},
        read_timeout=timeout,
        connect_timeout=10,
        max_pool_connections=THREADS * 2,
        parameter_validation=True,
    )


def plain(value):
    """What json can write of what boto3 answered."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytearray):
        value = bytes(value)
    if hasattr(value, "read"):
        value = value.read()
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return base64.b64encode(value).decode("ascii")
    return value


def credentials_for(account: str, endpoint: str) -> tuple:
    """Credentials that act in the account: moto takes the account from the role that was assumed."""
    key = (account, endpoint)
    found = credentials_of.get(key)
    if found is None:
        with session_lock:
            sts = session.client("sts", region_name="us-east-1", endpoint_url=endpoint, config=config(60, 3))
        answer = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="lab-hand", DurationSeconds=43200)
        granted = answer["Credentials"]
        found = (granted["AccessKeyId"], granted["SecretAccessKey"], granted["SessionToken"])
        credentials_of[key] = found
    return found


def client_for(request: dict):
    endpoint = request.get("endpoint") or os.environ["AWS_ENDPOINT_URL"]
    given = request.get("credentials")
    if given:
        credentials = (given["access_key"], given["secret_key"], given.get("token"))
    else:
        credentials = credentials_for(request["account"], endpoint)
    timeout = float(request.get("timeout") or 60)
    attempts = int(request.get("attempts") or 1)
    key = (credentials, request["region"], request["service"], endpoint, timeout, attempts)
    with session_lock:
        client = clients.get(key)
        if client is None:
            client = session.client(
                request["service"],
                region_name=request["region"],
                endpoint_url=endpoint,
                aws_access_key_id=credentials[0],
                aws_secret_access_key=credentials[1],
                aws_session_token=credentials[2],
                config=config(timeout, attempts),
            )
            clients[key] = client
            while len(clients) > 512:
                clients.pop(next(iter(clients)))
    return client


def perform(request: dict) -> dict:
    client = client_for(request)
    operation = request["operation"]
    parameters = request.get("params") or {}
    for left in reversed(range(TRIES)):
        try:
            if request.get("paginate"):
                answer = client.get_paginator(operation).paginate(**parameters).build_full_result()
            else:
                answer = getattr(client, operation)(**parameters)
            answer.pop("ResponseMetadata", None)
            return plain(answer)
        except botocore.parsers.ResponseParserError:
            # moto's models are not made for threads: one that is changed while another reads it answers with a page of HTML.
            if not left:
                raise
            time.sleep(0.2)


def serve(line: str) -> None:
    identifier = None
    try:
        request = json.loads(line)
        identifier = request["id"]
        answer = {"id": identifier, "ok": perform(request)}
    except botocore.exceptions.ClientError as error:
        body = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        answer = {"id": identifier, "error": {"code": str(body.get("Code")), "message": str(body.get("Message")), "status": status}}
    except Exception as error:  # whatever it is, the caller must hear of it
        answer = {"id": identifier, "error": {"code": type(error).__name__, "message": str(error), "status": None}}
    text = json.dumps(answer)
    with output_lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def main() -> None:
    # An interrupt is for the parent: this program ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=THREADS)
    for line in sys.stdin:
        if line.strip():
            pool.submit(serve, line)
    # Nobody is left to hear the answers.
    os._exit(0)


if __name__ == "__main__":
    main()
