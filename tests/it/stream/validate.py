"""Validates what it reads from standard input, `{"schemas": {…}, "checks": [[name, value], …]}`, and prints a list with the
fault of each, or null. The schemas are JSON Schema of draft 7, as AsyncAPI has them, and refer to each other by their place
in the document."""

import json
import sys

import jsonschema

given = json.load(sys.stdin)
for schema in given["schemas"].values():
    jsonschema.Draft7Validator.check_schema(schema)


def fault(name, value):
    schema = {"allOf": [{"$ref": f"#/components/schemas/{name}"}], "components": {"schemas": given["schemas"]}}
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())
    best = jsonschema.exceptions.best_match(validator.iter_errors(value))
    return best and f"{best.json_path}: {best.message}"


json.dump([fault(name, value) for name, value in given["checks"]], sys.stdout)
