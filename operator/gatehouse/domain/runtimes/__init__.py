"""What model servers take: formats, arguments, variables, and what each release of vLLM knows."""
