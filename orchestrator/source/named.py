"""The sources that the Ollama server fetches from itself, by the names that a profile has."""

from typing import Literal

from orchestrator.catalog import Catalog
from orchestrator.errors import InvalidInput
from orchestrator.server import Server
from orchestrator.source.hosted import Hosted
from orchestrator.source.registry import Registry
from orchestrator.source.through import STALL_S

Kind = Literal["ollama", "mirror", "hf-gguf", "modelscope"]
HF, HF_MIRROR, MODELSCOPE = "hf.co", "hf-mirror.com", "modelscope.cn"
HF_HOSTS = (HF, "huggingface.co", HF_MIRROR)
MODELSCOPE_HOSTS = (MODELSCOPE, "www.modelscope.cn")


def through_ollama(
    kind: Kind,
    server: Server,
    *,
    url: str | None = None,
    catalog: Catalog | None = None,
    stall_s: float = STALL_S,
) -> Registry | Hosted:
    """Return one of the sources that the server reaches, and we need not.

    `ollama` is registry.ollama.ai. `mirror` is the registry at `url`, of which a model gets its
    plain tag; plain http only where the URL says so. `hf-gguf` and `modelscope` are GGUF
    repositories, the catalogue's for a tag of it; `url` names another host of the same, as
    "hf-mirror.com". `name` of the source is `kind`, its `address` is for messages.

    Raises InvalidInput: a URL that is none, a mirror without one.
    """
    try:
        match kind:
            case "ollama":
                return Registry(server, name=kind, stall_s=stall_s)
            case "mirror":
                if url is None:
                    raise InvalidInput("a mirror needs its address", hint="add --registry URL")
                return Registry(server, url, name=kind, stall_s=stall_s)
            case "hf-gguf" | "modelscope":
                host, same = (HF, HF_HOSTS) if kind == "hf-gguf" else (MODELSCOPE, MODELSCOPE_HOSTS)
                return Hosted(
                    server,
                    url or host,
                    name=kind,
                    same_hosts=same,
                    catalog=catalog,
                    stall_s=stall_s,
                )
    except ValueError as e:
        raise InvalidInput(str(e), hint="write it as https://HOST or http://HOST:PORT") from e
