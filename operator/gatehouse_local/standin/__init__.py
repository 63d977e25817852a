"""A stand-in for vLLM, which does not run without an accelerator: the same arguments, API, metrics and refusals.

It loads the real files of a model and reports what it loaded, so a test can tell which bytes answered. Its words are
no model's. It has an image of its own and is no part of the operator's.

The package needs only the standard library: the image has nothing else.
"""
