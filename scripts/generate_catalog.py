"""Write orchestrator/catalog/*.json from scripts/catalog/*.toml.

The TOML is for people: every figure beside its source. The JSON is what the package reads in a few
milliseconds: sources become indexes of one table, sizes of variants lose what their model repeats.

    python scripts/generate_catalog.py            write both files
    python scripts/generate_catalog.py --check    exit 1 if one differs from its source
"""

import argparse
import fnmatch
import json
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent / "catalog"
TARGET = SOURCE.parents[1] / "orchestrator" / "catalog"

Table = dict[str, Any]

# Keys of the TOML that are fields of orchestrator.model.Architecture.
DIRECT = (
    "block_count", "embedding_length", "feed_forward_length", "head_count", "head_count_kv",
    "key_length", "value_length", "vocab_size", "context_length", "expert_count",
    "expert_used_count", "expert_feed_forward_length", "kv_lora_rank", "rope_dimension_count",
    "q_lora_rank", "leading_dense_block_count",
)  # fmt: skip
DEFAULT_RULE = "llama.cpp"
FORBIDS_COMMERCE = {"LicenseRef-Qwen-Research", "LicenseRef-Tongyi-Qianwen-Research"}
# What is told apart from `shape`, or follows from the variants (aliases, default quantization).
TOLD = {
    "name", "arch", "ollama_tag", "aliases", "default_quant", "variant", "source", "license",
    "modality", "thinking", "released", "hf_repos", "gguf_repos", "base_model", "min_ollama",
    "min_ollama_source", "parameters_total", "parameters_active", "kv_bytes_per_token_f16",
    "recurrent_state_bytes_per_sequence_f32", "tie_word_embeddings", "gguf_extra_output_weight",
    "gguf_mla_split", "expert_shared_count", "expert_shared_feed_forward_length",
    "expert_weights_bias", "rope_freqs", "mtp_in_gguf", "mtp_down_exps", "vision",
    "linear_num_key_heads", "linear_key_head_dim", "linear_num_value_heads",
    "linear_value_head_dim", "linear_conv_kernel_dim", *DIRECT,
}  # fmt: skip


class Sources:
    """The table of sources: each named once, in the order in which it is first cited."""

    def __init__(self) -> None:
        self.table: list[str] = []

    def index(self, source: str) -> int:
        """Return the place of `source`, which is added where it is new."""
        if source not in self.table:
            self.table.append(source)
        return self.table.index(source)


def drop_empty(table: Table) -> Table:
    """Return the table without what is absent, false or empty: readers assume exactly that."""
    # Not `if value`: 0 is the index of the first source.
    return {k: v for k, v in table.items() if not (v is None or v is False or v in ("", [], {}))}


def architecture(model: Table) -> Table:
    """Return the fields of orchestrator.model.Architecture that differ from its defaults."""
    numbers = {key: model.get(key) for key in DIRECT} | split_heads(model)
    interval = model.get("full_attention_interval")
    return drop_empty(
        {"name": model["arch"], "tied_embeddings": tied(model)}
        | numbers
        | {
            "attention_block_count": model["block_count"] // interval if interval else None,
            "recurrent_state_bytes": model.get("recurrent_state_bytes_per_sequence_f32"),
            # Files converted before the engine split attn_kv_b keep full heads in the cache.
            "mla_cache": "kv_lora_rank" in model and model.get("gguf_mla_split", True),
            "expert_shared_feed_forward_length": shared_expert(model),
            "expert_bias": model.get("expert_weights_bias", False),
            "rope_factor_count": model.get("rope_freqs"),
            "draft_block_count": int(model.get("mtp_in_gguf", False)),
        }
        | linear_attention(model)
        | vision(model)
    )


def tied(model: Table) -> bool:
    """Say whether the files have one matrix for both ends; some builds wrote it twice."""
    return bool(model["tie_word_embeddings"] and not model.get("gguf_extra_output_weight"))


def shared_expert(model: Table) -> int:
    """Return the width of the experts that every token passes, 0 without any."""
    width = model.get("expert_shared_feed_forward_length")
    return int(
        width or model.get("expert_shared_count", 0) * model.get("expert_feed_forward_length", 0)
    )


def linear_attention(model: Table) -> Table:
    """Return the sizes of a hybrid's linear attention, as GGUF's ssm keys name them."""
    heads = model.get("linear_num_value_heads", 0)
    return {
        "ssm_conv_kernel": model.get("linear_conv_kernel_dim"),
        "ssm_inner_size": heads * model.get("linear_value_head_dim", 0) or None,
        "ssm_state_size": model.get("linear_key_head_dim"),
        "ssm_group_count": model.get("linear_num_key_heads"),
        "ssm_time_step_rank": heads or None,
    }


def vision(model: Table) -> Table:
    """Return the sizes of the tower that reads pictures."""
    tower = model.get("vision", {})
    renamed = {"position_embeddings": "position_count", "deepstack_layers": "deepstack_count"}
    told = ("block_count", "embedding_length", "feed_forward_length", "patch_size", *renamed)
    return {f"vision_{renamed.get(key, key)}": tower.get(key) or None for key in told}


def split_heads(model: Table) -> Table:
    """Return the heads as the header of a file with split latent attention has them."""
    if "kv_lora_rank" not in model or not model.get("gguf_mla_split", True):
        return {}
    rank = model["kv_lora_rank"]
    return {
        "head_count_kv": 1,
        "key_length": rank + model["rope_dimension_count"],
        "value_length": rank,
        "key_length_mla": model["key_length"],
        "value_length_mla": model["value_length"],
    }


def kind_of_model(model: Table) -> str:
    """Return what the default tag is for: chat, code, math, vision or embedding."""
    family = model["name"].partition(":")[0]
    if model["modality"] != "text":
        return "embedding" if model["modality"] == "embedding" else "vision"
    if "coder" in family or family == "codeqwen":
        return "code"
    return "math" if family.endswith("-math") else "chat"


def kind_of_variant(variant: Table, kind: str) -> str:
    """Return the kind of one file: `-base` and `-text` files were never taught to converse."""
    words = {word for tag in variant["tags"] for word in tag.partition(":")[2].split("-")}
    return "base" if words & {"base", "text"} else kind


def context_length(model: Table, variant: Table) -> int | None:
    """Return the file's own window in tokens where it is not the model's (Qwen 1, Qwen2 base).

    deepseek2 pages list the window before YaRN for some files of one conversion, so they do not
    count: the header says 163840 in all of them.
    """
    listed = int(variant["context_listed"].removesuffix("K")) * 1024
    differs = listed != model["context_length"] and model["arch"] != "deepseek2"
    return listed if differs else None


def build_of(variant: Table, builds: list[Table]) -> Table:
    """Return what is known of who wrote the file: its rule, and whether its attention is fused."""
    matching = (b for b in builds for glob in b["tags"] if fnmatch.filter(variant["tags"], glob))
    build = next(matching, {})
    rule = variant.get("quant_rule") or build.get("quant_rule", DEFAULT_RULE)
    return {"layout": rule, "fused_attention": build.get("fused_attention")}


def usual_rule(model: Table, builds: list[Table]) -> str:
    """Return the rule by which most files of the model were laid out."""
    files = [variant for variant in model["variant"] if variant["format"] == "gguf"]
    rules: list[str] = [build_of(variant, builds)["layout"] for variant in files]
    return max(sorted(set(rules)), key=rules.count, default=DEFAULT_RULE)


def variant_row(model: Table, variant: Table, builds: list[Table], sources: Sources) -> Table:
    """Return one file: only what its model does not say already."""
    own, kind = kind_of_variant(variant, kind_of_model(model)), kind_of_model(model)
    tags = [tag.partition(":")[2] for tag in variant["tags"]]
    listed = variant["context_listed"]
    source = variant.get("bytes_source")
    usual = usual_rule(model, builds)
    build = {"layout": usual} if variant["format"] != "gguf" else build_of(variant, builds)
    return drop_empty(
        {
            "tags": sorted(tags, key=lambda tag: (tag == "latest", len(tag), tag)),
            "quant": variant["quant"],
            "format": variant["format"] if variant["format"] != "gguf" else None,
            "id": variant["id"],
            "size": variant["size_listed"],
            "bytes": variant.get("bytes"),
            "bytes_total": variant.get("bytes_total_manifest"),
            "tensor_bytes": variant.get("computed_tensor_bytes"),
            "tensor_count": variant.get("computed_tensor_count"),
            "digest": variant.get("digest"),
            "as_of": variant.get("bytes_as_of"),
            "source": None if source is None else sources.index(source),
            "mtp": variant.get("mtp"),
            "kind": own if own != kind else None,
            "context_length": context_length(model, variant),
            "context_listed": listed if listed != listed_context(model) else None,
            "layout": build.get("layout") if build.get("layout") != usual else None,
            "fused_attention": build.get("fused_attention"),
        }
    )


def listed_context(model: Table) -> str:
    """Return the window that the library's page shows for most files of the model."""
    listed: list[str] = [variant["context_listed"] for variant in model["variant"]]
    return max(sorted(set(listed)), key=listed.count)


def model_row(model: Table, builds: list[Table], sources: Sources) -> Table:
    """Return one model without its variants."""
    why, usual = model.get("min_ollama_source"), usual_rule(model, builds)
    return drop_empty(
        {
            "name": model["name"],
            "kind": kind_of_model(model),
            "released": model["released"],
            "license": model["license"],
            "no_commercial_use": model["license"] in FORBIDS_COMMERCE,
            "modality": model["modality"],
            "thinking": model.get("thinking"),
            "parameters_total": model["parameters_total"],
            "parameters_active": model.get("parameters_active"),
            "kv_bytes_per_token": model["kv_bytes_per_token_f16"],
            "context_listed": listed_context(model),
            "layout": usual if usual != DEFAULT_RULE else None,
            "min_server_version": model.get("min_ollama"),
            "min_server_version_source": None if why is None else sources.index(why),
            "base_model": model.get("base_model"),
            "hf_repos": model["hf_repos"],
            "gguf_repos": model["gguf_repos"],
            "sources": [sources.index(source) for source in model["source"]],
            "architecture": architecture(model),
            "shape": {key: value for key, value in model.items() if key not in TOLD},
        }
    )


def lines(rows: Iterable[Table]) -> str:
    """Return a JSON array with one row a line, so that a review shows the row that changed."""
    return "[\n" + ",\n".join(compact(row) for row in rows) + "\n]"


def compact(value: object) -> str:
    """Return JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def models_json(document: Table) -> str:
    """Return the text of models.json for the parsed models.toml."""
    sources, builds = Sources(), document["build"]
    rows = []
    order = sorted(
        document["model"],
        key=lambda m: (m["name"].partition(":")[0], m["parameters_total"], m["name"]),
    )
    for model in order:
        head = compact(model_row(model, builds, sources))[:-1]
        files = [variant_row(model, variant, builds, sources) for variant in model["variant"]]
        files.sort(key=lambda row: row["tags"])
        rows.append(f'{head},"variants":{lines(files)}}}')
    former = [row | {"source": sources.index(row["source"])} for row in document["former_build"]]
    former.sort(key=lambda row: (row["tag"], row["seen"]))
    return (
        f'{{"schema":1,\n"sources":{lines_of_text(sources.table)},\n'
        f'"former":{lines(former)},\n"models":[\n' + ",\n".join(rows) + "\n]}\n"
    )


def lines_of_text(texts: list[str]) -> str:
    """Return a JSON array of strings, one a line."""
    return "[\n" + ",\n".join(compact(text) for text in texts) + "\n]"


def accelerator_row(gpu: Table, sources: Sources) -> Table:
    """Return one accelerator; the vendor is named as the machine document names it."""
    vendor = {"huawei": "ascend"}.get(gpu["vendor"], gpu["vendor"])
    own = {key: value for key, value in gpu.items() if key not in {"name", "vendor", "source"}}
    cited = [sources.index(source) for source in gpu["source"]]
    return {"name": gpu["name"], "vendor": vendor} | drop_empty(own) | {"sources": cited}


def accelerators_json(document: Table) -> str:
    """Return the text of accelerators.json for the parsed accelerators.toml."""
    sources = Sources()
    order = sorted(document["gpu"], key=lambda gpu: (gpu["vendor"], gpu["name"]))
    rows = [accelerator_row(gpu, sources) for gpu in order]
    cited = lines_of_text(sources.table)
    return f'{{"schema":1,\n"sources":{cited},\n"accelerators":{lines(rows)}}}\n'


def generated(source: Path = SOURCE) -> dict[str, str]:
    """Return the text of each generated file, by file name."""
    return {
        f"{name}.json": write(tomllib.loads((source / f"{name}.toml").read_text("utf-8")))
        for name, write in (("models", models_json), ("accelerators", accelerators_json))
    }


def main(arguments: list[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the TOML files")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder of the JSON files")
    options = parser.parse_args(arguments)
    stale = False
    for name, text in generated(options.source).items():
        path = options.target / name
        if path.is_file() and path.read_text("utf-8") == text:
            continue
        stale = True
        if options.check:
            print(f"{path} differs from its source: run scripts/generate_catalog.py")
        else:
            path.write_text(text, "utf-8", newline="\n")
            print(f"wrote {path} ({len(text.encode())} bytes)")
    return int(stale and options.check)


if __name__ == "__main__":
    sys.exit(main())
