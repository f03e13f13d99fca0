"""Parse a manifest by Kubernetes' and KServe's own Python models: `manifest_calls.py FILE`.

Prints each document beside its parsed form, which lacks every name that the models don't know.
"""

import json
import sys
from pathlib import Path

import kserve
import kubernetes.client
import yaml

CLIENT = kubernetes.client.ApiClient()


def understood(kind, value):
    """Return the known part of a value of this kind, by the models' names."""
    if kind.startswith("list["):
        return [understood(kind[5:-1], each) for each in value]
    model = getattr(kserve, kind, None)
    if model is not None:
        fields = {written: field for field, written in model.attribute_map.items()}
        known = {name: each for name, each in value.items() if name in fields}
        return {name: understood(model.openapi_types[fields[name]], each) for name, each in known.items()}
    if hasattr(kubernetes.client, kind):
        return CLIENT.sanitize_for_serialization(CLIENT.deserialize(json.dumps(value), kind, "application/json"))
    return value


def main():
    """Print a list of pairs: a document as written, and as parsed."""
    told = []
    for document in yaml.safe_load_all(Path(sys.argv[1]).read_text()):
        version = document["apiVersion"].split("/")[-1]
        kind = f"{version[0].upper()}{version[1:]}{document['kind']}"
        told.append([document, understood(kind, document)])
    json.dump(told, sys.stdout)


main()
