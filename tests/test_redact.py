"""A bug report names no person, no host and no secret, and still tells what happened."""

import json

import pytest

from orchestrator.redact import Redactor


def clean() -> Redactor:
    return Redactor(home="/home/annika", user="annika", host="gpu7.lab.example")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("/home/annika/models", "~/models", id="own-home"),
        pytest.param("/home/bo/x, /home/bo", "/home/person1/x, /home/person1", id="another-home"),
        pytest.param("/Users/Bo/x", "/Users/person1/x", id="mac"),
        pytest.param("user annika, pid 7", "user user, pid 7", id="own-name"),
        pytest.param("gpu7 answers; gpu7.lab.example too", "host answers; host too", id="own-host"),
        pytest.param("http://10.1.2.3:11434", "http://192.0.2.1:11434", id="address"),
        pytest.param("127.0.0.1:80 or 0.0.0.0", "127.0.0.1:80 or 0.0.0.0", id="loopback"),
        pytest.param("[2a01:4f8::1]:80", "[2001:db8::1]:80", id="address-of-6"),
        pytest.param("driver 550.144.03", "driver 550.144.03", id="a-version-is-no-address"),
        pytest.param("0000:01:00.0", "0000:01:00.0", id="a-pci-address-is-none"),
        pytest.param("http://me:pa55@proxy:3128", "http://REDACTED@proxy:3128", id="proxy-login"),
        pytest.param("http://token@proxy:3128", "http://REDACTED@proxy:3128", id="proxy-token"),
        pytest.param("HF_TOKEN=hf_abcdefghijklmnop", "HF_TOKEN=REDACTED", id="hub-token"),
        pytest.param("Authorization: Bearer ab.cdef", "Authorization: Bearer REDACTED", id="b"),
        pytest.param('"api_key": "s3cr3tvalue"', '"api_key": "REDACTED"', id="key"),
        pytest.param("EOS token = 151643", "EOS token = 151643", id="a-models-token"),
        pytest.param("num_tokens=4096000", "num_tokens=4096000", id="a-count-is-no-secret"),
        pytest.param("nas.example.com:/export/models", "server:/export/models", id="nfs"),
        pytest.param("aa:bb:cc:dd:ee:ff", "00:00:00:00:00:00", id="mac-address"),
    ],
)  # fmt: skip
def test_what_is_taken_out_and_what_stays(text: str, shown: str) -> None:
    assert clean().text(text) == shown


def test_a_mask_still_points_at_its_card() -> None:
    card = "GPU-1a2b3c4d-1111-2222-3333-444455556666"
    other = "GPU-99887766-1111-2222-3333-444455556666"
    document = {"cards": [other, card], "mask": card, "raw": {"/x": f"uuid {card[4:]}"}}
    found = clean().document(document)
    assert found["mask"] == found["cards"][1] != found["cards"][0]
    assert len(found["mask"]) == len(card)
    assert found["raw"]["/x"].removeprefix("uuid ") == found["mask"][4:]
    assert card[4:] not in json.dumps(found)


def test_one_name_has_one_stand_in() -> None:
    found = clean().document(
        ["/home/bo/a", "/home/cy/b", "/home/bo/c", "10.0.0.1 10.0.0.2 10.0.0.1"]
    )
    assert found[:3] == ["/home/person1/a", "/home/person2/b", "/home/person1/c"]
    first, second, third = found[3].split()
    assert first == third != second


def test_numbers_and_shape_stay() -> None:
    document = {"a": 1, "b": [None, True, 2.5], "c": {"d": []}}
    assert clean().document(document) == document


@pytest.mark.parametrize("name", ["root", "ollama", "ab", ""])
def test_a_name_that_says_nothing_stays(name: str) -> None:
    assert Redactor(home="/", user=name, host="localhost").text(f"user {name} of ollama") == (
        f"user {name} of ollama"
    )
