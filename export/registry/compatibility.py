"""Assign field numbers and the version of the typed RPC API.

A client of the typed RPC service uses the messages it was generated with, and protobuf identifies fields only by
number. While `api_version` is unchanged, a feature therefore keeps its field number and its protobuf encoding, and a
number never identifies another feature.

Compatible changes:

- descriptions, examples, categories, ranges, null values, target, classes: the message definitions don't contain them.
  The server may reject a value of an old client, with an error message;
- the order of the features: fields are identified by number;
- another datatype with the same protobuf type: every previous number has the same encoding;
- a new nullable feature: old clients omit the field, and an absent field is null.

Incompatible changes. They increment `api_version`, and field numbers start from 1:

- a removed or renamed feature: old clients would send a field that the server doesn't read;
- another protobuf type: the server would misread the bytes (language guide, "Updating A Message Type");
- a changed nullability: a field without presence doesn't send zero, so zero and null would be confused ("Field
  Presence");
- a new feature that isn't nullable: old clients omit the field, and its value would silently be zero;
- another kind of model: the response has other fields.

There is no list of retired numbers: a feature is removed only with a new `api_version`, which has other messages.
There is no rule for repeated fields: each feature has one value per record.
"""

from msgspec.structs import replace

from server.models.manifest import PROTOBUF_TYPES, RESERVED_FIELD_NUMBERS, Feature, Manifest


def incompatible_changes(previous: Manifest, described: Manifest) -> list[str]:
    """Return the changes in `described` that break clients of `previous`.

    Each change is a text such as "age was removed". The list is empty if the contracts are compatible.
    """
    changes = []
    if described.kind != previous.kind:
        changes.append(f"kind changed from {previous.kind} to {described.kind}")
    before = {feature.name: feature for feature in previous.features}
    after = {feature.name: feature for feature in described.features}
    changes += [f"{name} was removed" for name in before if name not in after]
    for name, feature in after.items():
        if name in before:
            changes += _changes_of(before[name], feature)
        elif not feature.nullable:
            changes.append(f"{name} was added and is not nullable")
    return changes


def follow(previous: Manifest | None, described: Manifest) -> Manifest:
    """Return `described` with the `api_version` and field numbers that follow from `previous`.

    Ignores the field numbers in `described`. If both contracts are the same, the result equals `previous`.
    """
    api_version, numbers = 1, dict[str, int]()
    if previous is not None and incompatible_changes(previous, described):
        api_version = previous.api_version + 1
    elif previous is not None:
        api_version = previous.api_version
        numbers = {feature.name: feature.field_number for feature in previous.features}
    for feature in described.features:
        if feature.name not in numbers:
            numbers[feature.name] = _number_after(max(numbers.values(), default=0))
    features = [replace(feature, field_number=numbers[feature.name]) for feature in described.features]
    return replace(described, api_version=api_version, features=features)


def _changes_of(before: Feature, after: Feature) -> list[str]:
    changes = []
    if PROTOBUF_TYPES[before.datatype] != PROTOBUF_TYPES[after.datatype]:
        changes.append(f"{after.name} changed from {before.datatype} to {after.datatype}")
    if before.nullable != after.nullable:
        changes.append(f"{after.name} {'became' if after.nullable else 'is no longer'} nullable")
    return changes


def _number_after(number: int) -> int:
    next_number = number + 1
    return RESERVED_FIELD_NUMBERS.stop if next_number in RESERVED_FIELD_NUMBERS else next_number
