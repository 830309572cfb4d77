"""A secret that stands in a URL is refused and hidden, wherever in the URL; what only looks like one is not."""

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.config import ConfigError, load
from tasks.config.sections.secrets import CREDENTIALS, has_credentials, without_credentials
from tasks.runtime.secrets import redact
from tests.flow.test_cli import call

CANARY = "Canary9Never7Seen"
SECRETS = [
    f"postgresql://u:pa/{CANARY}@h/db", f"postgresql://u:/{CANARY}@h/db", f"postgresql://u:pa {CANARY}@h/db",
    f"sql:postgresql://u:1/{CANARY}@h/db::select 1", f"mysql+pymysql://u:1/{CANARY}@h/db", f"redis://:{CANARY}@h/0",
    f"postgresql://u:p@ss{CANARY}@h/db", f"postgresql://u:p::{CANARY}@h/db", f"postgresql://u:@{CANARY}@h/db",
    f"postgresql://u:a?b#{CANARY}@h/db", f"s3://AKIA:ab/c+{CANARY}/@bucket/x", f"https://u:{CANARY}@[::1]:80/x",
    f"sql:postgresql://u:$A:{CANARY}@h/db::select 1", f"sql:postgresql://u:$A@{CANARY}@h/db::select 1",
    f"sql:postgresql://u:${{A}}-{CANARY}@h/db::select 1", f"https://$ME:{CANARY}@h/x", f"https://h/x?token=$A:{CANARY}",
    f"HTTPS://{CANARY}@h/x", f"Https://u:{CANARY}@h/x", f"sftp://{CANARY}@h/x", f"ssh://{CANARY}@h/x",
    f"sql:mssql://?odbc_connect=PWD={CANARY}::select 1", f"sql:mssql://?odbc_connect=UID%3Dme%3BPWD%3D{CANARY}",
    f"https://u%3A{CANARY}%40h/x", f"https://h/x?token='{CANARY}'", f"cannot read 'https://u:{CANARY}@h/x', see y@z",
]  # fmt: skip
PARAMETERS = [
    "pass", "PASS", "pw", "db_pass", "user-pw", "password", "Password2", "sslpassword", "passphrase", "passwd", "pwd",
    "sas", "jwt", "sig", "signature", "Signature", "token", "hf_token", "access-token", "token_1", "auth", "key",
    "authorization", "api_key", "apikey", "accessKey", "client_secret", "credentials", "X-Amz-Credential", "pat",
    "X-Amz-Signature", "X-Amz-Security-Token", "X-Goog-Signature", "code", "Ocp-Apim-Subscription-Key",
]  # fmt: skip
ORDINARY = [
    "https://huggingface.co/u/m@main", "https://localhost:8080/u/m@main", "http://[::1]:8080/a@b", "hf:user/model@main",
    "data/me@home.csv", "s3://bucket/key@2x.png", "s3://bucket/a:b@c/rows.csv", "s3://b/x?versionId=abc",
    r"C:\Users\me@home.csv", "C:/data/me@x.csv", "file://C:/data/me@x.csv", "file:///C:/a:b@c", "sftp://me@host/x",
    "ssh://git@github.com/x", "abfs://my-long-container-name-2024@account.dfs.core.windows.net/x",
    "hdfs://node:8020/user/me@x/y", "zip://*.csv::s3://bucket/a@b.zip", "simplecache::https://h/a@b",
    "https://h/x?page=2&tokens=5&tokenizer=bert&max_tokens=3", "https://h/x?author=me&authority=x&bypass=1",
    "https://h/x?code=USD&country_code=FR", "https://h/x?sort_key=x&compass=2&design=3&signed=1", "tcp://10.0.0.1:8786",
    "sql:sqlite:////data/of@me/rows.db::select 1", "sql:sqlite:///C:/data/a@b.db::select 1",
    "sql:postgresql://h:5432/db::select a from b where c = ':x@y'", "sql:postgresql://h:5432::SELECT 'a@b'",
    "sql:$DB::select 'y@z'", "sql:postgresql://$H::with t as (select 'a@b') select * from t",
    "https://$ME:$PW@host/rows@2.csv", "https://$TOKEN@h/x", "https://h/x?token=$TOKEN&sig=${SIG}",
    "https://host: nothing there (a@b)",
]  # fmt: skip


@pytest.mark.parametrize("text", [*SECRETS, *(f"https://h/x?a=1&{name}={CANARY}" for name in PARAMETERS)])
def test_a_secret_is_refused_and_hidden(text: str) -> None:
    assert has_credentials(text)
    shown = without_credentials(text)
    assert CANARY not in shown and without_credentials(shown) == shown
    with pytest.raises(ConfigError, match=r"data\.train: this URL contains credentials") as error:
        load({"model": "m", "data": {"train": text}})
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("text", ORDINARY)
def test_what_is_no_secret_stays(text: str) -> None:
    assert not has_credentials(text)
    assert without_credentials(text) == text


words = st.text("abz09$:/?#@%&=. -_+'\"(", max_size=12)


@settings(max_examples=200, deadline=None)
@given(words, words, st.sampled_from(["postgresql", "sql:mysql+x", "https", "S3", "redis", "oracle"]))
def test_a_password_is_seen_whatever_is_in_it(before: str, after: str, scheme: str) -> None:
    assume(not ("@" in before + after and " " in before + after))  # the password may have ended at the `@`
    text = f"{scheme}://user:P{before.replace('://', '')}{CANARY}{after.replace('://', '')}Q@host/x"
    assert has_credentials(text)
    shown = without_credentials(text)
    assert CANARY not in shown and without_credentials(shown) == shown


@settings(max_examples=200, deadline=None)
@given(st.text("abzSQL:/@?&=;%$. \n'sql[]tokenpw", max_size=60))
def test_hiding_twice_is_hiding_once(text: str) -> None:
    shown = without_credentials(text)
    assert without_credentials(shown) == shown


@pytest.mark.parametrize(
    "text", ["https://a:" + "b" * 50_000, "a@" * 50_000, "://x:y " + "z " * 50_000, "?" + "token" * 9_000]
)
def test_long_texts_are_searched_in_one_pass(text: str) -> None:
    without_credentials(text)  # took minutes where parts of the pattern could match the same text


def test_the_schema_s_pattern_is_the_same() -> None:
    from tasks.config import json_schema

    patterns = set(re.findall(r'"not": ({.*?"type": "string"})', json.dumps(json_schema(), sort_keys=True)))
    assert {json.loads(each)["pattern"] for each in patterns} == {CREDENTIALS.pattern}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"train.lr_scheduler_kwargs": {"a": f"s3://k:{CANARY}@b"}}, "train.lr_scheduler_kwargs"),
        ({"train.project": f"https://u:{CANARY}@h"}, "train.project"),
        ({"output_dir": f"s3://k:{CANARY}@b "}, "output_dir"),
        ({f"data.s3://k:{CANARY}@b": 1}, "unknown name"),
        ({"seed": f"s3://k:{CANARY}@b"}, "seed"),
    ],
)
def test_no_field_takes_or_repeats_it(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field) as error:
        load({"model": "m", "data": "d.csv"}, settings=settings)
    assert CANARY not in str(error.value)


@pytest.mark.parametrize("words", [("runs", "--store"), ("gc", "--store"), ("show",)])
def test_a_verb_does_not_repeat_it(words: tuple[str, ...], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_STORE", str(tmp_path))
    answer = call(*words, f"s3://k:{CANARY}@b")
    assert answer.code == 2 and CANARY not in answer.err


@pytest.mark.parametrize("name", ["DB_PASS", "PGPASSWORD", "HF_TOKEN", "MY_JWT", "API_KEY", "AWS_SECRET_ACCESS_KEY"])
def test_the_value_of_a_variable_of_such_a_name_is_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("PWD", "/a/long/folder")
    monkeypatch.setenv("COMPASS", "northwards")
    assert redact(f"{CANARY} in /a/long/folder northwards") == "(a secret) in /a/long/folder northwards"
