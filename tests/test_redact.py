"""Secrets in texts: which texts are secrets, and what remains after they are removed."""

import random
import string

import pytest

from mmpr.redact import redacted, secrets_in


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("GET https://me:pass@host/x", "GET https://[hidden]@host/x"),
        ("vllm.hf_token=abc, n=4", "vllm.hf_token=[hidden], n=4"),
        ("s3://AKIAABCDEFGHIJKLMNOP:abc@bucket/x", "s3://[hidden]@bucket/x"),
        ("https://host/x?X-Amz-Signature=abc&page=2", "https://host/x?X-Amz-Signature=[hidden]&page=2"),
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer [hidden]"),
        (f"refused hf_{'a' * 34}.", "refused [hidden]."),
    ],
)
def test_a_secret_is_hidden_and_the_rest_of_the_text_stays(text, kept):
    assert redacted(text) == kept


@pytest.mark.parametrize("text", ["runs/a@b", "git@host:x", "https://host/q?tokens=3", "4 tokens/s", "hf://owner/name"])
def test_a_text_without_a_secret_stays_as_it_is(text):
    assert redacted(text) == text


def test_settings_that_hold_a_secret_are_named_by_their_place():
    settings = {"source": "https://a:b@host/x", "vllm": {"hf_token": "x", "pad_token": "<p>"}, "max_tokens": "4"}
    assert list(secrets_in(settings)) == ["source", "vllm.hf_token"]
    assert list(secrets_in({"vllm": {"hf_token": True}, "api_key": "$KEY"})) == []


LETTERS, HEX = string.ascii_letters + string.digits, "0123456789abcdef"
KEYS = {
    "sk-": (48, LETTERS),
    "sk-proj-": (124, LETTERS + "-_"),
    "sk-ant-api03-": (95, LETTERS + "-_"),
    "sk-or-v1-": (64, HEX),
    "hf_": (34, string.ascii_letters),
    "ghp_": (36, LETTERS),
    "gsk_": (52, LETTERS),
    "nvapi-": (64, LETTERS + "-_"),
    "xai-": (80, LETTERS),
}
WORDS = "vqa train full dataset chart qa docs images coco test2017 v2 preference 2024 mmpr part 00001 InternVL2 Science"


@pytest.mark.parametrize("prefix", KEYS)
@pytest.mark.parametrize("around", ["{}", "refused {}.", "--key {} --n 4", "(key: {})", "https://host/{}?page=2"])
def test_a_key_of_a_real_shape_is_hidden_wherever_it_stands(prefix, around):
    length, alphabet = KEYS[prefix]
    for seed in range(50):
        key = prefix + "".join(random.Random(seed).choices(alphabet, k=length - 1)) + "7"
        assert redacted(around.format(key)) == around.format("[hidden]")
        assert list(secrets_in({"source": around.format(key)})) == ["source"]


@pytest.mark.parametrize("prefix", [*KEYS, "sk_", "token=", "secret-", "password_"])
@pytest.mark.parametrize("separator", ["_", "-", "."])
def test_a_name_of_words_and_numbers_is_no_key(prefix, separator):
    for seed in range(100):
        name = separator.join(random.Random(seed).choices(WORDS.split(), k=6))
        for path in (f"/data/{prefix}{name}.jsonl", f"/data/{prefix}{name}/train-00000-of-00010.parquet", f"x/{name}"):
            assert redacted(path) == path and list(secrets_in({"source": path})) == []


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    "name", ["api_key", "api-key", "X-Api-Key", "hf_token", "aws_secret_access_key", "private_key"]
)
@pytest.mark.parametrize(
    "form",
    [
        "{name}={secret}",
        "{name}='{secret}'",
        '{name}="{secret}"',
        "--{name} {secret}",
        "--{name}={secret} -n 4",
        '{{"{name}": "{secret}"}}',
        "{{'{name}': '{secret}'}}",
        "{name}: {secret}",
        "https://host/x?{name}={secret}&page=2",
        "https://host/x?page=2&{name}={secret}",
        "export {name}={secret}; run",
    ],
)
def test_a_secret_is_hidden_in_every_form_in_which_a_name_precedes_it(form, name):
    text = form.format(name=name, secret="abc-123/45")
    assert redacted(text) == text.replace("abc-123/45", "[hidden]")
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "'Authorization': 'Bearer S3CRET'",
        "authorization: Basic S3CRET",
        "Proxy-Authorization: Token S3CRET",
        "Set-Cookie: sid=S3CRET; Path=/",
        "cookie: a=1; session=S3CRET",
        "OPENAI_KEY=S3CRET",
        "DB_PASSWORD='S3 CRET'",
        "https://host/x?%73ig=S3CRET",
        "https://host/x?pwd=S3CRET",
        f"token {JWT} expired".replace("dozj", "S3CRET"),
        "https://hooks.slack.com/services/T000/B000/S3CRET",
        "-----BEGIN PRIVATE KEY-----\nS3CRET\n-----END PRIVATE KEY-----",
    ],
)
def test_headers_cookies_signed_tokens_and_private_keys_are_hidden(text):
    assert "CRET" not in redacted(text) and "[hidden]" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "pad_token=<pad>",
        "image_token=<image>",
        "eos_token=</s>",
        "max_tokens=4",
        "by_key=2/part.parquet",
        "api_key=$KEY",
        "/data/api_key=1/x",
        "api_key: give the name of an environment variable",
        "https://host/x?monkey=3",
        "key=question",
        "columns.question=key",
        "the key: value",
        "author: me",
        "cookie: none",
        "authorization: needed",
        "secret_santa.jsonl",
        "vllm.hf_token holds a secret",
        "--tokenizer Qwen/x",
        "api_key_env=OPENAI_API_KEY",
        "stop_token_ids=[1]",
    ],
)
def test_a_name_like_a_secrets_without_one_stays(text):
    assert redacted(text) == text


def test_secrets_in_lists_and_headers_of_settings_are_named():
    settings = {
        "headers": {"Authorization": "Bearer x", "Cookie": "a"},
        "of": [{"token": "x"}],
        "to": ["https://a:b@h"],
    }
    assert list(secrets_in(settings)) == ["headers.Authorization", "headers.Cookie", "of.token", "to"]
    assert list(secrets_in({"headers": {"Authorization": "Bearer $KEY"}, "tokens": ["a"], "pad_token": "p"})) == []
