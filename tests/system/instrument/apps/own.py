"""Prints where packages come from, and whether the app's own beginnings were run."""

import json
import sys

import requests
import wrapt

versions = {one.__name__: vars(one)["__version__"] for one in (requests, wrapt)}
print(json.dumps({**versions, "began": getattr(sys, "began", "")}))
