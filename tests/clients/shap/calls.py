"""Run shap's exact explainer with /api/predict as the model; print base and contributions as JSON.

Run in a separate environment by tests/clients/test_shap.py: calls.py HOST:PORT < given.json
"""

import json
import os
import sys
import urllib.request

os.environ["NUMBA_DISABLE_JIT"] = "1"  # interpreting shap's code is faster here than compiling it

import numpy as np
from shap.explainers import Exact
from shap.maskers import Independent

address = f"http://{sys.argv[1]}/api/predict"
given = json.load(sys.stdin)
names = list(given["background"][0])
# shap masks numbers, so each value, including null, is replaced by its index among the feature's values.
values = {name: [] for name in names}
for record in given["background"] + given["records"]:
    for name in names:
        if record[name] not in values[name]:
            values[name].append(record[name])


def numbers(records):
    """Return records as an array of value indices."""
    return np.array([[values[name].index(record[name]) for name in names] for record in records], dtype=float)


def predict(rows):
    """Return the positive class's probability for each row of value indices."""
    records = [{name: values[name][int(at)] for name, at in zip(names, row, strict=True)} for row in rows]
    request = urllib.request.Request(address, json.dumps({"records": records}).encode())
    with urllib.request.urlopen(request) as response:  # noqa: S310 # the test's own
        return np.array([answer["probability"] for answer in json.load(response)["predictions"]])


explainer = Exact(predict, Independent(numbers(given["background"])))
explained = explainer(numbers(given["records"]), max_evals=2 ** len(names), batch_size=2 ** len(names), silent=True)
print(json.dumps({"base": explained.base_values.tolist(), "contributions": explained.values.tolist()}))
