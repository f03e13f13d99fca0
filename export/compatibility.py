"""The newest published contract and a new one to the new one's field numbers and version of the typed RPC API.

A caller of the typed RPC service keeps the messages it was generated with, and protobuf knows their fields by number
alone. So while `api_version` stays, a feature of one name keeps its number and its meaning on the wire, and a number
never names another. These changes are compatible:

- descriptions, examples, categories, ranges, null values, target, classes: no message holds any of them in its form. An
  old caller may be refused a value, and is told so;
- the features' order: fields are found by number;
- a datatype of the same protobuf type: every number that was sent before is sent as before;
- a nullable feature more: old callers leave it out, and that is null.

These are not, and make `api_version` one more, with the numbers from 1 again:

- a feature less, or under another name: old callers would go on sending what no one reads;
- another protobuf type: the bytes would be misread (language guide, "Updating A Message Type");
- nullable or not any more: a field without presence leaves zero unsent, so zero and null would be taken for each other
  ("Field Presence");
- a feature more that isn't nullable: old callers leave it out, and that would silently be zero;
- another kind of model: the answer has other fields.

No list of retired numbers is kept: a feature is removed only with a new `api_version`, whose messages are others. Nor
is there a rule for repeated fields: each feature is one value a record.
"""

from msgspec.structs import replace

from server.manifest import PROTOBUF_TYPES, RESERVED_FIELD_NUMBERS, Feature, Manifest


def incompatible_changes(previous: Manifest, described: Manifest) -> list[str]:
    """Return what callers of `previous` could not live with in `described`, each as "age was removed"; else nothing."""
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
    """Return `described` with the `api_version` and field numbers to publish it with after `previous`, if any.

    Numbers that `described` has itself don't count. A contract that follows itself is unchanged.
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
    following = number + 1
    return RESERVED_FIELD_NUMBERS.stop if following in RESERVED_FIELD_NUMBERS else following
