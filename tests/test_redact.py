"""A bug report names no person, no host and no secret, and still tells what happened."""

import json
from dataclasses import replace

import pytest

from orchestrator.machine import Machine
from orchestrator.machine_file import from_json
from orchestrator.redact import Redactor

GIB = 2**30


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
        pytest.param("http://me:pa55@a:80/", "http://REDACTED@host1.example:80/", id="login"),
        pytest.param("http://me:p@ss@a:80/", "http://REDACTED@host1.example:80/", id="an-at-in-it"),
        pytest.param("http://a.lab:1/v1", "http://host1.example:1/v1", id="url"),
        pytest.param("https://ollama.com/install.sh", "https://ollama.com/install.sh", id="public"),
        pytest.param("http://localhost:1", "http://localhost:1", id="localhost"),
        pytest.param("HF_TOKEN=hf_abcdefghijklmnop", "HF_TOKEN=REDACTED", id="hub-token"),
        pytest.param("Authorization: Bearer ab.cdef", "Authorization: Bearer REDACTED", id="b"),
        pytest.param('"api_key": "s3cr3tvalue"', '"api_key": "REDACTED"', id="key"),
        pytest.param("EOS token = 151643", "EOS token = 151643", id="a-models-token"),
        pytest.param("num_tokens=4096000", "num_tokens=4096000", id="a-count-is-no-secret"),
        pytest.param("nfs4 nas.lab:/export rw", "nfs4 server:/share rw", id="nfs"),
        pytest.param("nfs nas:/volume1 rw", "nfs server:/share rw", id="nfs-short-name"),
        pytest.param("cifs //files.lab/share rw", "cifs //server/share rw", id="cifs"),
        pytest.param("username=bo,domain=LAB", "username=REDACTED,domain=REDACTED", id="options"),
        pytest.param("/srv/dept-annika/x", "/srv/dept-user/x", id="own-name-in-a-word"),
        pytest.param("GPU7 is up", "host is up", id="own-host-in-capitals"),
        pytest.param("tcp: lookup reg.lab: no", "tcp: lookup host1.example: no", id="dns"),
        pytest.param("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "ssh-ed25519 REDACTED", id="public-key"),
        pytest.param("serial=1324220012345", "serial=REDACTED", id="serial"),
        pytest.param("/run/media/bo/usb", "/run/media/person1/usb", id="removable"),
        pytest.param("/var/home/bo/x", "/var/home/person1/x", id="home-elsewhere"),
        pytest.param("by bo@lab.example", "by REDACTED@example.org", id="mail"),
        pytest.param("--token abc --key=x1", "--token REDACTED --key=REDACTED", id="arguments"),
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


@pytest.mark.parametrize("name", ["server", "memory", "nvidia", "linux", "ext4", "annika"])
def test_a_host_or_user_named_like_a_word_of_the_document_breaks_nothing(name: str) -> None:
    document = {
        "host": {"os": "linux", "arch": "x86_64"},
        "memory": {"total_bytes": 64 * GIB, "available_bytes": 60 * GIB},
        "disk": {
            "model_store": f"/home/{name}/.ollama/models",
            "kind": "nvme",
            "filesystem": "ext4",
        },
        "accelerators": [{"vendor": "nvidia", "name": "RTX", "memory_total_bytes": 24 * GIB}],
        "server": {"host": "http://127.0.0.1:11434", "user": name, "where": "systemd"},
    }
    clean = Redactor(home=f"/home/{name}", user=name, host=f"{name}.lab")
    found = clean.document(document)
    assert found["disk"].pop("model_store") == "~/.ollama/models"
    assert found["server"].pop("user") != name
    assert from_json(found, source="x") == replace_store(from_json(document, source="x"))


def replace_store(machine: Machine) -> Machine:
    disk = replace(machine.disk, model_store=None)
    return replace(machine, disk=disk, server=replace(machine.server, user=None))


def test_numbers_and_shape_stay() -> None:
    document = {"a": 1, "b": [None, True, 2.5], "c": {"d": []}}
    assert clean().document(document) == document


@pytest.mark.parametrize("name", ["root", "ollama", "ab", ""])
def test_a_name_that_says_nothing_stays(name: str) -> None:
    assert Redactor(home="/", user=name, host="localhost").text(f"user {name} of ollama") == (
        f"user {name} of ollama"
    )
