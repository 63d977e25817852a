"""The input of model servers: formats, arguments, variables, and the facts about each release of vLLM."""
